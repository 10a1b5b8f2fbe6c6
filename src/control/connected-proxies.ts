// The proxies that are connected, and what each of them has: the source of resources for the xDS
// server, and of what status and dashboard say about sidecars.

import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import type { Clock } from '../std/clock.ts';
import { Logger } from '../std/log.ts';
import type { DiscoveryStream } from '../xds/discovery-stream.ts';
import type { NodeView, ResourceChanges, ResourceSource, StreamPeer } from '../xds/resource-view.ts';
import { ROUTE_TYPE } from '../xds/type-urls.ts';
import { outboundName } from './compile/names.ts';
import { appliesToPort } from './compile/route.ts';
import type { HttpRoute } from './mesh-kinds.ts';
import type { MeshResources } from './mesh-resources.ts';
import type { ProxyView } from './mesh-view.ts';
import type { MeshModel } from './model.ts';
import { parentKeys } from './model.ts';
import type { Registration } from './registry.ts';
import type { RouteProgress } from './route-status.ts';
import { readSidecarNode, type SidecarNode } from './sidecar-node.ts';

const log = new Logger('proxies');

export interface ConnectedProxiesOptions {
	readonly model: MeshModel;
	readonly resources: MeshResources;
	readonly clock: Clock;
	/** @throws WeftError `permission_denied` */
	readonly register: (node: SidecarNode, peer: StreamPeer) => Registration;
	/** `CertificateService.renewedUntilMs`. */
	readonly renewedUntilMs: (certificateSha256: string) => number | null;
	/** A proxy came or went. */
	readonly onChange: () => void;
	/** Streams that are open. */
	readonly streams: () => Iterable<DiscoveryStream>;
}

interface Proxy {
	readonly node: SidecarNode;
	readonly peer: StreamPeer;
	readonly connectedSinceMs: number;
}

export class ConnectedProxies implements ResourceSource {
	/** By the peer that its stream was opened with. */
	private readonly proxies = new Map<StreamPeer, Proxy>();

	constructor(private readonly options: ConnectedProxiesOptions) {}

	/** @throws WeftError `invalid_node`, `permission_denied` */
	open(message: Node, peer: StreamPeer, onChange: (changes: ResourceChanges) => void): NodeView {
		const { model, resources, clock } = this.options;
		const node = readSidecarNode(message, peer);
		const registration = this.options.register(node, peer);
		const view = resources.open(node, onChange);
		this.proxies.set(peer, { node, peer, connectedSinceMs: clock.wallMs() });
		log.info('proxy connected', { node: node.id, agent: node.agent, peer: peer.address, spiffeId: peer.spiffeId });
		this.options.onChange();
		return {
			get version() {
				return String(model.revision);
			},
			get: (typeUrl, name) => view.get(typeUrl, name),
			names: (typeUrl) => view.names(typeUrl),
			close: (orderly) => {
				this.proxies.delete(peer);
				view.close();
				registration.close(orderly);
				log.info('proxy left', { node: node.id, orderly });
				this.options.onChange();
			},
		};
	}

	/** Every proxy that is connected, as the mesh snapshot shows them. */
	*views(): IterableIterator<ProxyView> {
		for (const stream of this.options.streams()) {
			const proxy = this.proxies.get(stream.peer);
			if (proxy === undefined) continue;
			yield {
				node: proxy.node,
				connected: true,
				connectedSinceMs: proxy.connectedSinceMs,
				types: stream.status(),
				acknowledgedVersion: stream.acknowledgedVersion,
				inSync: stream.inSync,
				certificate: this.certificateOf(proxy.peer),
				peerAddress: proxy.peer.address,
			};
		}
	}

	/** Of the sidecars that get the route's resources, those that have acknowledged them as they are now. */
	progressOf(route: HttpRoute): RouteProgress {
		const names = this.resourceNames(route);
		let of = 0;
		let acknowledged = 0;
		let rejection: string | null = null;
		for (const stream of this.options.streams()) {
			const asked = names.filter((name) => stream.subscribes(ROUTE_TYPE, name));
			if (asked.length === 0) continue;
			of += 1;
			if (asked.every((name) => stream.hasCurrent(ROUTE_TYPE, name))) acknowledged += 1;
			for (const name of asked) {
				const detail = stream.rejectionOf(ROUTE_TYPE, name);
				if (detail !== null) rejection ??= `${stream.node?.id ?? ''}: ${detail}`;
			}
		}
		return { of, acknowledged, rejection };
	}

	/** Route configurations that the HTTPRoute is compiled into. */
	private resourceNames(route: HttpRoute): string[] {
		const names = new Set<string>();
		const services = this.options.resources.meshServices();
		for (const key of parentKeys(route)) {
			const service = services.get(key);
			if (service === undefined) continue;
			for (const port of service.ports) {
				if (appliesToPort(route, service, port)) names.add(outboundName(port.port, service.host));
			}
		}
		return [...names];
	}

	private certificateOf(peer: StreamPeer): { readonly spiffeId: string; readonly notAfterMs: number } | null {
		const { spiffeId, certificateNotAfterMs, certificateSha256 } = peer;
		if (spiffeId === null || certificateNotAfterMs === null) return null;
		// The stream goes on with the certificate that it was opened with; its proxy may have a newer one.
		const renewedUntilMs = certificateSha256 === undefined ? null : this.options.renewedUntilMs(certificateSha256);
		return { spiffeId, notAfterMs: renewedUntilMs ?? certificateNotAfterMs };
	}
}
