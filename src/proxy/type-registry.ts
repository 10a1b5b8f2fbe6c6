// The messages that may stand in an Any of a bootstrap: extensions of listeners, routes and
// clusters. JSON and YAML can only be read where the type of each Any is known.

import { file_envoy_config_cluster_v3_cluster } from '../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { file_envoy_config_endpoint_v3_endpoint } from '../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { file_envoy_config_listener_v3_listener } from '../generated/envoy/config/listener/v3/listener_pb.ts';
import { file_envoy_config_overload_v3_overload } from '../generated/envoy/config/overload/v3/overload_pb.ts';
import { file_envoy_config_route_v3_route_components } from '../generated/envoy/config/route/v3/route_components_pb.ts';
import { file_envoy_config_route_v3_route } from '../generated/envoy/config/route/v3/route_pb.ts';
import { file_envoy_extensions_access_loggers_file_v3_file } from '../generated/envoy/extensions/access_loggers/file/v3/file_pb.ts';
import { file_envoy_extensions_access_loggers_stream_v3_stream } from '../generated/envoy/extensions/access_loggers/stream/v3/stream_pb.ts';
import { file_envoy_extensions_filters_http_cors_v3_cors } from '../generated/envoy/extensions/filters/http/cors/v3/cors_pb.ts';
import { file_envoy_extensions_filters_http_fault_v3_fault } from '../generated/envoy/extensions/filters/http/fault/v3/fault_pb.ts';
import { file_envoy_extensions_filters_http_grpc_http1_bridge_v3_config } from '../generated/envoy/extensions/filters/http/grpc_http1_bridge/v3/config_pb.ts';
import { file_envoy_extensions_filters_http_grpc_stats_v3_config } from '../generated/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts';
import { file_envoy_extensions_filters_http_grpc_web_v3_grpc_web } from '../generated/envoy/extensions/filters/http/grpc_web/v3/grpc_web_pb.ts';
import { file_envoy_extensions_filters_http_health_check_v3_health_check } from '../generated/envoy/extensions/filters/http/health_check/v3/health_check_pb.ts';
import { file_envoy_extensions_filters_http_rbac_v3_rbac } from '../generated/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts';
import { file_envoy_extensions_filters_http_router_v3_router } from '../generated/envoy/extensions/filters/http/router/v3/router_pb.ts';
import { file_envoy_extensions_filters_listener_http_inspector_v3_http_inspector } from '../generated/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts';
import { file_envoy_extensions_filters_listener_original_dst_v3_original_dst } from '../generated/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts';
import { file_envoy_extensions_filters_listener_proxy_protocol_v3_proxy_protocol } from '../generated/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.ts';
import { file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector } from '../generated/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts';
import { file_envoy_extensions_filters_network_connection_limit_v3_connection_limit } from '../generated/envoy/extensions/filters/network/connection_limit/v3/connection_limit_pb.ts';
import { file_envoy_extensions_filters_network_direct_response_v3_config } from '../generated/envoy/extensions/filters/network/direct_response/v3/config_pb.ts';
import { file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager } from '../generated/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts';
import { file_envoy_extensions_filters_network_rbac_v3_rbac } from '../generated/envoy/extensions/filters/network/rbac/v3/rbac_pb.ts';
import { file_envoy_extensions_filters_network_sni_cluster_v3_sni_cluster } from '../generated/envoy/extensions/filters/network/sni_cluster/v3/sni_cluster_pb.ts';
import { file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy } from '../generated/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts';
import { file_envoy_extensions_load_balancing_policies_least_request_v3_least_request } from '../generated/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.ts';
import { file_envoy_extensions_load_balancing_policies_round_robin_v3_round_robin } from '../generated/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.ts';
import { file_envoy_extensions_resource_monitors_downstream_connections_v3_downstream_connections } from '../generated/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.ts';
import { file_envoy_extensions_resource_monitors_fixed_heap_v3_fixed_heap } from '../generated/envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap_pb.ts';
import { file_envoy_extensions_resource_monitors_injected_resource_v3_injected_resource } from '../generated/envoy/extensions/resource_monitors/injected_resource/v3/injected_resource_pb.ts';
import { file_envoy_extensions_retry_host_previous_hosts_v3_previous_hosts } from '../generated/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.ts';
import { file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer } from '../generated/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import { file_envoy_extensions_transport_sockets_tls_v3_secret } from '../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { file_envoy_extensions_transport_sockets_tls_v3_tls } from '../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { file_envoy_extensions_upstreams_http_v3_http_protocol_options } from '../generated/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts';
import { file_udpa_type_v1_typed_struct } from '../generated/udpa/type/v1/typed_struct_pb.ts';
import { file_xds_type_v3_typed_struct } from '../generated/xds/type/v3/typed_struct_pb.ts';
import { TypeFiles } from '../protobuf/type-files.ts';

export const typeRegistry: TypeFiles = new TypeFiles([
	file_envoy_config_cluster_v3_cluster,
	file_envoy_config_endpoint_v3_endpoint,
	file_envoy_config_listener_v3_listener,
	file_envoy_config_route_v3_route,
	file_envoy_config_route_v3_route_components,
	file_envoy_extensions_access_loggers_file_v3_file,
	file_envoy_extensions_access_loggers_stream_v3_stream,
	file_envoy_extensions_filters_http_cors_v3_cors,
	file_envoy_extensions_filters_http_fault_v3_fault,
	file_envoy_extensions_filters_http_grpc_http1_bridge_v3_config,
	file_envoy_extensions_filters_http_grpc_stats_v3_config,
	file_envoy_extensions_filters_http_grpc_web_v3_grpc_web,
	file_envoy_extensions_retry_host_previous_hosts_v3_previous_hosts,
	file_envoy_extensions_filters_http_health_check_v3_health_check,
	file_envoy_extensions_filters_http_rbac_v3_rbac,
	file_envoy_extensions_filters_http_router_v3_router,
	file_envoy_extensions_filters_listener_http_inspector_v3_http_inspector,
	file_envoy_extensions_filters_listener_original_dst_v3_original_dst,
	file_envoy_extensions_filters_listener_proxy_protocol_v3_proxy_protocol,
	file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector,
	file_envoy_extensions_filters_network_direct_response_v3_config,
	file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager,
	file_envoy_extensions_filters_network_rbac_v3_rbac,
	file_envoy_extensions_filters_network_sni_cluster_v3_sni_cluster,
	file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy,
	file_envoy_extensions_load_balancing_policies_least_request_v3_least_request,
	file_envoy_extensions_load_balancing_policies_round_robin_v3_round_robin,
	file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer,
	file_envoy_extensions_transport_sockets_tls_v3_secret,
	file_envoy_extensions_transport_sockets_tls_v3_tls,
	file_envoy_extensions_upstreams_http_v3_http_protocol_options,
	file_envoy_config_overload_v3_overload,
	file_envoy_extensions_filters_network_connection_limit_v3_connection_limit,
	file_envoy_extensions_resource_monitors_downstream_connections_v3_downstream_connections,
	file_envoy_extensions_resource_monitors_fixed_heap_v3_fixed_heap,
	file_envoy_extensions_resource_monitors_injected_resource_v3_injected_resource,
	file_udpa_type_v1_typed_struct,
	file_xds_type_v3_typed_struct,
]);
