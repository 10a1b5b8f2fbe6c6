// A listening TCP socket of our own event loop.

import { ptr } from 'bun:ffi';
import { Logger } from '../std/log.ts';
import { type EpollLoop, Watched } from './epoll-loop.ts';
import {
	AF_INET6,
	decodeSockaddr,
	EINTR,
	EMFILE,
	ENFILE,
	ENOBUFS,
	ENOMEM,
	EPOLLIN,
	IPPROTO_IPV6,
	IPV6_V6ONLY,
	SO_REUSEADDR,
	SO_REUSEPORT,
	SOCK_CLOEXEC,
	SOCK_NONBLOCK,
	SOCK_STREAM,
	SOCKADDR_BYTES_MAX,
	SOL_SOCKET,
	type SocketName,
	setOption,
	setStreamOptions,
	socketName,
	systemError,
} from './socket-calls.ts';

const log = new Logger('net');

/** Connections taken before others have their turn. */
const ACCEPTS_MAX = 32;
/** How long nothing is accepted when the process or the machine has no descriptor or memory left. */
const RELIEF_MS = 100;

export interface EpollListenOptions {
	readonly reusePort: boolean;
	readonly backlog: number;
}

export class EpollListener extends Watched {
	private isPaused = false;
	private relief: ReturnType<typeof setTimeout> | null = null;
	private readonly peer = new Uint8Array(new ArrayBuffer(SOCKADDR_BYTES_MAX));
	private readonly peerPointer = ptr(this.peer);
	private readonly peerLength = new Int32Array(new ArrayBuffer(4));
	private readonly peerLengthPointer = ptr(this.peerLength);

	/** `fd` listens already, and is the listener's from now on. `onAccept` gets a descriptor that is its own; it does not throw. */
	constructor(
		private readonly loop: EpollLoop,
		fd: number,
		private readonly onAccept: (fd: number, remote: SocketName) => void,
	) {
		super(fd);
	}

	/** @throws Error with `code` */
	static listen(loop: EpollLoop, sockaddr: Uint8Array, options: EpollListenOptions): number {
		const { calls } = loop;
		const fd = calls.socket(sockaddr[0]!, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0) throw systemError('socket', calls.errno());
		setOption(fd, SOL_SOCKET, SO_REUSEADDR);
		setStreamOptions(fd);
		if (options.reusePort) setOption(fd, SOL_SOCKET, SO_REUSEPORT);
		if (sockaddr[0] === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
		const call =
			calls.bind(fd, ptr(sockaddr), sockaddr.length) !== 0
				? 'bind'
				: calls.listen(fd, options.backlog) !== 0
					? 'listen'
					: null;
		if (call === null) return fd;
		const error = systemError(call, calls.errno());
		calls.close(fd);
		throw error;
	}

	/** Begins to accept. @throws Error with `code`; the descriptor is closed then */
	start(): void {
		if (this.loop.watch(this, EPOLLIN)) return;
		const error = systemError('epoll_ctl', this.loop.calls.errno());
		this.stop();
		throw error;
	}

	get port(): number {
		return socketName(this.fd)?.port ?? 0;
	}

	pause(): void {
		this.isPaused = true;
		this.loop.change(this, 0);
	}

	resume(): void {
		this.isPaused = false;
		if (this.fd >= 0 && this.relief === null) this.loop.change(this, EPOLLIN);
	}

	stop(): void {
		if (this.fd < 0) return;
		if (this.relief !== null) clearTimeout(this.relief);
		// Another process may have the same socket: then closing it here does not take it out of the loop.
		this.loop.forget(this, true);
		this.loop.calls.close(this.fd);
		this.fd = -1;
	}

	override ready(): void {
		for (let count = 0; count < ACCEPTS_MAX && this.fd >= 0 && !this.isPaused; count++) {
			this.peerLength[0] = SOCKADDR_BYTES_MAX;
			const flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
			const fd = this.loop.calls.accept4(this.fd, this.peerPointer, this.peerLengthPointer, flags);
			if (fd >= 0) {
				this.onAccept(fd, decodeSockaddr(this.peer));
				continue;
			}
			const errno = this.loop.calls.errno();
			if (errno === EINTR) continue;
			if (errno === EMFILE || errno === ENFILE || errno === ENOBUFS || errno === ENOMEM) this.rest(errno);
			// Else EAGAIN, or a connection that went while it waited.
			return;
		}
	}

	/** What waits would wake the loop again and again. */
	private rest(errno: number): void {
		log.warning('no connection can be accepted for a moment', { reason: systemError('accept', errno).message });
		this.loop.change(this, 0);
		this.relief = setTimeout(() => {
			this.relief = null;
			if (!this.isPaused) this.resume();
		}, RELIEF_MS);
	}
}
