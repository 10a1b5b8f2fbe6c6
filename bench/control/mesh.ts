// A mesh of a given size for benchmarks: services and their instances straight in a store in
// memory, as the API server would have left them, and the nodes of its sidecars.

import { create, type JsonObject } from '@bufbuild/protobuf';
import { MANAGED_BY_LABEL, WEFT_RUN } from '../../src/config/object.ts';
import { type Node, NodeSchema } from '../../src/generated/envoy/config/core/v3/base_pb.ts';
import type { Store } from '../../src/store/store.ts';
import type { CaptureMode, SidecarNodeMetadata } from '../../src/xds/node-metadata.ts';

export interface MeshSize {
	readonly services: number;
	/** Of each service. */
	readonly endpoints: number;
}

export const NAMESPACE = 'default';
export const PORT = 8080;

export function serviceHostName(index: number): string {
	return `svc-${index}.${NAMESPACE}.svc.cluster.local`;
}

export async function fillStore(store: Store, { services, endpoints }: MeshSize): Promise<void> {
	for (let index = 0; index < services; index++) {
		const writes = [putService(store, index)];
		for (let i = 0; i < endpoints; i++) writes.push(putEndpoint(store, index, i, 0));
		await Promise.all(writes);
	}
}

export async function putService(store: Store, index: number): Promise<void> {
	await put(store, `/core/Service/${NAMESPACE}/svc-${index}`, service(index));
}

/** The instance's address depends on `round`: another round is a change. */
export async function putEndpoint(store: Store, index: number, i: number, round: number): Promise<void> {
	const name = `svc-${index}-${i}`;
	await put(store, `/networking.istio.io/WorkloadEntry/${NAMESPACE}/${name}`, workloadEntry(index, name, i, round));
}

/** A route of the service with as many header matches as the round is odd or even: another round is a change. */
export async function putRoute(store: Store, index: number, round: number): Promise<void> {
	const backendRefs = [{ group: '', kind: 'Service', name: `svc-${index}`, port: PORT, weight: 1 }];
	await put(store, `/gateway.networking.k8s.io/HTTPRoute/${NAMESPACE}/route-${index}`, {
		apiVersion: 'gateway.networking.k8s.io/v1',
		kind: 'HTTPRoute',
		metadata: metadata(`route-${index}`, { generation: round + 1 }),
		spec: {
			parentRefs: [{ group: '', kind: 'Service', name: `svc-${index}`, port: PORT }],
			rules: [{ matches: [{ path: { type: 'PathPrefix', value: `/round-${round}` } }], backendRefs }, { backendRefs }],
		},
	});
}

/** A sidecar of a workload of its own, in the capture that it is asked for; it serves nothing. */
export function nodeOf(index: number, capture: CaptureMode): Node {
	const address = loopback(index);
	const metadata: SidecarNodeMetadata = {
		NAMESPACE,
		SERVICE_ACCOUNT: 'bench',
		WORKLOAD_NAME: `client-${index}-v1`,
		LABELS: { app: `client-${index}`, version: 'v1' },
		MESH_ID: 'cluster.local',
		WEFT: { instance: `client-${index}-v1-1`, service: '', ports: [], capture, address, outboundBase: address },
	};
	const json: JsonObject = JSON.parse(JSON.stringify(metadata));
	return create(NodeSchema, {
		id: `sidecar~${address}~client-${index}-v1-1.${NAMESPACE}~${NAMESPACE}.svc.cluster.local`,
		userAgentName: 'weft',
		metadata: json,
	});
}

async function put(store: Store, key: string, value: object): Promise<void> {
	await store.put(key, JSON.stringify(value), { kind: 'any' });
}

function metadata(name: string, more: object = {}): object {
	return { name, namespace: NAMESPACE, uid: name, generation: 1, creationTimestamp: '2026-01-01T00:00:00Z', ...more };
}

function service(index: number): object {
	return {
		apiVersion: 'v1',
		kind: 'Service',
		metadata: metadata(`svc-${index}`),
		spec: {
			selector: { app: `svc-${index}` },
			clusterIP: `127.96.${(index + 1) >>> 8}.${(index + 1) & 255}`,
			ports: [{ name: 'http', port: PORT, targetPort: PORT }],
		},
	};
}

function workloadEntry(index: number, name: string, i: number, round: number): object {
	const app = `svc-${index}`;
	return {
		apiVersion: 'networking.istio.io/v1',
		kind: 'WorkloadEntry',
		metadata: metadata(name, { labels: { [MANAGED_BY_LABEL]: WEFT_RUN } }),
		spec: {
			address: `127.${128 + (round & 63)}.${index & 255}.${((index >>> 8) << 5) + i + 1}`,
			ports: { [PORT]: PORT, http: PORT },
			labels: { app, version: 'v1', 'security.istio.io/tlsMode': 'istio' },
			serviceAccount: app,
		},
	};
}

function loopback(index: number): string {
	const value = (((127 << 24) | (128 << 16)) >>> 0) + ((index + 1) << 11);
	return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.');
}
