// A control plane in memory: the xDS server of weft, with resources that the simulation decides,
// over streams that take time and break when it says so.
//
//   AdsClient ──send──▶ (latency, in order) ──▶ DiscoveryStream ──▶ NodeResources
//             ◀─onResponse── (latency, in order) ◀── encoded responses

import { fromBinary } from '@bufbuild/protobuf';
import type { Node } from '../../src/generated/envoy/config/core/v3/base_pb.ts';
import {
	type DeltaDiscoveryRequest,
	DeltaDiscoveryResponseSchema,
} from '../../src/generated/envoy/service/discovery/v3/discovery_pb.ts';
import type { Clock } from '../../src/std/clock.ts';
import { WeftError } from '../../src/std/errors.ts';
import type { Random } from '../../src/std/random.ts';
import type { AdsStream, AdsStreamEvents, AdsTransport } from '../../src/xds/ads-transport.ts';
import { DiscoveryStream } from '../../src/xds/discovery-stream.ts';
import {
	type EncodedResource,
	encodeResource,
	type FollowedResource,
	type NodeView,
	type ResourceChanges,
	type ResourceSource,
	type StreamPeer,
} from '../../src/xds/resource-view.ts';

const LATENCY_MS = 2;

export interface Rejection {
	readonly nodeId: string;
	readonly typeUrl: string;
	readonly detail: string;
}

export class ManagementServer implements ResourceSource {
	readonly rejections: Rejection[] = [];
	/** New streams fail. */
	unreachable = false;
	private version = 0;
	private readonly nodes = new Map<string, NodeResources>();
	private readonly streams = new Set<SimulatedAdsStream>();

	constructor(
		private readonly clock: Clock,
		private readonly random: Random,
	) {}

	/** Replaces or adds a resource of one proxy. */
	set(
		nodeId: string,
		typeUrl: string,
		name: string,
		value: Uint8Array,
		follows: readonly FollowedResource[] = [],
	): void {
		this.node(nodeId).set(typeUrl, encodeResource(typeUrl, name, value, follows), `v${++this.version}`);
	}

	remove(nodeId: string, typeUrl: string, name: string): void {
		this.node(nodeId).remove(typeUrl, name, `v${++this.version}`);
	}

	/** All streams that are open break. */
	breakStreams(): void {
		for (const stream of [...this.streams]) stream.breakOff();
	}

	/** Every stream's client has acknowledged all there is; rejected resources do not count as such. */
	get inSync(): boolean {
		return [...this.streams].every((one) => one.stream.inSync);
	}

	get openStreams(): number {
		return this.streams.size;
	}

	transport(): AdsTransport {
		return {
			open: (events) => {
				const stream = new SimulatedAdsStream(this, events, this.clock, this.random);
				if (this.unreachable) stream.breakOff();
				else this.streams.add(stream);
				return stream;
			},
		};
	}

	open(node: Node, _peer: StreamPeer, onChange: (changes: ResourceChanges) => void): NodeView {
		return this.node(node.id).view(onChange);
	}

	/** @internal */
	closed(stream: SimulatedAdsStream): void {
		this.streams.delete(stream);
	}

	private node(id: string): NodeResources {
		let node = this.nodes.get(id);
		if (node === undefined) {
			node = new NodeResources();
			this.nodes.set(id, node);
		}
		return node;
	}
}

class NodeResources {
	private version = '';
	private readonly byType = new Map<string, Map<string, EncodedResource>>();
	private readonly watchers = new Set<(changes: ResourceChanges) => void>();

	set(typeUrl: string, resource: EncodedResource, version: string): void {
		let resources = this.byType.get(typeUrl);
		if (resources === undefined) {
			resources = new Map();
			this.byType.set(typeUrl, resources);
		}
		if (resources.get(resource.name)?.version === resource.version) return;
		resources.set(resource.name, resource);
		this.changed(typeUrl, resource.name, version);
	}

	remove(typeUrl: string, name: string, version: string): void {
		if (this.byType.get(typeUrl)?.delete(name) === true) this.changed(typeUrl, name, version);
	}

	view(onChange: (changes: ResourceChanges) => void): NodeView {
		this.watchers.add(onChange);
		const versionNow = () => this.version;
		return {
			get version() {
				return versionNow();
			},
			get: (typeUrl, name) => this.byType.get(typeUrl)?.get(name),
			names: (typeUrl) => this.byType.get(typeUrl)?.keys() ?? [],
			close: () => void this.watchers.delete(onChange),
		};
	}

	private changed(typeUrl: string, name: string, version: string): void {
		this.version = version;
		for (const watcher of [...this.watchers]) watcher(new Map([[typeUrl, new Set([name])]]));
	}
}

class SimulatedAdsStream implements AdsStream {
	readonly stream: DiscoveryStream;
	private over = false;
	private lastUpMs = 0;
	private lastDownMs = 0;

	constructor(
		private readonly server: ManagementServer,
		private readonly events: AdsStreamEvents,
		private readonly clock: Clock,
		private readonly random: Random,
	) {
		this.stream = new DiscoveryStream({
			variant: 'delta',
			peer: { spiffeId: null, certificateNotAfterMs: null, address: 'simulated' },
			source: server,
			sink: {
				write: (response) => {
					this.down(() => events.onResponse(fromBinary(DeltaDiscoveryResponseSchema, response)));
					return true;
				},
			},
			clock,
			observer: {
				onAcknowledged: () => {},
				onRejected: (stream, typeUrl, detail) => {
					server.rejections.push({ nodeId: stream.node?.id ?? '', typeUrl, detail });
				},
			},
		});
	}

	send(request: DeltaDiscoveryRequest): void {
		this.up(() =>
			this.stream.onRequest({
				typeUrl: request.typeUrl,
				node: request.node,
				nonce: request.responseNonce,
				error: request.errorDetail === undefined ? null : request.errorDetail.message,
				names: request.resourceNamesSubscribe,
				unsubscribe: request.resourceNamesUnsubscribe,
				initialVersions: request.initialResourceVersions,
			}),
		);
	}

	end(): void {
		this.up(() => {
			this.stream.close(true);
			this.down(() => this.finish(null));
		});
	}

	cancel(): void {
		if (this.over) return;
		this.over = true;
		this.server.closed(this);
		this.clock.after(LATENCY_MS, () => this.stream.close(false));
	}

	/** Both ends learn of it by themselves; what is under way is lost. */
	breakOff(): void {
		if (this.over) return;
		this.over = true;
		this.server.closed(this);
		this.stream.close(false);
		this.clock.after(this.travelMs(), () => this.events.onEnd(new WeftError('unavailable', 'the stream broke')));
	}

	private finish(error: WeftError | null): void {
		if (this.over) return;
		this.over = true;
		this.server.closed(this);
		this.events.onEnd(error);
	}

	private up(deliver: () => void): void {
		this.lastUpMs = Math.max(this.lastUpMs, this.clock.nowMs() + this.travelMs());
		this.clock.after(this.lastUpMs - this.clock.nowMs(), () => {
			if (!this.over) deliver();
		});
	}

	private down(deliver: () => void): void {
		this.lastDownMs = Math.max(this.lastDownMs, this.clock.nowMs() + this.travelMs());
		this.clock.after(this.lastDownMs - this.clock.nowMs(), () => {
			if (!this.over) deliver();
		});
	}

	private travelMs(): number {
		return this.random.next() * LATENCY_MS;
	}
}
