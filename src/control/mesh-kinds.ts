// The objects that the control plane compiles, typed, and how they are read out of the store.

import { FAULT_INJECTION, type FaultInjectionSpec } from '../config/fault-injection.ts';
import { GRPC_ROUTE } from '../config/grpc-route.ts';
import { HTTP_ROUTE, type HttpRouteSpec, type HttpRouteStatus } from '../config/http-route.ts';
import type { KindDefinition } from '../config/kind.ts';
import type { MeshObject } from '../config/object.ts';
import { SERVICE, type ServiceSpec } from '../config/service.ts';
import { WORKLOAD_ENTRY, type WorkloadEntrySpec, type WorkloadEntryStatus } from '../config/workload-entry.ts';
import { errorMessage } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { StoredEntry } from '../store/store.ts';

import { inHttpTerms } from './grpc-route-terms.ts';

const log = new Logger('model');

export type Service = MeshObject<ServiceSpec>;
export type WorkloadEntry = MeshObject<WorkloadEntrySpec, WorkloadEntryStatus>;
/** An HTTPRoute, or a GRPCRoute in its terms: `kind` says which. */
export type HttpRoute = MeshObject<HttpRouteSpec, HttpRouteStatus>;
export type FaultInjection = MeshObject<FaultInjectionSpec>;

export type MeshKindName = 'Service' | 'WorkloadEntry' | 'HTTPRoute' | 'GRPCRoute' | 'FaultInjection';

export const MESH_KINDS = {
	Service: SERVICE,
	WorkloadEntry: WORKLOAD_ENTRY,
	HTTPRoute: HTTP_ROUTE,
	GRPCRoute: GRPC_ROUTE,
	FaultInjection: FAULT_INJECTION,
} as const;

export function isMeshKind(kind: string): kind is MeshKindName {
	return Object.hasOwn(MESH_KINDS, kind);
}

/** Names a route among those of both kinds: `NAMESPACE/NAME` of an HTTPRoute, `GRPCRoute NAMESPACE/NAME`. */
export function routeKey({ kind, metadata }: Pick<HttpRoute, 'kind' | 'metadata'>): string {
	const name = `${metadata.namespace ?? ''}/${metadata.name}`;
	return kind === 'GRPCRoute' ? `${GRPC_ROUTE_PREFIX}${name}` : name;
}

export const GRPC_ROUTE_PREFIX = 'GRPCRoute ';

/** What a key of `storeKey`'s form names; null for another. */
export function parseStoreKey(
	key: string,
): { readonly kind: string; readonly namespace: string; readonly name: string } | null {
	const parts = key.split('/');
	if (parts.length !== 5 || parts[0] !== '') return null;
	return { kind: parts[2]!, namespace: parts[3] === '-' ? '' : parts[3]!, name: parts[4]! };
}

export type MeshKindObject = Service | WorkloadEntry | HttpRoute | FaultInjection;

export function readMeshObject(kind: MeshKindName, entry: StoredEntry): MeshKindObject | null {
	switch (kind) {
		case 'Service':
			return readObject(SERVICE, entry);
		case 'WorkloadEntry':
			return readObject(WORKLOAD_ENTRY, entry);
		case 'HTTPRoute':
			return readObject(HTTP_ROUTE, entry);
		case 'GRPCRoute': {
			const route = readObject(GRPC_ROUTE, entry);
			return route === null ? null : { ...route, spec: inHttpTerms(route.spec) };
		}
		case 'FaultInjection':
			return readObject(FAULT_INJECTION, entry);
	}
}

/** With the defaults of its kind. Null, and logged, for what no API of ours would have let in. */
function readObject<Spec, Status>(
	kind: KindDefinition<Spec, Status>,
	entry: StoredEntry,
): MeshObject<Spec, Status> | null {
	try {
		const stored: MeshObject = JSON.parse(entry.value);
		const object: MeshObject<Spec, Status> = {
			apiVersion: stored.apiVersion,
			kind: stored.kind,
			metadata: { ...stored.metadata, resourceVersion: String(entry.revision) },
			spec: kind.specSchema.parse(stored.spec),
		};
		if (stored.status !== undefined && stored.status !== null) object.status = kind.statusSchema.parse(stored.status);
		return object;
	} catch (error) {
		log.error('an object in the store cannot be read; it is left out', { key: entry.key, error: errorMessage(error) });
		return null;
	}
}
