// What a sidecar of the mesh tells its control plane besides ADS: its metrics, and whether its program
// is healthy. Both go over one channel, made anew with each new certificate, so that a connection that
// comes back always shows one that is good.

import * as grpc from '@grpc/grpc-js';
import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import type { IdentitySource, WorkloadIdentity } from '../net/identity-source.ts';
import type { Network } from '../net/network.ts';
import type { Random } from '../std/random.ts';
import { MetricsStream } from '../telemetry/metrics-stream.ts';
import type { MetricRegistry } from '../telemetry/registry.ts';
import { HealthReporter } from '../xds/health-reporter.ts';
import type { SidecarOptions } from './sidecar.ts';
import { type ControlPlaneTarget, controlPlaneTarget } from './sidecar-identity.ts';

export interface SidecarReportsOptions {
	readonly target: ControlPlaneTarget;
	readonly identity: IdentitySource;
	readonly node: Node;
	readonly registry: MetricRegistry;
	readonly network: Network;
	readonly random: Random;
	/** Whether the program is to be checked. */
	readonly healthChecked: boolean;
}

interface Present {
	readonly channel: grpc.Channel;
	readonly metrics: MetricsStream;
	readonly health: HealthReporter | null;
}

/** Null: the bootstrap has no node to speak for. @throws ConfigError when it does not say where the control plane is */
export function startReports(
	{ bootstrap, network, random }: SidecarOptions,
	identity: IdentitySource,
	registry: MetricRegistry,
): SidecarReports | null {
	const { node } = bootstrap;
	if (node === undefined) return null;
	const weft = node.metadata?.WEFT;
	return new SidecarReports({
		target: controlPlaneTarget(bootstrap),
		identity,
		node,
		registry,
		network,
		random,
		healthChecked: typeof weft === 'object' && weft !== null && 'healthCheck' in weft,
	});
}

const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

export class SidecarReports {
	private present: Present | null = null;
	private readonly unsubscribe: () => void;

	/** Starts with the first certificate. */
	constructor(private readonly options: SidecarReportsOptions) {
		this.unsubscribe = options.identity.subscribe((identity) => this.restart(identity));
	}

	stop(): void {
		this.unsubscribe();
		this.end();
	}

	private restart(identity: WorkloadIdentity): void {
		this.end();
		const { target, node, registry, network, random, healthChecked } = this.options;
		const channel = new grpc.Channel(
			target.address,
			grpc.credentials.createSsl(
				Buffer.from(identity.rootsPem),
				Buffer.from(identity.privateKeyPem),
				Buffer.from(identity.certificateChainPem),
			),
			{
				'grpc.ssl_target_name_override': target.serverName,
				'grpc.default_authority': target.serverName,
				'grpc.keepalive_time_ms': KEEPALIVE_MS,
				'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
				'grpc.enable_http_proxy': 0,
				'grpc.use_local_subchannel_pool': 1,
				'grpc.service_config_disable_resolution': 1,
			},
		);
		this.present = {
			channel,
			metrics: new MetricsStream({ channel, node, registry, clock: network.clock, random }),
			health: healthChecked ? new HealthReporter({ channel, node, network, random }) : null,
		};
	}

	private end(): void {
		if (this.present === null) return;
		this.present.metrics.stop();
		this.present.health?.stop();
		this.present.channel.close();
		this.present = null;
	}
}
