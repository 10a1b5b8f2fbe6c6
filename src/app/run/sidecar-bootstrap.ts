// The Envoy bootstrap that a sidecar under `weft run` starts with: who it is, where its control plane
// is and how that is recognised. Everything else comes over ADS. JSON with the names of the proto.

import type { SidecarNodeMetadata } from '../../xds/node-metadata.ts';

export interface SidecarBootstrapOptions {
	readonly metadata: SidecarNodeMetadata;
	readonly version: string;
	readonly adminSocket: string;
	readonly xds: { readonly address: string; readonly port: number; readonly serverName: string };
}

/** In the sidecar's state directory: by these roots it recognises the control plane when it joins, PEM. */
export const ROOTS_FILE = 'roots.pem';

/** The cluster that ADS goes over; its certificate and its roots are the identity agent's. */
export const XDS_CLUSTER = 'xds-grpc';
const SDS_CLUSTER = 'sds-grpc';

export function sidecarNodeId(metadata: SidecarNodeMetadata): string {
	const { NAMESPACE, WEFT } = metadata;
	return `sidecar~${WEFT.address}~${WEFT.instance}.${NAMESPACE}~${NAMESPACE}.svc.cluster.local`;
}

export function sidecarBootstrap(options: SidecarBootstrapOptions): Record<string, unknown> {
	const { metadata, xds } = options;
	const ads = { ads: {}, resource_api_version: 'V3' };
	return {
		node: {
			id: sidecarNodeId(metadata),
			cluster: `${metadata.LABELS.app ?? metadata.WORKLOAD_NAME}.${metadata.NAMESPACE}`,
			metadata,
			user_agent_name: 'weft',
			user_agent_version: options.version,
		},
		admin: { address: { pipe: { path: options.adminSocket, mode: 0o600 } } },
		dynamic_resources: {
			lds_config: ads,
			cds_config: ads,
			ads_config: {
				api_type: 'DELTA_GRPC',
				transport_api_version: 'V3',
				set_node_on_first_message_only: true,
				grpc_services: [{ envoy_grpc: { cluster_name: XDS_CLUSTER } }],
			},
		},
		static_resources: { clusters: [xdsCluster(xds)] },
	};
}

function xdsCluster(xds: SidecarBootstrapOptions['xds']): Record<string, unknown> {
	return {
		name: XDS_CLUSTER,
		type: 'STATIC',
		connect_timeout: '5s',
		load_assignment: {
			cluster_name: XDS_CLUSTER,
			endpoints: [
				{
					lb_endpoints: [{ endpoint: { address: { socket_address: { address: xds.address, port_value: xds.port } } } }],
				},
			],
		},
		typed_extension_protocol_options: {
			'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
				'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
				explicit_http_config: { http2_protocol_options: {} },
			},
		},
		transport_socket: {
			name: 'envoy.transport_sockets.tls',
			typed_config: {
				'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
				sni: xds.serverName,
				common_tls_context: {
					alpn_protocols: ['h2'],
					tls_certificate_sds_secret_configs: [sdsSecret('default')],
					combined_validation_context: {
						default_validation_context: {
							match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: xds.serverName } }],
						},
						validation_context_sds_secret_config: sdsSecret('ROOTCA'),
					},
				},
			},
		},
	};
}

function sdsSecret(name: string): Record<string, unknown> {
	return {
		name,
		sds_config: {
			api_config_source: {
				api_type: 'GRPC',
				transport_api_version: 'V3',
				grpc_services: [{ envoy_grpc: { cluster_name: SDS_CLUSTER } }],
			},
			resource_api_version: 'V3',
		},
	};
}
