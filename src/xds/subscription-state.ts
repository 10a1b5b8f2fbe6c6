// One client's subscription to one type of resource, as pure state: what it asked for, what it was
// sent, what it has acknowledged, what it must be sent next. It serves both variants of the
// protocol (delta and state of the world), knows no stream, and does no I/O.
//
//              changed / asked for            onSent              ACK or NACK
//   settled ───────────────────────▶ pending ────────▶ outstanding ───────────▶ settled, or pending
//                                                                               again (what changed
//                                                                               meanwhile, as one)
//
// At most one response is outstanding, so memory and the network hold one answer per type, and
// a slow client gets the newest state instead of each state. Work is per name that changed.
//
// Protocol: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol

import { assert } from '../std/assert.ts';
import { WeftError } from '../std/errors.ts';
import type { EncodedResource, ResourceView } from './resource-view.ts';
import { CLUSTER_TYPE, LISTENER_TYPE } from './type-urls.ts';

export type Variant = 'delta' | 'state-of-the-world';

/** Names that one client may ask for by type. */
export const SUBSCRIBED_NAMES_MAX = 100_000;
/** A delta response is cut when it reaches this size; the rest follows after the acknowledgement. */
export const RESPONSE_BYTES_MAX = 1024 * 1024;
/** Names that one response takes away; the rest follows. */
const REMOVALS_MAX = 10_000;
const ERROR_DETAIL_CHARACTERS_MAX = 4096;
const WILDCARD = '*';

/** The part of a `DeltaDiscoveryRequest` that is about one type. */
export interface DeltaRequest {
	readonly subscribe: readonly string[];
	readonly unsubscribe: readonly string[];
	readonly initialVersions: Readonly<Record<string, string>>;
	/** Empty when the request answers nothing. */
	readonly nonce: string;
	/** Null: no error. */
	readonly error: string | null;
}

/** The part of a `DiscoveryRequest` that is about one type. */
export interface StateOfTheWorldRequest {
	readonly names: readonly string[];
	readonly nonce: string;
	readonly error: string | null;
}

export type Acknowledgement = 'none' | 'ack' | 'nack';

/**
 * `update`: what appeared or changed, and names asked for that do not exist. `removal`: what is gone. They
 * are apart so that a server can take things away only when nothing refers to them any more.
 */
export type Phase = 'update' | 'removal';

export interface ResponsePlan {
	readonly phase: Phase;
	readonly resources: readonly EncodedResource[];
	/** Delta only. */
	readonly removed: readonly string[];
}

interface SentVersion {
	readonly version: string;
}

interface Outstanding {
	readonly nonce: string;
	/** What the response changes; state of the world: all that it carries. */
	readonly names: readonly string[];
}

export class SubscriptionState {
	private wildcard = false;
	/** State of the world: the wildcard stands for requests that have named nothing so far. */
	private legacyWildcard = false;
	private started = false;
	/** Asked for by name. */
	private readonly names = new Set<string>();
	/** What the client has, by our word or its own (`initial_resource_versions`); null: told that there is none. */
	private readonly known = new Map<string, SentVersion | null>();
	private absentCount = 0;
	/** Names whose last sent state is not acknowledged, with the version that was before (null: none). */
	private readonly behind = new Map<string, string | null>();
	/** To be compared with the view. */
	private readonly pending = new Set<string>();
	/** To be answered even if the client has it: it asked (again). */
	private readonly forced = new Set<string>();
	/** Known to the client, gone from the view, and not yet taken away. */
	private readonly removals = new Set<string>();
	private scanAll = false;
	private mustRespond = false;
	private answerNext = false;
	private outstanding: Outstanding | null = null;
	private latestNonce = '';
	/** Resources of rejected responses, with the detail, until they are acknowledged or gone. */
	private readonly rejections = new Map<string, string>();

	constructor(
		readonly typeUrl: string,
		readonly variant: Variant,
	) {}

	/** @throws WeftError `too_many_resources` */
	onDelta(request: DeltaRequest): Acknowledgement {
		const acknowledgement = this.acknowledge(request.nonce, request.error);
		const first = !this.started;
		this.started = true;
		if (first) {
			for (const name in request.initialVersions) {
				this.learn(name, { version: request.initialVersions[name]! });
			}
			// The legacy form of a wildcard: a first request that names nothing.
			if (request.subscribe.length === 0 && isFullStateType(this.typeUrl)) this.startWildcard();
		}
		for (const name of request.subscribe) {
			if (name === WILDCARD) {
				if (!this.wildcard) this.startWildcard();
				continue;
			}
			this.names.add(name);
			this.pending.add(name);
			// In the first request, what the client says it has needs no second sending.
			if (!first || !this.known.has(name)) this.forced.add(name);
		}
		for (const name of request.unsubscribe) {
			if (name === WILDCARD) this.stopWildcard();
			else this.dropName(name);
		}
		this.checkBounds();
		return acknowledgement;
	}

	/** A request with a stale nonce changes nothing: the client sends a newer one. @throws WeftError `too_many_resources` */
	onStateOfTheWorld(request: StateOfTheWorldRequest): Acknowledgement {
		if (this.started && request.nonce !== this.latestNonce) return 'none';
		const acknowledgement = this.acknowledge(request.nonce, request.error);
		const first = !this.started;
		this.started = true;
		const wanted = new Set(request.names);
		this.legacyWildcard = wanted.size === 0 && (first || this.legacyWildcard) && isFullStateType(this.typeUrl);
		if (wanted.delete(WILDCARD) || this.legacyWildcard) {
			if (!this.wildcard) this.startWildcard();
		} else if (this.wildcard) {
			this.stopWildcard();
			this.mustRespond = isFullStateType(this.typeUrl);
		}
		for (const name of this.names) if (!wanted.has(name)) this.dropName(name);
		for (const name of wanted) {
			if (this.names.has(name)) continue;
			this.names.add(name);
			this.pending.add(name);
			this.forced.add(name);
			if (isFullStateType(this.typeUrl)) this.mustRespond = true;
		}
		if (this.answerNext) {
			this.answerNext = false;
			for (const name of this.names) {
				this.pending.add(name);
				this.forced.add(name);
			}
		}
		this.checkBounds();
		return acknowledgement;
	}

	/**
	 * State of the world: the next request is to be answered whatever it says. After new clusters or listeners
	 * a client asks for their endpoints or routes again with what looks like an acknowledgement, and keeps them
	 * warming until an answer comes.
	 */
	answerNextRequest(): void {
		if (this.variant === 'state-of-the-world') this.answerNext = true;
	}

	/** These names may have appeared, changed or gone. */
	markChanged(names: ReadonlySet<string>): void {
		for (const name of names) {
			if (this.subscribes(name) || this.known.has(name)) this.pending.add(name);
		}
	}

	subscribes(name: string): boolean {
		return this.wildcard || this.names.has(name);
	}

	/** The next response of this phase; null: nothing to say, or one is outstanding. Then call `onSent`. */
	plan(view: ResourceView, phase: Phase): ResponsePlan | null {
		if (this.outstanding !== null || !this.started) return null;
		if (this.scanAll) {
			this.scanAll = false;
			for (const name of view.names(this.typeUrl)) this.pending.add(name);
			for (const name of this.known.keys()) this.pending.add(name);
		}
		const changed = this.compare(view, phase);
		if (changed === null) return null;
		if (this.variant === 'delta' || !isFullStateType(this.typeUrl)) return changed;
		return { phase, resources: this.fullState(view, phase), removed: [] };
	}

	onSent(nonce: string, plan: ResponsePlan): void {
		assert(this.outstanding === null, 'one outstanding response per type');
		const names: string[] = [];
		for (const resource of plan.resources) {
			const before = this.known.get(resource.name);
			if (before?.version !== resource.version || before === undefined) {
				if (!this.behind.has(resource.name)) this.behind.set(resource.name, before?.version ?? null);
				this.learn(resource.name, resource);
			}
			names.push(resource.name);
			this.pending.delete(resource.name);
			this.forced.delete(resource.name);
		}
		for (const name of plan.removed) {
			names.push(name);
			this.settle(name);
			this.learn(name, null);
		}
		if (plan.phase === 'removal' && this.variant === 'state-of-the-world') {
			for (const name of this.removals) this.forget(name);
			this.removals.clear();
		} else if (plan.phase === 'removal') {
			for (const name of plan.removed) if (!this.names.has(name)) this.forget(name);
		}
		this.mustRespond = false;
		this.latestNonce = nonce;
		this.outstanding = { nonce, names };
	}

	/** Nothing to send and nothing unanswered. May be false for a change that turns out to be none: `plan` finds out. */
	get settled(): boolean {
		return this.updatesSettled && this.removals.size === 0;
	}

	/** As `settled`, not counting what waits to be taken away. */
	get updatesSettled(): boolean {
		return this.outstanding === null && this.pending.size === 0 && !this.scanAll && !this.mustRespond;
	}

	get isOutstanding(): boolean {
		return this.outstanding !== null;
	}

	/** The detail of the last NACK that stands: none of its resources was acknowledged since. Null: none does. */
	get rejected(): string | null {
		let last: string | null = null;
		for (const detail of this.rejections.values()) last = detail;
		return last;
	}

	/** Why the last response with this resource was rejected; null when it was not. */
	rejectionOf(name: string): string | null {
		return this.rejections.get(name) ?? null;
	}

	/** Resources that the client was sent, and how many of them it has acknowledged as they are. */
	counts(): { readonly sent: number; readonly acknowledged: number } {
		const sent = this.known.size - this.absentCount;
		let unacknowledged = 0;
		for (const name of this.behind.keys()) if (this.known.get(name)) unacknowledged += 1;
		return { sent, acknowledged: sent - unacknowledged };
	}

	sentVersion(name: string): string | null {
		return this.known.get(name)?.version ?? null;
	}

	acknowledgedVersion(name: string): string | null {
		const before = this.behind.get(name);
		return before === undefined ? this.sentVersion(name) : before;
	}

	private acknowledge(nonce: string, error: string | null): Acknowledgement {
		if (nonce === '' || this.outstanding === null || nonce !== this.outstanding.nonce) return 'none';
		const { names } = this.outstanding;
		this.outstanding = null;
		if (error !== null) {
			const detail = error.slice(0, ERROR_DETAIL_CHARACTERS_MAX) || 'rejected without a reason';
			// A response that only took things away, or was empty, stands under the empty name.
			for (const name of names.length === 0 ? [''] : names) {
				this.rejections.delete(name);
				this.rejections.set(name, detail);
			}
			return 'nack';
		}
		this.rejections.delete('');
		for (const name of names) {
			this.behind.delete(name);
			this.rejections.delete(name);
		}
		return 'ack';
	}

	/** What differs between the view and the client. Null: nothing, and no answer is due. */
	private compare(view: ResourceView, phase: Phase): ResponsePlan | null {
		const resources: EncodedResource[] = [];
		const removed: string[] = [];
		let bytes = 0;
		for (const name of this.pending) {
			if (bytes >= RESPONSE_BYTES_MAX && this.variant === 'delta') break;
			const resource = view.get(this.typeUrl, name);
			const known = this.known.get(name);
			if (resource === undefined || !this.subscribes(name)) {
				if (known && resource === undefined && (this.variant === 'delta' || isFullStateType(this.typeUrl))) {
					this.pending.delete(name);
					this.removals.add(name);
				} else if (this.names.has(name) && (known === undefined || this.forced.has(name))) {
					removed.push(name);
				} else {
					// Endpoints and routes have no removal in the state of the world: what is not mentioned stays.
					if (resource === undefined && known) this.forget(name);
					this.settle(name);
				}
				continue;
			}
			this.removals.delete(name);
			if (!this.forced.has(name) && known?.version === resource.version) {
				this.settle(name);
				continue;
			}
			resources.push(resource);
			bytes += resource.resource.length;
		}
		if (phase === 'removal') {
			if (resources.length > 0 || this.removals.size === 0) return null;
			return {
				phase,
				resources: [],
				removed: this.variant === 'delta' ? [...this.removals].slice(0, REMOVALS_MAX) : [],
			};
		}
		if (this.variant === 'state-of-the-world' && removed.length > 0) {
			// There is no way to say "there is none", but by a full list without it.
			for (const name of removed) {
				this.learn(name, null);
				this.settle(name);
			}
			removed.length = 0;
		}
		if (resources.length === 0 && removed.length === 0 && !this.mustRespond) return null;
		return { phase, resources, removed };
	}

	/** Everything the client is to have; while updates are sent, also what will be taken away after them. */
	private fullState(view: ResourceView, phase: Phase): EncodedResource[] {
		const resources: EncodedResource[] = [];
		for (const name of this.wildcard ? view.names(this.typeUrl) : this.names) {
			const resource = view.get(this.typeUrl, name);
			if (resource !== undefined) resources.push(resource);
		}
		if (phase === 'update') {
			for (const name of this.removals) {
				const held = this.known.get(name);
				if (held && isEncoded(held)) resources.push(held);
			}
		}
		return resources;
	}

	private startWildcard(): void {
		this.wildcard = true;
		this.scanAll = true;
		this.mustRespond = true;
	}

	private stopWildcard(): void {
		if (!this.wildcard) return;
		this.wildcard = false;
		this.scanAll = false;
		// The client forgets what it had by the wildcard alone (delta); a full list says so (state of the world).
		for (const name of [...this.known.keys()]) if (!this.names.has(name)) this.forget(name);
	}

	private dropName(name: string): void {
		this.names.delete(name);
		this.forget(name);
		this.forced.delete(name);
		this.pending.delete(name);
		this.removals.delete(name);
		if (this.wildcard) {
			// Still covered by the wildcard: the client is told again what is there.
			this.pending.add(name);
		} else if (this.variant === 'state-of-the-world' && isFullStateType(this.typeUrl)) this.mustRespond = true;
	}

	private settle(name: string): void {
		this.pending.delete(name);
		this.forced.delete(name);
		this.removals.delete(name);
	}

	private learn(name: string, state: SentVersion | null): void {
		if (this.known.get(name) === null) this.absentCount -= 1;
		if (state === null) this.absentCount += 1;
		this.known.set(name, state);
	}

	private forget(name: string): void {
		if (this.known.get(name) === null) this.absentCount -= 1;
		this.known.delete(name);
		this.behind.delete(name);
		this.rejections.delete(name);
	}

	private checkBounds(): void {
		if (this.names.size > SUBSCRIBED_NAMES_MAX || this.known.size > 2 * SUBSCRIBED_NAMES_MAX) {
			throw new WeftError(
				'too_many_resources',
				`more than ${SUBSCRIBED_NAMES_MAX} resources of ${this.typeUrl} asked for`,
				{
					origin: 'downstream',
				},
			);
		}
	}
}

/** Types whose state-of-the-world responses list everything, so that absence means removal. */
function isFullStateType(typeUrl: string): boolean {
	return typeUrl === LISTENER_TYPE || typeUrl === CLUSTER_TYPE;
}

function isEncoded(sent: SentVersion): sent is EncodedResource {
	return 'any' in sent;
}
