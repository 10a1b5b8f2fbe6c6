// The configuration of the simulated mesh's proxies, of the shape that the control plane compiles:
// bootstrap, listeners, routes, clusters and endpoints, with the knobs that the simulation turns.

import { create, fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { requiredMutualTls } from '../../src/control/compile/mutual-tls.ts';
import type { Bootstrap } from '../../src/generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { ClusterSchema } from '../../src/generated/envoy/config/cluster/v3/cluster_pb.ts';
import { ClusterLoadAssignmentSchema } from '../../src/generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { FilterChainSchema } from '../../src/generated/envoy/config/listener/v3/listener_components_pb.ts';
import { ListenerSchema } from '../../src/generated/envoy/config/listener/v3/listener_pb.ts';
import { RouteConfigurationSchema } from '../../src/generated/envoy/config/route/v3/route_pb.ts';
import type { IpAddress } from '../../src/net/network.ts';
import { parseBootstrap } from '../../src/proxy/bootstrap.ts';
import { typeRegistry } from '../../src/proxy/type-registry.ts';

export const TRUST_DOMAIN = 'cluster.local';
export const ROUTES = 'service';
export const OUTBOUND_LISTENER = 'outbound';
export const INBOUND_LISTENER = 'inbound';
export const INBOUND_CLUSTER = 'program';
const FILTERS = 'type.googleapis.com/envoy.extensions.filters';
const STRUCT = 'type.googleapis.com/xds.type.v3.TypedStruct';
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const ADS = { ads: {}, resource_api_version: 'V3' };
const SDS = {
	sds_config: {
		api_config_source: {
			api_type: 'GRPC',
			transport_api_version: 'V3',
			grpc_services: [{ envoy_grpc: { cluster_name: 'sds-grpc' } }],
		},
		initial_fetch_timeout: '0s',
		resource_api_version: 'V3',
	},
};

export function spiffeId(account: string): string {
	return `spiffe://${TRUST_DOMAIN}/ns/default/sa/${account}`;
}

export function bootstrap(nodeId: string, account: string): Bootstrap {
	const api = {
		api_type: 'DELTA_GRPC',
		transport_api_version: 'V3',
		grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
	};
	const http2 = { explicit_http_config: { http2_protocol_options: {} } };
	return parseBootstrap(
		JSON.stringify({
			node: {
				id: nodeId,
				cluster: 'simulation',
				metadata: {
					NAMESPACE: 'default',
					SERVICE_ACCOUNT: account,
					WORKLOAD_NAME: nodeId,
					LABELS: { app: account, version: 'v1' },
					MESH_ID: TRUST_DOMAIN,
				},
			},
			dynamic_resources: { ads_config: api, cds_config: ADS, lds_config: ADS },
			static_resources: {
				clusters: [
					{
						name: 'xds',
						type: 'STATIC',
						load_assignment: { cluster_name: 'xds', endpoints: [{ lb_endpoints: [endpoint('127.0.0.1', 15012)] }] },
						typed_extension_protocol_options: {
							'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
								'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
								...http2,
							},
						},
					},
				],
			},
		}),
		nodeId,
	);
}

export interface ListenerKnobs {
	readonly serverName: string;
	readonly streamIdleTimeoutMs: number;
	/** 0: any number. */
	readonly requestsPerConnectionMax: number;
}

export function outboundListener(address: IpAddress, knobs: ListenerKnobs): Uint8Array {
	const manager = connectionManager('source', { rds: { route_config_name: ROUTES, config_source: ADS } }, knobs);
	return listener({
		name: OUTBOUND_LISTENER,
		address: socketAddress(address),
		traffic_direction: 'OUTBOUND',
		filter_chains: [{ filters: [manager] }],
	});
}

export function inboundListener(address: IpAddress, knobs: ListenerKnobs): Uint8Array {
	const route = { match: { prefix: '/' }, route: { cluster: INBOUND_CLUSTER, timeout: '0s' } };
	const routes = { name: INBOUND_CLUSTER, virtual_hosts: [{ name: 'program', domains: ['*'], routes: [route] }] };
	const message = fromJson(
		ListenerSchema,
		{ name: INBOUND_LISTENER, address: socketAddress(address), traffic_direction: 'INBOUND' },
		{ registry: typeRegistry },
	);
	const chain = fromJson(
		FilterChainSchema,
		{ filters: [connectionManager('destination', { route_config: routes }, knobs)] },
		{ registry: typeRegistry },
	);
	chain.transportSocket = requiredMutualTls(TRUST_DOMAIN, true);
	message.filterChains = [chain];
	return toBinary(ListenerSchema, message);
}

export interface RouteKnobs {
	/** By path prefix `/a`, `/b`: weights of the clusters `a` and `b`. */
	readonly weights: Readonly<Record<'a' | 'b', readonly [number, number]>>;
	/** 0: none. */
	readonly timeoutMs: number;
	readonly perTryTimeoutMs: number;
	readonly retries: number;
}

export function routes(knobs: RouteKnobs): Uint8Array {
	const retryPolicy = {
		retry_on: 'connect-failure,refused-stream,reset-before-request,reset-idempotent,retriable-headers',
		num_retries: knobs.retries,
		retriable_headers: [{ name: 'x-weft-retry', present_match: true }],
		retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
		host_selection_retry_max_attempts: '100',
		...(knobs.perTryTimeoutMs > 0 ? { per_try_timeout: seconds(knobs.perTryTimeoutMs) } : {}),
	};
	const route = (prefix: 'a' | 'b') => ({
		match: { prefix: `/${prefix}/` },
		route: {
			weighted_clusters: {
				clusters: [
					{ name: 'a', weight: knobs.weights[prefix][0] },
					{ name: 'b', weight: knobs.weights[prefix][1] },
				],
			},
			timeout: seconds(knobs.timeoutMs),
			retry_policy: retryPolicy,
		},
	});
	const virtualHost = {
		name: 'service',
		domains: ['*'],
		routes: [route('a'), route('b')],
		include_request_attempt_count: true,
	};
	return toBinary(
		RouteConfigurationSchema,
		fromJson(RouteConfigurationSchema, { name: ROUTES, virtual_hosts: [virtualHost] }, { registry: typeRegistry }),
	);
}

export type Protocol = 'HTTP/1.1' | 'HTTP/2' | 'negotiated';

const ALPN: Readonly<Record<Protocol, string[]>> = {
	'HTTP/1.1': ['http/1.1'],
	'HTTP/2': ['h2'],
	negotiated: ['h2', 'http/1.1'],
};
const HTTP2 = { http2_protocol_options: { connection_keepalive: { interval: '15s', timeout: '10s' } } };
const UPSTREAM_PROTOCOL: Readonly<Record<Protocol, JsonObject>> = {
	'HTTP/1.1': { explicit_http_config: { http_protocol_options: {} } },
	'HTTP/2': { explicit_http_config: HTTP2 },
	negotiated: { auto_config: HTTP2 },
};

export interface ClusterKnobs {
	readonly connectTimeoutMs: number;
	readonly policy: 'LEAST_REQUEST' | 'ROUND_ROBIN';
	/** 0: any number. */
	readonly requestsPerConnectionMax: number;
	/** Connections, requests and requests that wait, each; null: any number. */
	readonly limit: number | null;
	/** What is spoken to its hosts; `negotiated`: what they choose by ALPN. */
	readonly protocol: Protocol;
	/** `HEALTH_PATH` is asked for that often; null: hosts are not checked. */
	readonly healthCheckMs: number | null;
}

/** The program answers 200. */
export const HEALTH_PATH = '/healthz';

export function outboundCluster(name: 'a' | 'b', serverAccount: string, knobs: ClusterKnobs): Uint8Array {
	const tls = {
		name: 'envoy.transport_sockets.tls',
		typed_config: {
			'@type': `${TLS}.UpstreamTlsContext`,
			sni: `outbound_.80_._.${name}`,
			common_tls_context: {
				tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
				alpn_protocols: ALPN[knobs.protocol],
				tls_certificate_sds_secret_configs: [{ name: 'default', ...SDS }],
				combined_validation_context: {
					default_validation_context: {
						match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: spiffeId(serverAccount) } }],
					},
					validation_context_sds_secret_config: { name: 'ROOTCA', ...SDS },
				},
			},
		},
	};
	return cluster({
		...common(name, knobs),
		type: 'EDS',
		eds_cluster_config: { service_name: name, eds_config: ADS },
		lb_policy: knobs.policy,
		transport_socket_matches: [
			{ name: 'mutual', match: { tlsMode: 'istio' }, transport_socket: tls },
			{ name: 'plain', match: {}, transport_socket: { name: 'envoy.transport_sockets.raw_buffer' } },
		],
	});
}

export function inboundCluster(program: IpAddress, knobs: ClusterKnobs): Uint8Array {
	return cluster({
		...common(INBOUND_CLUSTER, knobs),
		type: 'STATIC',
		load_assignment: {
			cluster_name: INBOUND_CLUSTER,
			endpoints: [{ lb_endpoints: [endpoint(program.host, program.port)] }],
		},
	});
}

/** `mutualTls`: a sidecar is there. */
export interface Endpoint {
	readonly address: IpAddress;
	readonly mutualTls: boolean;
}

export function endpoints(name: string, list: readonly Endpoint[]): Uint8Array {
	const metadata = { filter_metadata: { 'envoy.transport_socket_match': { tlsMode: 'istio' } } };
	const lbEndpoints = list.map(({ address, mutualTls }) => ({
		...endpoint(address.host, address.port),
		...(mutualTls ? { metadata } : {}),
	}));
	const message = fromJson(ClusterLoadAssignmentSchema, {
		cluster_name: name,
		endpoints: lbEndpoints.length === 0 ? [] : [{ lb_endpoints: lbEndpoints }],
	});
	return toBinary(ClusterLoadAssignmentSchema, message);
}

/** Resources that must be refused, each for another reason. */
export function brokenResources(): {
	readonly cluster: Uint8Array[];
	readonly listener: Uint8Array[];
	readonly routes: Uint8Array[];
} {
	const truncated = Uint8Array.of(0x0a, 0x7f, 0x61);
	return {
		cluster: [
			truncated,
			toBinary(ClusterSchema, create(ClusterSchema, { name: 'a', trackTimeoutBudgets: true })),
			toBinary(ClusterSchema, create(ClusterSchema, { name: 'another' })),
		],
		listener: [
			truncated,
			toBinary(ListenerSchema, create(ListenerSchema, { name: OUTBOUND_LISTENER })),
			toBinary(ListenerSchema, create(ListenerSchema, { name: OUTBOUND_LISTENER, freebind: true })),
		],
		routes: [
			truncated,
			toBinary(
				RouteConfigurationSchema,
				fromJson(RouteConfigurationSchema, {
					name: ROUTES,
					virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { safe_regex: { regex: '(' } } }] }],
				}),
			),
		],
	};
}

function common(name: string, knobs: ClusterKnobs): JsonObject {
	const most = knobs.limit ?? 0xffff_ffff;
	const limits = { max_connections: most, max_pending_requests: most, max_requests: most, max_retries: most };
	return {
		name,
		connect_timeout: seconds(knobs.connectTimeoutMs),
		circuit_breakers: { thresholds: [limits] },
		...(knobs.healthCheckMs === null ? {} : { health_checks: [healthCheck(knobs.healthCheckMs)] }),
		typed_extension_protocol_options: {
			'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
				'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
				...(knobs.requestsPerConnectionMax > 0
					? { common_http_protocol_options: { max_requests_per_connection: knobs.requestsPerConnectionMax } }
					: {}),
				...UPSTREAM_PROTOCOL[knobs.protocol],
			},
		},
	};
}

function healthCheck(intervalMs: number): JsonObject {
	return {
		// Longer than a handshake and a round trip on the slowest of these networks.
		timeout: seconds(1000),
		interval: seconds(intervalMs),
		// Envoy waits for a minute: a host that was not up yet at the first check would be out for all of the run.
		no_traffic_interval: seconds(intervalMs),
		unhealthy_threshold: 2,
		healthy_threshold: 1,
		http_health_check: { path: HEALTH_PATH },
	};
}

function connectionManager(
	reporter: 'source' | 'destination',
	specifier: JsonObject,
	knobs: ListenerKnobs,
): JsonObject {
	const struct = (type: string, value: JsonObject): JsonObject => ({
		'@type': STRUCT,
		type_url: `type.googleapis.com/${type}`,
		value,
	});
	const direction = reporter === 'source' ? 'outbound' : 'inbound';
	const filters: JsonObject[] = [
		{ name: 'telemetry', typed_config: struct('weft.telemetry.v1.MeshTelemetry', { reporter }) },
		{ name: 'hint', typed_config: struct('weft.retry.v1.RetryHint', { direction }) },
	];
	if (reporter === 'source') {
		filters.push({ name: 'fault', typed_config: { '@type': `${FILTERS}.http.fault.v3.HTTPFault` } });
	}
	filters.push({ name: 'router', typed_config: { '@type': `${FILTERS}.http.router.v3.Router` } });
	return {
		name: 'http',
		typed_config: {
			'@type': `${FILTERS}.network.http_connection_manager.v3.HttpConnectionManager`,
			stat_prefix: direction,
			server_name: knobs.serverName,
			stream_idle_timeout: seconds(knobs.streamIdleTimeoutMs),
			normalize_path: true,
			...specifier,
			...(knobs.requestsPerConnectionMax > 0
				? { common_http_protocol_options: { max_requests_per_connection: knobs.requestsPerConnectionMax } }
				: {}),
			http_filters: filters,
		},
	};
}

function listener(json: JsonObject): Uint8Array {
	return toBinary(ListenerSchema, fromJson(ListenerSchema, json, { registry: typeRegistry }));
}

function cluster(json: JsonObject): Uint8Array {
	return toBinary(ClusterSchema, fromJson(ClusterSchema, json, { registry: typeRegistry }));
}

function endpoint(host: string, port: number): JsonObject {
	return { endpoint: { address: socketAddress({ kind: 'ip', host, port }) } };
}

function socketAddress({ host, port }: IpAddress): JsonObject {
	return { socket_address: { address: host, port_value: port } };
}

function seconds(ms: number): string {
	return `${(ms / 1000).toFixed(3)}s`;
}
