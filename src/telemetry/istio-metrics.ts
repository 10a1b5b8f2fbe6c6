// Istio's standard metrics (https://istio.io/latest/docs/reference/config/metrics/): names, labels
// in one order, and the families in a registry. Whoever reports fills the labels.

import type { Counter, Family, Histogram, MetricRegistry } from './registry.ts';

export const ISTIO_METRIC_PREFIX = 'istio_';

/** What is not known is `unknown`. */
export const ISTIO_LABELS = [
	'reporter',
	'source_workload',
	'source_canonical_service',
	'source_canonical_revision',
	'source_workload_namespace',
	'source_principal',
	'source_app',
	'source_version',
	'source_cluster',
	'destination_workload',
	'destination_workload_namespace',
	'destination_principal',
	'destination_app',
	'destination_version',
	'destination_service',
	'destination_canonical_service',
	'destination_canonical_revision',
	'destination_service_name',
	'destination_service_namespace',
	'destination_cluster',
	'request_protocol',
	'response_flags',
	'connection_security_policy',
] as const;

/** In addition, for HTTP and gRPC. */
export const ISTIO_REQUEST_LABELS = [...ISTIO_LABELS, 'response_code', 'grpc_response_status'] as const;

export type IstioLabels = Record<(typeof ISTIO_LABELS)[number], string>;
export type IstioRequestLabels = Record<(typeof ISTIO_REQUEST_LABELS)[number], string>;

export interface IstioRequestSeries {
	readonly requests: Counter;
	readonly durationMs: Histogram;
	readonly requestBytes: Histogram;
	readonly responseBytes: Histogram;
}

export interface IstioTcpSeries {
	readonly sentBytes: Counter;
	readonly receivedBytes: Counter;
	readonly opened: Counter;
	readonly closed: Counter;
}

/** Families are shared by all who ask the same registry. */
export class IstioMetrics {
	private readonly requests: Family<Counter>;
	private readonly durations: Family<Histogram>;
	private readonly requestBytes: Family<Histogram>;
	private readonly responseBytes: Family<Histogram>;
	private readonly sentBytes: Family<Counter>;
	private readonly receivedBytes: Family<Counter>;
	private readonly opened: Family<Counter>;
	private readonly closed: Family<Counter>;

	constructor(registry: MetricRegistry) {
		const request = ISTIO_REQUEST_LABELS;
		const tcp = ISTIO_LABELS;
		this.requests = registry.counter('istio_requests_total', 'Requests that ended.', request);
		this.durations = registry.histogram(
			'istio_request_duration_milliseconds',
			'From the first byte of a request to the last of its response.',
			request,
		);
		this.requestBytes = registry.histogram('istio_request_bytes', 'Bytes of request bodies.', request);
		this.responseBytes = registry.histogram('istio_response_bytes', 'Bytes of response bodies.', request);
		this.sentBytes = registry.counter('istio_tcp_sent_bytes_total', 'Bytes sent to the client.', tcp);
		this.receivedBytes = registry.counter('istio_tcp_received_bytes_total', 'Bytes received from the client.', tcp);
		this.opened = registry.counter('istio_tcp_connections_opened_total', 'TCP connections that were opened.', tcp);
		this.closed = registry.counter('istio_tcp_connections_closed_total', 'TCP connections that were closed.', tcp);
	}

	/** Keep what it returns: it builds a key of all labels. */
	request(labels: IstioRequestLabels): IstioRequestSeries {
		const values = ISTIO_REQUEST_LABELS.map((name) => labels[name]);
		return {
			requests: this.requests.with(...values),
			durationMs: this.durations.with(...values),
			requestBytes: this.requestBytes.with(...values),
			responseBytes: this.responseBytes.with(...values),
		};
	}

	/** Keep what it returns. */
	tcp(labels: IstioLabels): IstioTcpSeries {
		const values = ISTIO_LABELS.map((name) => labels[name]);
		return {
			sentBytes: this.sentBytes.with(...values),
			receivedBytes: this.receivedBytes.with(...values),
			opened: this.opened.with(...values),
			closed: this.closed.with(...values),
		};
	}
}
