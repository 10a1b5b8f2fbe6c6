// Clusters: one per service port with its endpoints from EDS, and one per port of the sidecar's
// own program.

import { create, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ServicePort } from '../../config/service.ts';
import {
	type Cluster,
	Cluster_DiscoveryType,
	Cluster_LbPolicy,
	ClusterSchema,
} from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { type TransportSocket, TransportSocketSchema } from '../../generated/envoy/config/core/v3/base_pb.ts';
import { RawBufferSchema } from '../../generated/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import {
	SubjectAltNameMatcher_SanType,
	TlsParameters_TlsProtocol,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { UpstreamTlsContextSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { HttpProtocolOptionsSchema } from '../../generated/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts';
import { IDENTITY_SECRET_NAME, ROOTS_SECRET_NAME } from '../../identity/identity.ts';
import { type EncodedResource, encodeResource } from '../../xds/resource-view.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE } from '../../xds/type-urls.ts';
import { type MeshService, type PortProtocol, portProtocol, TLS_MODE_ISTIO } from './mesh-service.ts';
import { adsSource, any, duration, sdsSecret, socketAddress } from './messages.ts';
import {
	BLACK_HOLE_CLUSTER,
	inboundClusterName,
	outboundName,
	outboundServerName,
	PASSTHROUGH_CLUSTER,
} from './names.ts';

export const CONNECT_TIMEOUT_MS = 5000;
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
/** Limits come from policies, not from Envoy's small defaults (Istio's choice too). */
const UNLIMITED = 0xffff_ffff;

export function compileOutboundCluster(service: MeshService, port: ServicePort): EncodedResource {
	const name = outboundName(port.port, service.host);
	const protocol = portProtocol(port);
	const cluster = create(ClusterSchema, {
		...common(name, protocol),
		clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.EDS },
		edsClusterConfig: { serviceName: name, edsConfig: adsSource() },
		lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
		metadata: {
			filterMetadata: {
				istio: { services: [{ host: service.host, name: service.name, namespace: service.namespace }] },
			},
		},
		transportSocketMatches: [
			{
				name: 'tlsMode-istio',
				match: { tlsMode: TLS_MODE_ISTIO },
				transportSocket: mutualTls(service, port, protocol),
			},
			{ name: 'tlsMode-disabled', match: {}, transportSocket: plainText() },
		],
	});
	return encode(cluster, [{ typeUrl: ENDPOINT_TYPE, name }]);
}

/** Where the sidecar's own program listens; `networkNamespace` empty for the sidecar's own. */
export function compileInboundCluster(
	port: number,
	protocol: PortProtocol,
	networkNamespace: string,
	programAddress: string,
): EncodedResource {
	const name = inboundClusterName(port);
	return encode(
		create(ClusterSchema, {
			...common(name, protocol),
			clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
			lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
			loadAssignment: {
				clusterName: name,
				endpoints: [
					{
						lbEndpoints: [
							{
								hostIdentifier: {
									case: 'endpoint',
									value: { address: socketAddress(programAddress, port, networkNamespace) },
								},
							},
						],
					},
				],
			},
		}),
	);
}

/** Has no endpoint: what is sent to it is refused. */
export function compileBlackHoleCluster(): EncodedResource {
	return encode(
		create(ClusterSchema, {
			name: BLACK_HOLE_CLUSTER,
			clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC },
			loadAssignment: { clusterName: BLACK_HOLE_CLUSTER },
			connectTimeout: duration(CONNECT_TIMEOUT_MS),
		}),
	);
}

/** Goes where the connection was headed, from the sidecar's own network; in plain text, as the program sent it. */
export function compilePassthroughCluster(): EncodedResource {
	return encode(
		create(ClusterSchema, {
			...common(PASSTHROUGH_CLUSTER, 'tcp'),
			clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
			lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
		}),
	);
}

function common(name: string, protocol: PortProtocol) {
	return {
		name,
		connectTimeout: duration(CONNECT_TIMEOUT_MS),
		circuitBreakers: {
			thresholds: [
				{ maxConnections: UNLIMITED, maxPendingRequests: UNLIMITED, maxRequests: UNLIMITED, maxRetries: UNLIMITED },
			],
		},
		typedExtensionProtocolOptions: protocolOptions(protocol),
	};
}

function protocolOptions(protocol: PortProtocol): Record<string, Any> {
	if (protocol === 'tcp') return {};
	const options = create(HttpProtocolOptionsSchema, {
		upstreamProtocolOptions: {
			case: 'explicitHttpConfig',
			value: { protocolConfig: { case: 'httpProtocolOptions', value: {} } },
		},
	});
	return { [HTTP_OPTIONS]: any(HttpProtocolOptionsSchema, options) };
}

function mutualTls(service: MeshService, port: ServicePort, protocol: PortProtocol): TransportSocket {
	// Until an instance has said who it is, nobody can be one: a name that no certificate has.
	const names = service.spiffeIds.length > 0 ? service.spiffeIds : ['spiffe://none'];
	const context = create(UpstreamTlsContextSchema, {
		sni: outboundServerName(port.port, service.host),
		commonTlsContext: {
			tlsParams: {
				tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
				tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
			},
			alpnProtocols: protocol === 'tcp' ? [] : ['http/1.1'],
			tlsCertificateSdsSecretConfigs: [sdsSecret(IDENTITY_SECRET_NAME)],
			validationContextType: {
				case: 'combinedValidationContext',
				value: {
					defaultValidationContext: {
						matchTypedSubjectAltNames: names.map((name) => ({
							sanType: SubjectAltNameMatcher_SanType.URI,
							matcher: { matchPattern: { case: 'exact' as const, value: name } },
						})),
					},
					validationContextSdsSecretConfig: sdsSecret(ROOTS_SECRET_NAME),
				},
			},
		},
	});
	return create(TransportSocketSchema, {
		name: 'envoy.transport_sockets.tls',
		configType: { case: 'typedConfig', value: any(UpstreamTlsContextSchema, context) },
	});
}

function plainText(): TransportSocket {
	return create(TransportSocketSchema, {
		name: 'envoy.transport_sockets.raw_buffer',
		configType: { case: 'typedConfig', value: any(RawBufferSchema, create(RawBufferSchema)) },
	});
}

function encode(cluster: Cluster, follows: { typeUrl: string; name: string }[] = []): EncodedResource {
	return encodeResource(CLUSTER_TYPE, cluster.name, toBinary(ClusterSchema, cluster), follows);
}
