// What a sidecar of the mesh tells its control plane besides ADS: its metrics, and whether its program
// is healthy. Both go over one channel; a connection that comes back shows the certificate of the moment.

import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import { GrpcChannel } from '../grpc/channel.ts';
import { controlPlaneTls } from '../identity/control-plane-tls.ts';
import type { IdentitySource, WorkloadIdentity } from '../net/identity-source.ts';
import type { ClientTlsOptions, Network } from '../net/network.ts';
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
	readonly channel: GrpcChannel;
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
/** A control plane that is back hears of the mesh soon. */
const BACKOFF_MAX_MS = 10_000;
/** For the ends of the streams to go out. */
const CLOSE_GRACE_MS = 1000;

export class SidecarReports {
	private present: Present | null = null;
	private readonly unsubscribe: () => void;

	/** Starts with the first certificate. */
	constructor(private readonly options: SidecarReportsOptions) {
		this.unsubscribe = options.identity.subscribe(() => {
			this.present ??= this.start();
		});
	}

	stop(): void {
		this.unsubscribe();
		const { present } = this;
		this.present = null;
		if (present === null) return;
		present.metrics.stop();
		present.health?.stop();
		present.channel.close(CLOSE_GRACE_MS);
	}

	private start(): Present {
		const { target, identity, node, registry, network, random, healthChecked } = this.options;
		const channel = new GrpcChannel({
			network,
			random,
			addresses: [target.address],
			tls: { current: () => presentTls(target, identity.current()) },
			authority: target.serverName,
			keepaliveMs: KEEPALIVE_MS,
			keepaliveTimeoutMs: KEEPALIVE_TIMEOUT_MS,
			backoff: { maxMs: BACKOFF_MAX_MS },
		});
		return {
			channel,
			metrics: new MetricsStream({ channel, node, registry, clock: network.clock, random }),
			health: healthChecked ? new HealthReporter({ channel, node, network, random }) : null,
		};
	}
}

function presentTls(target: ControlPlaneTarget, identity: WorkloadIdentity | null): ClientTlsOptions | null {
	return identity === null ? null : controlPlaneTls(target.serverName, identity.rootsPem, identity);
}
