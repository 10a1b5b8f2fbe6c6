// Objects over the Store: parsed by their kind, with uid, generation, resourceVersion and
// compare-and-swap. The API server, the registry of sidecars and the writers of statuses all come
// through here, so the same rules hold for all. One process writes to a store at a time.
//
// In the store an object is JSON at `storeKey` without its resourceVersion, which is the entry's revision.

import { didYouMean } from '../std/did-you-mean.ts';
import { ConfigError, WeftError } from '../std/errors.ts';
import type { Store, StoredEntry, StoreEvent, Watch } from '../store/store.ts';
import { FieldErrors, formatFieldPath } from './field-errors.ts';
import { type KindDefinition, resourceName } from './kind.ts';
import { type AnyKind, erased, findKindByName, KINDS } from './kinds.ts';
import { DEFAULT_NAMESPACE, NAMESPACE, SYSTEM_NAMESPACE } from './namespace.ts';
import { type MeshObject, storeKey, storePrefix } from './object.ts';
import { OBJECT_BYTES_MAX, parseObject, parseStatus } from './parse-object.ts';
import { SERVICE, type ServiceSpec, type ServiceStatus } from './service.ts';
import { ServiceAddresses } from './service-addresses.ts';

/** How often a write without a resourceVersion is tried again when another came in between. */
const CONFLICT_RETRIES_MAX = 16;

export type ObjectEvent<Spec = unknown, Status = unknown> =
	| { readonly type: 'added'; readonly object: MeshObject<Spec, Status>; readonly revision: number }
	| {
			readonly type: 'modified';
			readonly object: MeshObject<Spec, Status>;
			readonly previous: MeshObject<Spec, Status>;
			readonly revision: number;
	  }
	/** `object` is as it was last, with the revision of the deletion. */
	| { readonly type: 'deleted'; readonly object: MeshObject<Spec, Status>; readonly revision: number };

export interface WriteOptions {
	/** Everything but the write. Default false. */
	readonly dryRun?: boolean;
	/** Namespace of objects that name none. Default `default`. */
	readonly namespace?: string;
}

export interface DeleteOptions {
	readonly dryRun?: boolean;
	/** Only when it is this one. */
	readonly uid?: string;
	readonly resourceVersion?: string;
}

export class ObjectStore {
	private readonly addresses = new ServiceAddresses();
	/** Namespaces that are being deleted: nothing new goes into them. */
	private readonly terminating = new Set<string>();

	private constructor(
		private readonly store: Store,
		private readonly wallMs: () => number,
	) {}

	/** Makes the namespaces `default` and `weft-system` where they are missing. */
	static async open(store: Store, options: { readonly wallMs?: () => number } = {}): Promise<ObjectStore> {
		const objects = new ObjectStore(store, options.wallMs ?? Date.now);
		for (const name of [DEFAULT_NAMESPACE, SYSTEM_NAMESPACE]) {
			if ((await objects.get(NAMESPACE, '', name)) !== null) continue;
			await objects.create(NAMESPACE, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
		}
		for (const service of (await objects.list(SERVICE)).items) {
			objects.addresses.reserve(`${service.metadata.namespace}/${service.metadata.name}`, service.spec.clusterIP);
		}
		return objects;
	}

	/** `namespace` is empty for kinds without. */
	async get<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		namespace: string,
		name: string,
	): Promise<MeshObject<Spec, Status> | null> {
		const entry = await this.store.get(keyFor(kind, namespace, name));
		return entry === null ? null : decode<Spec, Status>(entry);
	}

	/** All namespaces when none is given. By namespace and name. */
	async list<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		namespace?: string,
	): Promise<{ readonly items: MeshObject<Spec, Status>[]; readonly revision: number }> {
		const { entries, revision } = await this.store.list(prefixFor(kind, namespace));
		return { items: entries.map((entry) => decode<Spec, Status>(entry)), revision };
	}

	/** @throws ConfigError, WeftError `already_exists`, `namespace_not_found` */
	async create<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		input: unknown,
		options: WriteOptions = {},
	): Promise<MeshObject<Spec, Status>> {
		const object = this.parse(kind, input, options);
		const { namespace = '', name } = object.metadata;
		const key = keyFor(kind, namespace, name);
		await this.checkNamespace(kind, namespace);
		if (object.metadata.resourceVersion) {
			throw invalid(
				object,
				'metadata.resourceVersion',
				object.metadata.resourceVersion,
				'nothing on an object to be made',
			);
		}
		if ((await this.store.get(key)) !== null) throw alreadyExists(kind, name);
		object.metadata.uid = crypto.randomUUID();
		object.metadata.generation = 1;
		object.metadata.creationTimestamp = timestamp(this.wallMs());
		const release = this.reserveAddress(object, null);
		try {
			if (options.dryRun === true) {
				release();
				return object;
			}
			if (this.terminating.has(namespace)) throw terminatingNamespace(namespace);
			return decode<Spec, Status>(await this.store.put(key, encode(object), { kind: 'absent' }));
		} catch (error) {
			release();
			throw isConflict(error) ? alreadyExists(kind, name) : error;
		}
	}

	/**
	 * Replaces spec, labels and annotations; the status stays. With a resourceVersion only when that is the
	 * present one. Writes nothing when nothing changes.
	 * @throws ConfigError, WeftError `not_found`, `conflict`
	 */
	async update<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		input: unknown,
		options: WriteOptions = {},
	): Promise<MeshObject<Spec, Status>> {
		const wanted = this.parse(kind, input, options);
		const { namespace = '', name, resourceVersion, uid } = wanted.metadata;
		return await this.swap(kind, namespace, name, options.dryRun === true, (current) => {
			checkPreconditions(kind, current, { uid, resourceVersion });
			const next = structuredClone(wanted);
			const release = this.reserveAddress(next, current);
			release();
			const changed = !Bun.deepEquals(next.spec, current.spec);
			next.metadata = {
				...current.metadata,
				labels: wanted.metadata.labels,
				annotations: wanted.metadata.annotations,
				generation: (current.metadata.generation ?? 1) + (changed ? 1 : 0),
			};
			next.status = current.status;
			const errors = new FieldErrors(describe(next), next);
			kind.validateChange?.(current, next, errors);
			if (errors.details.length > 0) throw new ConfigError(errors.details);
			return next;
		});
	}

	/** Create, or update when it is there. */
	async apply<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		input: unknown,
		options: WriteOptions = {},
	): Promise<MeshObject<Spec, Status>> {
		try {
			return await this.create(kind, input, options);
		} catch (error) {
			if (error instanceof WeftError && error.code === 'already_exists') return await this.update(kind, input, options);
			throw error;
		}
	}

	/**
	 * Writes the status that `change` makes of the object as it is now; null leaves it. Tried again when
	 * another write came in between. Nothing is written when nothing changes. Null when the object is not there.
	 * @throws ConfigError
	 */
	async updateStatus<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		namespace: string,
		name: string,
		change: (current: MeshObject<Spec, Status>) => unknown,
		options: WriteOptions & DeleteOptions = {},
	): Promise<MeshObject<Spec, Status> | null> {
		try {
			return await this.swap(kind, namespace, name, options.dryRun === true, (current) => {
				checkPreconditions(kind, current, options);
				const status = change(current);
				if (status === null || status === undefined) return current;
				parseStatus(erased(kind), describe(current), status);
				return { ...current, status: kind.statusSchema.parse(status) };
			});
		} catch (error) {
			if (error instanceof WeftError && error.code === 'not_found') return null;
			throw error;
		}
	}

	/** A Namespace takes all that is in it along. Null when it is not there. @throws WeftError `conflict`, `forbidden` */
	async delete<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		namespace: string,
		name: string,
		options: DeleteOptions = {},
	): Promise<MeshObject<Spec, Status> | null> {
		const key = keyFor(kind, namespace, name);
		for (let attempt = 0; ; attempt++) {
			const entry = await this.store.get(key);
			if (entry === null) return null;
			const current = decode<Spec, Status>(entry);
			checkPreconditions(kind, current, options);
			const isNamespace = kind.kind === NAMESPACE.kind && kind.group === NAMESPACE.group;
			if (isNamespace && (name === DEFAULT_NAMESPACE || name === SYSTEM_NAMESPACE)) {
				throw new WeftError('forbidden', `namespace "${name}" cannot be deleted: weft needs it`);
			}
			if (options.dryRun === true) return current;
			try {
				if (isNamespace) return await this.deleteNamespace(name, current, entry);
				const removed = await this.store.remove(key, { kind: 'revision', revision: entry.revision });
				if (removed !== null) this.releaseAddress(current);
				return current;
			} catch (error) {
				if (!isConflict(error) || attempt >= CONFLICT_RETRIES_MAX) throw error;
			}
		}
	}

	/** Events of a kind, in the batches of the store. @throws WeftError `compacted`: list again. */
	watch<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		namespace: string | undefined,
		afterRevision: number,
		onEvents: (events: readonly ObjectEvent<Spec, Status>[]) => void,
	): Watch {
		return this.store.watch(prefixFor(kind, namespace), afterRevision, (events) => {
			onEvents(events.map((event) => toObjectEvent<Spec, Status>(event)));
		});
	}

	currentRevision(): Promise<number> {
		return this.store.currentRevision();
	}

	/** One line for each thing that `object` names and that is not there. */
	async missingReferences(kind: AnyKind, object: MeshObject): Promise<string[]> {
		const missing: string[] = [];
		for (const reference of kind.references?.(object) ?? []) {
			const target = findKindByName(reference.kind);
			if (target === null || (await this.get(target, reference.namespace, reference.name)) !== null) continue;
			const others = (await this.list(target, reference.namespace)).items.map((item) => item.metadata.name);
			const meant = didYouMean(reference.name, others);
			const hint = meant === null ? '' : ` (did you mean "${meant}"?)`;
			const name = `${reference.kind} ${reference.namespace}/${reference.name}`;
			const field = formatFieldPath(reference.field);
			missing.push(`${describe(object)}: ${field}: ${name} does not exist${hint}; ${reference.consequence}`);
		}
		return missing;
	}

	private parse<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		input: unknown,
		options: WriteOptions,
	): MeshObject<Spec, Status> {
		const parsed = parseObject(input, { namespace: options.namespace ?? DEFAULT_NAMESPACE });
		if (parsed.kind.kind !== kind.kind || parsed.kind.group !== kind.group) {
			throw invalid(parsed.object, 'kind', parsed.kind.kind, `"${kind.kind}"`);
		}
		// parseObject has just parsed it by the schemas of this very kind.
		return parsed.object as MeshObject<Spec, Status>;
	}

	/** Reads, changes and writes by compare-and-swap; tried again while others come in between. */
	private async swap<Spec, Status>(
		kind: KindDefinition<Spec, Status>,
		namespace: string,
		name: string,
		dryRun: boolean,
		change: (current: MeshObject<Spec, Status>) => MeshObject<Spec, Status>,
	): Promise<MeshObject<Spec, Status>> {
		const key = keyFor(kind, namespace, name);
		for (let attempt = 0; ; attempt++) {
			const entry = await this.store.get(key);
			if (entry === null) throw notFound(kind, namespace, name);
			const next = change(decode<Spec, Status>(entry));
			const value = encode(next);
			if (value === entry.value) return decode<Spec, Status>(entry);
			if (dryRun) return next;
			try {
				return decode<Spec, Status>(await this.store.put(key, value, { kind: 'revision', revision: entry.revision }));
			} catch (error) {
				if (!isConflict(error) || attempt >= CONFLICT_RETRIES_MAX) throw error;
			}
		}
	}

	private async checkNamespace(kind: Pick<KindDefinition, 'namespaced'>, namespace: string): Promise<void> {
		if (!kind.namespaced) return;
		if (this.terminating.has(namespace)) throw terminatingNamespace(namespace);
		if ((await this.get(NAMESPACE, '', namespace)) !== null) return;
		const names = (await this.list(NAMESPACE)).items.map((item) => item.metadata.name);
		const meant = didYouMean(namespace, names);
		const hint = meant === null ? '' : ` (did you mean "${meant}"?)`;
		throw new WeftError('namespace_not_found', `namespaces "${namespace}" not found${hint}`);
	}

	/** Fills in a Service's address. Returns how to give back what was reserved. */
	private reserveAddress(object: MeshObject, current: MeshObject | null): () => void {
		if (object.kind !== SERVICE.kind) return () => {};
		const spec = (object as MeshObject<ServiceSpec, ServiceStatus>).spec;
		const before = current as MeshObject<ServiceSpec, ServiceStatus> | null;
		if (before !== null) {
			if (spec.clusterIP === '') spec.clusterIP = before.spec.clusterIP;
			return () => {};
		}
		spec.clusterIP = this.addresses.reserve(`${object.metadata.namespace}/${object.metadata.name}`, spec.clusterIP);
		return () => this.addresses.release(spec.clusterIP);
	}

	private releaseAddress(object: MeshObject): void {
		if (object.kind === SERVICE.kind) {
			this.addresses.release((object as MeshObject<ServiceSpec, ServiceStatus>).spec.clusterIP);
		}
	}

	private async deleteNamespace<Spec, Status>(
		name: string,
		current: MeshObject<Spec, Status>,
		entry: StoredEntry,
	): Promise<MeshObject<Spec, Status>> {
		this.terminating.add(name);
		try {
			// Backwards: what refers to others goes first.
			for (const kind of KINDS.toReversed()) {
				if (!kind.namespaced) continue;
				const { items } = await this.list(kind, name);
				await Promise.all(items.map((item) => this.delete(kind, name, item.metadata.name)));
			}
			await this.store.remove(entry.key, { kind: 'any' });
			return current;
		} finally {
			this.terminating.delete(name);
		}
	}
}

function prefixFor(kind: Pick<KindDefinition, 'group' | 'kind'>, namespace?: string): string {
	const all = storePrefix(kind.group, kind.kind);
	return namespace === undefined ? all : `${all}${namespace}/`;
}

function keyFor(kind: Pick<KindDefinition, 'group' | 'kind' | 'namespaced'>, namespace: string, name: string): string {
	return storeKey(kind.group, kind.kind, kind.namespaced ? namespace : undefined, name);
}

/** Values of a stored object were checked when they were written. */
function decode<Spec, Status>(entry: StoredEntry): MeshObject<Spec, Status> {
	const object = JSON.parse(entry.value) as MeshObject<Spec, Status>;
	object.metadata.resourceVersion = String(entry.revision);
	return object;
}

/** @throws ConfigError when it is too large */
function encode(object: MeshObject): string {
	const { resourceVersion: _, ...metadata } = object.metadata;
	const { apiVersion, kind, spec, status } = object;
	const text = JSON.stringify({ apiVersion, kind, metadata, spec, status });
	if (text.length > OBJECT_BYTES_MAX) {
		throw invalid(object, '', `${text.length} characters`, `at most ${OBJECT_BYTES_MAX} characters as JSON`);
	}
	return text;
}

function toObjectEvent<Spec, Status>(event: StoreEvent): ObjectEvent<Spec, Status> {
	if (event.type === 'remove') {
		const object = decode<Spec, Status>(event.previous);
		object.metadata.resourceVersion = String(event.revision);
		return { type: 'deleted', object, revision: event.revision };
	}
	const object = decode<Spec, Status>(event.entry);
	const { revision } = event.entry;
	if (event.previous === null) return { type: 'added', object, revision };
	return { type: 'modified', object, previous: decode<Spec, Status>(event.previous), revision };
}

function checkPreconditions(
	kind: Pick<KindDefinition, 'group' | 'plural'>,
	current: MeshObject,
	wanted: { readonly uid?: string; readonly resourceVersion?: string },
): void {
	const { name, uid, resourceVersion } = current.metadata;
	const what = `Operation cannot be fulfilled on ${resourceName(kind)} "${name}"`;
	if (wanted.uid && wanted.uid !== uid)
		throw new WeftError('conflict', `${what}: its uid is ${uid}, not ${wanted.uid}`);
	if (wanted.resourceVersion && wanted.resourceVersion !== resourceVersion) {
		throw new WeftError(
			'conflict',
			`${what}: the object has been modified (it is at resourceVersion ${resourceVersion}, not ${wanted.resourceVersion}); read it again and apply your changes to the latest version`,
		);
	}
}

function describe(object: MeshObject): string {
	const { namespace, name } = object.metadata;
	return `${object.kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

function invalid(object: MeshObject, field: string, found: string, expected: string): ConfigError {
	return new ConfigError({ object: describe(object), field, found: JSON.stringify(found), expected });
}

export function notFound(
	kind: Pick<KindDefinition, 'group' | 'plural' | 'namespaced'>,
	namespace: string,
	name: string,
): WeftError {
	const place = kind.namespaced ? ` in namespace "${namespace}"` : '';
	return new WeftError('not_found', `${resourceName(kind)} "${name}" not found${place}`);
}

function alreadyExists(kind: Pick<KindDefinition, 'group' | 'plural'>, name: string): WeftError {
	return new WeftError('already_exists', `${resourceName(kind)} "${name}" already exists`);
}

function terminatingNamespace(namespace: string): WeftError {
	return new WeftError('forbidden', `namespace "${namespace}" is being deleted: nothing can be made in it`);
}

function isConflict(error: unknown): boolean {
	return error instanceof WeftError && error.code === 'conflict';
}

/** RFC 3339, seconds, as Kubernetes writes it. */
function timestamp(wallMs: number): string {
	return `${new Date(wallMs).toISOString().slice(0, 19)}Z`;
}
