// Dynamic configuration across processes: the main process has the stream to the control plane (and
// watches the files), applies what comes, and passes it on; workers apply the same in the same order.
// So there is one stream for each proxy, and one that says ACK or NACK.
//
//   ADS client, files ─▶ ForwardingTap ─▶ the main process's own proxy (its verdict is the ACK or NACK)
//                             └─────────── channel ───────▶ ForwardedDiscovery ─▶ the worker's proxy

import type {
	DiscoveredResource,
	DiscoveryClient,
	DiscoveryUpdate,
	ResourceSubscriber,
	Subscription,
} from '../../xds/discovery-client.ts';
import type { ForwardedUpdate } from './messages.ts';

/**
 * A resource in its versions. Of an update that was refused in part it is not known which resources are in force,
 * so whoever starts later is told what those before him were told, and decides as they did.
 */
class KnownResource {
	/** The newest that was accepted. */
	private good: DiscoveredResource | null = null;
	/** Came after it, in updates that were refused in part. */
	private doubtful: DiscoveredResource[] = [];

	take(resource: DiscoveredResource, accepted: boolean): void {
		if (accepted) {
			this.good = resource;
			this.doubtful = [];
			return;
		}
		this.doubtful.push(resource);
		if (this.doubtful.length > DOUBTFUL_MAX) this.doubtful.shift();
	}

	/** The first of them is one that was accepted, where there is one. */
	versions(): readonly DiscoveredResource[] {
		return this.good === null ? this.doubtful : [this.good, ...this.doubtful];
	}

	get isGood(): boolean {
		return this.good !== null;
	}
}

const DOUBTFUL_MAX = 4;

/** What is known of some resources as updates that say the same: first what is good, then what came after it. */
function updatesOf(resources: Iterable<KnownResource>): { updated: DiscoveredResource[]; accepted: boolean }[] {
	const good: DiscoveredResource[] = [];
	const later: { updated: DiscoveredResource[]; accepted: boolean }[] = [];
	for (const resource of resources) {
		const versions = resource.versions();
		const start = resource.isGood ? 1 : 0;
		if (start === 1) good.push(versions[0]!);
		// One at a time, so that each is judged by itself.
		for (const version of versions.slice(start)) later.push({ updated: [version], accepted: false });
	}
	return [{ updated: good, accepted: true }, ...later];
}

interface KnownType {
	readonly source: string;
	readonly typeUrl: string;
	readonly resources: Map<string, KnownResource>;
	/** Names that somebody waits for in vain. */
	readonly absent: Set<string>;
	/** How many subscriptions want each name; a wildcard wants all. */
	readonly wanted: Map<string, number>;
	wildcards: number;
}

/** In the main process. Hears what its proxy is told, and remembers it for workers that start later. */
export class ForwardingTap {
	private readonly types = new Map<string, KnownType>();
	private pending: ForwardedUpdate[] = [];

	/** `forward` gets all that one turn brought, in order. */
	constructor(private readonly forward: (updates: readonly ForwardedUpdate[]) => void) {}

	/** The same client, overheard. `source`: `ads`, or a file's path. */
	wrap(source: string, client: DiscoveryClient): DiscoveryClient {
		return {
			subscribe: (typeUrl, names, subscriber) => {
				const type = this.typeOf(source, typeUrl);
				let current: readonly string[] | null = names;
				this.want(type, names, 1);
				const subscription = client.subscribe(typeUrl, names, {
					onUpdate: (update) => this.overheard(type, subscriber, update),
				});
				return {
					setNames: (next) => {
						const before = current;
						current = next;
						this.want(type, next, 1);
						subscription.setNames(next);
						this.want(type, before, -1);
					},
					close: () => {
						subscription.close();
						this.want(type, current, -1);
						current = [];
					},
				};
			},
		};
	}

	/** All that a worker which starts now must be told, in the order of its types' first appearance. */
	known(): ForwardedUpdate[] {
		const updates: ForwardedUpdate[] = [];
		for (const { source, typeUrl, resources, absent } of this.types.values()) {
			let removed = [...absent];
			for (const { updated, accepted } of updatesOf(resources.values())) {
				updates.push({ source, typeUrl, updated, removed, accepted });
				removed = [];
			}
		}
		return updates;
	}

	private overheard(type: KnownType, subscriber: ResourceSubscriber, update: DiscoveryUpdate): string | null {
		const refused = subscriber.onUpdate(update);
		const accepted = refused === null;
		const { source, typeUrl, resources, absent } = type;
		for (const resource of update.updated) {
			let known = resources.get(resource.name);
			if (known === undefined) {
				known = new KnownResource();
				resources.set(resource.name, known);
			}
			known.take(resource, accepted);
			absent.delete(resource.name);
		}
		for (const name of update.removed) {
			resources.delete(name);
			if (type.wanted.has(name)) absent.add(name);
		}
		this.push({ source, typeUrl, updated: update.updated, removed: update.removed, accepted });
		return refused;
	}

	private push(update: ForwardedUpdate): void {
		this.pending.push(update);
		if (this.pending.length > 1) return;
		queueMicrotask(() => {
			const updates = this.pending;
			this.pending = [];
			this.forward(updates);
		});
	}

	private want(type: KnownType, names: readonly string[] | null, by: 1 | -1): void {
		if (names === null) {
			type.wildcards += by;
			return;
		}
		for (const name of names) {
			const count = (type.wanted.get(name) ?? 0) + by;
			if (count > 0) type.wanted.set(name, count);
			else {
				type.wanted.delete(name);
				type.absent.delete(name);
				if (type.wildcards === 0) type.resources.delete(name);
			}
		}
	}

	private typeOf(source: string, typeUrl: string): KnownType {
		const key = `${source} ${typeUrl}`;
		let type = this.types.get(key);
		if (type === undefined) {
			type = { source, typeUrl, resources: new Map(), absent: new Set(), wanted: new Map(), wildcards: 0 };
			this.types.set(key, type);
		}
		return type;
	}
}

interface Subscriber {
	/** Null: all. */
	names: ReadonlySet<string> | null;
	readonly target: ResourceSubscriber;
}

/** In a worker: what the main process passes on from one source. */
class ForwardedSource implements DiscoveryClient {
	private readonly types = new Map<string, ForwardedType>();

	subscribe(typeUrl: string, names: readonly string[] | null, target: ResourceSubscriber): Subscription {
		return this.typeOf(typeUrl).subscribe(names, target);
	}

	typeOf(typeUrl: string): ForwardedType {
		let type = this.types.get(typeUrl);
		if (type === undefined) {
			type = new ForwardedType();
			this.types.set(typeUrl, type);
		}
		return type;
	}
}

class ForwardedType {
	private readonly subscribers = new Set<Subscriber>();
	/** In the order in which they came; kept for who subscribes later than the main process did. */
	private readonly known = new Map<string, KnownResource>();
	private readonly absent = new Set<string>();
	/** An answer came, be it an empty one. */
	private answered = false;

	subscribe(names: readonly string[] | null, target: ResourceSubscriber): Subscription {
		const subscriber: Subscriber = { names: names === null ? null : new Set(names), target };
		this.subscribers.add(subscriber);
		if (names !== null) this.deliver(subscriber, names);
		else if (this.answered) deliverTo(target, [...this.known.values()], []);
		return {
			setNames: (next) => {
				if (!this.subscribers.has(subscriber)) return;
				const before = subscriber.names;
				subscriber.names = new Set(next);
				this.forgetUnwanted(before);
				this.deliver(
					subscriber,
					next.filter((name) => before?.has(name) !== true),
				);
			},
			close: () => {
				this.subscribers.delete(subscriber);
				this.forgetUnwanted(subscriber.names);
			},
		};
	}

	/** Null: all who want it have accepted it. */
	apply(update: DiscoveryUpdate, accepted: boolean): string | null {
		this.answered = true;
		const wantsAll = [...this.subscribers].some(({ names }) => names === null);
		for (const resource of update.updated) {
			let known = this.known.get(resource.name);
			if (known === undefined) {
				known = new KnownResource();
				this.known.set(resource.name, known);
			}
			known.take(resource, accepted);
			this.absent.delete(resource.name);
		}
		for (const name of update.removed) {
			this.known.delete(name);
			// Who wants all of a type asks for no name: it would be remembered for ever.
			if (!wantsAll) this.absent.add(name);
		}
		const reasons: string[] = [];
		for (const { names, target } of [...this.subscribers]) {
			const updated = names === null ? update.updated : update.updated.filter(({ name }) => names.has(name));
			const removed = names === null ? update.removed : update.removed.filter((name) => names.has(name));
			if (names !== null && updated.length === 0 && removed.length === 0) continue;
			const reason = target.onUpdate({ updated, removed });
			if (reason !== null) reasons.push(reason);
		}
		return reasons.length === 0 ? null : reasons.join('\n');
	}

	private deliver({ target }: Subscriber, names: readonly string[]): void {
		const known = names.flatMap((name) => this.known.get(name) ?? []);
		const removed = names.filter((name) => this.absent.has(name));
		if (known.length > 0 || removed.length > 0) deliverTo(target, known, removed);
	}

	/** Nobody keeps these up to date any more. */
	private forgetUnwanted(names: ReadonlySet<string> | null): void {
		for (const name of names ?? []) {
			if ([...this.subscribers].some((other) => other.names === null || other.names.has(name))) continue;
			this.known.delete(name);
			this.absent.delete(name);
		}
	}
}

/** Refusals need not be told: the main process has judged these, or has refused the same. */
function deliverTo(target: ResourceSubscriber, known: readonly KnownResource[], removed: readonly string[]): void {
	let gone = removed;
	for (const { updated } of updatesOf(known)) {
		target.onUpdate({ updated, removed: gone });
		gone = [];
	}
}

export class ForwardedDiscovery {
	private readonly sources = new Map<string, ForwardedSource>();

	/** `ads`, or a file's path. */
	source(name: string): DiscoveryClient {
		return this.sourceOf(name);
	}

	/** Applies what the main process has applied. `onRefused` hears of what only this process refuses. */
	apply(updates: readonly ForwardedUpdate[], onRefused: (typeUrl: string, reason: string) => void): void {
		for (const { source, typeUrl, updated, removed, accepted } of updates) {
			const reason = this.sourceOf(source).typeOf(typeUrl).apply({ updated, removed }, accepted);
			if (reason !== null && accepted) onRefused(typeUrl, reason);
		}
	}

	private sourceOf(name: string): ForwardedSource {
		let source = this.sources.get(name);
		if (source === undefined) {
			source = new ForwardedSource();
			this.sources.set(name, source);
		}
		return source;
	}
}
