// A plain TCP socket of our own event loop, with the calls and events of Bun's sockets, as far as
// socket-connection.ts uses them.

import { ptr } from 'bun:ffi';
import { type EpollLoop, Watched } from './epoll-loop.ts';
import {
	EAGAIN,
	ECONNRESET,
	EINPROGRESS,
	EINTR,
	EPOLLERR,
	EPOLLHUP,
	EPOLLIN,
	EPOLLOUT,
	IPPROTO_TCP,
	MSG_DONTWAIT,
	MSG_NOSIGNAL,
	resetAtClose,
	SHUT_WR,
	SOCK_CLOEXEC,
	SOCK_NONBLOCK,
	SOCK_STREAM,
	type SocketName,
	sendPair,
	setOption,
	setStreamOptions,
	socketName,
	systemError,
	TCP_NODELAY,
	takeSocketError,
} from './socket-calls.ts';

/** Who hears of a socket; none of these throws. */
export interface SocketEvents<Data> {
	/** `bytes` are good until this returns. */
	data(socket: EpollSocket<Data>, bytes: Uint8Array): void;
	/** After a write that was not taken whole: more is. */
	drain(socket: EpollSocket<Data>): void;
	/** The peer's FIN. */
	end(socket: EpollSocket<Data>): void;
	/** Once, last. Undefined: in order. Not after `terminate` and `close` of ours. */
	close(socket: EpollSocket<Data>, error?: Error): void;
	/** For those that connect: first of all, or `connectError` and nothing else. */
	open?(socket: EpollSocket<Data>): void;
	connectError?(socket: EpollSocket<Data>, error: Error): void;
}

/** What one read takes at first, and twice as much after one that was full of that: for somebody slow little is read. */
const FIRST_READ_BYTES = 128 * 1024;
/** What is still read of a connection on which a write failed: more than the kernel holds by default. */
const LAST_BYTES_MAX = 8 * 1024 * 1024;
const READ_FLAGS = MSG_DONTWAIT;
const WRITE_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL;

export class EpollSocket<Data> extends Watched {
	private isConnecting = false;
	private isPaused = false;
	private hasEnded = false;
	private wantsDrain = false;
	/** The loop does not watch it for now. */
	private isDetached = false;
	private noDelay = true;
	private readBytesMax = FIRST_READ_BYTES;
	/** What a write came upon. The kernel says so once: after that a read finds what looks like an end in order. */
	private failure: Error | null = null;

	constructor(
		private readonly loop: EpollLoop,
		fd: number,
		private readonly events: SocketEvents<Data>,
		public data: Data,
	) {
		super(fd);
	}

	/**
	 * A socket that connects to `sockaddr`; `open` or `connectError` follows.
	 * @throws Error with `code` when it cannot even begin
	 */
	static connect<Data>(
		loop: EpollLoop,
		sockaddr: Uint8Array,
		events: SocketEvents<Data>,
		data: Data,
	): EpollSocket<Data> {
		const { calls } = loop;
		const fd = calls.socket(sockaddr[0]!, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0) throw systemError('socket', calls.errno());
		setStreamOptions(fd);
		const socket = new EpollSocket(loop, fd, events, data);
		socket.isConnecting = true;
		if (calls.connect(fd, ptr(sockaddr), sockaddr.length) !== 0) {
			const errno = calls.errno();
			if (errno !== EINPROGRESS && errno !== EINTR) {
				calls.close(fd);
				throw systemError('connect', errno);
			}
		}
		// Also when it is connected already, as it may be on one machine: the loop says so in its next turn.
		if (!loop.watch(socket, EPOLLOUT)) {
			const errno = calls.errno();
			calls.close(fd);
			throw systemError('epoll_ctl', errno);
		}
		return socket;
	}

	/** What `accept` gave; false: the loop cannot take it, and it is closed. */
	watch(): boolean {
		if (this.loop.watch(this, EPOLLIN)) return true;
		this.loop.calls.close(this.fd);
		this.fd = -1;
		return false;
	}

	get name(): SocketName | null {
		return this.fd < 0 ? null : socketName(this.fd);
	}

	get localAddress(): string | undefined {
		return this.name?.host;
	}

	get localPort(): number {
		return this.name?.port ?? 0;
	}

	/** @returns how many bytes were taken; `drain` follows when that is not all. Negative: the socket is gone */
	write(bytes: Uint8Array, from = 0, length = bytes.length - from): number {
		if (this.fd < 0) return -1;
		if (length === 0) return 0;
		for (;;) {
			const sent = this.loop.calls.send(this.fd, ptr(bytes, from), length, WRITE_FLAGS);
			const taken = sent === length ? sent : this.takenOf(sent);
			if (taken !== null) return taken;
		}
	}

	/** The same for `first[..firstLength]` and all of `second`, in one call. */
	writePair(first: Uint8Array, firstLength: number, second: Uint8Array): number {
		if (this.fd < 0) return -1;
		for (;;) {
			const sent = sendPair(this.fd, first, firstLength, second);
			const taken = sent === firstLength + second.length ? sent : this.takenOf(sent);
			if (taken !== null) return taken;
		}
	}

	/** Of a write that was not taken whole, by what the call returned. Null: it was interrupted, and is made again. */
	private takenOf(sent: number): number | null {
		if (sent < 0) {
			const errno = this.loop.calls.errno();
			if (errno === EINTR) return null;
			if (errno !== EAGAIN) return this.refused(errno);
		}
		this.wantsDrain = true;
		this.ask();
		return Math.max(0, sent);
	}

	private refused(errno: number): number {
		if (this.failure === null) {
			this.failure = systemError('send', errno);
			// Not from within the call of who writes.
			this.loop.atTurnEnd(() => this.failWithRest());
		}
		return -1;
	}

	/** A peer that goes may have said why: an answer to half a request. */
	private failWithRest(): void {
		let left = LAST_BYTES_MAX;
		while (left > 0 && this.fd >= 0 && !this.isPaused && !this.hasEnded) {
			const count = this.read();
			if (count === 0) break;
			left -= count;
		}
		this.finish();
	}

	/** The kernel hears of it when there is something to read. */
	pause(): void {
		this.isPaused = true;
	}

	resume(): void {
		this.isPaused = false;
		this.ask();
	}

	shutdown(): void {
		if (this.fd >= 0) this.loop.calls.shutdown(this.fd, SHUT_WR);
	}

	/** Closes in order; `close` is told, but for a socket whose `data` is gone. */
	end(): void {
		this.finish();
	}

	close(): void {
		this.release();
	}

	/** Closes with RST, and nobody is told. */
	terminate(): void {
		if (this.fd >= 0 && !this.isConnecting) resetAtClose(this.fd);
		this.release();
	}

	setNoDelay(on: boolean): void {
		if (on === this.noDelay || this.fd < 0) return;
		this.noDelay = on;
		setOption(this.fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
	}

	/** Takes the descriptor out of the loop, open: it is the caller's. */
	giveUp(): number {
		const { fd } = this;
		this.loop.forget(this, true);
		this.fd = -1;
		return fd;
	}

	override ready(events: number): void {
		if (this.isConnecting) {
			this.connected();
			return;
		}
		if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) !== 0) this.readable(events);
		if ((events & EPOLLOUT) !== 0 && this.fd >= 0 && this.wantsDrain) {
			this.wantsDrain = false;
			this.events.drain(this);
			// `drain` may have written again what was not taken whole.
			this.ask();
		}
	}

	private connected(): void {
		const errno = takeSocketError(this.fd);
		if (errno === EINPROGRESS) return;
		this.isConnecting = false;
		if (errno === 0) {
			this.events.open?.(this);
			this.ask();
			return;
		}
		this.release();
		this.events.connectError?.(this, systemError('connect', errno));
	}

	private readable(events: number): void {
		if (this.isPaused || this.hasEnded) {
			// These come whether they are asked for or not.
			if ((events & EPOLLERR) !== 0) this.finish(systemError('recv', takeSocketError(this.fd) || ECONNRESET));
			else if ((events & EPOLLHUP) !== 0 && this.hasEnded) this.finish();
			else if ((events & EPOLLHUP) !== 0) this.detach();
			else this.ask();
			return;
		}
		this.read();
	}

	/** Both directions are over while nobody reads: the kernel would say so again and again, whatever it is asked. */
	private detach(): void {
		this.loop.forget(this, true);
		this.isDetached = true;
	}

	/** @returns how many bytes were given out */
	private read(): number {
		const { calls, buffer, bufferPointer } = this.loop;
		const readBytes = Math.min(this.loop.readBytes, this.readBytesMax);
		const count = calls.recv(this.fd, bufferPointer, readBytes, READ_FLAGS);
		if (count > 0) {
			if (count === this.readBytesMax) this.readBytesMax *= 2;
			this.events.data(this, buffer.subarray(0, count));
			if (this.loop.spoilsReads) buffer.fill(0xa5, 0, count);
			return count;
		}
		if (count < 0) {
			const errno = calls.errno();
			if (errno !== EAGAIN && errno !== EINTR) this.finish(systemError('recv', errno));
		} else if (this.failure !== null) this.finish();
		else {
			this.hasEnded = true;
			this.events.end(this);
			this.ask();
		}
		return 0;
	}

	/** Tells the kernel what is wanted now. */
	private ask(): void {
		if (this.fd < 0 || this.isConnecting) return;
		if (this.isDetached) {
			if (this.isPaused) return;
			if (!this.loop.watch(this, EPOLLIN)) {
				this.failure ??= systemError('epoll_ctl', this.loop.calls.errno());
				this.loop.atTurnEnd(() => this.finish());
				return;
			}
			this.isDetached = false;
		}
		const interest = (this.isPaused || this.hasEnded ? 0 : EPOLLIN) | (this.wantsDrain ? EPOLLOUT : 0);
		this.loop.change(this, interest);
	}

	/** In order without an error, unless a write had failed. */
	private finish(error = this.failure ?? undefined): void {
		if (this.fd < 0) return;
		this.release();
		this.events.close(this, error);
	}

	private release(): void {
		const { fd } = this;
		if (fd < 0) return;
		this.loop.forget(this);
		this.fd = -1;
		this.loop.calls.close(fd);
	}
}
