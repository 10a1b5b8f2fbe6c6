// The sidecar's side of health discovery (HDS): asks the control plane what to check, checks its
// own program, and reports each interval and at each change.
//
//   idle ──▶ streaming ──specifier──▶ checking ──▶ reports
//     ▲          │ stream ended (checks stop)
//     └── backing off (1 s … 30 s, with jitter)
//
// An endpoint is unhealthy after as many failures in a row as the specifier says, healthy after as
// many passes; until the first verdict it is unknown, and not reported.

import { create } from '@bufbuild/protobuf';
import type { Duration } from '@bufbuild/protobuf/wkt';
import type { Address as AddressMessage } from '../generated/envoy/config/core/v3/address_pb.ts';
import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import { type HealthCheck, HealthStatus } from '../generated/envoy/config/core/v3/health_check_pb.ts';
import type { Endpoint } from '../generated/envoy/config/endpoint/v3/endpoint_components_pb.ts';
import {
	Capability_Protocol,
	type HealthCheckRequestOrEndpointHealthResponse,
	HealthCheckRequestOrEndpointHealthResponseSchema,
	type HealthCheckSpecifier,
	HealthDiscoveryService,
} from '../generated/envoy/service/health/v3/hds_pb.ts';
import { GrpcCall } from '../grpc/call.ts';
import { formatStatus } from '../grpc/call-status.ts';
import type { GrpcChannel } from '../grpc/channel.ts';
import { clientMethod } from '../grpc/client-methods.ts';
import { type Address, formatAddress, type Network } from '../net/network.ts';
import type { Timer } from '../std/clock.ts';
import { Logger } from '../std/log.ts';
import type { Random } from '../std/random.ts';
import { type Probe, type ProbeKind, probe } from './health-probe.ts';

const log = new Logger('health');

const METHOD = clientMethod(HealthDiscoveryService.method.streamHealthCheck);
const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
const GOOD_STREAM_MS = 10_000;
/** Endpoints that one specifier may name. */
const CHECKS_MAX = 64;
const INTERVAL_MS_MIN = 100;
const INTERVAL_MS_DEFAULT = 2000;
const TIMEOUT_MS_DEFAULT = 1000;

export interface HealthReporterOptions {
	/** The channel to the control plane; not closed by the reporter. */
	readonly channel: GrpcChannel;
	/** Goes first on each stream; its metadata says what is to be checked. */
	readonly node: Node;
	/** Checks are made through it, and its clock paces them. */
	readonly network: Network;
	readonly random: Random;
	/** At each change of an endpoint's verdict. */
	readonly onVerdict?: (address: string, healthy: boolean, failure: string | null) => void;
}

type HealthCall = GrpcCall<HealthCheckRequestOrEndpointHealthResponse, HealthCheckSpecifier>;

export class HealthReporter {
	private readonly retry: Timer;
	private readonly report: Timer;
	private checks: EndpointCheck[] = [];
	private call: HealthCall | null = null;
	private reportIntervalMs = INTERVAL_MS_DEFAULT;
	private backoffMs = BACKOFF_MIN_MS;
	private openedAtMs = 0;
	private stopped = false;

	/** Starts at once. */
	constructor(private readonly options: HealthReporterOptions) {
		const { clock } = options.network;
		this.report = clock.after(0, () => this.sendReport());
		this.report.cancel();
		this.retry = clock.after(0, () => this.open());
	}

	/** Ends the stream and the checks. Idempotent. */
	stop(): void {
		this.stopped = true;
		this.retry.cancel();
		this.stopChecks();
		this.call?.end();
		this.call = null;
	}

	private open(): void {
		if (this.stopped) return;
		this.openedAtMs = this.options.network.clock.nowMs();
		const call: HealthCall = new GrpcCall(
			this.options.channel,
			METHOD,
			{},
			{
				onMessage: (specifier) => {
					if (call === this.call) this.onSpecifier(specifier);
				},
				onEnd: (status) => this.onEnd(call, formatStatus(status)),
			},
		);
		this.call = call;
		call.send(
			create(HealthCheckRequestOrEndpointHealthResponseSchema, {
				requestType: {
					case: 'healthCheckRequest',
					value: {
						node: this.options.node,
						capability: { healthCheckProtocols: [Capability_Protocol.HTTP, Capability_Protocol.TCP] },
					},
				},
			}),
		);
	}

	private onEnd(call: HealthCall, reason: string): void {
		if (call !== this.call) return;
		this.call = null;
		this.stopChecks();
		if (this.stopped) return;
		const { clock } = this.options.network;
		if (clock.nowMs() - this.openedAtMs >= GOOD_STREAM_MS) this.backoffMs = BACKOFF_MIN_MS;
		const delayMs = this.backoffMs * (0.5 + this.options.random.next() / 2);
		this.backoffMs = Math.min(this.backoffMs * 2, BACKOFF_MAX_MS);
		log.debug('health stream ended', { reason, retryMs: Math.round(delayMs) });
		this.retry.restart(delayMs);
	}

	private onSpecifier(specifier: HealthCheckSpecifier): void {
		this.stopChecks();
		this.reportIntervalMs = intervalOf(specifier.interval, INTERVAL_MS_DEFAULT);
		for (const cluster of specifier.clusterHealthChecks) {
			const [check] = cluster.healthChecks;
			if (check === undefined) continue;
			for (const endpoint of cluster.localityEndpoints.flatMap((locality) => locality.endpoints)) {
				const address = addressOf(endpoint.address);
				const kind = probeKind(check, address);
				if (address === null || kind === null || this.checks.length >= CHECKS_MAX) {
					log.warning('a health check cannot be made', { cluster: cluster.clusterName });
					continue;
				}
				const made = new EndpointCheck(
					this.options.network,
					cluster.clusterName,
					endpoint,
					address,
					kind,
					check,
					() => {
						log.info('health', {
							address: formatAddress(address),
							healthy: made.healthy === true,
							reason: made.failure ?? undefined,
						});
						this.options.onVerdict?.(formatAddress(address), made.healthy === true, made.failure);
						this.sendReport();
					},
				);
				this.checks.push(made);
			}
		}
		if (this.checks.length > 0) this.report.restart(this.reportIntervalMs);
	}

	private stopChecks(): void {
		this.report.cancel();
		for (const check of this.checks) check.stop();
		this.checks = [];
	}

	private sendReport(): void {
		const known = this.checks.filter((check) => check.healthy !== null);
		if (this.call === null) return;
		this.report.restart(this.reportIntervalMs);
		if (known.length === 0) return;
		const clusterEndpointsHealth = known.map((check) => ({
			clusterName: check.cluster,
			localityEndpointsHealth: [
				{
					endpointsHealth: [
						{
							endpoint: check.endpoint,
							healthStatus: check.healthy === true ? HealthStatus.HEALTHY : HealthStatus.UNHEALTHY,
						},
					],
				},
			],
		}));
		this.call.send(
			create(HealthCheckRequestOrEndpointHealthResponseSchema, {
				requestType: { case: 'endpointHealthResponse', value: { clusterEndpointsHealth } },
			}),
		);
	}
}

/** The checks of one endpoint, one after the other, and the verdict that they make. */
class EndpointCheck {
	/** Null: no verdict yet. */
	healthy: boolean | null = null;
	/** Of the last check. */
	failure: string | null = null;
	private readonly timer: Timer;
	private running: Probe | null = null;
	private inARow = 0;
	private lastPassed: boolean | null = null;

	constructor(
		private readonly network: Network,
		readonly cluster: string,
		readonly endpoint: Endpoint,
		private readonly address: Address,
		private readonly kind: ProbeKind,
		private readonly check: HealthCheck,
		private readonly onVerdict: () => void,
	) {
		this.timer = network.clock.after(0, () => this.run());
	}

	stop(): void {
		this.timer.cancel();
		this.running?.cancel();
	}

	private run(): void {
		const timeoutMs = intervalOf(this.check.timeout, TIMEOUT_MS_DEFAULT);
		this.running = probe(this.network, this.address, this.kind, timeoutMs, (failure) => this.onResult(failure));
	}

	private onResult(failure: string | null): void {
		const passed = failure === null;
		this.failure = failure;
		this.inARow = passed === this.lastPassed ? this.inARow + 1 : 1;
		this.lastPassed = passed;
		this.timer.restart(intervalOf(this.check.interval, INTERVAL_MS_DEFAULT));
		const enough = (passed ? this.check.healthyThreshold : this.check.unhealthyThreshold) ?? 1;
		if (this.healthy === passed || this.inARow < enough) return;
		this.healthy = passed;
		this.onVerdict();
	}
}

function intervalOf(duration: Duration | undefined, defaultMs: number): number {
	if (duration === undefined) return defaultMs;
	return Math.max(INTERVAL_MS_MIN, Number(duration.seconds) * 1000 + duration.nanos / 1e6);
}

function addressOf(message: AddressMessage | undefined): Address | null {
	if (message?.address.case === 'pipe') return { kind: 'pipe', path: message.address.value.path };
	if (message?.address.case !== 'socketAddress') return null;
	const { address, portSpecifier, networkNamespaceFilepath } = message.address.value;
	if (portSpecifier.case !== 'portValue') return null;
	const ip = { kind: 'ip' as const, host: address, port: portSpecifier.value };
	return networkNamespaceFilepath === '' ? ip : { ...ip, networkNamespace: networkNamespaceFilepath };
}

/** Null: a kind of check that is not supported, or a path that would break the request. */
function probeKind(check: HealthCheck, address: Address | null): ProbeKind | null {
	if (address === null) return null;
	if (check.healthChecker.case === 'tcpHealthCheck') return { kind: 'tcp' };
	if (check.healthChecker.case !== 'httpHealthCheck') return null;
	const { path, host } = check.healthChecker.value;
	const authority = host || (address.kind === 'ip' ? formatAddress(address) : 'localhost');
	if (!/^\/[\x21-\x7e]*$/.test(path) || !/^[\x21-\x7e]+$/.test(authority)) return null;
	return { kind: 'http', path, host: authority };
}
