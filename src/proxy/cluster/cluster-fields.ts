// The fields of Envoy's Cluster, ClusterLoadAssignment and HealthCheck that weft reads, for
// `unsupportedFields`. Those that change nothing for users are marked.

import type { SupportedFields } from '../field-check.ts';
import { HTTP2_FIELDS } from '../http2-options.ts';
import { TLS_FIELDS } from '../tls/tls-fields.ts';

const CLUSTER = 'envoy.config.cluster.v3';
const CORE = 'envoy.config.core.v3';
const ENDPOINT = 'envoy.config.endpoint.v3';
const POLICIES = 'envoy.extensions.load_balancing_policies';

export const ENDPOINT_FIELDS: SupportedFields = {
	[`${ENDPOINT}.ClusterLoadAssignment`]: ['cluster_name', 'endpoints', 'policy'],
	[`${ENDPOINT}.ClusterLoadAssignment.Policy`]: ['overprovisioning_factor'],
	[`${ENDPOINT}.LocalityLbEndpoints`]: [
		'locality',
		'metadata',
		'lb_endpoints',
		'priority',
		// Used only with locality_weighted_lb_config, which is refused: no effect, as in Envoy.
		'load_balancing_weight',
		'proximity',
	],
	[`${ENDPOINT}.LbEndpoint`]: ['endpoint', 'health_status', 'metadata', 'load_balancing_weight'],
	[`${ENDPOINT}.Endpoint`]: ['address', 'hostname', 'health_check_config'],
	[`${ENDPOINT}.Endpoint.HealthCheckConfig`]: ['port_value', 'address', 'hostname', 'disable_active_health_check'],
	[`${CORE}.Address`]: ['socket_address', 'pipe'],
	[`${CORE}.SocketAddress`]: ['protocol', 'address', 'port_value', 'network_namespace_filepath'],
	[`${CORE}.Pipe`]: ['path', 'mode'],
};

export const CLUSTER_FIELDS: SupportedFields = {
	...TLS_FIELDS,
	...HTTP2_FIELDS,
	...ENDPOINT_FIELDS,
	[`${CLUSTER}.Cluster`]: [
		'name',
		'alt_stat_name',
		'type',
		'eds_cluster_config',
		'connect_timeout',
		'per_connection_buffer_limit_bytes',
		'lb_policy',
		'load_balancing_policy',
		'load_assignment',
		'health_checks',
		'max_requests_per_connection',
		'circuit_breakers',
		'common_http_protocol_options',
		'http_protocol_options',
		'typed_extension_protocol_options',
		'dns_refresh_rate',
		'dns_failure_refresh_rate',
		'respect_dns_ttl',
		'dns_lookup_family',
		'cleanup_interval',
		'original_dst_lb_config',
		'least_request_lb_config',
		'round_robin_lb_config',
		'common_lb_config',
		'preconnect_policy',
		'transport_socket',
		'transport_socket_matches',
		'metadata',
		'ignore_health_on_host_removal',
		'wait_for_warm_on_init',
	],
	[`${CLUSTER}.Cluster.TransportSocketMatch`]: ['name', 'match', 'transport_socket'],
	[`${CLUSTER}.Cluster.EdsClusterConfig`]: ['eds_config', 'service_name'],
	[`${CLUSTER}.Cluster.RefreshRate`]: ['base_interval', 'max_interval'],
	[`${CLUSTER}.Cluster.LeastRequestLbConfig`]: ['choice_count', 'active_request_bias'],
	[`${CLUSTER}.Cluster.RoundRobinLbConfig`]: [],
	[`${CLUSTER}.Cluster.OriginalDstLbConfig`]: ['upstream_port_override'],
	[`${CLUSTER}.Cluster.CommonLbConfig`]: [
		'healthy_panic_threshold',
		// Updates are applied at once.
		'update_merge_window',
	],
	[`${CLUSTER}.Cluster.PreconnectPolicy`]: ['per_upstream_preconnect_ratio'],
	[`${CLUSTER}.CircuitBreakers`]: ['thresholds'],
	[`${CLUSTER}.CircuitBreakers.Thresholds`]: [
		'priority',
		'max_connections',
		'max_pending_requests',
		'max_requests',
		'max_retries',
		'retry_budget',
		'track_remaining',
	],
	[`${CLUSTER}.CircuitBreakers.Thresholds.RetryBudget`]: ['budget_percent', 'min_retry_concurrency'],
	[`${CLUSTER}.LoadBalancingPolicy`]: ['policies'],
	[`${CLUSTER}.LoadBalancingPolicy.Policy`]: ['typed_extension_config'],
	[`${POLICIES}.round_robin.v3.RoundRobin`]: [],
	[`${POLICIES}.least_request.v3.LeastRequest`]: ['choice_count', 'active_request_bias'],
	[`${CORE}.RuntimeDouble`]: ['default_value', 'runtime_key'],
	[`${CORE}.HttpProtocolOptions`]: ['idle_timeout', 'max_connection_duration', 'max_requests_per_connection'],
	// Absolute-form targets are a matter of the downstream side; the codec's own rules hold for the rest.
	[`${CORE}.Http1ProtocolOptions`]: ['allow_absolute_url'],
	'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': [
		'common_http_protocol_options',
		'explicit_http_config',
		'use_downstream_protocol_config',
		'auto_config',
	],
	'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig': [
		'http_protocol_options',
		'http2_protocol_options',
	],
	'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig': [
		'http_protocol_options',
		'http2_protocol_options',
	],
	'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig': [
		'http_protocol_options',
		'http2_protocol_options',
	],
	[`${CORE}.HealthCheck`]: [
		'timeout',
		'interval',
		'initial_jitter',
		'interval_jitter',
		'interval_jitter_percent',
		'unhealthy_threshold',
		'healthy_threshold',
		'alt_port',
		'reuse_connection',
		'http_health_check',
		'grpc_health_check',
		'tcp_health_check',
		'no_traffic_interval',
		'no_traffic_healthy_interval',
		'unhealthy_interval',
		'unhealthy_edge_interval',
		'healthy_edge_interval',
	],
	[`${CORE}.HealthCheck.HttpHealthCheck`]: [
		'host',
		'path',
		'request_headers_to_add',
		'expected_statuses',
		'retriable_statuses',
		'codec_client_type',
		'method',
	],
	[`${CORE}.HealthCheck.GrpcHealthCheck`]: ['service_name', 'authority', 'initial_metadata'],
	[`${CORE}.HealthCheck.TcpHealthCheck`]: ['send', 'receive'],
	[`${CORE}.HealthCheck.Payload`]: ['text', 'binary'],
	[`${CORE}.HeaderValueOption`]: ['header', 'append_action', 'append'],
	[`${CORE}.HeaderValue`]: ['key', 'value'],
};
