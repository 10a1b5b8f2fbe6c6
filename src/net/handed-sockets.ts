// Listening sockets on their way from one process to another: which address each group of them is for,
// and how they travel. A group is what one `listen` asked for: one socket, or several that share a port.
//
//   sender   ──▶ [4 bytes: length][JSON: address asked for, address bound, how many][their descriptors] ──▶ receiver

import { WeftError } from '../std/errors.ts';
import type { Address } from './network.ts';
import { closeDescriptor, DESCRIPTORS_PER_MESSAGE_MAX } from './socket-passing.ts';

export interface SocketGroup {
	/** What `listen` was asked for: with port 0 where any would do. */
	readonly asked: Address;
	/** With the port that was taken. */
	readonly bound: Address;
	readonly fds: readonly number[];
}

/** Sockets by the address that was asked for; each group is given out once. */
export class HandedSockets {
	private readonly groups = new Map<string, SocketGroup[]>();

	add(group: SocketGroup): void {
		const key = addressKey(group.asked);
		const waiting = this.groups.get(key);
		if (waiting === undefined) this.groups.set(key, [group]);
		else waiting.push(group);
	}

	/** The descriptors become the caller's. Null: there is none for this address. */
	take(asked: Address): SocketGroup | null {
		const key = addressKey(asked);
		const waiting = this.groups.get(key);
		const group = waiting?.shift() ?? null;
		if (waiting?.length === 0) this.groups.delete(key);
		return group;
	}

	/** The first of this address, not given out. */
	peek(asked: Address): SocketGroup | null {
		return this.groups.get(addressKey(asked))?.[0] ?? null;
	}

	/** Closes what nobody has asked for. Returns the addresses. */
	closeRest(): Address[] {
		const rest = [...this.groups.values()].flat();
		this.groups.clear();
		for (const { fds } of rest) for (const fd of fds) closeDescriptor(fd);
		return rest.map(({ bound }) => bound);
	}
}

function addressKey(address: Address): string {
	if (address.kind === 'pipe') return `unix:${address.path}`;
	return `${address.networkNamespace ?? ''} ${address.host} ${address.port}`;
}

/** What is sent in one message; the bytes and descriptors of `encodeGroup` may be cut in any way but lose no order. */
export interface EncodedGroup {
	readonly bytes: Uint8Array;
	readonly fds: readonly number[];
}

/** @throws WeftError for more sockets than one message can carry */
export function encodeGroup({ asked, bound, fds }: SocketGroup): EncodedGroup {
	if (fds.length > DESCRIPTORS_PER_MESSAGE_MAX) {
		throw new WeftError('descriptor_failed', `${fds.length} sockets of one address are more than can be handed over`);
	}
	return { bytes: encodeMessage({ asked, bound, count: fds.length }), fds };
}

/** A message without descriptors. */
export function encodeMessage(value: object): Uint8Array {
	const text = Buffer.from(JSON.stringify(value));
	const bytes = new Uint8Array(4 + text.byteLength);
	new DataView(bytes.buffer).setUint32(0, text.byteLength, true);
	bytes.set(text, 4);
	return bytes;
}

const MESSAGE_BYTES_MAX = 1024 * 1024;

/** Puts together again what was sent, however it was cut. */
export class HandedReader {
	private bytes: Uint8Array = new Uint8Array(0);
	private readonly fds: number[] = [];

	/** `onMessage` hears of what was not a group. */
	constructor(
		private readonly onGroup: (group: SocketGroup) => void,
		private readonly onMessage: (message: Readonly<Record<string, unknown>>) => void = () => {},
	) {}

	/** @throws WeftError for what no sender of ours sends */
	push(bytes: Uint8Array, fds: readonly number[]): void {
		this.fds.push(...fds);
		this.bytes = this.bytes.byteLength === 0 ? bytes : Buffer.concat([this.bytes, bytes]);
		while (this.bytes.byteLength >= 4) {
			const length = new DataView(this.bytes.buffer, this.bytes.byteOffset, 4).getUint32(0, true);
			if (length > MESSAGE_BYTES_MAX) throw malformed(`a message of ${length} bytes`);
			if (this.bytes.byteLength < 4 + length) return;
			const text = Buffer.from(this.bytes.subarray(4, 4 + length)).toString();
			this.bytes = this.bytes.subarray(4 + length);
			this.message(text);
		}
	}

	/** Descriptors that came and belong to no message. */
	close(): void {
		for (const fd of this.fds.splice(0)) closeDescriptor(fd);
	}

	private message(text: string): void {
		let value: unknown;
		try {
			value = JSON.parse(text);
		} catch {
			throw malformed('no JSON');
		}
		if (typeof value !== 'object' || value === null) throw malformed('no object');
		const message = value as Readonly<Record<string, unknown>>;
		if (message.count === undefined) {
			this.onMessage(message);
			return;
		}
		const { asked, bound, count } = message;
		if (!isAddress(asked) || !isAddress(bound) || typeof count !== 'number' || !Number.isInteger(count) || count < 1) {
			throw malformed('no group of sockets');
		}
		if (count > this.fds.length) throw malformed('fewer sockets than it says');
		this.onGroup({ asked, bound, fds: this.fds.splice(0, count) });
	}
}

function malformed(what: string): WeftError {
	return new WeftError('handed_sockets_malformed', `sockets were handed over with ${what}`);
}

function isAddress(value: unknown): value is Address {
	if (typeof value !== 'object' || value === null) return false;
	const { kind, path, host, port, networkNamespace } = value as Readonly<Record<string, unknown>>;
	if (kind === 'pipe') return typeof path === 'string';
	if (networkNamespace !== undefined && typeof networkNamespace !== 'string') return false;
	return kind === 'ip' && typeof host === 'string' && Number.isInteger(port);
}
