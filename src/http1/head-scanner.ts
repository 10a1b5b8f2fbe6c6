// Finds the end of a message's head (or of a trailer section) and where its fields stand, one
// byte after another, at any split of the input. Every byte is looked at once and held to the
// strict grammar; text is made from the whole head afterwards, by one slice.
//
//   empty line?  start line            field               end
//   ─▶ start ──▶ startLine ─CR LF─▶ fieldStart ─▶ name ─:─▶ value ─CR LF─┐
//                                       ▲  └─CR LF─▶ complete           │
//                                       └────────────────────────────────┘
//
// Offsets go to a scratch array that all scanners share; a scanner whose head is not complete at
// the end of a read keeps a copy of its own part.

import { COLON, CR, DEL, FIELD_VALUE, HTAB, LF, REQUEST_LINE, SP, TOKEN, TOKEN_LOWER } from '../http/characters.ts';
import type { ErrorOrigin } from '../std/errors.ts';
import { Http1Error } from './errors.ts';
import { hashStep } from './field-names.ts';
import type { Http1Limits } from './limits.ts';

const State = {
	start: 0,
	emptyLineLf: 1,
	startLine: 2,
	startLineLf: 3,
	fieldStart: 4,
	name: 5,
	valueStart: 6,
	value: 7,
	valueLf: 8,
	endLf: 9,
	complete: 10,
	failed: 11,
} as const;

/** Per field: name's start, name's end, name's hash, value's start, value's end (with trailing whitespace). */
export const OFFSETS_PER_FIELD = 5;

const scratch = { offsets: new Int32Array(OFFSETS_PER_FIELD * 128) };

// latin1Slice works on any Uint8Array under Bun; Buffer's type says only that Buffers have it.
const latin1Slice = (
	Buffer.prototype as unknown as { latin1Slice(this: Uint8Array, start: number, end: number): string }
).latin1Slice;

export class HeadScanner {
	/** Set once, by the first wrong byte. */
	error: Http1Error | null = null;
	/** The whole head, when complete. */
	text = '';
	/** Of the start line, within `text`. */
	startLineStart = 0;
	startLineEnd = 0;
	fieldCount = 0;
	/** Valid from completion until another scanner runs. */
	offsets: Int32Array = scratch.offsets;

	private state: number = State.start;
	private hash = 0;
	private scannedBytes = 0;
	private held: Uint8Array | null = null;
	private heldOffsets: Int32Array | null = null;

	constructor(
		private readonly kind: 'request' | 'response' | 'trailers',
		private readonly limits: Http1Limits,
		private readonly origin: ErrorOrigin,
	) {
		this.reset();
	}

	get complete(): boolean {
		return this.state === State.complete;
	}

	/** Whether a byte of the head was taken. */
	get begun(): boolean {
		return this.scannedBytes > 0;
	}

	reset(): void {
		this.state = this.kind === 'trailers' ? State.fieldStart : State.start;
		this.scannedBytes = 0;
		this.startLineStart = 0;
		this.fieldCount = 0;
		this.text = '';
		this.held = null;
		this.heldOffsets = null;
	}

	/** Takes bytes from `from` on; returns the index after the last it took. Then: `complete`, `error`, or all is taken. */
	scan(bytes: Uint8Array, from: number): number {
		const room = this.limits.headerBytesMax - this.scannedBytes;
		const to = bytes.length - from > room ? from + room : bytes.length;
		const fieldsMax = this.limits.headersMax;
		if (scratch.offsets.length < fieldsMax * OFFSETS_PER_FIELD) {
			scratch.offsets = new Int32Array(fieldsMax * OFFSETS_PER_FIELD);
		}
		const offsets = scratch.offsets;
		if (this.heldOffsets !== null) offsets.set(this.heldOffsets);
		this.offsets = offsets;
		// Offsets count from the head's first byte, which an earlier read may have brought.
		const shift = this.scannedBytes - from;
		const startLineSet = this.kind === 'response' ? FIELD_VALUE : REQUEST_LINE;
		let state = this.state;
		let hash = this.hash;
		let at = from;

		scanning: while (at < to) {
			switch (state) {
				case State.start:
					// RFC 9112 §2.2: one empty line before a request is forgiven.
					if (bytes[at] === CR && this.kind === 'request' && at + shift === 0) {
						state = State.emptyLineLf;
						at++;
						continue;
					}
					// What speaks another protocol may never end its line: it is told by its first byte.
					if (this.kind === 'response' && bytes[at] !== 0x48) {
						return this.fail('http1_bad_status_line', 'not a status line', at);
					}
					this.startLineStart = at + shift;
					state = State.startLine;
					continue;

				case State.emptyLineLf:
					if (bytes[at] !== LF) return this.fail('http1_bad_line_end', 'CR without LF', at);
					at++;
					state = State.start;
					continue;

				case State.startLine: {
					while (at < to && startLineSet[bytes[at]!] === 1) at++;
					if (this.kind === 'request' && at + shift - this.startLineStart > this.limits.requestLineBytesMax) {
						return this.fail('http1_request_line_too_long', 'request line too long', at);
					}
					if (at === to) break scanning;
					if (bytes[at] !== CR || at + shift === this.startLineStart) {
						if (bytes[at] === LF) return this.fail('http1_bad_line_end', 'LF without CR', at);
						return this.kind === 'request'
							? this.fail('http1_bad_request_line', 'character not allowed in a request line', at)
							: this.fail('http1_bad_status_line', 'character not allowed in a status line', at);
					}
					this.startLineEnd = at + shift;
					at++;
					state = State.startLineLf;
					continue;
				}

				case State.startLineLf:
				case State.valueLf:
					if (bytes[at] !== LF) return this.fail('http1_bad_line_end', 'CR without LF', at);
					at++;
					state = State.fieldStart;
					continue;

				case State.fieldStart: {
					const byte = bytes[at]!;
					if (byte === CR) {
						at++;
						state = State.endLf;
						continue;
					}
					if (TOKEN[byte] === 0) {
						if (byte === SP || byte === HTAB)
							return this.fail('http1_obsolete_folding', 'line begins with a space', at);
						if (byte === LF) return this.fail('http1_bad_line_end', 'LF without CR', at);
						return this.fail('http1_bad_header_name', 'header name is empty or not a token', at);
					}
					if (this.fieldCount === fieldsMax) {
						return this.fail('http1_too_many_headers', `more than ${fieldsMax} header fields`, at);
					}
					offsets[this.fieldCount * OFFSETS_PER_FIELD] = at + shift;
					hash = 0;
					state = State.name;
					continue;
				}

				case State.name: {
					let byte = 0;
					while (at < to) {
						byte = bytes[at]!;
						const lower = TOKEN_LOWER[byte]!;
						if (lower === 0) break;
						hash = hashStep(hash, lower);
						at++;
					}
					if (at === to) break scanning;
					if (byte !== COLON) {
						if (byte === SP || byte === HTAB)
							return this.fail('http1_space_before_colon', 'space before the colon', at);
						if (byte === LF) return this.fail('http1_bad_line_end', 'LF without CR', at);
						return this.fail('http1_bad_header_name', 'header name is not a token', at);
					}
					const field = this.fieldCount * OFFSETS_PER_FIELD;
					offsets[field + 1] = at + shift;
					offsets[field + 2] = hash;
					at++;
					state = State.valueStart;
					continue;
				}

				case State.valueStart: {
					while (at < to && (bytes[at] === SP || bytes[at] === HTAB)) at++;
					if (at === to) break scanning;
					offsets[this.fieldCount * OFFSETS_PER_FIELD + 3] = at + shift;
					state = State.value;
					continue;
				}

				case State.value: {
					while (at < to) {
						// FIELD_VALUE, by comparisons: half the cost of the table.
						const byte = bytes[at]!;
						if (byte < SP ? byte !== HTAB : byte === DEL) break;
						at++;
					}
					if (at === to) break scanning;
					if (bytes[at] !== CR) {
						if (bytes[at] === LF) return this.fail('http1_bad_line_end', 'LF without CR', at);
						return this.fail('http1_bad_header_value', 'control character in a header value', at);
					}
					offsets[this.fieldCount * OFFSETS_PER_FIELD + 4] = at + shift;
					this.fieldCount++;
					at++;
					state = State.valueLf;
					continue;
				}

				case State.endLf:
					if (bytes[at] !== LF) return this.fail('http1_bad_line_end', 'CR without LF', at);
					at++;
					this.state = State.complete;
					this.scannedBytes = at + shift;
					this.finish(bytes, from, at);
					return at;

				default:
					return at;
			}
		}

		if (state === State.complete || state === State.failed) return at;
		this.state = state;
		this.hash = hash;
		this.scannedBytes = at + shift;
		if (this.scannedBytes >= this.limits.headerBytesMax) {
			return this.fail('http1_headers_too_large', `head of more than ${this.limits.headerBytesMax} bytes`, at);
		}
		this.hold(bytes, from, at);
		return at;
	}

	private finish(bytes: Uint8Array, from: number, to: number): void {
		if (this.held === null) {
			this.text = latin1Slice.call(bytes, from, to);
			return;
		}
		const before = this.scannedBytes - (to - from);
		this.grow(before);
		this.held.set(bytes.subarray(from, to), before);
		this.text = latin1Slice.call(this.held, 0, this.scannedBytes);
		this.held = null;
		this.heldOffsets = null;
	}

	private hold(bytes: Uint8Array, from: number, to: number): void {
		const before = this.scannedBytes - (to - from);
		this.grow(before);
		this.held!.set(bytes.subarray(from, to), before);
		// The field under way has offsets too.
		const used = Math.min((this.fieldCount + 1) * OFFSETS_PER_FIELD, this.offsets.length);
		this.heldOffsets = this.offsets.slice(0, used);
	}

	/** Room in `held` for `scannedBytes`, of which `before` are there. */
	private grow(before: number): void {
		if (this.held !== null && this.held.length >= this.scannedBytes) return;
		const larger = new Uint8Array(Math.max(this.scannedBytes, this.held === null ? 256 : this.held.length * 2));
		if (this.held !== null) larger.set(this.held.subarray(0, before));
		this.held = larger;
	}

	private fail(code: Http1Error['code'], message: string, at: number): number {
		this.state = State.failed;
		this.error = new Http1Error(code, message, this.origin);
		this.held = null;
		return at;
	}
}
