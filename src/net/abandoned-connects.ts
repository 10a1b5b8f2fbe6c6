// Connects that were given up while they were being made. Bun cannot abort one: its socket would stay with the
// kernel, which asks an address that does not answer for some two minutes (tcp_syn_retries), and each new try would
// add another, until there are no descriptors left. So while there are more than a few of them, the descriptor of
// each new connect is found out, and shut down when it is given up, of which Bun hears as of a failed connect.
//
//   connect ──▶ pending ──open, refused──▶ (gone)
//                  └──given up──▶ abandoned ──Bun hears of its end──▶ (gone)
//
// As long as hosts answer this costs nothing. Linux only; elsewhere they are only counted.

import { FFIType, ptr } from 'bun:ffi';
import { openLibc } from './libc.ts';
import { IPPROTO_TCP, SOL_SOCKET } from './socket-calls.ts';

/** So many wait for the kernel to give them up, before each is looked after. */
const LEFT_ALONE_MAX = 8;
const TCP_INFO = 11;
const TCP_SYN_SENT = 2;
const SO_COOKIE = 57;
const SHUT_RDWR = 2;
const EFD_CLOEXEC = 0o2000000;

const { i32, u32, ptr: pointer } = FFIType;
const SYMBOLS = {
	eventfd: { args: [u32, i32], returns: i32 },
	getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
	shutdown: { args: [i32, i32], returns: i32 },
	close: { args: [i32], returns: i32 },
} as const;

function openSymbols() {
	return openLibc(SYMBOLS);
}

let library: ReturnType<typeof openSymbols> | null | undefined;

/** Null where there is none. */
function libc() {
	if (library === undefined) {
		try {
			library = process.platform === 'linux' ? openSymbols() : null;
		} catch {
			library = null;
		}
	}
	return library;
}

/** A socket that is connecting: its descriptor, and the number that the kernel gives to it alone, as descriptors are used again. */
export interface ConnectingSocket {
	readonly fd: number;
	readonly cookie: bigint;
}

/** One per network. */
export class AbandonedConnects {
	/** Given up, and Bun has not said yet that they are over. */
	count = 0;

	/** Runs `connect`, which makes one socket. Null: its descriptor is not wanted, or it is not connecting any more. */
	watch(connect: () => void): ConnectingSocket | null {
		const c = this.count > LEFT_ALONE_MAX ? libc() : null;
		if (c === null) {
			connect();
			return null;
		}
		// The kernel gives the lowest number that is free.
		const fd = c.eventfd(0, EFD_CLOEXEC);
		if (fd >= 0) c.close(fd);
		connect();
		if (fd < 0 || !isConnecting(fd)) return null;
		const cookie = socketCookie(fd);
		return cookie === 0n ? null : { fd, cookie };
	}

	abandon(socket: ConnectingSocket | null): void {
		this.count++;
		if (socket === null || !isConnecting(socket.fd) || socketCookie(socket.fd) !== socket.cookie) return;
		libc()?.shutdown(socket.fd, SHUT_RDWR);
	}

	over(): void {
		this.count--;
	}
}

const value = new Uint8Array(8);
const valueLength = new Int32Array(1);

function isConnecting(fd: number): boolean {
	valueLength[0] = 1;
	return libc()?.getsockopt(fd, IPPROTO_TCP, TCP_INFO, ptr(value), ptr(valueLength)) === 0 && value[0] === TCP_SYN_SENT;
}

/** 0: it has none. */
function socketCookie(fd: number): bigint {
	valueLength[0] = 8;
	if (libc()?.getsockopt(fd, SOL_SOCKET, SO_COOKIE, ptr(value), ptr(valueLength)) !== 0) return 0n;
	return new DataView(value.buffer).getBigUint64(0, true);
}
