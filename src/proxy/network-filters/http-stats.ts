// The statistics of a connection manager, `http.STAT_PREFIX.*` in Envoy, resolved once.

import type { Counter, Gauge, Histogram, MetricRegistry } from '../../telemetry/registry.ts';

const PREFIX = 'envoy_http_conn_manager_prefix';

export class HttpStats {
	readonly connectionsTotal: Counter;
	readonly connectionsActive: Gauge;
	readonly requestsTotal: Counter;
	readonly requestsActive: Gauge;
	readonly requestsCompleted: Counter;
	readonly requestMs: Histogram;
	readonly receivedResets: Counter;
	readonly sentResets: Counter;
	readonly requestTimeouts: Counter;
	readonly headerTimeouts: Counter;
	readonly connectionDurations: Counter;
	readonly maxDurationTimeouts: Counter;
	readonly idleTimeouts: Counter;
	readonly streamIdleTimeouts: Counter;
	readonly protocolErrors: Counter;
	readonly noRoute: Counter;
	readonly noCluster: Counter;
	readonly drainCloses: Counter;
	/** Requests that were answered, and codecs that were not made, because of overload. */
	readonly overloadCloses: Counter;
	readonly overloadKeepAliveDisabled: Counter;
	/** A bug that closed one connection. */
	readonly faults: Counter;
	private readonly classes: readonly Counter[];

	constructor(registry: MetricRegistry, statPrefix: string) {
		const counter = (name: string, help: string): Counter => registry.counter(name, help, [PREFIX]).with(statPrefix);
		const gauge = (name: string, help: string): Gauge => registry.gauge(name, help, [PREFIX]).with(statPrefix);
		this.connectionsTotal = counter('envoy_http_downstream_cx_total', 'Downstream HTTP connections');
		this.connectionsActive = gauge('envoy_http_downstream_cx_active', 'Downstream HTTP connections now open');
		this.requestsTotal = counter('envoy_http_downstream_rq_total', 'Downstream requests');
		this.requestsActive = gauge('envoy_http_downstream_rq_active', 'Downstream requests under way');
		this.requestsCompleted = counter('envoy_http_downstream_rq_completed', 'Downstream requests answered');
		this.requestMs = registry
			.histogram('envoy_http_downstream_rq_time', 'Milliseconds from first to last byte of an exchange', [PREFIX])
			.with(statPrefix);
		this.receivedResets = counter('envoy_http_downstream_rq_rx_reset', 'Streams that the client reset');
		this.sentResets = counter('envoy_http_downstream_rq_tx_reset', 'Streams that were reset towards the client');
		this.requestTimeouts = counter('envoy_http_downstream_rq_timeout', 'Requests over their request timeout');
		this.headerTimeouts = counter('envoy_http_downstream_rq_header_timeout', 'Requests whose head took too long');
		this.connectionDurations = counter(
			'envoy_http_downstream_cx_max_duration_reached',
			'Connections over their maximum duration',
		);
		this.maxDurationTimeouts = counter(
			'envoy_http_downstream_rq_max_duration_reached',
			'Streams over their maximum duration',
		);
		this.idleTimeouts = counter('envoy_http_downstream_cx_idle_timeout', 'Connections closed because idle');
		this.streamIdleTimeouts = counter('envoy_http_downstream_rq_idle_timeout', 'Streams over their idle timeout');
		this.protocolErrors = counter('envoy_http_downstream_cx_protocol_error', 'Connections that broke the protocol');
		this.noRoute = counter('envoy_http_no_route', 'Requests that no route matched');
		this.noCluster = counter('envoy_http_no_cluster', 'Requests to a cluster that does not exist');
		this.drainCloses = counter('envoy_http_downstream_cx_drain_close', 'Connections closed by draining');
		this.overloadCloses = counter('envoy_http_downstream_rq_overload_close', 'Requests refused because of overload');
		this.overloadKeepAliveDisabled = counter(
			'envoy_http_downstream_cx_overload_disable_keepalive',
			'Connections closed after a response because of overload',
		);
		this.faults = counter('weft_http_connection_faults_total', 'Connections closed by a fault of the proxy itself');
		const byClass = registry.counter('envoy_http_downstream_rq_xx', 'Responses by class', [
			'envoy_response_code_class',
			PREFIX,
		]);
		this.classes = ['1', '2', '3', '4', '5'].map((name) => byClass.with(name, statPrefix));
	}

	countStatus(status: number): void {
		const index = Math.floor(status / 100) - 1;
		if (index >= 0 && index < 5) this.classes[index]!.inc();
	}
}
