// The client of a control plane: one delta ADS stream for all types (xDS v3), kept up for ever.
//
//              open              first response            stream ended
//   idle ────────────▶ connecting ──────────▶ connected ─────────────────┐
//                          ▲   │ stream ended                            ▼
//                          │   └──────────────────────────────────▶ backing off
//                          └───────────────── pause over ────────────────┘
//   close(): half-closes, from any state, for good.
//
// What subscribers accept is acknowledged; what they refuse is a NACK with the reason, and the last
// good state stays, here and at the subscribers. A new stream tells the versions that are known, so
// that the server sends only what changed meanwhile. With a state directory the last good state
// outlives the process, and is used when the server does not answer soon after the start.

import { create } from '@bufbuild/protobuf';
import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import {
	type DeltaDiscoveryRequest,
	DeltaDiscoveryRequestSchema,
	type DeltaDiscoveryResponse,
} from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import { StatusSchema } from '../generated/google/rpc/status_pb.ts';
import { type Clock, GuardedClock, type Timer } from '../std/clock.ts';
import { errorMessage, type WeftError } from '../std/errors.ts';
import { reportFault } from '../std/fault.ts';
import { Logger } from '../std/log.ts';
import type { Random } from '../std/random.ts';
import type { AdsStream, AdsTransport } from './ads-transport.ts';
import { ClientResources } from './client-resources.ts';
import type { DiscoveredResource, DiscoveryClient, ResourceSubscriber, Subscription } from './discovery-client.ts';
import { LastGoodState, type ResourcesByType } from './last-good-state.ts';
import { PUSH_ORDER, SECRET_TYPE, shortTypeName } from './type-urls.ts';

export interface AdsClientOptions {
	readonly transport: AdsTransport;
	readonly node: Node;
	readonly clock: Clock;
	readonly random: Random;
	/** Default true. Envoy `ApiConfigSource.set_node_on_first_message_only`. */
	readonly nodeOnFirstMessageOnly?: boolean;
	/** Where the last good state is kept; null: nowhere. */
	readonly stateDirectory?: string | null;
	/** Default 1000. How long after the start the server may take before the state on disk is used. */
	readonly restoreAfterMs?: number;
}

export interface AdsTypeStatus {
	readonly typeUrl: string;
	readonly resources: number;
	/** `system_version_info` of the last response that was accepted; empty before. */
	readonly acknowledgedVersion: string;
	readonly acknowledgedAtMs: number | null;
	readonly acks: number;
	readonly nacks: number;
	/** Reason of the last NACK, until a response is accepted. */
	readonly lastError: string | null;
}

export interface AdsStatus {
	readonly state: 'idle' | 'connecting' | 'connected' | 'backing_off' | 'closed';
	/** Wall time of the first response of the present stream. */
	readonly connectedSinceMs: number | null;
	readonly lastError: string | null;
	/** The state on disk is in use because no server has answered since the start. */
	readonly restored: boolean;
	readonly types: readonly AdsTypeStatus[];
}

interface TypeState {
	readonly resources: ClientResources;
	/** A response came, on this or an earlier stream. */
	answered: boolean;
	acknowledgedVersion: string;
	acknowledgedAtMs: number | null;
	acks: number;
	nacks: number;
	lastError: string | null;
}

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 5_000;
const RETRY_AFTER_FAULT_MS = 5_000;
const RESTORE_AFTER_MS = 1000;
const CLOSE_GRACE_MS = 1000;
const ERROR_DETAIL_CHARACTERS_MAX = 4096;
/** google.rpc.Code INVALID_ARGUMENT, as Envoy's NACKs have. */
const INVALID_ARGUMENT = 3;

const log = new Logger('ads');

export class AdsClient implements DiscoveryClient {
	private state: AdsStatus['state'] = 'idle';
	private readonly types = new Map<string, TypeState>();
	private stream: AdsStream | null = null;
	private nodeSent = false;
	private connectedSinceMs: number | null = null;
	private lastError: string | null = null;
	private failures = 0;
	private flushScheduled = false;
	private readonly retryTimer: Timer;
	private readonly restoreTimer: Timer;
	private readonly lastGood: LastGoodState | null;
	/** From the disk, until the server has answered for its type. */
	private readonly restorable: Map<string, readonly DiscoveredResource[]>;
	private restored = false;
	private closing: { resolve(): void } | null = null;

	constructor(private readonly options: AdsClientOptions) {
		const { clock, stateDirectory, node } = options;
		const guarded = new GuardedClock(clock, (error) => {
			reportFault('timer', 'the stream to the control plane could not be begun by a fault of ours', error);
			this.retryTimer.restart(RETRY_AFTER_FAULT_MS);
		});
		this.retryTimer = guarded.after(0, () => this.connect());
		this.retryTimer.cancel();
		this.restoreTimer = clock.after(0, () => this.restore());
		this.restoreTimer.cancel();
		this.lastGood =
			typeof stateDirectory === 'string'
				? new LastGoodState(stateDirectory, node.id, clock, () => this.goodResources())
				: null;
		this.restorable = new Map(this.lastGood?.load() ?? []);
	}

	/** Connects, and keeps connecting. Subscriptions may be made before and after. */
	start(): void {
		if (this.state !== 'idle') return;
		if (this.restorable.size > 0) this.startRestoreTimer();
		this.connect();
	}

	subscribe(typeUrl: string, names: readonly string[] | null, subscriber: ResourceSubscriber): Subscription {
		const type = this.typeState(typeUrl);
		if (this.restored) this.restoreType(type);
		return type.resources.subscribe(names, subscriber);
	}

	status(): AdsStatus {
		const types = [...this.types.values()].map((type) => ({
			typeUrl: type.resources.typeUrl,
			resources: type.resources.count,
			acknowledgedVersion: type.acknowledgedVersion,
			acknowledgedAtMs: type.acknowledgedAtMs,
			acks: type.acks,
			nacks: type.nacks,
			lastError: type.lastError,
		}));
		const { state, connectedSinceMs, lastError, restored } = this;
		return { state, connectedSinceMs, lastError, restored, types };
	}

	/**
	 * Ends the stream in order, so that the server takes this node as gone at once, and writes the state.
	 * Resolves when the server has ended its side too, or after a second. Idempotent.
	 */
	async close(): Promise<void> {
		if (this.state === 'closed') return;
		this.state = 'closed';
		this.retryTimer.cancel();
		this.restoreTimer.cancel();
		const { stream } = this;
		if (stream !== null) {
			await new Promise<void>((resolve) => {
				const grace = this.options.clock.after(CLOSE_GRACE_MS, () => this.closing?.resolve());
				this.closing = {
					resolve: () => {
						grace.cancel();
						this.closing = null;
						resolve();
					},
				};
				stream.end();
			});
			this.stream?.cancel();
			this.stream = null;
		}
		await this.lastGood?.flush();
	}

	// --- the stream

	private connect(): void {
		this.state = 'connecting';
		this.nodeSent = false;
		const stream = this.options.transport.open({
			onResponse: (response) => {
				if (this.stream === stream) this.onResponse(response);
			},
			onEnd: (error) => {
				if (this.stream === stream) this.onStreamEnd(error);
			},
		});
		this.stream = stream;
		this.flush();
	}

	private onStreamEnd(error: WeftError | null): void {
		this.stream = null;
		const { closing } = this;
		if (closing !== null) {
			closing.resolve();
			return;
		}
		this.lastError = error === null ? 'the server ended the stream' : error.message;
		if (this.state === 'connected') log.warning('disconnected', { reason: this.lastError });
		else log.debug('not connected', { reason: this.lastError, failures: this.failures + 1 });
		this.connectedSinceMs = null;
		for (const { resources } of this.types.values()) resources.streamEnded();
		this.state = 'backing_off';
		if (this.restorable.size > 0 && !this.restored && !this.restoreTimer.active) this.startRestoreTimer();
		// Full jitter: many proxies that lost the same server must not come back at once.
		const limitMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.failures, 16));
		this.failures++;
		this.retryTimer.restart(this.options.random.next() * limitMs);
	}

	private onResponse(response: DeltaDiscoveryResponse): void {
		// Crossed our end of the stream, after which nothing can be acknowledged.
		if (this.state === 'closed') return;
		if (this.state === 'connecting') {
			this.state = 'connected';
			this.connectedSinceMs = this.options.clock.wallMs();
			this.failures = 0;
			this.lastError = null;
			this.restored = false;
			this.restoreTimer.cancel();
			log.info('connected', { server: response.controlPlane?.identifier || undefined });
		}
		const type = this.types.get(response.typeUrl);
		// Nobody wants it any more: there is nothing to refuse.
		const reason = type === undefined ? null : this.apply(type, response);
		this.acknowledge(response, reason);
	}

	private apply(type: TypeState, response: DeltaDiscoveryResponse): string | null {
		type.answered = true;
		this.restorable.delete(response.typeUrl);
		const updated: DiscoveredResource[] = [];
		const reasons: string[] = [];
		for (const { name, version, resource } of response.resources) {
			if (resource !== undefined && resource.typeUrl === response.typeUrl) {
				updated.push({ name, version, value: resource.value });
			} else {
				reasons.push(`${name}: found ${resource?.typeUrl ?? 'no resource'}, expected ${response.typeUrl}`);
			}
		}
		let refused: string | null;
		try {
			refused = type.resources.apply({ updated, removed: response.removedResources });
		} catch (error) {
			// A bug of a subscriber must not take the stream down, nor pass for acceptance.
			refused = errorMessage(error);
			log.error('subscriber failed', { type: shortTypeName(response.typeUrl), reason: refused });
		}
		if (refused !== null) reasons.push(refused);
		const reason = reasons.length === 0 ? null : reasons.join('\n');
		if (reason === null) {
			type.acks++;
			type.acknowledgedVersion = response.systemVersionInfo;
			type.acknowledgedAtMs = this.options.clock.wallMs();
		} else {
			type.nacks++;
			log.warning('update refused', { type: shortTypeName(response.typeUrl), reason });
		}
		type.lastError = reason;
		this.lastGood?.touch();
		return reason;
	}

	private acknowledge(response: DeltaDiscoveryResponse, reason: string | null): void {
		if (this.stream === null) return;
		this.send(
			create(DeltaDiscoveryRequestSchema, {
				typeUrl: response.typeUrl,
				responseNonce: response.nonce,
				errorDetail:
					reason === null
						? undefined
						: create(StatusSchema, { code: INVALID_ARGUMENT, message: reason.slice(0, ERROR_DETAIL_CHARACTERS_MAX) }),
			}),
		);
	}

	/** Says what is wanted and was not said yet, in the order in which answers are best taken in. */
	private flush(): void {
		this.flushScheduled = false;
		if (this.stream === null || this.state === 'closed') return;
		for (const { resources } of this.typesInOrder()) {
			if (!resources.begun) {
				if (!resources.hasSubscribers) continue;
				const { subscribe, versions } = resources.begin();
				this.send(
					create(DeltaDiscoveryRequestSchema, {
						typeUrl: resources.typeUrl,
						resourceNamesSubscribe: [...subscribe],
						initialResourceVersions: versions,
					}),
				);
				continue;
			}
			const changes = resources.changes();
			if (changes === null) continue;
			this.send(
				create(DeltaDiscoveryRequestSchema, {
					typeUrl: resources.typeUrl,
					resourceNamesSubscribe: [...changes.subscribe],
					resourceNamesUnsubscribe: [...changes.unsubscribe],
				}),
			);
		}
	}

	private send(request: DeltaDiscoveryRequest): void {
		if (!this.nodeSent || this.options.nodeOnFirstMessageOnly === false) request.node = this.options.node;
		this.nodeSent = true;
		this.stream!.send(request);
	}

	private scheduleFlush(): void {
		if (this.flushScheduled || this.stream === null) return;
		this.flushScheduled = true;
		// One request for all that one turn asks for: a CDS answer may bring a thousand EDS names.
		queueMicrotask(() => this.flush());
	}

	private typeState(typeUrl: string): TypeState {
		let type = this.types.get(typeUrl);
		if (type === undefined) {
			type = {
				resources: new ClientResources(typeUrl, () => this.scheduleFlush()),
				answered: false,
				acknowledgedVersion: '',
				acknowledgedAtMs: null,
				acks: 0,
				nacks: 0,
				lastError: null,
			};
			this.types.set(typeUrl, type);
		}
		return type;
	}

	private typesInOrder(): TypeState[] {
		const rank = (typeUrl: string) => {
			const index = PUSH_ORDER.indexOf(typeUrl);
			return index < 0 ? PUSH_ORDER.length : index;
		};
		return [...this.types.values()].sort((a, b) => rank(a.resources.typeUrl) - rank(b.resources.typeUrl));
	}

	// --- the last good state

	private startRestoreTimer(): void {
		this.restoreTimer.restart(this.options.restoreAfterMs ?? RESTORE_AFTER_MS);
	}

	private restore(): void {
		this.restored = true;
		log.warning('no answer from the control plane, the last good state is in use');
		for (const type of this.typesInOrder()) this.restoreType(type);
		// A stream that is being opened has not told these versions: a new one does, and so the server
		// says which of them are gone.
		if (this.state !== 'connecting' || this.stream === null) return;
		this.stream.cancel();
		this.stream = null;
		for (const { resources } of this.types.values()) resources.streamEnded();
		this.connect();
	}

	private restoreType(type: TypeState): void {
		const resources = this.restorable.get(type.resources.typeUrl);
		if (resources === undefined || type.answered) return;
		this.restorable.delete(type.resources.typeUrl);
		type.resources.restore(resources);
	}

	private goodResources(): ResourcesByType {
		const state = new Map<string, readonly DiscoveredResource[]>();
		// What the server has not answered for yet stays as it was.
		for (const [typeUrl, resources] of this.restorable) state.set(typeUrl, resources);
		for (const [typeUrl, type] of this.types) {
			if (typeUrl !== SECRET_TYPE && (type.answered || type.resources.count > 0)) {
				state.set(typeUrl, type.resources.resources());
			}
		}
		return state;
	}
}
