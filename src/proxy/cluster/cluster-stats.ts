// A cluster's numbers under Envoy's names: `cluster.NAME.upstream_cx_total` is the Prometheus series
// `envoy_cluster_upstream_cx_total{envoy_cluster_name="NAME"}`. Resolved once per cluster; adding to
// one is adding to a number. A changed cluster of the same name goes on counting where it was.

import { HandshakeError, type TlsInfo } from '../../net/network.ts';
import type { WeftError } from '../../std/errors.ts';
import type { Counter, Family, Gauge, Histogram, MetricRegistry } from '../../telemetry/registry.ts';
import { CertificateExpiry, type CertificateHolder } from '../tls/certificate-expiry.ts';
import { TlsStats } from '../tls/tls-stats.ts';
import type { ClusterRequestStats } from '../upstream.ts';

const LABELS = ['envoy_cluster_name'] as const;

/** Counters: the name without `envoy_cluster_`, and what it counts. */
const COUNTERS = {
	upstream_cx_total: 'Total connections',
	upstream_cx_http1_total: 'Total HTTP/1.1 connections',
	upstream_cx_http2_total: 'Total HTTP/2 connections',
	upstream_cx_connect_fail: 'Total connection failures',
	upstream_cx_connect_timeout: 'Total connection connect timeouts',
	upstream_cx_overflow: 'Total times the cluster connection circuit breaker overflowed',
	upstream_cx_destroy: 'Total destroyed connections',
	upstream_cx_destroy_local: 'Total connections destroyed locally',
	upstream_cx_destroy_remote: 'Total connections destroyed remotely',
	upstream_cx_destroy_with_active_rq: 'Total connections destroyed with active requests',
	upstream_cx_idle_timeout: 'Total connection idle timeouts',
	upstream_cx_max_requests: 'Total connections closed due to maximum requests',
	upstream_cx_max_duration_reached: 'Total connections closed due to max duration',
	upstream_cx_close_notify: 'Total connections closed by GOAWAY with an error',
	upstream_cx_none_healthy: 'Total times no host could be picked',
	upstream_cx_protocol_error: 'Total connection protocol errors',
	upstream_rq_total: 'Total requests',
	upstream_rq_completed: 'Total upstream requests completed',
	upstream_rq_pending_total: 'Total requests that waited for a connection',
	upstream_rq_pending_overflow: 'Total requests refused by a circuit breaker',
	upstream_rq_pending_failure_eject: 'Total requests failed due to a connection failure',
	upstream_rq_cancelled: 'Total requests cancelled before a connection was had',
	upstream_rq_rx_reset: 'Total requests that were reset remotely',
	upstream_rq_tx_reset: 'Total requests that were reset locally',
	upstream_rq_retry: 'Total request retries',
	upstream_rq_retry_overflow: 'Total requests not retried due to circuit breaking',
	upstream_rq_timeout: 'Total requests that timed out waiting for a response',
	membership_change: 'Total membership changes',
	update_attempt: 'Total attempts to update the hosts',
	update_success: 'Total successful updates of the hosts',
	update_failure: 'Total failed updates of the hosts',
	update_empty: 'Total updates that brought no host',
	update_rejected: 'Total updates of the hosts refused as wrong',
	client_ssl_socket_factory_upstream_context_secrets_not_ready:
		'Total connections refused because a TLS secret was missing',
	health_check_attempt: 'Number of health checks',
	health_check_success: 'Number of successful health checks',
	health_check_failure: 'Number of failed health checks',
	health_check_network_failure: 'Number of health checks that failed on the network',
} as const;

const GAUGES = {
	upstream_cx_active: 'Active connections',
	upstream_rq_active: 'Active requests',
	upstream_rq_pending_active: 'Requests that wait for a connection',
	membership_total: 'Hosts',
	membership_healthy: 'Healthy hosts',
	membership_degraded: 'Degraded hosts',
	warming_state: '1 while the cluster waits for its first hosts',
	circuit_breakers_default_cx_open: '1 while the connection circuit breaker is open',
	circuit_breakers_default_rq_pending_open: '1 while the pending requests circuit breaker is open',
	circuit_breakers_default_rq_open: '1 while the requests circuit breaker is open',
	circuit_breakers_default_rq_retry_open: '1 while the retry circuit breaker is open',
} as const;

type Counters = Record<keyof typeof COUNTERS, Counter>;
type Gauges = Record<keyof typeof GAUGES, Gauge>;

/** The families, registered once per registry. */
export class ClusterMetrics {
	private readonly counters: [keyof Counters, Family<Counter>][];
	private readonly gauges: [keyof Gauges, Family<Gauge>][];
	private readonly codeClasses: Family<Counter>;
	private readonly codes: Family<Counter>;
	private readonly durations: Family<Histogram>;
	private readonly connectDurations: Family<Histogram>;
	private readonly tls = new Map<string, TlsStats>();

	constructor(private readonly registry: MetricRegistry) {
		this.counters = entries(COUNTERS).map(([name, help]) => [name, registry.counter(familyName(name), help, LABELS)]);
		this.gauges = entries(GAUGES).map(([name, help]) => [name, registry.gauge(familyName(name), help, LABELS)]);
		this.codeClasses = registry.counter('envoy_cluster_upstream_rq_xx', 'Responses by class of status', [
			'envoy_response_code_class',
			...LABELS,
		]);
		this.codes = registry.counter('envoy_cluster_upstream_rq', 'Responses by status', [
			'envoy_response_code',
			...LABELS,
		]);
		this.durations = registry.histogram('envoy_cluster_upstream_rq_time', 'Request time in milliseconds', LABELS);
		this.connectDurations = registry.histogram(
			'envoy_cluster_upstream_cx_connect_ms',
			'Connection establishment in milliseconds',
			LABELS,
		);
	}

	forCluster(statName: string): ClusterStats {
		const counters = Object.fromEntries(this.counters.map(([name, family]) => [name, family.with(statName)]));
		const gauges = Object.fromEntries(this.gauges.map(([name, family]) => [name, family.with(statName)]));
		return new ClusterStats(
			counters as Counters,
			gauges as Gauges,
			['1', '2', '3', '4', '5'].map((digit) => this.codeClasses.with(digit, statName)),
			(status) => this.codes.with(String(status), statName),
			this.durations.with(statName),
			this.connectDurations.with(statName),
			() => this.tlsStats(statName),
		);
	}

	/** Forgets a cluster that was removed; the series by single status are bounded and go with it. */
	remove(statName: string): void {
		for (const [, family] of this.counters) family.remove(statName);
		for (const [, family] of this.gauges) family.remove(statName);
		for (const digit of ['1', '2', '3', '4', '5']) this.codeClasses.remove(digit, statName);
		for (let status = STATUS_MIN; status <= STATUS_MAX; status++) this.codes.remove(String(status), statName);
		this.durations.remove(statName);
		this.connectDurations.remove(statName);
		this.tls.get(statName)?.remove();
		this.tls.delete(statName);
	}

	/** Until what it returns is called. */
	followCertificates(statName: string, contexts: readonly CertificateHolder[]): () => void {
		return CertificateExpiry.of(this.registry).follow('cluster', statName, contexts);
	}

	private tlsStats(statName: string): TlsStats {
		let found = this.tls.get(statName);
		if (found === undefined) {
			found = new TlsStats(this.registry, 'cluster', statName);
			this.tls.set(statName, found);
		}
		return found;
	}
}

const STATUS_MIN = 100;
const STATUS_MAX = 599;

export class ClusterStats implements ClusterRequestStats {
	private readonly byStatus: (Counter | undefined)[] = new Array(STATUS_MAX + 1).fill(undefined);
	/** Made at the first handshake: clusters in plain text have none. */
	private tls: TlsStats | null = null;

	constructor(
		readonly counters: Counters,
		readonly gauges: Gauges,
		private readonly classes: readonly Counter[],
		private readonly counterOfStatus: (status: number) => Counter,
		private readonly durations: Histogram,
		readonly connectMs: Histogram,
		private readonly makeTlsStats: () => TlsStats,
	) {}

	/** A TLS handshake with a host is done. */
	handshaken(tls: TlsInfo): void {
		this.tls ??= this.makeTlsStats();
		this.tls.handshaken(tls);
	}

	/** A connection could not be made; counted when TLS was why. */
	connectFailed(error: WeftError | null): void {
		if (!(error instanceof HandshakeError)) return;
		this.tls ??= this.makeTlsStats();
		this.tls.failed(error);
	}

	countResponse(status: number): void {
		if (status < STATUS_MIN || status > STATUS_MAX) {
			if (status === 0) this.counters.upstream_rq_rx_reset.inc();
			return;
		}
		this.counters.upstream_rq_completed.inc();
		this.classes[Math.floor(status / 100) - 1]!.inc();
		let counter = this.byStatus[status];
		if (counter === undefined) {
			counter = this.counterOfStatus(status);
			this.byStatus[status] = counter;
		}
		counter.inc();
	}

	countRetry(): void {
		this.counters.upstream_rq_retry.inc();
	}

	countTimeout(): void {
		this.counters.upstream_rq_timeout.inc();
	}

	observeDurationMs(ms: number): void {
		this.durations.observe(ms);
	}
}

function familyName(name: string): string {
	return `envoy_cluster_${name}`;
}

function entries<K extends string>(record: Readonly<Record<K, string>>): [K, string][] {
	return Object.entries(record) as [K, string][];
}
