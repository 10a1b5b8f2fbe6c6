// Listeners: outbound ones, the same for all sidecars of a profile, and a sidecar's own: capture,
// inbound ones for its program's ports (mutual TLS), its published doors (plain, loopback).

import { create, toBinary } from '@bufbuild/protobuf';
import type { ServicePort } from '../../config/service.ts';
import { TrafficDirection } from '../../generated/envoy/config/core/v3/base_pb.ts';
import {
	type Filter,
	type FilterChain,
	FilterChainSchema,
	FilterSchema,
} from '../../generated/envoy/config/listener/v3/listener_components_pb.ts';
import { type Listener, ListenerSchema } from '../../generated/envoy/config/listener/v3/listener_pb.ts';
import { OriginalDstSchema } from '../../generated/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts';
import { TcpProxySchema } from '../../generated/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts';
import { CAPTURE_PORT_DEFAULT, type ProgramProtocol, type WeftNodeMetadata } from '../../xds/node-metadata.ts';
import { type EncodedResource, encodeResource } from '../../xds/resource-view.ts';
import { LISTENER_TYPE, ROUTE_TYPE } from '../../xds/type-urls.ts';
import { passesThrough, type SidecarNode } from '../sidecar-node.ts';
import { httpConnectionManager, inboundRoutes, meshTelemetry, type Reporter } from './connection-manager.ts';
import { type MeshService, portProtocol } from './mesh-service.ts';
import { any, duration, socketAddress } from './messages.ts';
import { requiredMutualTls } from './mutual-tls.ts';
import {
	BLACK_HOLE_CLUSTER,
	CAPTURE_LISTENER,
	HTTP_PROXY_ROUTES,
	inboundClusterName,
	inboundListenerName,
	outboundName,
	PASSTHROUGH_CLUSTER,
	publishListenerName,
} from './names.ts';
import { type OutboundProfile, outboundAddress } from './outbound-profile.ts';
import type { Dialect } from './route.ts';

/** Whose own listeners are compiled. */
export interface MeshIdentity {
	readonly node: SidecarNode;
	readonly trustDomain: string;
}

/** Null: sidecars of this profile cannot listen for it (the service has no address, or none in this capture's range). */
export function compileOutboundListener(
	service: MeshService,
	port: ServicePort,
	profile: OutboundProfile,
): EncodedResource | null {
	const address = outboundAddress(service, port, profile);
	if (address === null) return null;
	const name = outboundName(port.port, service.host);
	const tcp = portProtocol(port) === 'tcp';
	const { dialect } = profile;
	const filters = tcp
		? tcpFilters(dialect, 'source', name, name)
		: [httpConnectionManager({ dialect, reporter: 'source', statPrefix: name, routes: name })];
	const listener = create(ListenerSchema, {
		name,
		address: socketAddress(address.host, address.port),
		bindToPort: address.bound ? undefined : false,
		trafficDirection: TrafficDirection.OUTBOUND,
		filterChains: [{ filters }],
	});
	return encode(listener, tcp ? [] : [{ typeUrl: ROUTE_TYPE, name }]);
}

/** The listeners of a sidecar that no service port has: capture or HTTP proxy, inbound, published. */
export function compileOwnListeners(mesh: MeshIdentity): EncodedResource[] {
	const { weft, dialect } = mesh.node;
	if (weft === null) return [];
	const listeners: EncodedResource[] = [];
	if (weft.capture === 'transparent') {
		listeners.push(captureListener(weft, dialect));
	}
	if (weft.capture === 'explicit' && weft.httpProxyPort !== undefined) {
		listeners.push(httpProxyListener(weft.address, weft.httpProxyPort, dialect));
	}
	for (const { port, protocol } of weft.ports) {
		const address = socketAddress(weft.address, weft.inboundPorts?.[String(port)] ?? port);
		const chain = inboundChain(port, protocol, dialect);
		chain.transportSocket = requiredMutualTls(mesh.trustDomain, protocol !== 'tcp');
		const name = inboundListenerName(port);
		listeners.push(
			encode(
				create(ListenerSchema, { name, address, trafficDirection: TrafficDirection.INBOUND, filterChains: [chain] }),
			),
		);
	}
	for (const { address, port, targetPort } of weft.publish ?? []) {
		const target = weft.ports.find((one) => one.port === targetPort);
		if (target === undefined) continue;
		listeners.push(
			encode(
				create(ListenerSchema, {
					name: publishListenerName(address, port),
					address: socketAddress(address, port),
					trafficDirection: TrafficDirection.INBOUND,
					filterChains: [inboundChain(targetPort, target.protocol, dialect)],
				}),
			),
		);
	}
	return listeners;
}

/**
 * Where the sidecar itself, in its own network, must never connect for a program: loopback (the machine's own
 * services, other instances' ports behind their sidecars), "this host", which Linux takes for loopback too, and
 * what is no unicast address.
 */
const NEVER_PASSED_THROUGH: readonly (readonly [string, number])[] = [
	['0.0.0.0', 8],
	['127.0.0.0', 8],
	['224.0.0.0', 3],
];

/** Where everything the program sends arrives; what is for no service of the mesh is passed through, or refused. */
function captureListener(weft: WeftNodeMetadata, dialect: Dialect): EncodedResource {
	const refused = tcpFilters(dialect, 'source', 'blackhole', BLACK_HOLE_CLUSTER);
	const passed = tcpFilters(dialect, 'source', 'passthrough', PASSTHROUGH_CLUSTER);
	const prefixRanges = NEVER_PASSED_THROUGH.map(([addressPrefix, length]) => ({ addressPrefix, prefixLen: length }));
	const chains = passesThrough(weft)
		? {
				filterChains: [{ name: 'never', filterChainMatch: { prefixRanges }, filters: refused }],
				defaultFilterChain: { name: 'passthrough', filters: passed },
			}
		: { filterChains: [{ filters: refused }] };
	const listener = create(ListenerSchema, {
		name: CAPTURE_LISTENER,
		address: socketAddress('0.0.0.0', weft.capturePort ?? CAPTURE_PORT_DEFAULT, weft.networkNamespace ?? ''),
		useOriginalDst: true,
		trafficDirection: TrafficDirection.OUTBOUND,
		listenerFilters: [
			{
				name: 'envoy.filters.listener.original_dst',
				configType: { case: 'typedConfig', value: any(OriginalDstSchema, create(OriginalDstSchema)) },
			},
		],
		...chains,
	});
	return encode(listener);
}

function httpProxyListener(host: string, port: number, dialect: Dialect): EncodedResource {
	const filter = httpConnectionManager({
		dialect,
		reporter: 'source',
		statPrefix: HTTP_PROXY_ROUTES,
		routes: HTTP_PROXY_ROUTES,
	});
	const listener = create(ListenerSchema, {
		name: HTTP_PROXY_ROUTES,
		address: socketAddress(host, port),
		trafficDirection: TrafficDirection.OUTBOUND,
		filterChains: [{ filters: [filter] }],
	});
	return encode(listener, [{ typeUrl: ROUTE_TYPE, name: HTTP_PROXY_ROUTES }]);
}

function inboundChain(port: number, protocol: ProgramProtocol, dialect: Dialect): FilterChain {
	const name = inboundListenerName(port);
	const filters =
		protocol === 'tcp'
			? tcpFilters(dialect, 'destination', name, inboundClusterName(port))
			: [
					httpConnectionManager({
						dialect,
						reporter: 'destination',
						statPrefix: name,
						routes: inboundRoutes(port, dialect),
					}),
				];
	return create(FilterChainSchema, { filters });
}

function tcpFilters(dialect: Dialect, reporter: Reporter, statPrefix: string, cluster: string): Filter[] {
	const proxy = tcpProxy(statPrefix, cluster);
	if (dialect !== 'weft') return [proxy];
	const telemetry = create(FilterSchema, {
		name: 'weft.filters.network.mesh_telemetry',
		configType: { case: 'typedConfig', value: meshTelemetry(reporter) },
	});
	return [telemetry, proxy];
}

function tcpProxy(statPrefix: string, cluster: string): Filter {
	const proxy = create(TcpProxySchema, {
		statPrefix,
		clusterSpecifier: { case: 'cluster', value: cluster },
		// A quiet connection of a database stays; keep-alive is its ends' business.
		idleTimeout: duration(0),
	});
	return create(FilterSchema, {
		name: 'envoy.filters.network.tcp_proxy',
		configType: { case: 'typedConfig', value: any(TcpProxySchema, proxy) },
	});
}

function encode(listener: Listener, follows: { typeUrl: string; name: string }[] = []): EncodedResource {
	return encodeResource(LISTENER_TYPE, listener.name, toBinary(ListenerSchema, listener), follows);
}
