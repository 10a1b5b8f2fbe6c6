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
import { Http2ProtocolOptionsSchema } from '../../generated/envoy/config/core/v3/protocol_pb.ts';
import { RawBufferSchema } from '../../generated/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import {
	SubjectAltNameMatcher_SanType,
	TlsParameters_TlsProtocol,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { UpstreamTlsContextSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import {
	HttpProtocolOptions_AutoHttpConfigSchema as AutoHttpConfigSchema,
	HttpProtocolOptions_ExplicitHttpConfigSchema as ExplicitHttpConfigSchema,
	type HttpProtocolOptions,
	HttpProtocolOptionsSchema,
} from '../../generated/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts';
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
import type { Dialect } from './route.ts';

export const CONNECT_TIMEOUT_MS = 5000;
const KEEP_ALIVE_MS = 15_000;
const KEEP_ALIVE_TIMEOUT_MS = 10_000;
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
/** Limits come from policies, not from Envoy's small defaults (Istio's choice too). */
const UNLIMITED = 0xffff_ffff;

export function compileOutboundCluster(service: MeshService, port: ServicePort, dialect: Dialect): EncodedResource {
	const name = outboundName(port.port, service.host);
	const spoken = spokenToInstances(portProtocol(port), service, dialect);
	const cluster = create(ClusterSchema, {
		...common(name, spoken),
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
				transportSocket: mutualTls(service, port, ALPN[spoken]),
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
			...common(name, SPOKEN_TO_PROGRAM[protocol]),
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
			...common(PASSTHROUGH_CLUSTER, 'bytes'),
			clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
			lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
		}),
	);
}

/** `negotiated`: HTTP/2 or HTTP/1.1, as the host chooses by ALPN; HTTP/1.1 where it has no TLS. */
type Spoken = 'http1' | 'http2' | 'negotiated' | 'bytes';

const SPOKEN_TO_PROGRAM: Readonly<Record<PortProtocol, Spoken>> = { http: 'http1', http2: 'http2', tcp: 'bytes' };
const ALPN: Readonly<Record<Spoken, readonly string[]>> = {
	http1: ['http/1.1'],
	http2: ['h2'],
	negotiated: ['h2', 'http/1.1'],
	bytes: [],
};

/**
 * Between sidecars it is HTTP/2, whatever the programs speak. An instance without a sidecar is spoken to as its program
 * speaks: where that is HTTP/1.1, each host has to choose. Envoy lets hosts choose only when all of them have TLS, so
 * there a service with any other instance is spoken to by HTTP/1.1.
 */
function spokenToInstances(protocol: PortProtocol, service: MeshService, dialect: Dialect): Spoken {
	if (protocol !== 'http') return SPOKEN_TO_PROGRAM[protocol];
	if (dialect === 'weft') return 'negotiated';
	return service.mutualTls ? 'http2' : 'http1';
}

function common(name: string, spoken: Spoken) {
	return {
		name,
		connectTimeout: duration(CONNECT_TIMEOUT_MS),
		circuitBreakers: {
			thresholds: [
				{ maxConnections: UNLIMITED, maxPendingRequests: UNLIMITED, maxRequests: UNLIMITED, maxRetries: UNLIMITED },
			],
		},
		typedExtensionProtocolOptions: protocolOptions(spoken),
	};
}

function protocolOptions(spoken: Spoken): Record<string, Any> {
	if (spoken === 'bytes') return {};
	const options = create(HttpProtocolOptionsSchema, { upstreamProtocolOptions: upstreamProtocol(spoken) });
	return { [HTTP_OPTIONS]: any(HttpProtocolOptionsSchema, options) };
}

function upstreamProtocol(spoken: Exclude<Spoken, 'bytes'>): HttpProtocolOptions['upstreamProtocolOptions'] {
	if (spoken === 'http1') {
		const value = create(ExplicitHttpConfigSchema, { protocolConfig: { case: 'httpProtocolOptions', value: {} } });
		return { case: 'explicitHttpConfig', value };
	}
	const http2ProtocolOptions = create(Http2ProtocolOptionsSchema, {
		// WebSockets go on as extended CONNECT.
		allowConnect: true,
		// One connection is all there is to a host: where it went silently, new requests must not go on waiting on it.
		connectionKeepalive: { interval: duration(KEEP_ALIVE_MS), timeout: duration(KEEP_ALIVE_TIMEOUT_MS) },
	});
	if (spoken === 'negotiated')
		return { case: 'autoConfig', value: create(AutoHttpConfigSchema, { http2ProtocolOptions }) };
	const value = create(ExplicitHttpConfigSchema, {
		protocolConfig: { case: 'http2ProtocolOptions', value: http2ProtocolOptions },
	});
	return { case: 'explicitHttpConfig', value };
}

function mutualTls(service: MeshService, port: ServicePort, alpn: readonly string[]): TransportSocket {
	// Until an instance has said who it is, nobody can be one: a name that no certificate has.
	const names = service.spiffeIds.length > 0 ? service.spiffeIds : ['spiffe://none'];
	const context = create(UpstreamTlsContextSchema, {
		sni: outboundServerName(port.port, service.host),
		commonTlsContext: {
			tlsParams: {
				tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
				tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
			},
			alpnProtocols: [...alpn],
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
