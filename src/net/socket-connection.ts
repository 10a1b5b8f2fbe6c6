// A connection on a socket: one of our own event loop, or one of Bun's, which all with TLS are. It gathers
// the writes of a turn, keeps what the kernel does not take, closes each direction by itself, and turns into
// TLS on demand. Both kinds of sockets call in through socket-handlers.ts only.

import { assert } from '../std/assert.ts';
import type { Timer } from '../std/clock.ts';
import { type ErrorOrigin, errorMessage, type WeftError } from '../std/errors.ts';
import type { ConnectingSocket } from './abandoned-connects.ts';
import { readClientHello } from './client-hello.ts';
import { EpollSocket } from './epoll-socket.ts';
import { originalDestination, type PeerCredentials, peerCredentials } from './linux.ts';
import type {
	Address,
	ClientTlsOptions,
	Connection,
	ConnectionHandler,
	IpAddress,
	ServerTlsOptions,
	TlsInfo,
} from './network.ts';
import { WRITE_HIGH_WATERMARK_BYTES } from './network.ts';
import { setStreamOptions, takeAllUnsent } from './socket-calls.ts';
import { brokenError, connectTimeout, handshakeError, handshakeFailureOf } from './socket-errors.ts';
import {
	type AnySocket,
	adoptSocket,
	type LoopSocket,
	type NativeSocket,
	SERVER_TLS_HANDLERS,
	type SocketBoundary,
} from './socket-handlers.ts';
import { ClientSessions, checkPeer, nativeServerTls, readPeerChain, readTlsInfo, type Verdict } from './tls.ts';
import { ByteQueue, releaseSlab, SEND_AT_ONCE_BYTES, SLAB_BYTES, takeLargeSlab, takeSlab } from './write-buffer.ts';

/** Of the high one. */
const LOW_WATERMARK_PART = 4;
const HANDSHAKE_TIMEOUT_DEFAULT_MS = 15_000;

// connecting ──▶ handshaking ──▶ open ──▶ closed    (plain: connecting ──▶ open; any state ──▶ closed)
type State = 'connecting' | 'handshaking' | 'open' | 'closed';

const NO_BYTES = new Uint8Array(0);

let nextId = 1;

const NO_HANDLER: ConnectionHandler = {
	onConnect() {},
	onData() {},
	onDrain() {},
	onEnd() {},
	onClose() {},
};

export class SocketConnection implements Connection {
	readonly id = nextId++;
	handler: ConnectionHandler = NO_HANDLER;
	highWatermarkBytes = WRITE_HIGH_WATERMARK_BYTES;
	tls: TlsInfo | null = null;
	local: Address;
	remote: Address;
	state: State;
	private socket: AnySocket | null = null;
	/** While our own event loop connects it. */
	private opening: LoopSocket | null = null;
	private slab: Uint8Array | null = null;
	private slabLength = 0;
	private queue: ByteQueue | null = null;
	/** `write` returned false and `onDrain` has not followed. */
	private blocked = false;
	private flushWanted = false;
	private endWanted = false;
	private endSent = false;
	/** The kernel was told to take all that it has room for. */
	private leavesRest = false;
	private remoteEnded = false;
	private paused = false;
	private dataGiven = false;
	private timer: Timer | null = null;
	/** Bun is making the socket. */
	private isAttempted = false;
	private connecting: ConnectingSocket | null = null;
	private failure: Error | null = null;
	/** Bun makes a TLS socket of the plain one: what it says of the new one comes before that is here. */
	private isUpgrading = false;
	private tlsOptions: ServerTlsOptions | ClientTlsOptions | null = null;
	/** What came of a ClientHello that is waited for; null: none is. */
	private hello: Uint8Array | null = null;
	private sessions: ClientSessions | null = null;
	/** The newest session of this connection that is not in `sessions` yet. */
	private session: Buffer | null = null;

	constructor(
		readonly boundary: SocketBoundary,
		readonly origin: ErrorOrigin,
		readonly directRemote: Address,
		local: Address,
		accepted: AnySocket | null,
	) {
		this.remote = directRemote;
		this.local = local;
		this.socket = accepted;
		this.state = accepted === null ? 'connecting' : 'open';
	}

	get bufferedBytes(): number {
		return this.slabLength + (this.queue === null ? 0 : this.queue.length);
	}

	write(bytes: Uint8Array): boolean {
		if (this.endWanted || this.state === 'closed') return true;
		const length = bytes.length;
		if (this.queue !== null || this.state !== 'open') {
			this.queue ??= new ByteQueue();
			this.queue.append(bytes);
		} else if (!this.gather(bytes)) {
			if (this.slab !== null && this.sendBoth(bytes)) return this.isBelowMark();
			// The kernel may have said that the connection is gone.
			if ((this.state as State) === 'closed') return true;
			// What did not fit may begin the next slab.
			if (this.queue !== null || !this.gather(bytes)) this.sendOrKeep(bytes, 0, length);
		}
		return this.isBelowMark();
	}

	private isBelowMark(): boolean {
		if (this.bufferedBytes <= this.highWatermarkBytes) return true;
		this.blocked = true;
		return false;
	}

	end(): void {
		if (this.endWanted || this.state === 'closed') return;
		this.endWanted = true;
		this.wantFlush();
	}

	reset(): void {
		this.closeBy(null);
	}

	pause(): void {
		if (this.paused || this.state === 'closed') return;
		this.paused = true;
		if (this.state === 'open') this.socket?.pause();
	}

	resume(): void {
		if (!this.paused || this.state === 'closed') return;
		this.paused = false;
		if (this.state === 'open') this.socket?.resume();
	}

	startServerTls(options: ServerTlsOptions, received?: Uint8Array): void {
		assert(this.state === 'open' && this.origin === 'downstream', 'TLS starts on an accepted plain connection');
		assert(this.dataGiven === (received !== undefined), 'TLS starts with the first byte');
		assert(this.bufferedBytes === 0 && this.tls === null, 'TLS starts before any data');
		this.state = 'handshaking';
		this.startTimer(options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_DEFAULT_MS, (timeoutMs) =>
			handshakeError(this.remote, 'downstream', 'timeout', `not done within ${timeoutMs} ms`),
		);
		this.tlsOptions = options;
		if (options.select === undefined) {
			this.upgrade(options, received);
			return;
		}
		this.hello = NO_BYTES;
		// The handshake must be read; `established` stops the reading again.
		if (this.paused) this.socket?.resume();
		if (received !== undefined) this.helloReceived(received);
	}

	private helloReceived(bytes: Uint8Array): void {
		const options = this.tlsOptions as ServerTlsOptions;
		const { select } = options;
		assert(this.hello !== null && select !== undefined, 'a ClientHello is waited for');
		const received = this.hello.length === 0 ? bytes : Buffer.concat([this.hello, bytes]);
		const hello = readClientHello(received);
		if (hello === 'incomplete') {
			this.hello = received === bytes ? bytes.slice() : received;
			return;
		}
		this.hello = null;
		// What is no ClientHello is for the TLS library to refuse, which tells the client why.
		this.upgrade(hello === 'not_tls' ? options : select(hello), received);
	}

	private upgrade(options: ServerTlsOptions, received: Uint8Array | undefined): void {
		const plain = this.socket;
		assert(plain !== null, 'an open connection has a socket');
		this.tlsOptions = options;
		// Bun keeps a reference to it, and `received` is the caller's.
		const initialData = received === undefined ? undefined : Buffer.from(received);
		if (plain instanceof EpollSocket) this.handToBun(plain, options, initialData);
		else this.secure(plain, options, initialData, {});
	}

	/** TLS is Bun's: so is the socket from now on. */
	private handToBun(plain: LoopSocket, options: ServerTlsOptions, initialData: Buffer | undefined): void {
		this.socket = null;
		plain.data = null;
		adoptSocket(plain.giveUp(), {
			adopted: (socket) => {
				if (this.state === 'closed') {
					socket.terminate();
					return;
				}
				socket.data = this;
				this.socket = socket;
				this.secure(socket, options, initialData, { isServer: true });
			},
			failed: (error) => this.closeBy(handshakeError(this.remote, 'local', 'protocol', errorMessage(error), error)),
		});
	}

	private secure(
		plain: NativeSocket,
		options: ServerTlsOptions,
		initialData: Buffer | undefined,
		role: { readonly isServer?: true },
	): void {
		let secure: NativeSocket;
		this.isUpgrading = true;
		try {
			const upgrade = { data: this, tls: nativeServerTls(options), socket: SERVER_TLS_HANDLERS, ...role };
			[, secure] = plain.upgradeTLS<SocketConnection | null>(
				initialData === undefined ? upgrade : { ...upgrade, ...{ initialData } },
			);
		} catch (error) {
			// A key that does not fit its certificate, say. Found when the configuration is checked, not here.
			this.closeBy(handshakeError(this.remote, 'local', 'protocol', errorMessage(error), error));
			return;
		} finally {
			this.isUpgrading = false;
		}
		this.socket = secure;
		if (secure.readyState <= 0) {
			// The first bytes ended it, in that call.
			const { failure } = this;
			const reason = failure === null ? 'no agreement' : errorMessage(failure);
			const kind = failure === null ? 'protocol' : handshakeFailureOf(failure);
			this.closeBy(handshakeError(this.remote, this.origin, kind, reason, failure));
			return;
		}
		if (this.paused) secure.resume();
	}

	speakFor(address: Address): void {
		this.remote = address;
	}

	originalDestination(): IpAddress | null {
		const fd = this.local.kind === 'ip' && this.origin === 'downstream' ? (this.socket?.fd ?? -1) : -1;
		return fd < 0 ? null : originalDestination(fd);
	}

	peerCredentials(): PeerCredentials | null {
		const fd = this.local.kind === 'pipe' ? (this.socket?.fd ?? -1) : -1;
		return fd < 0 ? null : peerCredentials(fd);
	}

	setNoDelay(on: boolean): void {
		if (this.local.kind === 'ip') this.socket?.setNoDelay(on);
	}

	// ---- from here on: called by SystemNetwork and socket-handlers.ts

	startConnectTimer(timeoutMs: number): void {
		this.startTimer(timeoutMs, () => connectTimeout(this.remote, timeoutMs, this.state === 'handshaking'));
	}

	/** Bun makes the socket, by `make`, and says by `attemptOver` when it is open or has failed: in `make`, or later. */
	attempt(make: () => void): void {
		this.isAttempted = true;
		try {
			const connecting = this.boundary.abandoned.watch(make);
			if (this.isAttempted) this.connecting = connecting;
		} catch (error) {
			this.isAttempted = false;
			throw error;
		}
	}

	attemptOver(): void {
		if (!this.isAttempted) return;
		this.isAttempted = false;
		this.connecting = null;
		if (this.state === 'closed') this.boundary.abandoned.over();
	}

	/** Our own event loop connects it, and says how that went. */
	openingBy(socket: LoopSocket): void {
		this.opening = socket;
	}

	/** The outbound socket is there; with TLS its handshake begins. */
	opened(socket: AnySocket, local: Address, tlsOptions: ClientTlsOptions | null): void {
		if (this.state === 'closed') {
			// Given up while the connection was being made.
			socket.data = null;
			socket.terminate();
			return;
		}
		assert(this.state === 'connecting', 'a connection opens once');
		this.socket = socket;
		this.opening = null;
		this.local = local;
		if (local.kind === 'ip' && !(socket instanceof EpollSocket)) setStreamOptions(socket.fd ?? -1);
		if (tlsOptions === null) {
			this.established();
			return;
		}
		this.state = 'handshaking';
		this.tlsOptions = tlsOptions;
		this.sessions = ClientSessions.of(tlsOptions);
		if (this.sessions === null) return;
		this.session = this.sessions.take();
		if (this.session !== null) (socket as NativeSocket).setSession(this.session);
	}

	/** The server gave out a session. */
	sessionReceived(session: Buffer): void {
		// Before the peer is accepted it is only remembered.
		if (this.state === 'open') this.sessions?.put(session);
		else this.session = session;
	}

	/** Of a socket that is not in use: of the one that is being made, when the bytes that came before are no TLS. */
	handshakenEarly(error: Error | null): void {
		if (this.isUpgrading) this.failure ??= error;
	}

	handshaken(socket: NativeSocket, done: boolean, chainError: Error | null): void {
		if (this.state !== 'handshaking' || socket !== this.socket) return;
		const options = this.tlsOptions;
		assert(options !== null, 'a handshake has options');
		const isServer = this.origin === 'downstream';
		if (!done && chainError === null) {
			this.closeBy(handshakeError(this.remote, this.origin, 'protocol', 'no agreement'));
			return;
		}
		let verdict: Verdict;
		try {
			const info = readTlsInfo(socket);
			const nowMs = this.boundary.clock.wallMs();
			const peerRole = isServer ? 'client' : 'server';
			verdict = checkPeer(info, options, peerRole, chainError, nowMs, () => readPeerChain(socket));
			if (verdict.kind === 'accepted') {
				this.tls = { ...info, peerValidated: verdict.validated, peerRefusal: verdict.refusal };
			}
		} catch (error) {
			verdict = { kind: 'refused', refusal: { kind: 'chain', reason: errorMessage(error) } };
		}
		if (verdict.kind === 'failed') {
			this.closeBy(handshakeError(this.remote, this.origin, verdict.failure, verdict.reason));
			return;
		}
		if (verdict.kind === 'refused') {
			const { kind, reason } = verdict.refusal;
			this.closeBy(handshakeError(this.remote, this.origin, kind, reason));
			return;
		}
		this.tlsOptions = null;
		this.keepSession();
		this.established();
	}

	/** A session of TLS 1.2 comes before the peer is accepted, or is the one that was resumed. */
	private keepSession(): void {
		if (this.session === null) return;
		if (this.tls?.version === 'TLSv1.2') this.sessions?.put(this.session);
		this.session = null;
	}

	private established(): void {
		this.timer?.cancel();
		this.timer = null;
		this.state = 'open';
		if (this.paused) this.socket?.pause();
		if (this.queue !== null || this.endWanted) this.wantFlush();
		this.handler.onConnect(this);
	}

	received(bytes: Uint8Array): void {
		if (this.state !== 'open' || this.remoteEnded) {
			if (this.hello !== null) this.helloReceived(bytes);
			return;
		}
		this.dataGiven = true;
		this.handler.onData(this, bytes);
	}

	remoteEnd(): void {
		if (this.state === 'closed' || this.remoteEnded) return;
		this.remoteEnded = true;
		if (this.state !== 'open') {
			this.closeBy(handshakeError(this.remote, this.origin, 'closed', 'the peer ended the connection'));
			return;
		}
		this.handler.onEnd(this);
		// Both directions are done: give the socket back.
		if (this.endSent && (this.state as State) !== 'closed') this.socket?.end();
	}

	/** The kernel takes bytes again. */
	writable(): void {
		if (this.state !== 'open') return;
		this.flush();
	}

	/** Whether this socket is the one in use: the plain twin of a TLS socket has callbacks too. */
	uses(socket: AnySocket): boolean {
		return this.socket === socket;
	}

	/** The TLS session failed; the close callback follows. */
	broken(error: Error): void {
		this.failure ??= error;
	}

	/** The socket is gone. Does not throw. */
	closed(socket: AnySocket, closeError: unknown): void {
		if (this.state === 'closed' || (this.socket !== null && socket !== this.socket)) return;
		const error = this.failure ?? closeError;
		if (this.state === 'handshaking') {
			const reason = error === undefined || error === null ? 'the peer closed the connection' : errorMessage(error);
			this.finish(handshakeError(this.remote, this.origin, handshakeFailureOf(error), reason, error));
			return;
		}
		const inOrder = this.endSent && (error === undefined || error === null);
		// Once our FIN is out, Bun reports the peer's as the close alone.
		if (inOrder && !this.remoteEnded) this.boundary.notifyEnd(this);
		this.finish(inOrder ? null : brokenError(this.remote, this.origin, error));
	}

	/** The connection could not be made. Bun may say so before `connect` has returned. */
	failed(error: WeftError): void {
		if (this.state !== 'closed') this.closeBy(error);
	}

	/** Sends what the turn gathered, then what waits, then the FIN. Does not throw. */
	flush(): void {
		this.flushWanted = false;
		if (this.state !== 'open') return;
		try {
			if (this.queue !== null) this.sendQueue();
			if (this.slab !== null) this.sendSlab();
			if (this.endWanted && this.queue !== null && !this.leavesRest) this.leaveRest();
			if (this.endWanted && !this.endSent && this.bufferedBytes === 0) this.sendEnd();
			if (this.blocked && this.bufferedBytes < this.highWatermarkBytes / LOW_WATERMARK_PART) {
				this.blocked = false;
				if (!this.endWanted) this.handler.onDrain(this);
			}
		} catch (error) {
			this.boundary.caught(this, error);
		}
	}

	/** Nothing follows what waits: a slow peer is the kernel's to wait for, as long as that has room. */
	private leaveRest(): void {
		this.leavesRest = true;
		if (this.local.kind !== 'ip' || this.socket === null) return;
		takeAllUnsent(this.socket.fd ?? -1);
		this.sendQueue();
	}

	private wantFlush(): void {
		if (this.flushWanted || this.state !== 'open') return;
		this.flushWanted = true;
		this.boundary.turnEnd.add(this);
	}

	/** False: it is too much to be copied, or does not fit. */
	private gather(bytes: Uint8Array): boolean {
		if (bytes.length > SLAB_BYTES) return false;
		const length = this.slabLength + bytes.length;
		let slab = this.slab;
		if (slab === null) {
			slab = takeSlab();
			this.slab = slab;
		} else if (length > slab.length) {
			if (slab.length !== SLAB_BYTES) return false;
			const larger = takeLargeSlab();
			if (larger === null) return false;
			larger.set(slab.subarray(0, this.slabLength));
			releaseSlab(slab);
			slab = larger;
			this.slab = slab;
		}
		slab.set(bytes, this.slabLength);
		this.slabLength = length;
		if (length >= SEND_AT_ONCE_BYTES) this.sendSlab();
		else this.wantFlush();
		return true;
	}

	private sendSlab(): void {
		const slab = this.slab!;
		const length = this.slabLength;
		this.slab = null;
		this.slabLength = 0;
		if (length > 0) this.sendOrKeep(slab, 0, length);
		releaseSlab(slab);
	}

	/** What is gathered and `bytes`, in one system call where the socket can; false: only what is gathered. */
	private sendBoth(bytes: Uint8Array): boolean {
		const socket = this.socket;
		if (!(socket instanceof EpollSocket)) {
			this.sendSlab();
			return false;
		}
		const slab = this.slab!;
		const gathered = this.slabLength;
		this.slab = null;
		this.slabLength = 0;
		const sent = socket.writePair(slab, gathered, bytes);
		if (sent >= 0 && sent < gathered + bytes.length) {
			this.queue = new ByteQueue();
			if (sent < gathered) this.queue.append(slab.subarray(0, gathered), sent);
			this.queue.append(bytes, Math.max(0, sent - gathered));
		}
		releaseSlab(slab);
		return true;
	}

	private sendOrKeep(bytes: Uint8Array, from: number, to: number): void {
		let sent = 0;
		if (this.queue === null) {
			sent = this.socket!.write(bytes, from, to - from);
			// The socket is closing: its close callback follows.
			if (sent < 0 || (this.state as State) === 'closed') return;
			if (sent === to - from) return;
			this.queue = new ByteQueue();
		}
		this.queue.append(to === bytes.length ? bytes : bytes.subarray(0, to), from + sent);
	}

	private sendQueue(): void {
		const queue = this.queue!;
		while (queue.length > 0) {
			const bytes = queue.peek();
			const sent = this.socket!.write(bytes);
			if (sent <= 0 || (this.state as State) === 'closed') return;
			queue.consume(sent);
			if (sent < bytes.length) return;
		}
		this.queue = null;
	}

	private sendEnd(): void {
		this.endSent = true;
		if (this.remoteEnded) this.socket!.end();
		else this.socket!.shutdown();
	}

	private startTimer(timeoutMs: number, makeError: (timeoutMs: number) => WeftError): void {
		this.timer?.cancel();
		this.timer = this.boundary.clock.after(timeoutMs, () => this.failed(makeError(timeoutMs)));
	}

	/** Closes the socket from our side. `onClose` comes after the caller has returned. */
	closeBy(error: WeftError | null): void {
		if (this.state === 'closed') return;
		const socket = this.socket ?? this.opening;
		// With our FIN out the kernel has all of it: it goes on to deliver what a reset would take from the peer.
		const isInOrder = this.endSent && error === null;
		this.release();
		if (socket !== null) {
			socket.data = null;
			if (isInOrder) socket.end();
			else socket.terminate();
		} else if (this.isAttempted) this.boundary.abandoned.abandon(this.connecting);
		queueMicrotask(() => this.boundary.notifyClose(this, error));
	}

	private finish(error: WeftError | null): void {
		// `onEnd` may have reset it, or thrown.
		if (this.state === 'closed') return;
		this.release();
		this.boundary.notifyClose(this, error);
	}

	private release(): void {
		this.state = 'closed';
		this.timer?.cancel();
		this.timer = null;
		if (this.slab !== null) releaseSlab(this.slab);
		this.slab = null;
		this.slabLength = 0;
		this.queue = null;
		this.tlsOptions = null;
		this.hello = null;
		this.sessions = null;
		this.session = null;
		this.socket = null;
		this.opening = null;
	}
}
