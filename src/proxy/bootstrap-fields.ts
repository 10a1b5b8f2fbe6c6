// The fields of a bootstrap that weft reads, or that change nothing for users; all others are
// refused. What stands in static_resources is checked by its own compiler.

import type { SupportedFields } from './field-check.ts';

const BOOTSTRAP = 'envoy.config.bootstrap.v3';

export const BOOTSTRAP_FIELDS: SupportedFields = {
	[`${BOOTSTRAP}.Bootstrap`]: [
		'node',
		'static_resources',
		'dynamic_resources',
		'admin',
		'cluster_manager',
		// How often Envoy's own sinks are fed, and which of its threads are watched.
		'stats_flush_interval',
		'stats_flush_on_admin',
		'watchdog',
		'watchdogs',
		'enable_dispatcher_stats',
		'deferred_stat_options',
		// Static layers, and one for the admin interface's own changes, which weft has not.
		'layered_runtime',
		'overload_manager',
	],
	[`${BOOTSTRAP}.Bootstrap.StaticResources`]: ['listeners', 'clusters', 'secrets'],
	[`${BOOTSTRAP}.Bootstrap.DynamicResources`]: ['lds_config', 'cds_config', 'ads_config'],
	[`${BOOTSTRAP}.Admin`]: [
		'address',
		// Only /dev/null: the admin interface keeps no log.
		'access_log_path',
		'profile_path',
		'ignore_global_conn_limit',
	],
	[`${BOOTSTRAP}.ClusterManager`]: ['local_cluster_name'],
	[`${BOOTSTRAP}.LayeredRuntime`]: ['layers'],
	[`${BOOTSTRAP}.RuntimeLayer`]: ['name', 'static_layer', 'admin_layer'],
	'envoy.config.core.v3.Node': '*',
	'envoy.config.core.v3.Address': ['socket_address', 'pipe'],
	'envoy.config.core.v3.Pipe': ['path', 'mode'],
	'envoy.config.core.v3.SocketAddress': [
		'protocol',
		'address',
		'port_value',
		'ipv4_compat',
		'network_namespace_filepath',
	],
	'envoy.config.core.v3.ConfigSource': [
		'path',
		'path_config_source',
		'ads',
		'initial_fetch_timeout',
		'resource_api_version',
	],
	'envoy.config.core.v3.ApiConfigSource': [
		'api_type',
		'transport_api_version',
		'grpc_services',
		'set_node_on_first_message_only',
	],
	'envoy.config.core.v3.GrpcService': ['envoy_grpc', 'timeout', 'initial_metadata'],
	'envoy.config.core.v3.GrpcService.EnvoyGrpc': ['cluster_name', 'authority'],
};
