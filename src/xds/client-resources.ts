// One type of resource as the ADS client sees it: who wants what, and what is known to be good.
// Pure state: no stream, no clock.
//
//   subscribers ──names──▶ wanted ──▶ what requests ask for
//   responses ──▶ dispatched to subscribers ──accepted──▶ known (cache, versions for reconnecting, disk)

import type { DiscoveredResource, DiscoveryUpdate, ResourceSubscriber, Subscription } from './discovery-client.ts';

/** What a request must say to bring the server up to date. */
export interface NamesDelta {
	readonly subscribe: readonly string[];
	readonly unsubscribe: readonly string[];
}

interface Subscriber {
	/** Null: everything. */
	names: ReadonlySet<string> | null;
	readonly target: ResourceSubscriber;
}

const WILDCARD = '*';

export class ClientResources {
	private readonly subscribers = new Set<Subscriber>();
	/** Accepted by all who were given them. */
	private readonly known = new Map<string, DiscoveredResource>();
	/** Asked for by name, and told that they do not exist. */
	private readonly absent = new Set<string>();
	/** What the server was asked for on the present stream; null: nothing yet. */
	private asked: Set<string> | null = null;

	constructor(
		readonly typeUrl: string,
		private readonly onNamesChanged: () => void,
	) {}

	get hasSubscribers(): boolean {
		return this.subscribers.size > 0;
	}

	get count(): number {
		return this.known.size;
	}

	/** What is already known is given to the subscriber within the call. */
	subscribe(names: readonly string[] | null, target: ResourceSubscriber): Subscription {
		const subscriber: Subscriber = { names: names === null ? null : new Set(names), target };
		this.subscribers.add(subscriber);
		this.onNamesChanged();
		this.deliverKnown(subscriber, names === null ? [...this.known.keys()] : names);
		return {
			setNames: (next) => {
				if (!this.subscribers.has(subscriber)) return;
				const before = subscriber.names;
				subscriber.names = new Set(next);
				this.onNamesChanged();
				this.deliverKnown(
					subscriber,
					next.filter((name) => before === null || !before.has(name)),
				);
			},
			close: () => {
				if (this.subscribers.delete(subscriber)) this.onNamesChanged();
			},
		};
	}

	/** Applies a response. Null: all of it is in force. */
	apply(update: DiscoveryUpdate): string | null {
		const refusedNames = new Set<string>();
		const reasons: string[] = [];
		for (const subscriber of [...this.subscribers]) {
			const part = partFor(subscriber, update);
			if (part === null) continue;
			const reason = subscriber.target.onUpdate(part);
			if (reason === null) continue;
			reasons.push(reason);
			for (const { name } of part.updated) refusedNames.add(name);
		}
		for (const resource of update.updated) {
			if (refusedNames.has(resource.name)) continue;
			this.known.set(resource.name, resource);
			this.absent.delete(resource.name);
		}
		for (const name of update.removed) {
			this.known.delete(name);
			// Who wants everything asks for no name: those that went would be remembered for ever.
			if (this.asksFor(name)) this.absent.add(name);
		}
		return reasons.length === 0 ? null : reasons.join('\n');
	}

	/** Takes over what was good in an earlier life, and gives it out. */
	restore(resources: readonly DiscoveredResource[]): void {
		for (const resource of resources) this.known.set(resource.name, resource);
		for (const subscriber of [...this.subscribers]) {
			this.deliverKnown(subscriber, subscriber.names === null ? [...this.known.keys()] : [...subscriber.names]);
		}
	}

	/** Known resources that somebody wants. */
	resources(): DiscoveredResource[] {
		return [...this.known.values()].filter((resource) => this.wants(resource.name));
	}

	// --- the stream

	/** A new stream begins: what its first request asks for and says is known. */
	begin(): { readonly subscribe: readonly string[]; readonly versions: Record<string, string> } {
		const wanted = this.wanted();
		this.asked = wanted;
		this.forgetUnwanted();
		const versions: Record<string, string> = {};
		for (const [name, resource] of this.known) versions[name] = resource.version;
		// Nothing but the wildcard is said in its oldest form, which every server understands.
		const subscribe = wanted.size === 1 && wanted.has(WILDCARD) ? [] : [...wanted];
		return { subscribe, versions };
	}

	/** What has changed since the last request of this stream; null: nothing. */
	changes(): NamesDelta | null {
		if (this.asked === null) return null;
		const wanted = this.wanted();
		const subscribe = [...wanted].filter((name) => !this.asked!.has(name));
		const unsubscribe = [...this.asked].filter((name) => !wanted.has(name));
		if (subscribe.length === 0 && unsubscribe.length === 0) return null;
		this.asked = wanted;
		this.forgetUnwanted();
		return { subscribe, unsubscribe };
	}

	get begun(): boolean {
		return this.asked !== null;
	}

	streamEnded(): void {
		this.asked = null;
	}

	private wanted(): Set<string> {
		const names = new Set<string>();
		for (const subscriber of this.subscribers) {
			if (subscriber.names === null) names.add(WILDCARD);
			else for (const name of subscriber.names) names.add(name);
		}
		return names;
	}

	private wants(name: string): boolean {
		for (const { names } of this.subscribers) if (names === null || names.has(name)) return true;
		return false;
	}

	/** By its name. */
	private asksFor(name: string): boolean {
		for (const { names } of this.subscribers) if (names?.has(name) === true) return true;
		return false;
	}

	/** The server no longer keeps these up to date, so they must not be given out later. */
	private forgetUnwanted(): void {
		const wanted = this.wanted();
		for (const name of [...this.absent]) if (!wanted.has(name)) this.absent.delete(name);
		if (wanted.has(WILDCARD)) return;
		for (const name of [...this.known.keys()]) if (!wanted.has(name)) this.known.delete(name);
	}

	/** What is known is already good, so a refusal here has nobody to be told to. */
	private deliverKnown(subscriber: Subscriber, names: readonly string[]): void {
		const updated: DiscoveredResource[] = [];
		const removed: string[] = [];
		for (const name of names) {
			const resource = this.known.get(name);
			if (resource !== undefined) updated.push(resource);
			else if (this.absent.has(name)) removed.push(name);
		}
		if (updated.length > 0 || removed.length > 0) subscriber.target.onUpdate({ updated, removed });
	}
}

/** Null: nothing of it is for this subscriber. Who wants everything hears every answer, also an empty one. */
function partFor(subscriber: Subscriber, update: DiscoveryUpdate): DiscoveryUpdate | null {
	const { names } = subscriber;
	if (names === null) return update;
	const updated = update.updated.filter((resource) => names.has(resource.name));
	const removed = update.removed.filter((name) => names.has(name));
	return updated.length === 0 && removed.length === 0 ? null : { updated, removed };
}
