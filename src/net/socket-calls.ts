// The socket calls of the C library that our own event loop makes, and the forms that they want: sockaddr,
// epoll_event, iovec, msghdr of 64-bit Linux. The library is opened on first use.
//
// Memory that the kernel gets by a pointer that is kept is made as an ArrayBuffer of its own: the runtime may move
// the bytes of a typed array that was made without one.

import { FFIType, type Pointer, ptr, read } from 'bun:ffi';
import { getSystemErrorName } from 'node:util';
import { parseIp } from '../std/ip.ts';
import { openLibc } from './libc.ts';
import { formatIpv4, formatIpv6 } from './linux.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1;
export const TCP_NOTSENT_LOWAT = 25;
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;
export const SHUT_WR = 1;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EINTR = 4;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const ENFILE = 23;
export const EMFILE = 24;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const ETOOMANYREFS = 109;
export const EINPROGRESS = 115;

const { i32, ptr: pointer } = FFIType;

// Lengths and results that are size_t and ssize_t in C fit 32 bits here: no call of ours moves 2 GiB.
const SYMBOLS = {
	socket: { args: [i32, i32, i32], returns: i32 },
	bind: { args: [i32, pointer, i32], returns: i32 },
	listen: { args: [i32, i32], returns: i32 },
	accept4: { args: [i32, pointer, pointer, i32], returns: i32 },
	connect: { args: [i32, pointer, i32], returns: i32 },
	getsockname: { args: [i32, pointer, pointer], returns: i32 },
	getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
	setsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32 },
	recv: { args: [i32, pointer, i32, i32], returns: i32 },
	send: { args: [i32, pointer, i32, i32], returns: i32 },
	sendmsg: { args: [i32, pointer, i32], returns: i32 },
	shutdown: { args: [i32, i32], returns: i32 },
	close: { args: [i32], returns: i32 },
	epoll_create1: { args: [i32], returns: i32 },
	epoll_ctl: { args: [i32, i32, i32, pointer], returns: i32 },
	epoll_wait: { args: [i32, pointer, i32, i32], returns: i32 },
	__errno_location: { args: [], returns: pointer },
} as const;

function open() {
	const { __errno_location: errnoLocation, ...calls } = openLibc(SYMBOLS);
	const location = errnoLocation() as Pointer;
	/** Of this thread's last call that failed. `EINTR` may be another's: the call is made again then. */
	return { ...calls, errno: () => read.i32(location, 0) };
}

export type SocketCalls = ReturnType<typeof open>;

let opened: SocketCalls | null = null;

/** @throws WeftError `not_supported` */
export function socketCalls(): SocketCalls {
	opened ??= open();
	return opened;
}

/** As Bun's errors of sockets: with `code`. */
export function systemError(call: string, errno: number): Error {
	const code = errnoName(errno);
	return Object.assign(new Error(`${call} failed: ${code}`), { code });
}

function errnoName(errno: number): string {
	try {
		return getSystemErrorName(-errno);
	} catch {
		return `errno ${errno}`;
	}
}

export interface SocketName {
	readonly host: string;
	readonly port: number;
}

/** The longest there is of those that we use: sockaddr_in6. */
export const SOCKADDR_BYTES_MAX = 28;

/** Null: `host` is no address, or one with a zone. */
export function encodeSockaddr({ host, port }: SocketName): Uint8Array | null {
	const ip = host.includes('%') ? null : parseIp(host);
	if (ip === null) return null;
	const bytes = new Uint8Array(ip.length === 4 ? 16 : SOCKADDR_BYTES_MAX);
	// The family in the machine's order, which is little-endian, the port in the network's.
	bytes[0] = ip.length === 4 ? AF_INET : AF_INET6;
	bytes[2] = port >> 8;
	bytes[3] = port & 0xff;
	bytes.set(ip, ip.length === 4 ? 4 : 8);
	return bytes;
}

/** An IPv4-mapped address is given as IPv4. */
export function decodeSockaddr(bytes: Uint8Array): SocketName {
	const port = (bytes[2]! << 8) | bytes[3]!;
	return { host: bytes[0] === AF_INET ? formatIpv4(bytes, 4) : formatIpv6(bytes, 8), port };
}

const optionValue = new Int32Array(1);
const optionLength = new Int32Array(1);

/** Default 1: switches an option on. */
export function setOption(fd: number, level: number, option: number, value = 1): boolean {
	optionValue[0] = value;
	return socketCalls().setsockopt(fd, level, option, ptr(optionValue), 4) === 0;
}

/**
 * What the kernel takes of one connection beyond what it has in flight. By itself it takes up to 4 MB for a peer that
 * reads nothing: a thousand such clients at once, and others wait for all that copying. Half of it is left when more
 * is asked for.
 */
const UNSENT_BYTES_MAX = 256 * 1024;

/** For a TCP socket, or for all that a listener accepts from now on. */
export function setStreamOptions(fd: number): void {
	setTcpOption(fd, TCP_NODELAY, 1);
	setTcpOption(fd, TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX);
}

/** The kernel takes what it has room for, whatever the peer takes: of a connection that ends, all is to be with it soon. */
export function takeAllUnsent(fd: number): void {
	// The kernel's own default, which is no bound.
	setTcpOption(fd, TCP_NOTSENT_LOWAT, 0);
}

/** Where it cannot be done all stays as it was. */
function setTcpOption(fd: number, option: number, value: number): void {
	if (process.platform !== 'linux') return;
	try {
		setOption(fd, IPPROTO_TCP, option, value);
	} catch {
		// No C library to call.
	}
}

/** SO_ERROR, which is cleared by this. */
export function takeSocketError(fd: number): number {
	optionLength[0] = 4;
	if (socketCalls().getsockopt(fd, SOL_SOCKET, SO_ERROR, ptr(optionValue), ptr(optionLength)) !== 0) {
		return socketCalls().errno();
	}
	return optionValue[0]!;
}

/** Null: the socket has none any more. */
export function socketName(fd: number): SocketName | null {
	const bytes = new Uint8Array(SOCKADDR_BYTES_MAX);
	optionLength[0] = SOCKADDR_BYTES_MAX;
	if (socketCalls().getsockname(fd, ptr(bytes), ptr(optionLength)) !== 0) return null;
	return bytes[0] === AF_INET || bytes[0] === AF_INET6 ? decodeSockaddr(bytes) : null;
}

/** The close that follows sends RST. */
export function resetAtClose(fd: number): void {
	socketCalls().setsockopt(fd, SOL_SOCKET, SO_LINGER, ptr(LINGER_NOT), 8);
}

/** `struct linger`: on, 0 s. */
const LINGER_NOT = new Int32Array([1, 0]);

const vector = new Uint32Array(new ArrayBuffer(32));
const header = new Uint32Array(new ArrayBuffer(56));
let headerPointer: Pointer | null = null;

/** sendmsg of two pieces. Returns as send(2). */
export function sendPair(fd: number, first: Uint8Array, firstLength: number, second: Uint8Array): number {
	if (headerPointer === null) {
		headerPointer = ptr(header);
		setPointer(header, 4, ptr(vector));
		// msg_iovlen
		header[6] = 2;
	}
	setPointer(vector, 0, ptr(first));
	vector[2] = firstLength;
	setPointer(vector, 4, ptr(second));
	vector[6] = second.length;
	return socketCalls().sendmsg(fd, headerPointer, MSG_NOSIGNAL | MSG_DONTWAIT);
}

function setPointer(words: Uint32Array, index: number, address: number): void {
	words[index] = address >>> 0;
	words[index + 1] = Math.floor(address / 2 ** 32);
}
