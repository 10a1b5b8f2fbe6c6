// Where calls go: one server (of one or several addresses), over one connection at a time, made when
// a call needs it. A connection that takes no more calls (GOAWAY) is followed by another, and those
// that are under way on it end there.
//
//            a call            an address answers          lost, GOAWAY, idle
//   idle ──────────▶ connecting ─────────────────▶ ready ───────────────────▶ idle
//     ▲                  │ none does                 ▲
//     └── pause over ── backing off                  └── (connecting at once, when calls wait)
//
// Calls wait while it connects; one that waits for ready waits through the pauses as well, others
// fail with UNAVAILABLE as soon as an attempt has failed, and at once during the pause (gRPC
// "Wait for Ready", "Connection Backoff").

import type { Http2KeepAlive } from '../http2/limits.ts';
import type { ClientTlsOptions, Network } from '../net/network.ts';
import { formatAddress } from '../net/network.ts';
import type { Timer } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import type { Random } from '../std/random.ts';
import type { CallChannel, ChannelCall } from './call.ts';
import { callStatus } from './call-status.ts';
import type { ChannelConnection } from './channel-connection.ts';
import { ConnectAttempt, type GrpcAddress } from './connect-attempt.ts';
import { GrpcStatus } from './status.ts';

/** The TLS of the moment: asked at each connection, so that a renewed certificate is used by the next. */
export interface ClientTlsSource {
	/** Null: not there yet; the attempt fails, and is made again. */
	current(): ClientTlsOptions | null;
}

export interface ConnectBackoff {
	/** After the first failure. Default 1000. */
	readonly firstMs?: number;
	/** Default 120000. Between them each pause is 1.6 times the one before, give or take a fifth. */
	readonly maxMs?: number;
}

export interface GrpcChannelOptions {
	readonly network: Network;
	readonly random: Random;
	/** At least one. Tried in this order, from the first, at each attempt. */
	readonly addresses: readonly GrpcAddress[];
	/** Null: plain text. */
	readonly tls: ClientTlsSource | null;
	/** `:authority` of the calls. Default: the TLS server name, else the first address. */
	readonly authority?: string;
	/** A PING so often while connected. Default 0: never. */
	readonly keepaliveMs?: number;
	/** For its answer; without one the connection is given up. Default 20000. */
	readonly keepaliveTimeoutMs?: number;
	/** For one address: connection, handshake and SETTINGS. Default 20000. */
	readonly connectTimeoutMs?: number;
	readonly backoff?: ConnectBackoff;
	/** A connection without calls closes after it. Default 20000. */
	readonly idleTimeoutMs?: number;
}

const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 120_000;
const BACKOFF_FACTOR = 1.6;
const BACKOFF_JITTER = 0.2;
const CONNECT_TIMEOUT_MS = 20_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;
const KEEPALIVE_JITTER_PERCENT = 10;
/** Shorter than the usual keepalive: servers may take PINGs without calls for abuse. */
const IDLE_TIMEOUT_MS = 20_000;
/** More at once is a bug of the caller. */
const WAITING_CALLS_MAX = 1000;

type State =
	| { readonly kind: 'idle' }
	| { readonly kind: 'connecting'; readonly attempt: ConnectAttempt }
	| { readonly kind: 'ready'; readonly connection: ChannelConnection }
	| { readonly kind: 'backing_off'; readonly timer: Timer; readonly error: WeftError }
	| { readonly kind: 'closed' };

export class GrpcChannel implements CallChannel {
	readonly network: Network;
	private state: State = { kind: 'idle' };
	private readonly waiting = new Set<ChannelCall>();
	/** Calls that are under way, by the connection that carries them; also those that take no more. */
	private readonly carried = new Map<ChannelConnection, Set<ChannelCall>>();
	private failures = 0;
	private keepaliveMs: number;

	constructor(private readonly options: GrpcChannelOptions) {
		this.network = options.network;
		this.keepaliveMs = options.keepaliveMs ?? 0;
	}

	get authority(): string {
		const { authority, addresses, tls } = this.options;
		if (authority) return authority;
		const serverName = tls?.current()?.serverName;
		if (serverName) return serverName;
		const [first] = addresses;
		if (first === undefined || first.kind === 'pipe') return 'localhost';
		return first.kind === 'name' ? `${first.name}:${first.port}` : formatAddress(first);
	}

	get scheme(): 'http' | 'https' {
		return this.options.tls === null ? 'http' : 'https';
	}

	/** How it stands, for tests and status pages. */
	get stateName(): State['kind'] {
		return this.state.kind;
	}

	/** Connections that are open, those that only finish their calls included. */
	get openConnections(): number {
		return this.carried.size;
	}

	/**
	 * No more calls. Those that wait end with UNAVAILABLE, those that are under way go on for as long as
	 * `graceMs` (default 0) and end then in the same way. Idempotent.
	 */
	close(graceMs = 0): void {
		const { state } = this;
		if (state.kind === 'closed') return;
		this.setState({ kind: 'closed' });
		this.failWaiting(CLOSED, true);
		for (const connection of [...this.carried.keys()]) {
			if (graceMs === 0) connection.closeNow();
			else connection.drain();
		}
		if (graceMs === 0 || this.carried.size === 0) return;
		this.network.clock.after(graceMs, () => {
			for (const connection of [...this.carried.keys()]) connection.closeNow();
		});
	}

	// --- CallChannel

	/** The call gets a stream, now or later, or is told why not; never within this call. */
	begin(call: ChannelCall): void {
		const { state } = this;
		if (state.kind === 'closed') this.refuse(call, CLOSED);
		else if (state.kind === 'backing_off' && !call.waitForReady) this.refuse(call, state.error);
		else if (this.waiting.size >= WAITING_CALLS_MAX) {
			const error = new WeftError('grpc_overload', `more than ${WAITING_CALLS_MAX} calls wait for a connection`);
			this.refuse(call, error, GrpcStatus.resourceExhausted);
		} else {
			this.waiting.add(call);
			if (state.kind === 'ready') queueMicrotask(() => this.serve());
			else if (state.kind === 'idle') this.connect();
		}
	}

	forget(call: ChannelCall): void {
		this.waiting.delete(call);
		for (const [connection, calls] of this.carried) if (calls.delete(call)) connection.callsChanged(calls.size);
	}

	// --- inside

	private setState(state: State): void {
		const old = this.state;
		this.state = state;
		if (old.kind === 'connecting' && state.kind !== 'ready') old.attempt.cancel();
		if (old.kind === 'backing_off') old.timer.cancel();
	}

	private connect(): void {
		const { network, random, addresses, tls, connectTimeoutMs, idleTimeoutMs } = this.options;
		const attempt = new ConnectAttempt(
			{
				network,
				random,
				addresses,
				tls: tls === null ? null : () => presentTls(tls),
				timeoutMs: connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
				idleTimeoutMs: idleTimeoutMs ?? IDLE_TIMEOUT_MS,
				keepAlive: this.keepAlive(),
			},
			{
				onConnected: (connection) => this.onConnected(connection),
				onFailed: (error) => this.onFailed(error),
			},
		);
		this.setState({ kind: 'connecting', attempt });
	}

	private keepAlive(): Http2KeepAlive | null {
		if (this.keepaliveMs === 0) return null;
		return {
			intervalMs: this.keepaliveMs,
			timeoutMs: this.options.keepaliveTimeoutMs ?? KEEPALIVE_TIMEOUT_MS,
			jitterPercent: KEEPALIVE_JITTER_PERCENT,
			idleIntervalMs: 0,
		};
	}

	private onConnected(connection: ChannelConnection): void {
		this.failures = 0;
		this.carried.set(connection, new Set());
		connection.events = {
			onOpen: () => {},
			onRoom: () => this.serve(),
			onUnusable: (error) => {
				// A server that finds our PINGs too many says so, and is spared half of them.
				if (error?.code === 'http2_goaway' && error.message.includes('too_many_pings')) this.keepaliveMs *= 2;
				this.onUnusable(connection);
			},
			onClosed: () => {
				this.onUnusable(connection);
				this.carried.delete(connection);
			},
		};
		this.setState({ kind: 'ready', connection });
		this.serve();
	}

	private onFailed(error: WeftError): void {
		const { random, backoff } = this.options;
		const maxMs = backoff?.maxMs ?? BACKOFF_MAX_MS;
		const baseMs = Math.min(
			maxMs,
			(backoff?.firstMs ?? BACKOFF_FIRST_MS) * BACKOFF_FACTOR ** Math.min(this.failures, 64),
		);
		this.failures++;
		const pauseMs = baseMs * (1 + BACKOFF_JITTER * (2 * random.next() - 1));
		const timer = this.network.clock.after(pauseMs, () => {
			if (this.waiting.size > 0) this.connect();
			else this.setState({ kind: 'idle' });
		});
		this.setState({ kind: 'backing_off', timer, error });
		this.failWaiting(error, false);
	}

	/** What waits gets streams, in order, as far as there is room. */
	private serve(): void {
		for (const call of [...this.waiting]) {
			const { state } = this;
			if (state.kind !== 'ready' || !state.connection.hasRoom) return;
			if (!this.waiting.delete(call)) continue;
			const calls = this.carried.get(state.connection)!;
			calls.add(call);
			state.connection.callsChanged(calls.size);
			call.attach(state.connection.codec!);
		}
	}

	private onUnusable(connection: ChannelConnection): void {
		const { state } = this;
		if (state.kind !== 'ready' || state.connection !== connection) return;
		this.setState({ kind: 'idle' });
		if (this.waiting.size > 0) this.connect();
	}

	private failWaiting(error: WeftError, all: boolean): void {
		for (const call of [...this.waiting]) {
			if (call.waitForReady && !all) continue;
			this.waiting.delete(call);
			call.refused(callStatus(GrpcStatus.unavailable, error.message, error));
		}
	}

	private refuse(call: ChannelCall, error: WeftError, code: number = GrpcStatus.unavailable): void {
		queueMicrotask(() => call.refused(callStatus(code, error.message, error)));
	}
}

const CLOSED = new WeftError('grpc_channel_closed', 'the channel is closed');

function presentTls(source: ClientTlsSource): ClientTlsOptions {
	const options = source.current();
	if (options !== null) return options;
	throw new WeftError('tls_secret_missing', 'a TLS secret is not there yet', { origin: 'upstream', retrySafe: true });
}
