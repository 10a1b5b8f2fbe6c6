// What Bun has no call for: network namespaces and socket options, through libc. The library is
// opened on first use, so that a proxy that needs none of it pays nothing.

import { FFIType, ptr } from 'bun:ffi';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { errorMessage, WeftError } from '../std/errors.ts';
import { openLibc } from './libc.ts';
import type { IpAddress } from './network.ts';

const CLONE_NEWNET = 0x40000000;
const SOL_IP = 0;
const SOL_SOCKET = 1;
const SOL_IPV6 = 41;
const SO_ORIGINAL_DST = 80;
const IP6T_SO_ORIGINAL_DST = 80;
const SO_PEERCRED = 17;
const AF_INET = 2;
const AF_INET6 = 10;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_MOD = 3;

const SYMBOLS = {
	setns: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
	listen: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
	epoll_ctl: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
	getsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
} as const;

function openSymbols() {
	return openLibc(SYMBOLS);
}

let library: ReturnType<typeof openSymbols> | null = null;

function libc() {
	library ??= openSymbols();
	return library;
}

/** The namespace this thread started in; kept open, because coming back must not need a new descriptor. */
let homeFd = -1;

/**
 * Runs `make` with this thread in another network namespace. `make` must be synchronous: the sockets
 * it makes belong to that namespace for good, and the thread is back before anything else runs.
 * @throws WeftError `network_namespace_failed` when the namespace cannot be entered
 */
export function inNetworkNamespace<T>(path: string, make: () => T): T {
	const { setns } = libc();
	let fd: number;
	try {
		if (homeFd < 0) homeFd = openSync('/proc/thread-self/ns/net', 'r');
		fd = openSync(path, 'r');
	} catch (error) {
		throw new WeftError('network_namespace_failed', `network namespace ${path}: ${errorMessage(error)}`, {
			cause: error,
		});
	}
	try {
		if (setns(fd, CLONE_NEWNET) !== 0) {
			throw new WeftError(
				'network_namespace_failed',
				`network namespace ${path} cannot be entered (needs CAP_SYS_ADMIN, and a namespace file)`,
			);
		}
		try {
			return make();
		} finally {
			// Going on in the wrong namespace would send traffic where nobody meant it to go.
			if (setns(homeFd, CLONE_NEWNET) !== 0) {
				console.error(`weft: cannot leave network namespace ${path}; stopping`);
				process.abort();
			}
		}
	} finally {
		closeSync(fd);
	}
}

function socketOption(fd: number, level: number, option: number, bytesMax: number): Uint8Array | null {
	const value = new Uint8Array(bytesMax);
	const length = new Int32Array([bytesMax]);
	if (libc().getsockopt(fd, level, option, ptr(value), ptr(length)) !== 0) return null;
	return value.subarray(0, length[0]);
}

/** SO_ORIGINAL_DST, or its IPv6 twin; null when the kernel knows of no redirection. */
export function originalDestination(fd: number): IpAddress | null {
	const v4 = socketOption(fd, SOL_IP, SO_ORIGINAL_DST, 16);
	if (v4 !== null && v4.length >= 8 && addressFamily(v4) === AF_INET) {
		return { kind: 'ip', host: formatIpv4(v4, 4), port: (v4[2]! << 8) | v4[3]! };
	}
	const v6 = socketOption(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, 28);
	if (v6 !== null && v6.length >= 24 && addressFamily(v6) === AF_INET6) {
		return { kind: 'ip', host: formatIpv6(v6, 8), port: (v6[2]! << 8) | v6[3]! };
	}
	return null;
}

/** How many connections may wait to be accepted, which the kernel caps (`net.core.somaxconn`). False: it stays as it was. */
export function setBacklog(fd: number, backlog: number): boolean {
	try {
		// A second listen(2) on a socket changes its queue's length and nothing else.
		return libc().listen(fd, backlog) === 0;
	} catch {
		return false;
	}
}

/** How an event loop watches a descriptor. */
export interface EpollInterest {
	readonly epollFd: number;
	readonly fd: number;
	readonly events: number;
	/** The event loop's own, handed back unchanged. */
	readonly data: bigint;
}

/** Who watches `fd`, from /proc (the runtime has no call for it); null: not to be found. */
export function epollInterest(fd: number): EpollInterest | null {
	try {
		for (const name of readdirSync('/proc/self/fd')) {
			const found = interestIn(Number(name), fd);
			if (found !== null) return found;
		}
	} catch {
		// No /proc.
	}
	return null;
}

function interestIn(epollFd: number, fd: number): EpollInterest | null {
	let text: string;
	try {
		if (!readlinkSync(`/proc/self/fd/${epollFd}`).includes('[eventpoll]')) return null;
		text = readFileSync(`/proc/self/fdinfo/${epollFd}`, 'latin1');
	} catch {
		// Closed meanwhile.
		return null;
	}
	for (const line of text.split('\n')) {
		const match = /^tfd:\s+(\d+)\s+events:\s+([0-9a-f]+)\s+data:\s+([0-9a-f]+)/.exec(line);
		if (match === null || Number(match[1]) !== fd) continue;
		return { epollFd, fd, events: Number.parseInt(match[2]!, 16), data: BigInt(`0x${match[3]!}`) };
	}
	return null;
}

/** The event loop hears of nothing on this descriptor (but its failure) until it is watched again. */
export function watchDescriptor(interest: EpollInterest, on: boolean): boolean {
	return control(EPOLL_CTL_MOD, interest, on ? interest.events : 0);
}

/** Enters a descriptor whose file was replaced, and so forgotten by the event loop, as it was before. */
export function watchAgain(interest: EpollInterest): boolean {
	return control(EPOLL_CTL_ADD, interest, interest.events);
}

function control(operation: number, interest: EpollInterest, events: number): boolean {
	// struct epoll_event: packed on x86-64 alone.
	const dataOffset = process.arch === 'x64' ? 4 : 8;
	const event = new DataView(new ArrayBuffer(16));
	event.setUint32(0, events, true);
	event.setBigUint64(dataOffset, interest.data, true);
	return libc().epoll_ctl(interest.epollFd, operation, interest.fd, ptr(new Uint8Array(event.buffer))) === 0;
}

export interface PeerCredentials {
	readonly pid: number;
	readonly uid: number;
	readonly gid: number;
}

/** SO_PEERCRED: who had the other end of a unix socket when it connected. */
export function peerCredentials(fd: number): PeerCredentials | null {
	const bytes = socketOption(fd, SOL_SOCKET, SO_PEERCRED, 12);
	if (bytes === null || bytes.length < 12) return null;
	const view = new DataView(bytes.buffer, bytes.byteOffset, 12);
	const pid = view.getInt32(0, true);
	// The kernel gives pid 0 and uid -1 for sockets that have no peer.
	if (pid === 0 && view.getInt32(4, true) === -1) return null;
	return { pid, uid: view.getUint32(4, true), gid: view.getUint32(8, true) };
}

/** Little-endian, as on every platform that Bun runs on. */
function addressFamily(sockaddr: Uint8Array): number {
	return sockaddr[0]! | (sockaddr[1]! << 8);
}

export function formatIpv4(bytes: Uint8Array, offset: number): string {
	return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

/** RFC 5952; an IPv4-mapped address is given as IPv4. */
export function formatIpv6(bytes: Uint8Array, offset: number): string {
	const groups: number[] = [];
	for (let index = 0; index < 8; index++) {
		groups.push((bytes[offset + 2 * index]! << 8) | bytes[offset + 2 * index + 1]!);
	}
	if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) return formatIpv4(bytes, offset + 12);
	let bestStart = -1;
	let bestLength = 1;
	for (let start = 0; start < 8; start++) {
		let length = 0;
		while (start + length < 8 && groups[start + length] === 0) length++;
		if (length > bestLength) {
			bestStart = start;
			bestLength = length;
		}
	}
	const text = (part: number[]) => part.map((group) => group.toString(16)).join(':');
	if (bestStart < 0) return text(groups);
	return `${text(groups.slice(0, bestStart))}::${text(groups.slice(bestStart + bestLength))}`;
}
