// Header blocks to lists of fields (RFC 7541). One decoder per connection, since blocks change its
// dynamic table. Every name and value is checked once, when it is read or put into the table: a
// field that may not be is marked and goes on, so that the table stays in step with the peer's.

import { FIELD_VALUE, HTAB, NAME_LOWER, SP } from '../http/characters.ts';
import { FieldKind, fieldKindOf } from './field-kinds.ts';
import { huffmanDecode } from './huffman.ts';
import { STATIC_LENGTH, staticKinds, staticNames, staticValues } from './static-table.ts';

/** What an entry costs beside its bytes (RFC 7541 §4.1). */
export const ENTRY_OVERHEAD_BYTES = 32;
const COLON = 0x3a;
const latin1Slice = Buffer.prototype.latin1Slice;

/** A block's fields, good until the next block. */
export class DecodedFields {
	readonly names: string[] = [];
	readonly values: string[] = [];
	/** `FieldKind` of each. */
	readonly kinds: number[] = [];
	count = 0;
	/** As RFC 9113 §6.5.2 counts, of all fields, also those beyond the bounds. */
	listBytes = 0;
	/** More bytes or fields than allowed: those beyond are counted, not kept. */
	tooLarge = false;
}

export class HpackDecoder {
	readonly fields = new DecodedFields();
	/** Counts changes of the dynamic table: what a block means depends on its bytes and on this. */
	version = 0;
	private names: string[];
	private values: string[];
	private kinds: Uint8Array;
	private mask: number;
	/** Position of the newest entry. */
	private newest = 0;
	private entries = 0;
	private tableBytes = 0;
	private tableBytesMax: number;
	private scratch: Uint8Array = new Uint8Array(512);
	private input: Uint8Array = EMPTY;
	private at = 0;
	private end = 0;

	/**
	 * @param settingBytes our SETTINGS_HEADER_TABLE_SIZE, which the peer may not exceed
	 * @param listBytesMax of one decoded list
	 * @param fieldsMax of one decoded list
	 */
	constructor(
		private readonly settingBytes: number,
		private readonly listBytesMax: number,
		private readonly fieldsMax: number,
	) {
		this.tableBytesMax = settingBytes;
		let capacity = 4;
		while (capacity < settingBytes / ENTRY_OVERHEAD_BYTES) capacity *= 2;
		this.mask = capacity - 1;
		this.names = new Array<string>(capacity).fill('');
		this.values = new Array<string>(capacity).fill('');
		this.kinds = new Uint8Array(capacity);
	}

	/** Takes one whole block into `fields`. False: it is no HPACK, and the connection must close. */
	decode(bytes: Uint8Array, from: number, to: number): boolean {
		const fields = this.fields;
		fields.count = 0;
		fields.listBytes = 0;
		fields.tooLarge = false;
		this.input = bytes;
		this.at = from;
		this.end = to;
		const good = this.decodeBlock();
		this.input = EMPTY;
		return good;
	}

	private decodeBlock(): boolean {
		const bytes = this.input;
		let fieldSeen = false;
		while (this.at < this.end) {
			const first = bytes[this.at]!;
			if ((first & 0x80) !== 0) {
				const index = this.readInteger(7);
				if (index <= 0 || !this.emitIndexed(index)) return false;
				fieldSeen = true;
			} else if ((first & 0xe0) === 0x20) {
				// Only at the beginning of a block (RFC 7541 §4.2).
				if (fieldSeen) return false;
				const size = this.readInteger(5);
				if (size < 0 || size > this.settingBytes) return false;
				this.tableBytesMax = size;
				this.version++;
				this.evict(0);
			} else {
				const indexing = (first & 0x40) !== 0;
				const index = this.readInteger(indexing ? 6 : 4);
				if (index < 0 || !this.emitLiteral(index, indexing)) return false;
				fieldSeen = true;
			}
		}
		return true;
	}

	private emitIndexed(index: number): boolean {
		if (index <= STATIC_LENGTH) {
			this.emit(staticNames[index]!, staticValues[index]!, staticKinds[index]!);
			return true;
		}
		const back = index - STATIC_LENGTH - 1;
		if (back >= this.entries) return false;
		const position = (this.newest - back) & this.mask;
		this.emit(this.names[position]!, this.values[position]!, this.kinds[position]!);
		return true;
	}

	private emitLiteral(index: number, indexing: boolean): boolean {
		let name: string;
		let kind: number;
		if (index === 0) {
			const read = this.readString(true);
			if (read === null) return false;
			name = read;
			kind = this.stringGood ? fieldKindOf(name) : FieldKind.invalid;
		} else if (index <= STATIC_LENGTH) {
			name = staticNames[index]!;
			kind = staticKinds[index]!;
		} else {
			const back = index - STATIC_LENGTH - 1;
			if (back >= this.entries) return false;
			const position = (this.newest - back) & this.mask;
			name = this.names[position]!;
			kind = this.kinds[position]!;
			// The entry's value may have been what was wrong with it; its name is looked at anew.
			if (kind === FieldKind.invalid) kind = isFieldName(name) ? fieldKindOf(name) : FieldKind.invalid;
		}
		const value = this.readString(false);
		if (value === null) return false;
		if (!this.stringGood) kind = FieldKind.invalid;
		if (indexing) this.insert(name, value, kind);
		this.emit(name, value, kind);
		return true;
	}

	private emit(name: string, value: string, kind: number): void {
		const fields = this.fields;
		fields.listBytes += name.length + value.length + ENTRY_OVERHEAD_BYTES;
		const { count } = fields;
		if (fields.listBytes > this.listBytesMax || count >= this.fieldsMax) {
			fields.tooLarge = true;
			return;
		}
		fields.names[count] = name;
		fields.values[count] = value;
		fields.kinds[count] = kind;
		fields.count = count + 1;
	}

	private insert(name: string, value: string, kind: number): void {
		this.version++;
		const bytes = name.length + value.length + ENTRY_OVERHEAD_BYTES;
		this.evict(bytes);
		if (bytes > this.tableBytesMax) return;
		this.newest = (this.newest + 1) & this.mask;
		this.names[this.newest] = name;
		this.values[this.newest] = value;
		this.kinds[this.newest] = kind;
		this.entries++;
		this.tableBytes += bytes;
	}

	/** Makes room for that many bytes; empties the table when there cannot be. */
	private evict(bytes: number): void {
		while (this.entries > 0 && this.tableBytes + bytes > this.tableBytesMax) {
			const oldest = (this.newest - this.entries + 1) & this.mask;
			this.tableBytes -= this.names[oldest]!.length + this.values[oldest]!.length + ENTRY_OVERHEAD_BYTES;
			this.names[oldest] = '';
			this.values[oldest] = '';
			this.entries--;
		}
	}

	/** Advances. -1: cut short, or beyond what anything here can mean. */
	private readInteger(prefixBits: number): number {
		const bytes = this.input;
		const prefix = (1 << prefixBits) - 1;
		let value = bytes[this.at++]! & prefix;
		if (value < prefix) return value;
		for (let shift = 0; shift <= 21; shift += 7) {
			if (this.at >= this.end) return -1;
			const byte = bytes[this.at++]!;
			value += (byte & 0x7f) << shift;
			if ((byte & 0x80) === 0) return value;
		}
		return -1;
	}

	/** Whether the last string has only characters that may stand there. */
	private stringGood = true;

	private readString(asName: boolean): string | null {
		if (this.at >= this.end) return null;
		const huffman = (this.input[this.at]! & 0x80) !== 0;
		const length = this.readInteger(7);
		if (length < 0 || length > this.end - this.at) return null;
		const from = this.at;
		this.at += length;
		let bytes = this.input;
		let start = from;
		let stop = from + length;
		if (huffman) {
			if (this.scratch.length < length * 2) this.scratch = new Uint8Array(length * 2);
			const decoded = huffmanDecode(bytes, start, stop, this.scratch);
			if (decoded < 0) return null;
			bytes = this.scratch;
			start = 0;
			stop = decoded;
		}
		this.stringGood = asName ? isName(bytes, start, stop) : isValue(bytes, start, stop);
		if (start === stop) return '';
		return latin1Slice.call(bytes as Buffer, start, stop);
	}
}

/** Lower-case token, with a colon before it for pseudo-headers (RFC 9113 §8.2.1). */
function isName(bytes: Uint8Array, start: number, stop: number): boolean {
	let i = bytes[start] === COLON ? start + 1 : start;
	if (i >= stop) return false;
	for (; i < stop; i++) if (NAME_LOWER[bytes[i]!] === 0) return false;
	return true;
}

/** No control characters, and no space at either end (RFC 9113 §8.2.1). */
function isValue(bytes: Uint8Array, start: number, stop: number): boolean {
	if (start === stop) return true;
	if (isSpace(bytes[start]!) || isSpace(bytes[stop - 1]!)) return false;
	for (let i = start; i < stop; i++) if (FIELD_VALUE[bytes[i]!] === 0) return false;
	return true;
}

function isSpace(byte: number): boolean {
	return byte === SP || byte === HTAB;
}

function isFieldName(name: string): boolean {
	const bytes = Buffer.from(name, 'latin1');
	return isName(bytes, 0, bytes.length);
}

const EMPTY = new Uint8Array(0);
