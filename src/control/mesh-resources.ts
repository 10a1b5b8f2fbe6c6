// From the model to what each sidecar sees: compiles what a change touches, once for all sidecars
// that see the same, into layers, and tells the streams which names to look at. Work grows with
// what changed: a service port is compiled once per dialect, a listener once per dialect and capture.

import type { ServicePort } from '../config/service.ts';
import type { EncodedResource, ResourceChanges } from '../xds/resource-view.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../xds/type-urls.ts';
import { mostSpecificKind } from './compile/backend.ts';
import {
	compileBlackHoleCluster,
	compileInboundCluster,
	compileOutboundCluster,
	compilePassthroughCluster,
} from './compile/cluster.ts';
import { compileEndpoints } from './compile/endpoint.ts';
import { compileOutboundListener, compileOwnListeners } from './compile/listener.ts';
import { type MeshService, meshService, portProtocol, programProtocol } from './compile/mesh-service.ts';
import { BLACK_HOLE_CLUSTER, HTTP_PROXY_ROUTES, outboundName, PASSTHROUGH_CLUSTER } from './compile/names.ts';
import { type OutboundProfile, outboundProfile, profileKey } from './compile/outbound-profile.ts';
import {
	appliesToPort,
	compilePortRoutes,
	compileProxyRoutes,
	compileVirtualHost,
	type Dialect,
	proxyDomains,
} from './compile/route.ts';
import type { HttpRoute } from './mesh-kinds.ts';
import type { MeshChange, MeshModel } from './model.ts';
import { LayeredView, ResourceLayer } from './resource-layer.ts';
import { passesThrough, programAddress, type SidecarNode } from './sidecar-node.ts';

/** Outbound listeners that all sidecars of one profile share. */
interface OutboundListeners {
	readonly layer: ResourceLayer;
	readonly profile: OutboundProfile;
	users: number;
}

/** Routes of clients in one namespace, where they differ from those of all others. */
interface NamespaceRoutes {
	readonly layer: ResourceLayer;
	readonly namespace: string;
	readonly dialect: Dialect;
	/** They may use an HTTP proxy port, whose routes name every service. */
	readonly proxied: boolean;
	users: number;
}

interface DialectResources {
	readonly layer: ResourceLayer;
	readonly dialect: Dialect;
}

export interface SidecarView extends LayeredView {
	readonly node: SidecarNode;
	close(): void;
}

interface OpenView {
	readonly view: LayeredView;
	readonly onChange: (changes: ResourceChanges) => void;
}

export class MeshResources {
	private readonly services = new Map<string, MeshService>();
	private readonly endpoints = new ResourceLayer([ENDPOINT_TYPE]);
	private readonly dialects: readonly DialectResources[] = [
		{ layer: new ResourceLayer([CLUSTER_TYPE, ROUTE_TYPE]), dialect: 'weft' },
		{ layer: new ResourceLayer([CLUSTER_TYPE, ROUTE_TYPE]), dialect: 'envoy' },
	];
	private readonly namespaces = new Map<string, NamespaceRoutes>();
	private readonly outbound = new Map<string, OutboundListeners>();
	private readonly views = new Set<OpenView>();
	/** Names of the resources of each service, to remove what it no longer has. */
	private readonly portNames = new Map<string, ReadonlySet<string>>();

	constructor(
		private readonly model: MeshModel,
		private readonly trustDomain: string,
	) {
		for (const { layer } of this.dialects) {
			const blackHole = compileBlackHoleCluster();
			layer.set(CLUSTER_TYPE, BLACK_HOLE_CLUSTER, blackHole);
			layer.takeChanges();
		}
	}

	/** The services as they were compiled last, by `NAMESPACE/NAME`. */
	meshServices(): ReadonlyMap<string, MeshService> {
		return this.services;
	}

	/** Compiles what the change touches, then tells every view that sees some of it. */
	apply(change: MeshChange): void {
		for (const key of new Set([...change.services, ...change.endpoints]))
			this.applyService(key, change.services.has(key));
		for (const key of change.routes) this.applyRoutes(key);
		if (change.routes.size > 0) for (const routes of this.namespaces.values()) this.applyProxyRoutes(routes);
		this.notify();
	}

	/** What this sidecar sees, from now on. `onChange` is never called within this call. */
	open(node: SidecarNode, onChange: (changes: ResourceChanges) => void): SidecarView {
		const own = this.compileOwn(node);
		const namespace = this.openNamespace(node);
		const outbound = this.openOutbound(node);
		const shared = this.dialects.find(({ dialect }) => dialect === node.dialect)!.layer;
		const layers = [own, namespace.layer, ...(outbound === null ? [] : [outbound.layer]), shared, this.endpoints];
		for (const layer of [own, namespace.layer, outbound?.layer]) layer?.takeChanges();
		const view = new LayeredView(layers);
		const open: OpenView = { view, onChange };
		this.views.add(open);
		const close = () => {
			if (!this.views.delete(open)) return;
			namespace.users -= 1;
			if (namespace.users === 0) this.namespaces.delete(namespaceKey(node));
			if (outbound === null) return;
			outbound.users -= 1;
			if (outbound.users === 0) this.outbound.delete(profileKey(outbound.profile));
		};
		return Object.assign(view, { node, close });
	}

	private notify(): void {
		const changes = new Map<ResourceLayer, ResourceChanges>();
		const take = (layer: ResourceLayer) => {
			const taken = layer.takeChanges();
			if (taken.size > 0) changes.set(layer, taken);
		};
		take(this.endpoints);
		for (const { layer } of this.dialects) take(layer);
		for (const { layer } of this.namespaces.values()) take(layer);
		for (const { layer } of this.outbound.values()) take(layer);
		if (changes.size === 0) return;
		for (const { view, onChange } of [...this.views]) {
			const seen = view.layers.map((layer) => changes.get(layer)).filter((one) => one !== undefined);
			if (seen.length > 0) onChange(seen.length === 1 ? seen[0]! : union(seen));
		}
	}

	private applyService(key: string, serviceChanged: boolean): void {
		const service = this.model.services.get(key);
		if (service === undefined) {
			this.services.delete(key);
			this.removePorts(key, new Set());
			return;
		}
		const entries = this.model.entriesOf(service);
		const mesh = meshService(service, entries, this.trustDomain, this.services.get(key) ?? null);
		this.services.set(key, mesh);
		const names = new Set<string>();
		for (const port of mesh.ports) {
			const name = outboundName(port.port, mesh.host);
			names.add(name);
			this.endpoints.set(ENDPOINT_TYPE, name, compileEndpoints(mesh, port, entries));
			for (const { layer, dialect } of this.dialects) {
				layer.set(CLUSTER_TYPE, name, compileOutboundCluster(mesh, port, dialect));
			}
			if (serviceChanged) for (const outbound of this.outbound.values()) this.compileListener(outbound, mesh, port);
		}
		if (serviceChanged) this.removePorts(key, names);
	}

	private removePorts(key: string, present: ReadonlySet<string>): void {
		for (const name of this.portNames.get(key) ?? []) {
			if (present.has(name)) continue;
			this.endpoints.set(ENDPOINT_TYPE, name, null);
			for (const { layer } of this.dialects) {
				layer.set(CLUSTER_TYPE, name, null);
				layer.set(ROUTE_TYPE, name, null);
			}
			for (const { layer } of this.namespaces.values()) layer.set(ROUTE_TYPE, name, null);
			for (const { layer } of this.outbound.values()) layer.set(LISTENER_TYPE, name, null);
		}
		if (present.size === 0) this.portNames.delete(key);
		else this.portNames.set(key, present);
	}

	private compileListener({ layer, profile }: OutboundListeners, service: MeshService, port: ServicePort): void {
		layer.set(LISTENER_TYPE, outboundName(port.port, service.host), compileOutboundListener(service, port, profile));
	}

	/** Routes of a service: those of its own namespace count for every client, others for clients of theirs. */
	private applyRoutes(key: string): void {
		const service = this.services.get(key);
		if (service === undefined) return;
		const routes = this.model.routesOf(key);
		for (const port of service.ports) {
			if (portProtocol(port) === 'tcp') {
				this.removeRoutes(outboundName(port.port, service.host));
				continue;
			}
			const name = outboundName(port.port, service.host);
			for (const { layer, dialect } of this.dialects) {
				layer.set(ROUTE_TYPE, name, this.portRoutes(service, port, routes, null, dialect));
			}
			for (const { layer, namespace, dialect } of this.namespaces.values()) {
				layer.set(ROUTE_TYPE, name, this.consumerRoutes(service, port, routes, namespace, dialect));
			}
		}
	}

	private removeRoutes(name: string): void {
		for (const { layer } of this.dialects) layer.set(ROUTE_TYPE, name, null);
		for (const { layer } of this.namespaces.values()) layer.set(ROUTE_TYPE, name, null);
	}

	private portRoutes(
		service: MeshService,
		port: ServicePort,
		routes: readonly HttpRoute[],
		clientNamespace: string | null,
		dialect: Dialect,
	): EncodedResource {
		return compilePortRoutes(
			service,
			port,
			effectiveRoutes(service, port, routes, clientNamespace),
			this.model,
			dialect,
		);
	}

	/** Null: clients of this namespace have the same routes as all others. */
	private consumerRoutes(
		service: MeshService,
		port: ServicePort,
		routes: readonly HttpRoute[],
		namespace: string,
		dialect: Dialect,
	): EncodedResource | null {
		if (namespace === service.namespace || !routes.some((route) => route.metadata.namespace === namespace)) return null;
		return this.portRoutes(service, port, routes, namespace, dialect);
	}

	private applyProxyRoutes({ layer, namespace, dialect, proxied }: NamespaceRoutes): void {
		if (!proxied) return;
		const hosts = [];
		for (const [key, service] of this.services) {
			const routes = this.model.routesOf(key);
			for (const port of service.ports) {
				if (portProtocol(port) === 'tcp') continue;
				const effective = effectiveRoutes(service, port, routes, namespace);
				const domains = proxyDomains(service, port, namespace);
				hosts.push(compileVirtualHost(service, port, effective, this.model, dialect, domains));
			}
		}
		layer.set(ROUTE_TYPE, HTTP_PROXY_ROUTES, compileProxyRoutes(hosts));
	}

	/** What no other sidecar has, and no change of the mesh touches. */
	private compileOwn(node: SidecarNode): ResourceLayer {
		const layer = new ResourceLayer([LISTENER_TYPE, CLUSTER_TYPE]);
		const { weft } = node;
		if (weft === null) return layer;
		for (const listener of compileOwnListeners({ node, trustDomain: this.trustDomain })) {
			layer.set(LISTENER_TYPE, listener.name, listener);
		}
		if (passesThrough(weft)) layer.set(CLUSTER_TYPE, PASSTHROUGH_CLUSTER, compilePassthroughCluster());
		for (const { port, protocol } of weft.ports) {
			const spoken = programProtocol(protocol);
			const cluster = compileInboundCluster(port, spoken, weft.networkNamespace ?? '', programAddress(weft));
			layer.set(CLUSTER_TYPE, cluster.name, cluster);
		}
		return layer;
	}

	private openNamespace(node: SidecarNode): NamespaceRoutes {
		const key = namespaceKey(node);
		let routes = this.namespaces.get(key);
		if (routes === undefined) {
			const proxied = node.weft?.capture === 'explicit';
			routes = {
				layer: new ResourceLayer([ROUTE_TYPE]),
				namespace: node.namespace,
				dialect: node.dialect,
				proxied,
				users: 0,
			};
			this.namespaces.set(key, routes);
			for (const [serviceKey, service] of this.services) {
				const attached = this.model.routesOf(serviceKey);
				if (attached.length === 0) continue;
				for (const port of service.ports) {
					const compiled = this.consumerRoutes(service, port, attached, node.namespace, node.dialect);
					routes.layer.set(ROUTE_TYPE, outboundName(port.port, service.host), compiled);
				}
			}
			this.applyProxyRoutes(routes);
		}
		routes.users += 1;
		return routes;
	}

	private openOutbound(node: SidecarNode): OutboundListeners | null {
		const profile = outboundProfile(node);
		if (profile === null) return null;
		const key = profileKey(profile);
		let outbound = this.outbound.get(key);
		if (outbound === undefined) {
			outbound = { layer: new ResourceLayer([LISTENER_TYPE]), profile, users: 0 };
			this.outbound.set(key, outbound);
			for (const service of this.services.values()) {
				for (const port of service.ports) this.compileListener(outbound, service, port);
			}
		}
		outbound.users += 1;
		return outbound;
	}
}

/** GAMMA: a route counts for all clients when it is of its Service's namespace, else only for clients of its own. */
function effectiveRoutes(
	service: MeshService,
	port: ServicePort,
	routes: readonly HttpRoute[],
	clientNamespace: string | null,
): readonly HttpRoute[] {
	const attached = routes.filter((route) => appliesToPort(route, service, port));
	const consumer = attached.filter(
		(route) => route.metadata.namespace === clientNamespace && clientNamespace !== service.namespace,
	);
	return mostSpecificKind(
		consumer.length > 0 ? consumer : attached.filter((route) => route.metadata.namespace === service.namespace),
	);
}

function namespaceKey(node: SidecarNode): string {
	return `${node.dialect}/${node.namespace}/${node.weft?.capture === 'explicit'}`;
}

function union(all: readonly ResourceChanges[]): ResourceChanges {
	const result = new Map<string, Set<string>>();
	for (const changes of all) {
		for (const [typeUrl, names] of changes) {
			const found = result.get(typeUrl);
			if (found === undefined) result.set(typeUrl, new Set(names));
			else for (const name of names) found.add(name);
		}
	}
	return result;
}
