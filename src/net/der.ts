// A strict reader of DER (X.690), as far as certificates need it: definite, minimal lengths, no
// tag beyond one byte, nothing after the end. Input is a peer's and may be anything.

export class DerError extends Error {
	constructor(message: string) {
		super(`bad DER: ${message}`);
		this.name = 'DerError';
	}
}

export const DER_BOOLEAN = 0x01;
export const DER_INTEGER = 0x02;
export const DER_BIT_STRING = 0x03;
export const DER_OCTET_STRING = 0x04;
export const DER_OID = 0x06;
export const DER_ENUMERATED = 0x0a;
export const DER_UTC_TIME = 0x17;
export const DER_GENERALIZED_TIME = 0x18;
export const DER_SEQUENCE = 0x30;
export const DER_SET = 0x31;

export interface DerElement {
	readonly tag: number;
	readonly content: Uint8Array;
	/** Tag and length included. */
	readonly whole: Uint8Array;
}

/** Walks the elements of one level. */
export class DerReader {
	private offset = 0;

	constructor(private readonly bytes: Uint8Array) {}

	get atEnd(): boolean {
		return this.offset === this.bytes.length;
	}

	peekTag(): number {
		return this.bytes[this.offset] ?? -1;
	}

	read(): DerElement {
		const { bytes } = this;
		const start = this.offset;
		if (bytes.length - start < 2) throw new DerError('truncated');
		const tag = bytes[start]!;
		if ((tag & 0x1f) === 0x1f) throw new DerError('long tag');
		let at = start + 1;
		let length = bytes[at++]!;
		if (length >= 0x80) {
			const lengthBytes = length & 0x7f;
			if (lengthBytes === 0 || lengthBytes > 3) throw new DerError('length');
			if (bytes.length - at < lengthBytes) throw new DerError('truncated');
			length = 0;
			for (let index = 0; index < lengthBytes; index++) length = (length << 8) | bytes[at++]!;
			if (length < 0x80 || (lengthBytes > 1 && length < 1 << (8 * (lengthBytes - 1)))) throw new DerError('length');
		}
		if (bytes.length - at < length) throw new DerError('truncated');
		this.offset = at + length;
		return { tag, content: bytes.subarray(at, at + length), whole: bytes.subarray(start, at + length) };
	}

	expect(tag: number): DerElement {
		const element = this.read();
		if (element.tag !== tag) throw new DerError(`tag ${element.tag} where ${tag} belongs`);
		return element;
	}

	/** Asserts that nothing follows. */
	finish(): void {
		if (!this.atEnd) throw new DerError('more than expected');
	}
}

export function derOid(content: Uint8Array): string {
	if (content.length === 0 || content.length > 32 || content[content.length - 1]! >= 0x80) throw new DerError('OID');
	const parts: number[] = [];
	let value = 0;
	for (const byte of content) {
		value = value * 128 + (byte & 0x7f);
		if (value > 0xffffffff) throw new DerError('OID');
		if (byte >= 0x80) continue;
		if (parts.length === 0) {
			const first = Math.min(2, Math.floor(value / 40));
			parts.push(first, value - 40 * first);
		} else {
			parts.push(value);
		}
		value = 0;
	}
	return parts.join('.');
}

/** Milliseconds since the epoch. RFC 5280 §4.1.2.5: seconds are there, the zone is Z. */
export function derTime(element: DerElement): number {
	const text = latin1(element.content);
	let match: RegExpExecArray | null = null;
	if (element.tag === DER_UTC_TIME) match = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text);
	else if (element.tag === DER_GENERALIZED_TIME) match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text);
	if (match === null) throw new DerError('time');
	let year = Number(match[1]);
	if (element.tag === DER_UTC_TIME) year += year < 50 ? 2000 : 1900;
	const [month, day, hour, minute, second] = match.slice(2).map(Number) as [number, number, number, number, number];
	if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59) {
		throw new DerError('time');
	}
	return Date.UTC(year, month - 1, day, hour, minute, second);
}

export function latin1(bytes: Uint8Array): string {
	return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
