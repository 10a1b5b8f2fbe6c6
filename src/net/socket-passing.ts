// Descriptors of sockets, across processes and under Bun's own: what hot restart and workers need and
// Bun 1.4 has no call for. Linux only.
//
// Bun listens only on sockets that it made itself. So an inherited listening socket is put under one
// that Bun made a moment ago: dup3 replaces the file behind that descriptor, and as the event loop
// forgets a file that is gone, the new one is entered in its place, with the data that Bun had given.
// From then on Bun accepts from it as from its own, and closes it as its own.

import { FFIType, type Pointer, ptr, read } from 'bun:ffi';
import { WeftError } from '../std/errors.ts';
import { openLibc } from './libc.ts';
import { epollInterest, watchAgain } from './linux.ts';
import {
	EAGAIN,
	EINTR,
	ENOBUFS,
	ENOMEM,
	ETOOMANYREFS,
	MSG_DONTWAIT,
	MSG_NOSIGNAL,
	SOCK_CLOEXEC,
	SOCK_STREAM,
	SOL_SOCKET,
} from './socket-calls.ts';

const AF_UNIX = 1;
const SCM_RIGHTS = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const F_DUPFD_CLOEXEC = 1030;
const O_CLOEXEC = 0o2000000;
const MSG_CTRUNC = 0x08;
const MSG_CMSG_CLOEXEC = 0x40000000;
const POLLOUT = 4;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/** Linux's own limit (SCM_MAX_FD) is 253. */
export const DESCRIPTORS_PER_MESSAGE_MAX = 128;
const MESSAGE_BYTES_MAX = 64 * 1024;
const CONTROL_HEADER_BYTES = 16;

const { i32, i64, u64, ptr: pointer } = FFIType;
const SYMBOLS = {
	socket: { args: [i32, i32, i32], returns: i32 },
	connect: { args: [i32, pointer, i32], returns: i32 },
	socketpair: { args: [i32, i32, i32, pointer], returns: i32 },
	setsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32 },
	sendmsg: { args: [i32, pointer, i32], returns: i64 },
	recvmsg: { args: [i32, pointer, i32], returns: i64 },
	fcntl: { args: [i32, i32, i32], returns: i32 },
	dup3: { args: [i32, i32, i32], returns: i32 },
	poll: { args: [pointer, u64, i32], returns: i32 },
	close: { args: [i32], returns: i32 },
	prctl: { args: [i32, u64, u64, u64, u64], returns: i32 },
	__errno_location: { args: [], returns: pointer },
} as const;

function openSymbols() {
	return openLibc(SYMBOLS);
}

let library: ReturnType<typeof openSymbols> | null = null;

function libc() {
	library ??= openSymbols();
	return library;
}

function errno(): number {
	return read.i32(libc().__errno_location() as Pointer, 0);
}

function failed(what: string): WeftError {
	return new WeftError('descriptor_failed', `${what} failed (errno ${errno()})`);
}

/** Another descriptor of the same socket, not inherited by programs that are started. @throws WeftError */
export function duplicateDescriptor(fd: number): number {
	const copy = libc().fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0) throw failed(`copying descriptor ${fd}`);
	return copy;
}

/** The same of all, or of none. @throws WeftError */
export function duplicateDescriptors(fds: readonly number[]): number[] {
	const copies: number[] = [];
	try {
		for (const fd of fds) copies.push(duplicateDescriptor(fd));
		return copies;
	} catch (error) {
		copies.forEach(closeDescriptor);
		throw error;
	}
}

export function closeDescriptor(fd: number): void {
	libc().close(fd);
}

/** Two ends of a private stream, for this process and one that it starts. @throws WeftError */
export function makeSocketPair(): readonly [number, number] {
	const ends = new Int32Array(2);
	if (libc().socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ptr(ends)) !== 0) throw failed('socketpair');
	return [ends[0]!, ends[1]!];
}

/** This process dies when the one that started it does, however that died. @throws WeftError */
export function dieWithParent(): void {
	if (libc().prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) !== 0) throw failed('prctl(PR_SET_PDEATHSIG)');
}

/**
 * Puts the listening socket `fd` in the place of the one that Bun listens on as `native`. `fd` itself stays the
 * caller's. @throws WeftError when the event loop cannot be found; `native` is then of no use
 */
export function putUnderListener(native: number, fd: number): void {
	const interest = epollInterest(native);
	if (interest === null) {
		throw new WeftError('not_supported', 'inherited sockets need /proc/self/fdinfo, which shows the event loop');
	}
	if (libc().dup3(fd, native, O_CLOEXEC) < 0) throw failed(`putting socket ${fd} under a listener`);
	if (!watchAgain(interest)) throw failed('entering a listener in the event loop');
}

/**
 * Connects to a unix socket, an abstract one when `path` begins with NUL. Its calls wait at most `timeoutMs`.
 * Null: nobody is there. @throws WeftError
 */
export function connectUnix(path: string, timeoutMs: number): number | null {
	const name = Buffer.from(path, 'latin1');
	const address = new Uint8Array(2 + name.byteLength + (path.startsWith('\0') ? 0 : 1));
	address[0] = AF_UNIX;
	address.set(name, 2);
	const fd = libc().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) throw failed('socket');
	const time = new BigInt64Array([BigInt(Math.floor(timeoutMs / 1000)), BigInt((timeoutMs % 1000) * 1000)]);
	for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) libc().setsockopt(fd, SOL_SOCKET, option, ptr(time), 16);
	if (libc().connect(fd, ptr(address), address.byteLength) === 0) return fd;
	libc().close(fd);
	return null;
}

/** `struct iovec` and `struct msghdr` of 64-bit Linux around them; the arrays must be kept until the call is over. */
function messageHeader(bytes: Uint8Array, control: Uint8Array | null): { header: DataView; kept: unknown[] } {
	const vector = new BigUint64Array([BigInt(ptr(bytes)), BigInt(bytes.byteLength)]);
	const header = new DataView(new ArrayBuffer(56));
	header.setBigUint64(16, BigInt(ptr(vector)), true);
	header.setBigUint64(24, 1n, true);
	if (control !== null) {
		header.setBigUint64(32, BigInt(ptr(control)), true);
		header.setBigUint64(40, BigInt(control.byteLength), true);
	}
	return { header, kept: [vector, bytes, control] };
}

/**
 * Sends bytes, with descriptors on the first of them (unix(7), SCM_RIGHTS). Returns how many bytes went; 0: none
 * at the moment, nor a descriptor: the other end takes none, or the kernel has no room for descriptors that are under
 * way. `wait`: until the other end takes them, as long as the socket's own limit.
 * @throws WeftError when the other end is gone
 */
export function sendDescriptors(socket: number, bytes: Uint8Array, fds: readonly number[], wait: boolean): number {
	let control: Uint8Array | null = null;
	if (fds.length > 0) {
		control = new Uint8Array(CONTROL_HEADER_BYTES + Math.ceil((4 * fds.length) / 8) * 8);
		const view = new DataView(control.buffer);
		view.setBigUint64(0, BigInt(CONTROL_HEADER_BYTES + 4 * fds.length), true);
		view.setInt32(8, SOL_SOCKET, true);
		view.setInt32(12, SCM_RIGHTS, true);
		for (let i = 0; i < fds.length; i++) view.setInt32(CONTROL_HEADER_BYTES + 4 * i, fds[i]!, true);
	}
	const { header, kept } = messageHeader(bytes, control);
	for (;;) {
		const sent = Number(libc().sendmsg(socket, ptr(header.buffer), MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)));
		if (sent >= 0) return kept.length > 0 ? sent : 0;
		const code = errno();
		if (code === EINTR) continue;
		if (code === EAGAIN || code === ETOOMANYREFS || code === ENOBUFS || code === ENOMEM) return 0;
		throw failed('sending sockets');
	}
}

/** What is on its way to another process. The descriptors are copies, which are closed when they are sent. */
export interface Parcel {
	bytes: Uint8Array;
	fds: readonly number[];
}

/** False: the other end takes no more for now; what is left is in `parcel`. @throws WeftError as `sendDescriptors` */
export function sendParcel(socket: number, parcel: Parcel): boolean {
	while (parcel.bytes.byteLength > 0) {
		const sent = sendDescriptors(socket, parcel.bytes, parcel.fds, false);
		if (sent === 0) return false;
		dropDescriptors(parcel);
		parcel.bytes = parcel.bytes.subarray(sent);
	}
	return true;
}

/** Closes what was not sent. */
export function dropDescriptors(parcel: Parcel): void {
	parcel.fds.forEach(closeDescriptor);
	parcel.fds = [];
}

/** Sends all of it, with descriptors on the first byte. @throws WeftError when the other end does not take it in time */
export function sendAll(socket: number, bytes: Uint8Array, fds: readonly number[], timeoutMs: number): void {
	const deadlineMs = performance.now() + timeoutMs;
	let rest = bytes;
	let unsent = fds;
	while (rest.byteLength > 0) {
		const sent = sendDescriptors(socket, rest, unsent, false);
		if (sent > 0) {
			rest = rest.subarray(sent);
			unsent = [];
			continue;
		}
		const wanted = new Int32Array([socket, POLLOUT]);
		const leftMs = Math.max(0, Math.ceil(deadlineMs - performance.now()));
		if (leftMs === 0 || libc().poll(ptr(wanted), 1, leftMs) === 0) {
			throw new WeftError('descriptor_failed', `sockets were not taken within ${timeoutMs} ms`);
		}
	}
}

export interface ReceivedDescriptors {
	/** Empty: the other end is gone. */
	readonly bytes: Uint8Array;
	/** The receiver's own from now on. */
	readonly fds: readonly number[];
}

/** Null: nothing has come (within the socket's limit, when `wait`). @throws WeftError */
export function receiveDescriptors(socket: number, wait: boolean): ReceivedDescriptors | null {
	const bytes = new Uint8Array(MESSAGE_BYTES_MAX);
	const control = new Uint8Array(CONTROL_HEADER_BYTES + 4 * DESCRIPTORS_PER_MESSAGE_MAX);
	const { header, kept } = messageHeader(bytes, control);
	for (;;) {
		const flags = MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
		const count = Number(libc().recvmsg(socket, ptr(header.buffer), flags));
		if (count < 0) {
			const code = errno();
			if (code === EINTR) continue;
			if (code === EAGAIN) return null;
			throw failed('receiving sockets');
		}
		const fds: number[] = [];
		const view = new DataView(control.buffer);
		const controlBytes = Number(header.getBigUint64(40, true));
		if (kept.length > 0 && controlBytes >= CONTROL_HEADER_BYTES && view.getInt32(12, true) === SCM_RIGHTS) {
			const end = Math.min(Number(view.getBigUint64(0, true)), controlBytes);
			for (let at = CONTROL_HEADER_BYTES; at + 4 <= end; at += 4) fds.push(view.getInt32(at, true));
		}
		if ((header.getInt32(48, true) & MSG_CTRUNC) !== 0) {
			for (const fd of fds) closeDescriptor(fd);
			throw new WeftError('descriptor_failed', 'not all sockets could be received (too many open files?)');
		}
		return { bytes: bytes.slice(0, count), fds };
	}
}
