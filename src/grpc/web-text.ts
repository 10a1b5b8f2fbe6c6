// The text form of gRPC-Web (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md): the bytes
// of the binary form in base64, as a stream. Padding may end any group of four, since what was written
// at once is often encoded by itself.

import { GrpcFrameCounter } from './frame-counter.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const PAD = 0x3d;
const EMPTY = new Uint8Array(0);

const DIGITS = new Int8Array(256).fill(-1);
for (let i = 0; i < ALPHABET.length; i++) DIGITS[ALPHABET.charCodeAt(i)] = i;

export class GrpcWebTextDecoder {
	/** Characters of a group that is not complete. */
	private readonly held = new Uint8Array(4);
	private heldCount = 0;

	/** What the groups that are complete now stand for, a new array; null: this is no base64. */
	decode(text: Uint8Array): Uint8Array | null {
		const total = this.heldCount + text.length;
		const out = total < 4 ? EMPTY : new Uint8Array((total >> 2) * 3);
		const { held } = this;
		let length = 0;
		for (let i = 0; i < text.length; i++) {
			held[this.heldCount++] = text[i]!;
			if (this.heldCount < 4) continue;
			this.heldCount = 0;
			const padding = held[3] !== PAD ? 0 : held[2] !== PAD ? 1 : 2;
			const a = DIGITS[held[0]!]!;
			const b = DIGITS[held[1]!]!;
			const c = padding === 2 ? 0 : DIGITS[held[2]!]!;
			const d = padding > 0 ? 0 : DIGITS[held[3]!]!;
			if ((a | b | c | d) < 0) return null;
			// Bits that no byte is made of must be zero, so that each text has one reading.
			if ((padding === 1 && (c & 3) !== 0) || (padding === 2 && (b & 15) !== 0)) return null;
			out[length++] = (a << 2) | (b >> 4);
			if (padding < 2) out[length++] = ((b & 15) << 4) | (c >> 2);
			if (padding < 1) out[length++] = ((c & 3) << 6) | d;
		}
		return length === out.length ? out : out.subarray(0, length);
	}

	/** No group is open: the text may end here. */
	get complete(): boolean {
		return this.heldCount === 0;
	}
}

/** Each message becomes base64 of its own, with padding, so that a reader has it as soon as it is complete. */
export class GrpcWebTextEncoder {
	/** Bytes of a group of three that is not complete. */
	private held = EMPTY;
	private readonly frames = new GrpcFrameCounter();

	/** A new array. `end`: nothing follows. */
	encode(bytes: Uint8Array, end: boolean): Uint8Array {
		const parts: string[] = [];
		let from = 0;
		for (let at = 0; at < bytes.length; ) {
			// Up to the end of the message, or as far as its head tells.
			const step = Math.min(this.frames.pending === 0 ? 1 : this.frames.pending, bytes.length - at);
			this.frames.count(bytes.subarray(at, at + step));
			at += step;
			if (this.frames.pending > 0 && at < bytes.length) continue;
			parts.push(this.groups(bytes.subarray(from, at), this.frames.pending === 0));
			from = at;
		}
		if (end && this.held.length > 0) parts.push(this.groups(EMPTY, true));
		return Buffer.from(parts.join(''), 'latin1');
	}

	private groups(bytes: Uint8Array, flush: boolean): string {
		const all = this.held.length === 0 ? bytes : Buffer.concat([this.held, bytes]);
		const whole = flush ? all.length : all.length - (all.length % 3);
		this.held = all.slice(whole);
		return Buffer.from(all.buffer, all.byteOffset, whole).toString('base64');
	}
}
