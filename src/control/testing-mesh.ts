// A mesh for specs of this folder: a store in memory, the model and the compiled resources on
// virtual time, and sidecars that look at them without a network.

import { create, fromBinary, type JsonObject } from '@bufbuild/protobuf';
import { parseAllDocuments } from 'yaml';
import { findKind } from '../config/kinds.ts';
import { ObjectStore } from '../config/object-store.ts';
import { type Cluster, ClusterSchema } from '../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { type Node, NodeSchema } from '../generated/envoy/config/core/v3/base_pb.ts';
import {
	type ClusterLoadAssignment,
	ClusterLoadAssignmentSchema,
} from '../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { type Listener, ListenerSchema } from '../generated/envoy/config/listener/v3/listener_pb.ts';
import type { Route } from '../generated/envoy/config/route/v3/route_components_pb.ts';
import { type RouteConfiguration, RouteConfigurationSchema } from '../generated/envoy/config/route/v3/route_pb.ts';
import { VirtualClock } from '../std/clock.ts';
import { MemoryStore } from '../store/memory-store.ts';
import type { SidecarNodeMetadata, WeftNodeMetadata } from '../xds/node-metadata.ts';
import type { ResourceChanges } from '../xds/resource-view.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, shortTypeName } from '../xds/type-urls.ts';
import { MeshResources, type SidecarView } from './mesh-resources.ts';
import { DEBOUNCE_MS_MAX, MeshModel } from './model.ts';
import { readSidecarNode, type SidecarNode } from './sidecar-node.ts';

export class TestMesh {
	readonly clock = new VirtualClock();
	readonly store = new MemoryStore();
	objects!: ObjectStore;
	model!: MeshModel;
	resources!: MeshResources;

	static async start(yaml = ''): Promise<TestMesh> {
		const mesh = new TestMesh();
		mesh.objects = await ObjectStore.open(mesh.store, { wallMs: () => mesh.clock.wallMs() });
		await mesh.write(yaml);
		mesh.model = new MeshModel(mesh.store, mesh.clock, (change) => mesh.resources.apply(change));
		mesh.resources = new MeshResources(mesh.model, 'cluster.local');
		await mesh.model.start();
		return mesh;
	}

	/** Writes the documents, and lets the model settle. */
	async apply(yaml: string): Promise<void> {
		await this.write(yaml);
		await this.settle();
	}

	/** The store tells its watchers; then the debounce passes. */
	async settle(): Promise<void> {
		await this.hear();
		this.clock.advance(DEBOUNCE_MS_MAX);
	}

	/** The store tells its watchers; nothing is compiled yet. */
	async hear(): Promise<void> {
		for (let i = 0; i < 20; i++) await Promise.resolve();
		await new Promise((resolve) => setImmediate(resolve));
	}

	open(node: SidecarNode): TestSidecar {
		return new TestSidecar(this.resources, node);
	}

	/** Writes the documents; the model has not heard of it. */
	async write(yaml: string): Promise<void> {
		for (const document of parseAllDocuments(yaml)) {
			const object: { apiVersion: string; kind: string } | null = document.toJS();
			if (object === null) continue;
			await this.objects.apply(findKind(object.apiVersion, object.kind)!, object);
		}
	}
}

export class TestSidecar {
	readonly view: SidecarView;
	/** What it was told of, as `route outbound|80||…`, until `takeChanges`. */
	private changed: string[] = [];

	constructor(resources: MeshResources, node: SidecarNode) {
		this.view = resources.open(node, (changes) => this.note(changes));
	}

	takeChanges(): string[] {
		const taken = this.changed.sort();
		this.changed = [];
		return taken;
	}

	names(typeUrl: string): string[] {
		return [...this.view.names(typeUrl)].sort();
	}

	cluster(name: string): Cluster | null {
		return this.read(CLUSTER_TYPE, name, (bytes) => fromBinary(ClusterSchema, bytes));
	}

	listener(name: string): Listener | null {
		return this.read(LISTENER_TYPE, name, (bytes) => fromBinary(ListenerSchema, bytes));
	}

	routes(name: string): RouteConfiguration | null {
		return this.read(ROUTE_TYPE, name, (bytes) => fromBinary(RouteConfigurationSchema, bytes));
	}

	/** The routes of the one virtual host of a service port. */
	routeList(name: string): Route[] {
		return this.routes(name)?.virtualHosts[0]?.routes ?? [];
	}

	/** `ADDRESS:PORT`, in order. */
	endpoints(name: string): string[] {
		const found = this.assignment(name);
		return (found?.endpoints ?? []).flatMap((locality) =>
			locality.lbEndpoints.map(({ hostIdentifier }) => {
				const address = hostIdentifier.case === 'endpoint' ? hostIdentifier.value.address?.address : undefined;
				if (address?.case !== 'socketAddress') return '?';
				return `${address.value.address}:${address.value.portSpecifier.value}`;
			}),
		);
	}

	assignment(name: string): ClusterLoadAssignment | null {
		return this.read(ENDPOINT_TYPE, name, (bytes) => fromBinary(ClusterLoadAssignmentSchema, bytes));
	}

	private read<T>(typeUrl: string, name: string, decode: (bytes: Uint8Array) => T): T | null {
		const found = this.view.get(typeUrl, name);
		return found === undefined ? null : decode(anyValue(found.any));
	}

	private note(changes: ResourceChanges): void {
		for (const [typeUrl, names] of changes)
			for (const name of names) this.changed.push(`${shortTypeName(typeUrl)} ${name}`);
	}
}

export interface TestNodeOptions {
	readonly name?: string;
	readonly namespace?: string;
	readonly agent?: string;
	/** Null: no sidecar of ours. */
	readonly weft?: Partial<WeftNodeMetadata> | null;
	readonly labels?: Readonly<Record<string, string>>;
}

/** The xDS node of a sidecar; `loopback` capture on 127.128.8.0, listening on nothing, unless said otherwise. */
export function nodeMessage(options: TestNodeOptions = {}): Node {
	const { name = 'client', namespace = 'default', weft = {} } = options;
	const metadata: Omit<SidecarNodeMetadata, 'WEFT'> & { WEFT?: WeftNodeMetadata } = {
		NAMESPACE: namespace,
		SERVICE_ACCOUNT: name,
		WORKLOAD_NAME: `${name}-v1`,
		LABELS: options.labels ?? { app: name, version: 'v1' },
		MESH_ID: 'test',
	};
	if (weft !== null) {
		metadata.WEFT = {
			instance: `${name}-v1-1`,
			service: '',
			ports: [],
			capture: 'loopback',
			address: '127.128.8.0',
			outboundBase: '127.128.8.0',
			...weft,
		};
	}
	const json: JsonObject = JSON.parse(JSON.stringify(metadata));
	return create(NodeSchema, {
		id: `sidecar~127.128.8.0~${name}-v1-1.${namespace}~${namespace}.svc.cluster.local`,
		userAgentName: options.agent ?? 'weft',
		metadata: json,
	});
}

export function sidecarNode(options: TestNodeOptions = {}): SidecarNode {
	return readSidecarNode(nodeMessage(options), { spiffeId: null, certificateNotAfterMs: null, address: 'test' });
}

/** The value of an encoded Any, whose second field it is. */
function anyValue(any: Uint8Array): Uint8Array {
	let position = 0;
	const varint = () => {
		let value = 0;
		for (let shift = 0; ; shift += 7) {
			const byte = any[position++]!;
			value += (byte & 127) * 2 ** shift;
			if (byte < 128) return value;
		}
	};
	for (;;) {
		const tag = varint();
		const length = varint();
		if (tag >>> 3 === 2) return any.subarray(position, position + length);
		position += length;
	}
}
