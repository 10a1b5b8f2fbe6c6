// The fields of listeners and filter chains that weft reads, or that change nothing for users; all
// others are refused.

import type { SupportedFields } from '../field-check.ts';

const LISTENER = 'envoy.config.listener.v3';
const CORE = 'envoy.config.core.v3';

export const LISTENER_FIELDS: SupportedFields = {
	[`${LISTENER}.Listener`]: [
		'name',
		'address',
		'stat_prefix',
		'filter_chains',
		'default_filter_chain',
		'use_original_dst',
		'per_connection_buffer_limit_bytes',
		'metadata',
		'bind_to_port',
		'traffic_direction',
		'listener_filters',
		'listener_filters_timeout',
		'continue_on_listener_filters_timeout',
		'enable_reuse_port',
		'connection_balance_config',
		'tcp_backlog_size',
		'drain_type',
		'ignore_global_conn_limit',
		'bypass_overload_manager',
		'max_connections_to_accept_per_socket_event',
	],
	[`${LISTENER}.ListenerFilter`]: ['name', 'typed_config', 'filter_disabled'],
	[`${LISTENER}.ListenerFilterChainMatchPredicate`]: [
		'or_match',
		'and_match',
		'not_match',
		'any_match',
		'destination_port_range',
	],
	[`${LISTENER}.ListenerFilterChainMatchPredicate.MatchSet`]: ['rules'],
	[`${LISTENER}.FilterChain`]: [
		'filter_chain_match',
		'filters',
		'metadata',
		'transport_socket',
		'transport_socket_connect_timeout',
		'name',
	],
	[`${LISTENER}.FilterChainMatch`]: [
		'destination_port',
		'prefix_ranges',
		'direct_source_prefix_ranges',
		'source_type',
		'source_prefix_ranges',
		'source_ports',
		'server_names',
		'transport_protocol',
		'application_protocols',
	],
	[`${LISTENER}.Filter`]: ['name', 'typed_config'],
	[`${CORE}.TransportSocket`]: ['name', 'typed_config'],
	[`${CORE}.Address`]: ['socket_address', 'pipe'],
	[`${CORE}.Pipe`]: ['path', 'mode'],
	[`${CORE}.SocketAddress`]: ['protocol', 'address', 'port_value', 'network_namespace_filepath'],
	[`${CORE}.CidrRange`]: '*',
};
