// Lists of fields to header blocks (RFC 7541). What is sent again and again goes into the dynamic
// table; what changes with each message does not, and neither do credentials.
//
//   name ──▶ NameEntry ── value known ──▶ index (one or two bytes)
//                      ── worth keeping ─▶ literal with indexing, Huffman
//                      ── else ─────────▶ literal without; the bytes of the last one are kept for the next

import { FIELD_VALUE, HTAB, NAME_LOWER, SP } from '../http/characters.ts';
import { ENTRY_OVERHEAD_BYTES } from './hpack-decoder.ts';
import { huffmanEncode, huffmanLength } from './huffman.ts';
import { STATIC_LENGTH, staticNames, staticValues } from './static-table.ts';

/** Our side of the dynamic table is no larger than this, whatever the peer offers. */
export const ENCODER_TABLE_BYTES_MAX = 4096;
/** New values in a row without one seen again, after which a name is taken for one that always changes. */
const MISSES_MAX = 8;
/** Names known to one connection; further ones are sent as they are. */
const NAMES_MAX = 512;
/** Short cookies can be guessed through compression (RFC 7541 §7.1.3). */
const SHORT_COOKIE_LENGTH = 20;
const MEMO_BYTES_MAX = 128;

enum Policy {
	index,
	/** Different in most messages. */
	literal,
	never,
	cookie,
}

const POLICIES = new Map<string, Policy>([
	[':path', Policy.literal],
	['age', Policy.literal],
	['content-length', Policy.literal],
	['content-range', Policy.literal],
	['etag', Policy.literal],
	['if-modified-since', Policy.literal],
	['if-none-match', Policy.literal],
	['last-modified', Policy.literal],
	['location', Policy.literal],
	['range', Policy.literal],
	['traceparent', Policy.literal],
	['x-request-id', Policy.literal],
	['x-b3-spanid', Policy.literal],
	['x-b3-traceid', Policy.literal],
	['x-envoy-upstream-service-time', Policy.literal],
	['x-envoy-expected-rq-timeout-ms', Policy.literal],
	['grpc-timeout', Policy.literal],
	['authorization', Policy.never],
	['proxy-authorization', Policy.never],
	['set-cookie', Policy.never],
	['cookie', Policy.cookie],
]);

/** A value of one name in a table. */
interface KnownValue {
	readonly value: string;
	/** Static: the index. Dynamic: the number of the insertion. */
	readonly position: number;
	readonly dynamic: boolean;
}

interface NameEntry {
	readonly name: string;
	/** Of the name in the static table; 0: none. */
	readonly staticIndex: number;
	policy: Policy;
	/** Number of the newest insertion with this name; 0: none. */
	insertion: number;
	readonly values: KnownValue[];
	misses: number;
	/** The last literal without indexing, and its bytes where they do not depend on the table. */
	memoValue: string | null;
	memo: Uint8Array;
}

interface DynamicEntry {
	readonly name: NameEntry;
	readonly known: KnownValue;
	readonly bytes: number;
}

const EMPTY = new Uint8Array(0);
/** What a block may need beyond its characters, per field. */
const FIELD_FRAMING_BYTES = 12;
let shared = new Uint8Array(16 * 1024);

export class HpackEncoder {
	private readonly names = new Map<string, NameEntry>();
	/** Oldest first, from `firstEntry` on. */
	private entries: DynamicEntry[] = [];
	private firstEntry = 0;
	/** Insertions so far; the newest has this number. */
	private insertions = 0;
	private tableBytes = 0;
	private tableBytesMax = ENCODER_TABLE_BYTES_MAX;
	/** To be told at the beginning of the next block; -1: nothing. The smallest since, first (RFC 7541 §4.2). */
	private smallestToTell = -1;
	private sizeToTell = -1;
	private target: Uint8Array = shared;
	private at = 0;
	private good = true;

	constructor() {
		for (let i = 1; i <= STATIC_LENGTH; i++) {
			const name = staticNames[i]!;
			let entry = this.names.get(name);
			if (entry === undefined) {
				entry = newName(name, i);
				this.names.set(name, entry);
			}
			// Entries without a value are there for their names.
			if (staticValues[i] !== '') entry.values.push({ value: staticValues[i]!, position: i, dynamic: false });
		}
	}

	/** The peer's SETTINGS_HEADER_TABLE_SIZE. */
	setPeerTableSize(bytes: number): void {
		const size = Math.min(bytes, ENCODER_TABLE_BYTES_MAX);
		if (size === this.tableBytesMax) return;
		this.tableBytesMax = size;
		this.smallestToTell = this.smallestToTell === -1 ? size : Math.min(this.smallestToTell, size);
		this.sizeToTell = size;
		this.evict(0);
	}

	/** `characters`: length of all names and values together, and `fields` their number: no more may be written. */
	begin(characters: number, fields: number): void {
		const bytes = characters + fields * FIELD_FRAMING_BYTES + 16;
		if (bytes > shared.length) {
			if (bytes <= 256 * 1024) shared = new Uint8Array(bytes * 2);
			this.target = bytes <= shared.length ? shared : new Uint8Array(bytes);
		} else this.target = shared;
		this.at = 0;
		this.good = true;
		if (this.sizeToTell !== -1) {
			if (this.smallestToTell < this.sizeToTell) this.putInteger(0x20, 5, this.smallestToTell);
			this.putInteger(0x20, 5, this.sizeToTell);
			this.smallestToTell = -1;
			this.sizeToTell = -1;
		}
	}

	/** The block, valid until the next `begin` of any encoder; null when a field had a character that may not be sent. */
	finish(): Uint8Array | null {
		const block = this.good ? this.target.subarray(0, this.at) : null;
		this.target = EMPTY;
		// What the peer never sees must not be in the table.
		if (block === null) this.startOver();
		return block;
	}

	/** `name` in lower case. Space around the value is not sent (RFC 9113 §8.2.1). */
	field(name: string, value: string): void {
		let entry = this.names.get(name);
		if (entry === undefined) {
			entry = newName(name, 0);
			if (!isName(name)) {
				this.good = false;
				return;
			}
			if (this.names.size < NAMES_MAX) this.names.set(name, entry);
			else entry.policy = entry.policy === Policy.index ? Policy.literal : entry.policy;
		}
		const { values } = entry;
		for (let i = values.length - 1; i >= 0; i--) {
			const known = values[i]!;
			if (known.value !== value) continue;
			entry.misses = 0;
			this.putInteger(0x80, 7, known.dynamic ? this.indexOf(known.position) : known.position);
			return;
		}
		if (value.length > 0 && (isSpace(value.charCodeAt(0)) || isSpace(value.charCodeAt(value.length - 1)))) {
			this.field(name, value.replace(/^[ \t]+|[ \t]+$/g, ''));
			return;
		}
		switch (entry.policy) {
			case Policy.index:
				if (name.length + value.length + ENTRY_OVERHEAD_BYTES <= this.tableBytesMax >> 1) this.insert(entry, value);
				else this.literal(entry, value);
				return;
			case Policy.literal:
				this.literal(entry, value);
				return;
			case Policy.never:
				this.neverIndexed(entry, value);
				return;
			default:
				if (value.length < SHORT_COOKIE_LENGTH) this.neverIndexed(entry, value);
				else if (value.length <= this.tableBytesMax >> 2) this.insert(entry, value);
				else this.literal(entry, value);
		}
	}

	/** Empties the table on both sides: the next block begins with its size as 0, and then as it is. */
	private startOver(): void {
		const size = this.tableBytesMax;
		this.tableBytesMax = 0;
		this.evict(0);
		this.tableBytesMax = size;
		this.smallestToTell = 0;
		this.sizeToTell = size;
	}

	private insert(entry: NameEntry, value: string): void {
		if (!isValue(value)) {
			this.good = false;
			return;
		}
		if (++entry.misses > MISSES_MAX) entry.policy = entry.policy === Policy.index ? Policy.literal : Policy.never;
		this.putName(0x40, 6, entry);
		this.putString(value, true);
		const bytes = entry.name.length + value.length + ENTRY_OVERHEAD_BYTES;
		this.evict(bytes);
		const known: KnownValue = { value, position: ++this.insertions, dynamic: true };
		entry.insertion = known.position;
		entry.values.push(known);
		this.entries.push({ name: entry, known, bytes });
		this.tableBytes += bytes;
	}

	private literal(entry: NameEntry, value: string): void {
		if (entry.memoValue === value) {
			this.target.set(entry.memo, this.at);
			this.at += entry.memo.length;
			return;
		}
		if (!isValue(value)) {
			this.good = false;
			return;
		}
		const from = this.at;
		const fixed = entry.staticIndex !== 0 || entry.insertion === 0;
		this.putName(0x00, 4, entry);
		this.putString(value, false);
		if (fixed && this.at - from <= MEMO_BYTES_MAX) {
			entry.memoValue = value;
			entry.memo = this.target.slice(from, this.at);
		}
	}

	private neverIndexed(entry: NameEntry, value: string): void {
		if (!isValue(value)) {
			this.good = false;
			return;
		}
		this.putName(0x10, 4, entry);
		this.putString(value, true);
	}

	private putName(pattern: number, prefixBits: number, entry: NameEntry): void {
		if (entry.staticIndex !== 0) this.putInteger(pattern, prefixBits, entry.staticIndex);
		else if (entry.insertion !== 0) this.putInteger(pattern, prefixBits, this.indexOf(entry.insertion));
		else {
			this.putInteger(pattern, prefixBits, 0);
			this.putString(entry.name, true);
		}
	}

	private putString(text: string, compress: boolean): void {
		if (compress) {
			const length = huffmanLength(text);
			if (length < text.length) {
				this.putInteger(0x80, 7, length);
				this.at = huffmanEncode(text, this.target, this.at);
				return;
			}
		}
		this.putInteger(0x00, 7, text.length);
		const target = this.target;
		let to = this.at;
		for (let i = 0; i < text.length; i++) target[to++] = text.charCodeAt(i);
		this.at = to;
	}

	private putInteger(pattern: number, prefixBits: number, value: number): void {
		const prefix = (1 << prefixBits) - 1;
		const target = this.target;
		if (value < prefix) {
			target[this.at++] = pattern | value;
			return;
		}
		target[this.at++] = pattern | prefix;
		let rest = value - prefix;
		while (rest >= 0x80) {
			target[this.at++] = (rest & 0x7f) | 0x80;
			rest >>>= 7;
		}
		target[this.at++] = rest;
	}

	private indexOf(insertion: number): number {
		return STATIC_LENGTH + 1 + this.insertions - insertion;
	}

	private evict(bytes: number): void {
		while (this.firstEntry < this.entries.length && this.tableBytes + bytes > this.tableBytesMax) {
			const { name, known, bytes: freed } = this.entries[this.firstEntry++]!;
			this.tableBytes -= freed;
			const at = name.values.indexOf(known);
			name.values.splice(at, 1);
			if (name.insertion === known.position) name.insertion = 0;
		}
		if (this.firstEntry > 64 && this.firstEntry * 2 > this.entries.length) {
			this.entries = this.entries.slice(this.firstEntry);
			this.firstEntry = 0;
		}
	}
}

function newName(name: string, staticIndex: number): NameEntry {
	return {
		name,
		staticIndex,
		policy: POLICIES.get(name) ?? Policy.index,
		insertion: 0,
		values: [],
		misses: 0,
		memoValue: null,
		memo: EMPTY,
	};
}

function isName(name: string): boolean {
	const start = name.charCodeAt(0) === 0x3a ? 1 : 0;
	if (name.length === start) return false;
	for (let i = start; i < name.length; i++) {
		const code = name.charCodeAt(i);
		if (code > 0xff || NAME_LOWER[code] === 0) return false;
	}
	return true;
}

function isValue(value: string): boolean {
	for (let i = 0; i < value.length; i++) {
		const code = value.charCodeAt(i);
		if (code > 0xff || FIELD_VALUE[code] === 0) return false;
	}
	return true;
}

function isSpace(code: number): boolean {
	return code === SP || code === HTAB;
}
