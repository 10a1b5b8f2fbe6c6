// Takes a message's body out of its framing: a number of bytes, chunks, all until the connection
// closes, or raw bytes after an upgrade (RFC 9112 §6, §7). Synchronous, at any split.
//
//  size ─▶ extension? ─CR LF─▶ data ─CR LF─▶ size … 0 ─CR LF─▶ trailers ─▶ done

import { CR, FIELD_VALUE, HEX, HTAB, LF, SEMICOLON, SP } from '../http/characters.ts';
import type { HeaderList } from '../http/headers.ts';
import type { ErrorOrigin } from '../std/errors.ts';
import { Http1Error } from './errors.ts';
import { readTrailers } from './head-fields.ts';
import { HeadScanner } from './head-scanner.ts';
import { CHUNK_EXTENSION_BYTES_MAX, type Http1Limits } from './limits.ts';

export interface BodySink {
	/** `bytes` are part of what was given to `read`. With `end`, the body is done. */
	onBody(bytes: Uint8Array, end: boolean): void;
	/** The body is done; not empty. */
	onBodyTrailers(trailers: HeaderList): void;
}

const State = {
	done: 0,
	length: 1,
	raw: 2,
	size: 3,
	sizeNext: 4,
	extensionSpace: 5,
	extension: 6,
	sizeLf: 7,
	data: 8,
	dataCr: 9,
	dataLf: 10,
	trailers: 11,
	failed: 12,
} as const;

const CHUNK_SIZE_DIGITS_MAX = 12;
const EMPTY = new Uint8Array(0);

export class BodyReader {
	/** Set once, by the first wrong byte. */
	error: Http1Error | null = null;

	private state: number = State.done;
	/** Of the body, or of the chunk. */
	private remainingBytes = 0;
	private sizeDigits = 0;
	private extensionBytes = 0;
	private trailers: HeadScanner | null = null;

	constructor(
		private readonly sink: BodySink,
		private readonly limits: Http1Limits,
		private readonly origin: ErrorOrigin,
	) {}

	get done(): boolean {
		return this.state === State.done;
	}

	startLength(bytes: number): void {
		this.remainingBytes = bytes;
		this.state = bytes === 0 ? State.done : State.length;
	}

	startChunked(): void {
		this.state = State.size;
		this.sizeDigits = 0;
		this.remainingBytes = 0;
		this.extensionBytes = 0;
	}

	/** All that comes is body, until `stop`. */
	startRaw(): void {
		this.state = State.raw;
	}

	stop(): void {
		this.state = State.done;
	}

	/** Takes bytes from `from` on; returns the index after the last it took. Stops at the end of the body and at an error. */
	read(bytes: Uint8Array, from: number): number {
		const to = bytes.length;
		let at = from;
		while (at < to) {
			switch (this.state) {
				case State.length: {
					const next = Math.min(to, at + this.remainingBytes);
					this.remainingBytes -= next - at;
					const end = this.remainingBytes === 0;
					if (end) this.state = State.done;
					this.sink.onBody(part(bytes, at, next), end);
					at = next;
					continue;
				}
				case State.raw:
					this.sink.onBody(part(bytes, at, to), false);
					return to;

				case State.size:
				case State.sizeNext: {
					const byte = bytes[at]!;
					const digit = HEX[byte]!;
					if (digit !== 255) {
						if (this.sizeDigits === CHUNK_SIZE_DIGITS_MAX)
							return this.fail('http1_bad_chunk_size', 'chunk size too long', at);
						this.remainingBytes = this.remainingBytes * 16 + digit;
						this.sizeDigits++;
						this.state = State.sizeNext;
					} else if (this.state === State.size) {
						return this.fail('http1_bad_chunk_size', 'chunk size is not a hexadecimal number', at);
					} else if (byte === CR) this.state = State.sizeLf;
					else if (byte === SEMICOLON) this.state = State.extension;
					else if (byte === SP || byte === HTAB) this.state = State.extensionSpace;
					else
						return this.fail(
							byte === LF ? 'http1_bad_line_end' : 'http1_bad_chunk_size',
							'bad byte in a chunk size',
							at,
						);
					at++;
					continue;
				}
				case State.extensionSpace: {
					// Bad whitespace, which only an extension may follow (RFC 9112 §7.1.1).
					const byte = bytes[at]!;
					if (byte === SEMICOLON) this.state = State.extension;
					else if (byte !== SP && byte !== HTAB)
						return this.fail('http1_bad_chunk_size', 'space after a chunk size', at);
					if (++this.extensionBytes > CHUNK_EXTENSION_BYTES_MAX) return this.extensionTooLarge(at);
					at++;
					continue;
				}
				case State.extension: {
					const start = at;
					const stop = Math.min(to, at + CHUNK_EXTENSION_BYTES_MAX + 1 - this.extensionBytes);
					while (at < stop && FIELD_VALUE[bytes[at]!] === 1) at++;
					this.extensionBytes += at - start;
					if (this.extensionBytes > CHUNK_EXTENSION_BYTES_MAX) return this.extensionTooLarge(at);
					if (at === to) return at;
					if (bytes[at] !== CR) {
						return bytes[at] === LF
							? this.fail('http1_bad_line_end', 'LF without CR', at)
							: this.fail('http1_bad_chunk_extension', 'control character in a chunk extension', at);
					}
					at++;
					this.state = State.sizeLf;
					continue;
				}
				case State.sizeLf:
					if (bytes[at] !== LF) return this.fail('http1_bad_line_end', 'CR without LF', at);
					at++;
					this.sizeDigits = 0;
					if (this.remainingBytes > 0) {
						this.state = State.data;
						continue;
					}
					this.state = State.trailers;
					this.trailers ??= new HeadScanner('trailers', this.limits, this.origin);
					this.trailers.reset();
					continue;

				case State.data: {
					const next = Math.min(to, at + this.remainingBytes);
					this.remainingBytes -= next - at;
					if (this.remainingBytes === 0) this.state = State.dataCr;
					this.sink.onBody(part(bytes, at, next), false);
					at = next;
					continue;
				}
				case State.dataCr:
					if (bytes[at] !== CR) return this.fail('http1_bad_chunk_end', 'chunk is longer than its size', at);
					at++;
					this.state = State.dataLf;
					continue;

				case State.dataLf:
					if (bytes[at] !== LF) return this.fail('http1_bad_line_end', 'CR without LF', at);
					at++;
					this.state = State.size;
					continue;

				case State.trailers:
					return this.readTrailerSection(bytes, at);

				default:
					return at;
			}
		}
		return at;
	}

	private readTrailerSection(bytes: Uint8Array, from: number): number {
		const scanner = this.trailers!;
		const at = scanner.scan(bytes, from);
		if (scanner.error !== null) {
			this.error = scanner.error;
			this.state = State.failed;
		} else if (scanner.complete) {
			const trailers = readTrailers(scanner);
			this.state = State.done;
			if (trailers.length === 0) this.sink.onBody(EMPTY, true);
			else this.sink.onBodyTrailers(trailers);
		}
		return at;
	}

	private extensionTooLarge(at: number): number {
		return this.fail(
			'http1_chunk_extension_too_large',
			`chunk extensions of more than ${CHUNK_EXTENSION_BYTES_MAX} bytes`,
			at,
		);
	}

	private fail(code: Http1Error['code'], message: string, at: number): number {
		this.state = State.failed;
		this.error = new Http1Error(code, message, this.origin);
		return at;
	}
}

/** Up to here a copy is cheaper than a view, for which the runtime makes an ArrayBuffer out of what was read. */
const COPIED_PART_BYTES_MAX = 4 * 1024;

function part(bytes: Uint8Array, from: number, to: number): Uint8Array {
	if (from === 0 && to === bytes.length) return bytes;
	return to - from <= COPIED_PART_BYTES_MAX ? bytes.slice(from, to) : bytes.subarray(from, to);
}
