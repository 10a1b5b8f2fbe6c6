// Fields of Envoy's configuration that are accepted and not read, each with the reason why that
// deceives nobody. All others that are accepted are read; `src/app/supported-fields.spec.ts` holds it.

const STATISTICS = "Envoy's own statistics; weft has not the ones that it is about";
const THREADS = 'how Envoy shares work among its threads and protects itself; a weft worker has one thread';
const RUNTIME = 'there is no runtime to look it up in: the default value counts';
const VERSION = 'there is only V3';

/** By full name: message, dot, field. */
export const FIELDS_WITHOUT_EFFECT: Readonly<Record<string, string>> = {
	'envoy.config.accesslog.v3.RuntimeFilter.runtime_key': RUNTIME,
	'envoy.config.bootstrap.v3.Admin.ignore_global_conn_limit':
		'the admin interface is outside all connection limits: as with true',
	'envoy.config.bootstrap.v3.Admin.profile_path': 'the admin interface makes no profiles',
	'envoy.config.bootstrap.v3.Bootstrap.cluster_manager':
		'names the local cluster, for routing by zone, which is refused',
	'envoy.config.bootstrap.v3.Bootstrap.deferred_stat_options': STATISTICS,
	'envoy.config.bootstrap.v3.Bootstrap.enable_dispatcher_stats': STATISTICS,
	'envoy.config.bootstrap.v3.Bootstrap.stats_flush_interval': STATISTICS,
	'envoy.config.bootstrap.v3.Bootstrap.stats_flush_on_admin': STATISTICS,
	'envoy.config.bootstrap.v3.Bootstrap.watchdog': THREADS,
	'envoy.config.bootstrap.v3.Bootstrap.watchdogs': THREADS,
	'envoy.config.bootstrap.v3.ClusterManager.local_cluster_name': 'for routing by zone, which is refused',
	'envoy.config.bootstrap.v3.RuntimeLayer.admin_layer': 'stays empty',
	'envoy.config.bootstrap.v3.RuntimeLayer.name': 'only names it',
	'envoy.config.cluster.v3.CircuitBreakers.Thresholds.track_remaining': STATISTICS,
	'envoy.config.cluster.v3.Cluster.CommonLbConfig.update_merge_window': 'updates are applied at once',
	'envoy.config.cluster.v3.Cluster.ignore_health_on_host_removal':
		'a host that discovery takes away is gone at once, healthy or not: as with true',
	'envoy.config.cluster.v3.Cluster.round_robin_lb_config': 'only an empty one: its fields are refused',
	'envoy.config.cluster.v3.Cluster.wait_for_warm_on_init': 'readiness always waits for clusters: as with true',
	'envoy.config.core.v3.ApiConfigSource.transport_api_version': VERSION,
	'envoy.config.core.v3.ConfigSource.resource_api_version': VERSION,
	'envoy.config.core.v3.Http1ProtocolOptions.enable_trailers': 'trailers always pass: as with true',
	'envoy.config.core.v3.Http1ProtocolOptions.use_balsa_parser': "which of Envoy's parsers reads; weft has its own",
	'envoy.config.core.v3.Http2ProtocolOptions.override_stream_error_on_invalid_http_message':
		'a malformed message ends its stream and nothing else: as with true',
	'envoy.config.core.v3.Http2ProtocolOptions.use_oghttp2_codec': "which of Envoy's codecs reads; weft has its own",
	'envoy.config.core.v3.RuntimeDouble.runtime_key': RUNTIME,
	'envoy.config.core.v3.RuntimeFeatureFlag.runtime_key': RUNTIME,
	'envoy.config.core.v3.RuntimeFractionalPercent.runtime_key': RUNTIME,
	'envoy.config.core.v3.RuntimeUInt32.runtime_key': RUNTIME,
	'envoy.config.core.v3.SocketAddress.ipv4_compat': 'a listener on [::] takes IPv4 too: as with true',
	'envoy.config.core.v3.SubstitutionFormatString.json_format_options': 'properties are always sorted: as with true',
	'envoy.config.endpoint.v3.LocalityLbEndpoints.proximity': 'Envoy does not read it either',
	'envoy.config.listener.v3.Listener.connection_balance_config': THREADS,
	'envoy.config.listener.v3.Listener.drain_type':
		'a listener drains when it is changed, removed, or the process ends, never by a failed health check',
	'envoy.config.listener.v3.Listener.enable_reuse_port': THREADS,
	'envoy.config.listener.v3.Listener.max_connections_to_accept_per_socket_event': THREADS,
	'envoy.config.route.v3.WeightedCluster.runtime_key_prefix': RUNTIME,
	'envoy.extensions.filters.http.fault.v3.HTTPFault.disable_downstream_cluster_stats': STATISTICS,
	'envoy.extensions.filters.http.router.v3.Router.dynamic_stats': STATISTICS,
	'envoy.extensions.filters.http.router.v3.Router.start_child_span': 'weft makes no spans yet',
	'envoy.extensions.filters.http.router.v3.Router.suppress_grpc_request_failure_code_stats': STATISTICS,
	'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector.initial_read_buffer_size':
		'what was read is looked at, whatever its size',
	'envoy.extensions.filters.network.rbac.v3.RBAC.enforcement_type':
		'nothing that the filter looks at changes while a connection lasts: the first verdict is every later one',
	'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext.disable_stateful_session_resumption':
		'sessions are in the tickets that clients keep, none is kept here: as with true',
	'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext.enforce_rsa_key_usage': "BoringSSL's own rule holds",
	'envoy.type.matcher.v3.RegexMatcher.GoogleRE2.max_program_size': 'every pattern is matched in linear time',
	'envoy.type.matcher.v3.RegexMatcher.google_re2': 'the only engine there is',
};
