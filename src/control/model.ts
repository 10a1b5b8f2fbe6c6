// The mesh in memory: every Service, WorkloadEntry, route and FaultInjection, and the indexes
// between them. It follows the store by one watch, says after a short quiet which parts of the
// mesh changed (never "everything", but at the start), and answers look-ups in the time of the
// answer's size.
//
//   store ──events──▶ objects, indexes ──marks──▶ MeshChange ──(debounced)──▶ compile

import type { Clock, Timer } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { Store, StoredEntry, StoreEvent, Watch } from '../store/store.ts';
import { LabelIndex, PairIndex } from './indexes.ts';
import {
	type FaultInjection,
	GRPC_ROUTE_PREFIX,
	type HttpRoute,
	isMeshKind,
	MESH_KINDS,
	type MeshKindName,
	type MeshKindObject,
	parseStoreKey,
	readMeshObject,
	routeKey,
	type Service,
	type WorkloadEntry,
} from './mesh-kinds.ts';

const log = new Logger('model');

/** A change waits so long for others, so that a burst is compiled and sent once. */
export const DEBOUNCE_MS = 5;
/** A stream of changes is not held back for longer. */
export const DEBOUNCE_MS_MAX = 50;
const RELIST_DELAY_MS = 1000;

/** Keys (`NAMESPACE/NAME`) of what changed, directly or by what it depends on. The sets are the receiver's own. */
export interface MeshChange {
	/** Services that appeared, changed or went. */
	readonly services: Set<string>;
	/** Those of them that are gone, as they last were. */
	readonly removedServices: Map<string, Service>;
	/** Services whose instances changed. */
	readonly endpoints: Set<string>;
	/** Services whose routes are to be compiled anew. */
	readonly routes: Set<string>;
	/** HTTPRoutes and GRPCRoutes whose status may differ, by `routeKey`. */
	readonly httpRoutes: Set<string>;
	/** WorkloadEntries that appeared, changed or went. */
	readonly workloadEntries: Set<string>;
}

export class MeshModel {
	readonly services = new Map<string, Service>();
	readonly workloadEntries = new Map<string, WorkloadEntry>();
	readonly httpRoutes = new Map<string, HttpRoute>();
	/** In the terms of HTTPRoutes. */
	readonly grpcRoutes = new Map<string, HttpRoute>();
	readonly faults = new Map<string, FaultInjection>();
	/**
	 * The store's revision that is all handed out: what is compiled and marked for sending is of it, or newer. The
	 * objects here may already be newer, for as long as a change waits for others.
	 */
	revision = 0;
	/** The store's revision that is all in here. */
	private takenUpRevision = 0;
	private readonly entriesByLabels = new LabelIndex();
	private readonly servicesBySelector = new LabelIndex();
	private readonly routesByParent = new PairIndex();
	private readonly routesByBackend = new PairIndex();
	private readonly routesByFault = new PairIndex();
	private change = emptyChange();
	private changedSinceMs: number | null = null;
	private timer: Timer | null = null;
	private watch: Watch | null = null;
	private stopped = false;

	constructor(
		private readonly store: Store,
		private readonly clock: Clock,
		private readonly onChange: (change: MeshChange) => void,
	) {}

	/** Reads all there is, reports it as one change, and follows from there. */
	async start(): Promise<void> {
		await this.list();
		this.flush();
	}

	stop(): void {
		this.stopped = true;
		this.watch?.close();
		this.timer?.cancel();
	}

	/** Entries that the Service's selector matches, healthy or not, by key. */
	entriesOf(service: Service): WorkloadEntry[] {
		const { selector } = service.spec;
		const namespace = service.metadata.namespace ?? '';
		const found: WorkloadEntry[] = [];
		for (const key of this.entriesByLabels.candidates(namespace, selector)) {
			const entry = this.workloadEntries.get(key);
			if (entry !== undefined && selects(selector, entry.spec.labels)) found.push(entry);
		}
		return found.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
	}

	/** Services of the namespace whose selector matches these labels. */
	servicesSelecting(namespace: string, labels: Readonly<Record<string, string>>): Service[] {
		const found: Service[] = [];
		for (const key of this.servicesBySelector.anyOf(namespace, labels)) {
			const service = this.services.get(key);
			if (service !== undefined && selects(service.spec.selector, labels)) found.push(service);
		}
		return found.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
	}

	/** Routes that name the Service as a parent. */
	routesOf(serviceKey: string): HttpRoute[] {
		const found: HttpRoute[] = [];
		for (const key of this.routesByParent.get(serviceKey)) {
			const route = this.route(key);
			if (route !== undefined) found.push(route);
		}
		return found;
	}

	/** By `routeKey`. */
	route(key: string): HttpRoute | undefined {
		if (!key.startsWith(GRPC_ROUTE_PREFIX)) return this.httpRoutes.get(key);
		return this.grpcRoutes.get(key.slice(GRPC_ROUTE_PREFIX.length));
	}

	/** Of all routes, by `routeKey`. */
	*routeKeys(): IterableIterator<string> {
		for (const routes of [this.httpRoutes, this.grpcRoutes]) for (const route of routes.values()) yield routeKey(route);
	}

	/** The route, by `routeKey`, has changed or may have, and that is not handed out yet. */
	awaitsCompilation(key: string): boolean {
		return this.change.httpRoutes.has(key);
	}

	/** Hands out what is marked now, without waiting for quiet. */
	flush(): void {
		this.timer?.cancel();
		this.changedSinceMs = null;
		const change = this.change;
		this.change = emptyChange();
		this.revision = this.takenUpRevision;
		this.onChange(change);
	}

	private async list(): Promise<void> {
		const { entries, revision } = await this.store.list('/');
		if (this.stopped) return;
		const present = new Set<string>();
		for (const entry of entries) {
			present.add(entry.key);
			this.put(entry);
		}
		for (const kind of Object.keys(MESH_KINDS).filter(isMeshKind)) {
			for (const [key, object] of this.objects(kind)) {
				const [namespace, name] = key.split('/');
				const group = MESH_KINDS[kind].group || 'core';
				if (!present.has(`/${group}/${kind}/${namespace}/${name}`)) this.replace(kind, key, object, null);
			}
		}
		this.takenUpRevision = Math.max(this.takenUpRevision, revision);
		this.follow(revision);
	}

	private follow(revision: number): void {
		try {
			this.watch = this.store.watch('/', revision, (events) => this.onEvents(events));
		} catch (error) {
			if (!(error instanceof WeftError) || error.code !== 'compacted') throw error;
			log.warning('the history of the store is gone; everything is read again');
			this.relistLater();
		}
	}

	private relistLater(): void {
		this.clock.after(RELIST_DELAY_MS, () => {
			if (this.stopped) return;
			this.list().then(
				() => this.schedule(),
				() => this.relistLater(),
			);
		});
	}

	private onEvents(events: readonly StoreEvent[]): void {
		for (const event of events) {
			if (event.type === 'put') {
				this.put(event.entry);
				this.takenUpRevision = Math.max(this.takenUpRevision, event.entry.revision);
				continue;
			}
			this.takenUpRevision = Math.max(this.takenUpRevision, event.revision);
			const place = parseStoreKey(event.previous.key);
			if (place === null || !isMeshKind(place.kind)) continue;
			const key = `${place.namespace}/${place.name}`;
			this.replace(place.kind, key, this.objects(place.kind).get(key) ?? null, null);
		}
		this.schedule();
	}

	private schedule(): void {
		const now = this.clock.nowMs();
		this.changedSinceMs ??= now;
		const delay = Math.max(0, Math.min(DEBOUNCE_MS, this.changedSinceMs + DEBOUNCE_MS_MAX - now));
		this.timer ??= this.clock.after(delay, () => this.flush());
		this.timer.restart(delay);
	}

	private objects(kind: MeshKindName): Map<string, MeshKindObject> {
		switch (kind) {
			case 'Service':
				return this.services;
			case 'WorkloadEntry':
				return this.workloadEntries;
			case 'HTTPRoute':
				return this.httpRoutes;
			case 'GRPCRoute':
				return this.grpcRoutes;
			case 'FaultInjection':
				return this.faults;
		}
	}

	private put(entry: StoredEntry): void {
		const place = parseStoreKey(entry.key);
		if (place === null || !isMeshKind(place.kind)) return;
		const key = `${place.namespace}/${place.name}`;
		const before = this.objects(place.kind).get(key) ?? null;
		if (before?.metadata.resourceVersion === String(entry.revision)) return;
		this.replace(place.kind, key, before, readMeshObject(place.kind, entry));
	}

	/** The one place where an object comes, changes or goes: unlinks the old, links the new, marks what both touch. */
	private replace(kind: MeshKindName, key: string, before: MeshKindObject | null, after: MeshKindObject | null): void {
		const objects = this.objects(kind);
		if (before !== null) this.link(kind, key, before, false);
		if (after === null) objects.delete(key);
		else {
			objects.set(key, after);
			this.link(kind, key, after, true);
		}
		switch (kind) {
			case 'Service':
				this.change.services.add(key);
				if (after !== null) this.change.removedServices.delete(key);
				else if (before !== null) this.change.removedServices.set(key, before as Service);
				this.change.endpoints.add(key);
				this.change.routes.add(key);
				for (const route of this.routesByParent.get(key)) this.change.httpRoutes.add(route);
				for (const route of this.routesByBackend.get(key)) this.markRoute(route);
				break;
			case 'WorkloadEntry':
				this.change.workloadEntries.add(key);
				for (const entry of [before, after]) {
					if (entry === null) continue;
					const { labels } = (entry as WorkloadEntry).spec;
					for (const service of this.servicesSelecting(entry.metadata.namespace ?? '', labels)) {
						this.change.endpoints.add(`${service.metadata.namespace ?? ''}/${service.metadata.name}`);
					}
				}
				break;
			case 'HTTPRoute':
			case 'GRPCRoute':
				for (const route of [before, after] as (HttpRoute | null)[]) {
					if (route === null) continue;
					this.change.httpRoutes.add(routeKey(route));
					for (const parent of parentKeys(route)) {
						this.change.routes.add(parent);
						// A GRPCRoute takes the place of the HTTPRoutes of its parents.
						if (kind === 'GRPCRoute')
							for (const other of this.routesByParent.get(parent)) this.change.httpRoutes.add(other);
					}
				}
				break;
			case 'FaultInjection':
				for (const route of this.routesByFault.get(key)) this.markRoute(route);
				break;
		}
	}

	private markRoute(key: string): void {
		this.change.httpRoutes.add(key);
		const route = this.route(key);
		if (route !== undefined) for (const parent of parentKeys(route)) this.change.routes.add(parent);
	}

	private link(kind: MeshKindName, key: string, object: MeshKindObject, linked: boolean): void {
		const namespace = object.metadata.namespace ?? '';
		if (kind === 'Service') {
			this.servicesBySelector.setSelector(namespace, (object as Service).spec.selector, key, linked);
		} else if (kind === 'WorkloadEntry') {
			this.entriesByLabels.setLabels(namespace, (object as WorkloadEntry).spec.labels, key, linked);
		} else if (kind === 'HTTPRoute' || kind === 'GRPCRoute') {
			const route = object as HttpRoute;
			const name = routeKey(route);
			for (const parent of parentKeys(route)) this.routesByParent.set(parent, name, linked);
			for (const rule of route.spec.rules) {
				for (const backend of rule.backendRefs ?? []) {
					this.routesByBackend.set(`${backend.namespace ?? namespace}/${backend.name}`, name, linked);
				}
				for (const { extensionRef } of rule.filters ?? []) {
					if (extensionRef !== undefined) this.routesByFault.set(`${namespace}/${extensionRef.name}`, name, linked);
				}
			}
		}
	}
}

export function parentKeys(route: HttpRoute): string[] {
	const own = route.metadata.namespace ?? '';
	return route.spec.parentRefs.map((parent) => `${parent.namespace ?? own}/${parent.name}`);
}

/** An empty selector selects nothing, as in Kubernetes. */
export function selects(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
	let any = false;
	for (const name in selector) {
		if (labels[name] !== selector[name]) return false;
		any = true;
	}
	return any;
}

function emptyChange(): MeshChange {
	return {
		services: new Set(),
		removedServices: new Map(),
		endpoints: new Set(),
		routes: new Set(),
		httpRoutes: new Set(),
		workloadEntries: new Set(),
	};
}
