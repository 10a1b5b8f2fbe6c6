// One end of a simulated connection. What it sends travels as segments that arrive in order, each
// after its own time; the far end's window bounds how much is under way.
//
//   write ──▶ queue ──(window)──▶ segments under way ──▶ held while paused ──▶ onData, cut at random

import { assert } from '../std/assert.ts';
import type { Timer } from '../std/clock.ts';
import { type ErrorOrigin, errorMessage, type WeftError } from '../std/errors.ts';
import type {
	Address,
	ClientTlsOptions,
	Connection,
	ConnectionHandler,
	IpAddress,
	PeerRefusal,
	ServerTlsOptions,
	TlsInfo,
} from './network.ts';
import { WRITE_HIGH_WATERMARK_BYTES } from './network.ts';
import type { SimulatedNetwork } from './simulated-network.ts';
import { judgeClient, judgeServer, negotiate, type SimulatedHello, type SimulatedSession } from './simulated-tls.ts';
import { brokenError, connectTimeout, handshakeError } from './socket-errors.ts';
import { testClientHello } from './testing-client-hello.ts';
import { ByteQueue } from './write-buffer.ts';

/** Of the high one. */
const LOW_WATERMARK_PART = 4;
const HANDSHAKE_TIMEOUT_DEFAULT_MS = 15_000;
const PIECES_MAX = 4;

type Segment =
	| { readonly kind: 'accepted' }
	| { readonly kind: 'data'; readonly bytes: Uint8Array }
	| { readonly kind: 'end' }
	| { readonly kind: 'reset' }
	| { readonly kind: 'client-hello'; readonly hello: SimulatedHello }
	| { readonly kind: 'server-hello'; readonly session: SimulatedSession }
	| { readonly kind: 'finished'; readonly session: SimulatedSession };

const NO_HANDLER: ConnectionHandler = { onConnect() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

let nextId = 1_000_000_000;

export class SimulatedConnection implements Connection {
	readonly id = nextId++;
	remote: Address;
	handler: ConnectionHandler = NO_HANDLER;
	highWatermarkBytes = WRITE_HIGH_WATERMARK_BYTES;
	tls: TlsInfo | null = null;
	redirectedFrom: IpAddress | null = null;
	private state: 'connecting' | 'handshaking' | 'open' | 'closed' = 'connecting';
	private peer: SimulatedConnection | null = null;
	private readonly queue = new ByteQueue();
	private underWayBytes = 0;
	private lastArrivalMs = 0;
	private held: Segment[] = [];
	private pumpWanted = false;
	private isPaused = false;
	private isBlocked = false;
	private endWanted = false;
	private endSent = false;
	private remoteEnded = false;
	private dataGiven = false;
	private serverTls: ServerTlsOptions | null = null;
	private timer: Timer | null = null;
	/** A client's hello that was given out as data. */
	private plainHello: SimulatedHello | null = null;

	constructor(
		private readonly network: SimulatedNetwork,
		readonly origin: ErrorOrigin,
		readonly directRemote: Address,
		readonly local: Address,
		private readonly clientTls: ClientTlsOptions | null,
	) {
		this.remote = directRemote;
	}

	get bufferedBytes(): number {
		return this.queue.length;
	}

	write(bytes: Uint8Array): boolean {
		if (this.endWanted || this.state === 'closed') return true;
		this.queue.append(bytes);
		this.wantPump();
		if (this.queue.length <= this.highWatermarkBytes) return true;
		this.isBlocked = true;
		return false;
	}

	end(): void {
		if (this.endWanted || this.state === 'closed') return;
		this.endWanted = true;
		this.wantPump();
	}

	reset(): void {
		this.closeBy(null);
	}

	pause(): void {
		this.isPaused = true;
	}

	resume(): void {
		if (!this.isPaused || this.state === 'closed') return;
		this.isPaused = false;
		this.network.clock.after(0, () => this.network.guard(this, () => this.giveHeld()));
	}

	startServerTls(options: ServerTlsOptions, received?: Uint8Array): void {
		assert(this.state === 'open' && this.origin === 'downstream', 'TLS starts on an accepted plain connection');
		assert(this.dataGiven === (received !== undefined), 'TLS starts with the first byte');
		assert(this.bufferedBytes === 0 && this.tls === null, 'TLS starts before any data');
		this.state = 'handshaking';
		this.serverTls = options;
		const timeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_DEFAULT_MS;
		this.timer = this.network.clock.after(timeoutMs, () =>
			this.failed(handshakeError(this.remote, 'downstream', 'timeout', `not done within ${timeoutMs} ms`)),
		);
		if (received === undefined) return;
		const hello = this.plainHello;
		this.network.clock.after(0, () =>
			this.network.guard(this, () => {
				if (this.state !== 'handshaking') return;
				if (hello === null) this.closeBy(handshakeError(this.remote, this.origin, 'protocol', 'no TLS record'));
				else this.heardClient(hello);
			}),
		);
	}

	speakFor(address: Address): void {
		this.remote = address;
	}

	originalDestination(): IpAddress | null {
		return this.redirectedFrom;
	}

	peerCredentials(): { pid: number; uid: number; gid: number } | null {
		return this.local.kind === 'pipe' || this.remote.kind === 'pipe' ? { pid: 1, uid: 0, gid: 0 } : null;
	}

	setNoDelay(): void {}

	// ---- for SimulatedNetwork

	startConnectTimer(timeoutMs: number): void {
		this.timer = this.network.clock.after(timeoutMs, () =>
			this.failed(connectTimeout(this.remote, timeoutMs, this.state === 'handshaking')),
		);
	}

	/** Accepts `client`, which learns of it after a while. */
	join(client: SimulatedConnection): void {
		this.peer = client;
		client.peer = this;
		this.state = 'open';
		this.send({ kind: 'accepted' });
	}

	failed(error: WeftError): void {
		this.closeBy(error);
	}

	breakBothEnds(): void {
		const { peer } = this;
		this.closeBy(brokenError(this.remote, this.origin, null));
		peer?.closeBy(brokenError(peer.remote, peer.origin, null));
	}

	// ---- sending

	private wantPump(): void {
		if (this.pumpWanted || this.state !== 'open') return;
		this.pumpWanted = true;
		this.network.clock.after(0, () => {
			this.pumpWanted = false;
			this.network.guard(this, () => this.pump());
		});
	}

	private pump(): void {
		if (this.state !== 'open') return;
		while (this.queue.length > 0 && this.underWayBytes < this.network.windowBytes) {
			const available = this.queue.peek();
			const limit = Math.min(available.length, this.network.windowBytes - this.underWayBytes);
			const bytes = available.slice(0, 1 + this.network.random.below(limit));
			this.queue.consume(bytes.length);
			this.underWayBytes += bytes.length;
			this.send({ kind: 'data', bytes });
		}
		if (this.endWanted && !this.endSent && this.queue.length === 0) {
			this.endSent = true;
			this.send({ kind: 'end' });
			if (this.remoteEnded) this.finish(null);
		}
		if (this.isBlocked && this.queue.length < this.highWatermarkBytes / LOW_WATERMARK_PART) {
			this.isBlocked = false;
			if (!this.endWanted) this.handler.onDrain(this);
		}
	}

	private send(segment: Segment): void {
		const { clock } = this.network;
		const { peer } = this;
		if (peer === null) return;
		this.lastArrivalMs = Math.max(this.lastArrivalMs, clock.nowMs() + this.network.travelMs());
		clock.after(this.lastArrivalMs - clock.nowMs(), () => {
			if (this.network.isSilent(this.remote) || this.network.isSilent(this.local)) return;
			peer.network.guard(peer, () => peer.arrived(segment));
		});
	}

	// ---- receiving

	private arrived(segment: Segment): void {
		if (this.state === 'closed') {
			// Given up while it was being made: the far end learns of it.
			if (segment.kind === 'accepted') this.send({ kind: 'reset' });
			return;
		}
		if (segment.kind === 'reset') {
			this.finish(
				this.state === 'handshaking'
					? handshakeError(this.remote, this.origin, 'closed', 'the peer closed the connection')
					: brokenError(this.remote, this.origin, null),
			);
		} else if (this.state === 'open' && (this.isPaused || this.held.length > 0)) {
			this.held.push(segment);
		} else {
			this.take(segment);
		}
	}

	private take(segment: Segment): void {
		switch (segment.kind) {
			case 'accepted':
				this.accepted();
				return;
			case 'data':
				if (this.state === 'handshaking')
					this.closeBy(handshakeError(this.remote, this.origin, 'protocol', 'no TLS record'));
				else this.giveData(segment.bytes);
				return;
			case 'end':
				this.remoteEnd();
				return;
			case 'client-hello':
				this.heardClient(segment.hello);
				return;
			case 'server-hello':
				this.heardServer(segment.session);
				return;
			case 'finished':
				this.heardFinished(segment.session);
				return;
			case 'reset':
				return;
		}
	}

	private giveHeld(): void {
		while (this.held.length > 0 && !this.isPaused && this.state === 'open') this.take(this.held.shift()!);
	}

	private giveData(bytes: Uint8Array): void {
		this.dataGiven = true;
		const { random } = this.network;
		const pieces = this.network.cutReads ? 1 + random.below(PIECES_MAX) : 1;
		let offset = 0;
		for (let piece = 1; piece <= pieces && offset < bytes.length; piece++) {
			if (this.state !== 'open') return;
			if (this.isPaused) {
				this.held.unshift({ kind: 'data', bytes: bytes.subarray(offset) });
				return;
			}
			const left = bytes.length - offset;
			const length = piece === pieces ? left : 1 + random.below(left);
			const part = bytes.slice(offset, offset + length);
			offset += length;
			this.acknowledge(length);
			this.handler.onData(this, part);
			// `bytes` are valid during the call only: who keeps them shall find out.
			part.fill(0xdd);
		}
	}

	private acknowledge(bytes: number): void {
		const { peer } = this;
		if (peer === null) return;
		peer.underWayBytes -= bytes;
		if (peer.queue.length > 0) peer.wantPump();
	}

	private remoteEnd(): void {
		if (this.state === 'handshaking') {
			this.closeBy(handshakeError(this.remote, this.origin, 'closed', 'the peer ended the connection'));
			return;
		}
		this.remoteEnded = true;
		this.handler.onEnd(this);
		if (this.endSent) this.finish(null);
	}

	// ---- TLS

	private accepted(): void {
		if (this.clientTls === null) {
			this.established();
			return;
		}
		this.state = 'handshaking';
		this.send({ kind: 'client-hello', hello: { options: this.clientTls } });
	}

	private heardClient(hello: SimulatedHello): void {
		if (this.serverTls === null) {
			this.plainHello = hello;
			this.giveData(helloBytes(hello.options));
			return;
		}
		const session = negotiate(this.serverTls, hello.options);
		if (typeof session === 'string') this.closeBy(handshakeError(this.remote, this.origin, 'protocol', session));
		else this.send({ kind: 'server-hello', session });
	}

	private heardServer(session: SimulatedSession): void {
		const verdict = this.judge(() => judgeServer(session, this.network.clock.wallMs()));
		if (verdict === null) return;
		this.tls = verdict;
		this.send({ kind: 'finished', session });
		this.established();
	}

	private heardFinished(session: SimulatedSession): void {
		const verdict = this.judge(() => judgeClient(session, this.network.clock.wallMs()));
		if (verdict === null) return;
		this.tls = verdict;
		this.established();
	}

	private judge(makeVerdict: () => TlsInfo | PeerRefusal): TlsInfo | null {
		let verdict: TlsInfo | PeerRefusal;
		try {
			verdict = makeVerdict();
		} catch (error) {
			verdict = { kind: 'chain', reason: errorMessage(error) };
		}
		if ('version' in verdict) return verdict;
		this.closeBy(handshakeError(this.remote, this.origin, verdict.kind, verdict.reason));
		return null;
	}

	private established(): void {
		this.timer?.cancel();
		this.timer = null;
		this.state = 'open';
		if (this.queue.length > 0 || this.endWanted) this.wantPump();
		this.handler.onConnect(this);
	}

	// ---- closing

	/** From our side: the far end sees a reset; `onClose` comes after the caller has returned. */
	private closeBy(error: WeftError | null): void {
		if (this.state === 'closed') return;
		this.send({ kind: 'reset' });
		this.release();
		queueMicrotask(() => this.network.guard(this, () => this.handler.onClose(this, error)));
	}

	private finish(error: WeftError | null): void {
		if (this.state === 'closed') return;
		this.release();
		this.network.guard(this, () => this.handler.onClose(this, error));
	}

	private release(): void {
		this.state = 'closed';
		this.timer?.cancel();
		this.timer = null;
		this.held = [];
		if (this.queue.length > 0) this.dropQueue();
		this.network.forget(this);
	}

	private dropQueue(): void {
		while (this.queue.length > 0) this.queue.consume(this.queue.peek().length);
	}
}

/** What a plain listener sees of a TLS client. */
function helloBytes(options: ClientTlsOptions): Uint8Array {
	return testClientHello({
		versions: [0x0304],
		...(options.serverName === '' ? {} : { serverName: options.serverName }),
		...(options.alpn === undefined ? {} : { alpn: options.alpn }),
	});
}
