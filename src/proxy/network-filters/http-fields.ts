// The fields of the HTTP connection manager and its parts that weft reads, or that change nothing
// for users; all others are refused.

import { ACCESS_LOG_FILTER_FIELDS } from '../access-log/access-log-filter.ts';
import type { SupportedFields } from '../field-check.ts';
import { SUBSTITUTION_FIELDS } from '../format/substitution.ts';
import { HTTP2_FIELDS } from '../http2-options.ts';
import { ROUTE_FIELDS } from '../route/route-fields.ts';
import { LOCAL_REPLY_FIELDS } from './local-reply-config.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3';
const CORE = 'envoy.config.core.v3';

export const HTTP_FIELDS: SupportedFields = {
	...ROUTE_FIELDS,
	...HTTP2_FIELDS,
	[`${HCM}.HttpConnectionManager`]: [
		'codec_type',
		'stat_prefix',
		'rds',
		'route_config',
		'http_filters',
		'common_http_protocol_options',
		'http_protocol_options',
		'http2_protocol_options',
		'server_name',
		'server_header_transformation',
		'max_request_headers_kb',
		'stream_idle_timeout',
		'request_timeout',
		'request_headers_timeout',
		'drain_timeout',
		'delayed_close_timeout',
		'access_log',
		'local_reply_config',
		'access_log_flush_interval',
		'flush_access_log_on_new_request',
		'access_log_options',
		'use_remote_address',
		'xff_num_trusted_hops',
		'internal_address_config',
		'skip_xff_append',
		'via',
		'generate_request_id',
		'preserve_external_request_id',
		'always_set_request_id_in_response',
		'forward_client_cert_details',
		'set_current_client_cert_details',
		'upgrade_configs',
		'normalize_path',
		'merge_slashes',
		'path_with_escaped_slashes_action',
		'strip_matching_host_port',
		'strip_any_host_port',
		'strip_trailing_host_dot',
		'append_x_forwarded_port',
		'represent_ipv4_remote_address_as_ipv4_mapped_ipv6',
		// Only false: a malformed message always closes its connection.
		'stream_error_on_invalid_http_message',
	],
	[`${HCM}.HttpConnectionManager.InternalAddressConfig`]: ['cidr_ranges'],
	[`${HCM}.HttpConnectionManager.SetCurrentClientCertDetails`]: ['subject', 'cert', 'dns', 'uri'],
	[`${HCM}.HttpConnectionManager.UpgradeConfig`]: ['upgrade_type', 'enabled'],
	[`${HCM}.HttpConnectionManager.HcmAccessLogOptions`]: [
		'access_log_flush_interval',
		'flush_access_log_on_new_request',
	],
	[`${HCM}.Rds`]: ['config_source', 'route_config_name'],
	[`${HCM}.HttpFilter`]: ['name', 'typed_config', 'is_optional', 'disabled'],
	[`${CORE}.HttpProtocolOptions`]: [
		'idle_timeout',
		'max_connection_duration',
		'max_headers_count',
		'max_stream_duration',
		'headers_with_underscores_action',
		'max_requests_per_connection',
	],
	[`${CORE}.Http1ProtocolOptions`]: [
		// Only true, Envoy's default.
		'allow_absolute_url',
		'accept_http_10',
		'default_host_for_http_10',
		'enable_trailers',
		'use_balsa_parser',
	],
	[`${CORE}.CidrRange`]: '*',
	[`${CORE}.ConfigSource`]: [
		'path',
		'path_config_source',
		'ads',
		'api_config_source',
		'initial_fetch_timeout',
		'resource_api_version',
	],
	'envoy.config.accesslog.v3.AccessLog': ['name', 'typed_config', 'filter'],
	...ACCESS_LOG_FILTER_FIELDS,
	...SUBSTITUTION_FIELDS,
	...LOCAL_REPLY_FIELDS,
};
