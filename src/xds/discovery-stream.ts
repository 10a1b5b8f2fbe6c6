// One ADS stream, apart from its transport: requests in, encoded responses out. It keeps the
// client's subscriptions and decides what is sent when, so that nothing ever refers to what the
// client does not have (make before break):
//
//   updates    clusters ─▶ endpoints ─▶ listeners, routes      (each waits for those before it to be
//   removals   listeners ─▶ routes ─▶ clusters ─▶ endpoints     acknowledged; removals for all updates)
//
// Changes of endpoints wait for nothing. A rejected update of listeners or routes holds back the
// removal of clusters, because the client goes on with routes that may name them.

import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import type { Clock, Timer } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import type { NodeView, ResourceChanges, ResourceSource, StreamPeer } from './resource-view.ts';
import { ResponseEncoder } from './response-encoder.ts';
import { type Phase, type ResponsePlan, SubscriptionState, type Variant } from './subscription-state.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, PUSH_ORDER, ROUTE_TYPE } from './type-urls.ts';

/** Types that one stream may ask for. */
const TYPES_MAX = 16;
/** How long routes to a new cluster wait for the client to ask for the cluster's endpoints. */
const FOLLOW_TIMEOUT_MS = 500;
const REMOVAL_ORDER: readonly string[] = [LISTENER_TYPE, ROUTE_TYPE, CLUSTER_TYPE, ENDPOINT_TYPE];

/** A request of either variant, its own fields only. */
export interface StreamRequest {
	readonly typeUrl: string;
	readonly node: Node | undefined;
	readonly nonce: string;
	/** Null: no error. */
	readonly error: string | null;
	/** Delta: names subscribed; state of the world: all names. */
	readonly names: readonly string[];
	/** Delta only. */
	readonly unsubscribe: readonly string[];
	/** Delta only. */
	readonly initialVersions: Readonly<Record<string, string>>;
}

export interface StreamSink {
	/** Takes an encoded response. False: write no more until `DiscoveryStream.onDrain`. */
	write(response: Uint8Array): boolean;
}

export interface StreamObserver {
	/** A response was acknowledged. */
	onAcknowledged(stream: DiscoveryStream, typeUrl: string): void;
	onRejected(stream: DiscoveryStream, typeUrl: string, detail: string): void;
}

export interface DiscoveryStreamOptions {
	readonly variant: Variant;
	readonly peer: StreamPeer;
	readonly source: ResourceSource;
	readonly sink: StreamSink;
	readonly clock: Clock;
	/** Shared by the streams of a server. Default: one of its own. */
	readonly encoder?: ResponseEncoder;
	readonly observer: StreamObserver;
}

export interface TypeStatus {
	readonly sent: number;
	/** Of those sent, at the version that was sent last. */
	readonly acknowledged: number;
	/** Detail of the NACK that stands. */
	readonly rejected: string | null;
}

export class DiscoveryStream {
	readonly peer: StreamPeer;
	readonly variant: Variant;
	private readonly options: DiscoveryStreamOptions;
	private readonly encoder: ResponseEncoder;
	private readonly subscriptions = new Map<string, SubscriptionState>();
	private view: NodeView | null = null;
	private clientNode: Node | null = null;
	private writable = true;
	private closed = false;
	private nonces = 0;
	/** Endpoints of clusters just sent that the client has not asked for yet. */
	private readonly awaited = new Set<string>();
	private awaitTimer: Timer | null = null;
	private versionInSync = '';

	constructor(options: DiscoveryStreamOptions) {
		this.options = options;
		this.peer = options.peer;
		this.variant = options.variant;
		this.encoder = options.encoder ?? new ResponseEncoder(options.clock);
	}

	/** Null before the first request. */
	get node(): Node | null {
		return this.clientNode;
	}

	/** @throws WeftError `invalid_request`, `too_many_resources`, or what `ResourceSource.open` throws: end the stream */
	onRequest(request: StreamRequest): void {
		if (this.closed) return;
		if (request.typeUrl === '') throw invalid('type_url is empty; an aggregated stream needs it');
		this.view ??= this.open(request.node);
		const names = sharedNames(this.view, request);
		const subscription = this.subscription(request.typeUrl);
		const acknowledgement =
			this.variant === 'delta'
				? subscription.onDelta({
						subscribe: names,
						unsubscribe: request.unsubscribe,
						initialVersions: request.initialVersions,
						nonce: request.nonce,
						error: request.error,
					})
				: subscription.onStateOfTheWorld({ ...request, names });
		if (request.typeUrl === ENDPOINT_TYPE) for (const name of request.names) this.awaited.delete(name);
		if (this.awaited.size === 0) this.awaitTimer?.cancel();
		if (acknowledgement === 'nack') {
			if (request.typeUrl === CLUSTER_TYPE) this.awaited.clear();
			this.options.observer.onRejected(this, request.typeUrl, subscription.rejected ?? '');
		}
		this.pump();
		if (acknowledgement === 'ack') this.options.observer.onAcknowledged(this, request.typeUrl);
	}

	onDrain(): void {
		this.writable = true;
		this.pump();
	}

	/** Idempotent. */
	close(orderly: boolean): void {
		if (this.closed) return;
		this.closed = true;
		this.awaitTimer?.cancel();
		this.view?.close(orderly);
	}

	/** By type URL. */
	status(): ReadonlyMap<string, TypeStatus> {
		const status = new Map<string, TypeStatus>();
		for (const [typeUrl, subscription] of this.subscriptions) {
			status.set(typeUrl, { ...subscription.counts(), rejected: subscription.rejected });
		}
		return status;
	}

	/** All that was to be sent is sent and acknowledged, and nothing stands rejected. */
	get inSync(): boolean {
		if (this.view === null) return false;
		for (const subscription of this.subscriptions.values()) {
			if (!subscription.settled || subscription.rejected !== null) return false;
		}
		return true;
	}

	/** The newest version of the whole that the client has acknowledged in full; empty before the first. */
	get acknowledgedVersion(): string {
		if (this.view !== null && this.inSync) this.versionInSync = this.view.version;
		return this.versionInSync;
	}

	/** Null: the client does not have it, or has not asked for it. */
	acknowledgedVersionOf(typeUrl: string, name: string): string | null {
		return this.subscriptions.get(typeUrl)?.acknowledgedVersion(name) ?? null;
	}

	/** The client has acknowledged the resource as it is now. */
	hasCurrent(typeUrl: string, name: string): boolean {
		const current = this.view?.get(typeUrl, name);
		return current !== undefined && this.acknowledgedVersionOf(typeUrl, name) === current.version;
	}

	subscribes(typeUrl: string, name: string): boolean {
		return this.subscriptions.get(typeUrl)?.subscribes(name) ?? false;
	}

	/** Why the client refused the resource as it was sent last; null when it did not. */
	rejectionOf(typeUrl: string, name: string): string | null {
		return this.subscriptions.get(typeUrl)?.rejectionOf(name) ?? null;
	}

	private open(node: Node | undefined): NodeView {
		if (node === undefined || node.id === '') throw invalid('the first request must carry a node with an id');
		this.clientNode = node;
		return this.options.source.open(node, this.peer, (changes) => this.onChange(changes));
	}

	private subscription(typeUrl: string): SubscriptionState {
		const found = this.subscriptions.get(typeUrl);
		if (found !== undefined) return found;
		if (this.subscriptions.size >= TYPES_MAX) throw invalid(`more than ${TYPES_MAX} types of resources`);
		const made = new SubscriptionState(typeUrl, this.variant);
		this.subscriptions.set(typeUrl, made);
		return made;
	}

	private onChange(changes: ResourceChanges): void {
		for (const [typeUrl, names] of changes) this.subscriptions.get(typeUrl)?.markChanged(names);
		this.pump();
	}

	/** Sends what may be sent now. */
	private pump(): void {
		const view = this.view;
		if (view === null || this.closed) return;
		for (const typeUrl of PUSH_ORDER) {
			if (this.subscriptions.has(typeUrl) && !this.mustWait(typeUrl)) this.send(view, typeUrl, 'update');
		}
		for (const typeUrl of this.subscriptions.keys()) {
			if (!PUSH_ORDER.includes(typeUrl)) {
				this.send(view, typeUrl, 'update');
				this.send(view, typeUrl, 'removal');
			}
		}
		for (const typeUrl of REMOVAL_ORDER) {
			if (!this.everythingMade()) return;
			const subscription = this.subscriptions.get(typeUrl);
			if (subscription === undefined) continue;
			if (!subscription.settled) this.send(view, typeUrl, 'removal');
			// What comes later may still be named by this until it is acknowledged.
			if (!subscription.settled || subscription.rejected !== null) return;
		}
	}

	/** Listeners and routes name clusters, so they come when the client has those with their endpoints. */
	private mustWait(typeUrl: string): boolean {
		if (typeUrl !== LISTENER_TYPE && typeUrl !== ROUTE_TYPE) return false;
		if (this.awaited.size > 0) return true;
		for (const before of [CLUSTER_TYPE, ENDPOINT_TYPE]) {
			if (this.subscriptions.get(before)?.updatesSettled === false) return true;
		}
		return false;
	}

	private everythingMade(): boolean {
		for (const subscription of this.subscriptions.values()) if (!subscription.updatesSettled) return false;
		return this.awaited.size === 0;
	}

	private send(view: NodeView, typeUrl: string, phase: Phase): void {
		const subscription = this.subscriptions.get(typeUrl);
		if (subscription === undefined || !this.writable) return;
		const plan = subscription.plan(view, phase);
		if (plan === null) return;
		this.nonces += 1;
		const nonce = String(this.nonces);
		const response = this.encoder.encode(this.variant, view.version, typeUrl, nonce, plan);
		subscription.onSent(nonce, plan);
		if (phase === 'update') this.expectFollowers(typeUrl, plan);
		this.writable = this.options.sink.write(response);
	}

	private expectFollowers(typeUrl: string, plan: ResponsePlan): void {
		if (typeUrl === LISTENER_TYPE) this.subscriptions.get(ROUTE_TYPE)?.answerNextRequest();
		if (typeUrl !== CLUSTER_TYPE) return;
		const endpoints = this.subscriptions.get(ENDPOINT_TYPE);
		endpoints?.answerNextRequest();
		for (const resource of plan.resources) {
			for (const follow of resource.follows) {
				if (follow.typeUrl === ENDPOINT_TYPE && !(endpoints?.subscribes(follow.name) ?? false))
					this.awaited.add(follow.name);
			}
		}
		if (this.awaited.size === 0) return;
		this.awaitTimer ??= this.options.clock.after(FOLLOW_TIMEOUT_MS, () => {
			this.awaited.clear();
			this.pump();
		});
		// Not anew for each cluster that comes meanwhile: steady changes must not hold routes back for ever.
		if (!this.awaitTimer.active) this.awaitTimer.restart(FOLLOW_TIMEOUT_MS);
	}
}

/** What a thousand clients ask for is kept once: the names of what is there, instead of each client's own copies. */
function sharedNames(view: NodeView, { typeUrl, names }: StreamRequest): readonly string[] {
	return names.map((name) => view.get(typeUrl, name)?.name ?? name);
}

function invalid(message: string): WeftError {
	return new WeftError('invalid_request', message, { origin: 'downstream' });
}
