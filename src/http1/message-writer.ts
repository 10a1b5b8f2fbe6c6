// One direction of a stream on its way out: a head, then a body in the framing that the head
// announced. Holds whoever writes to it: more or less than the declared length is an error.
//
// The transport must take what it is given before `write` returns: the bytes are of buffers that
// the next write uses again.

import type { CodecTransport } from '../http/codec.ts';
import type { HeaderList } from '../http/headers.ts';
import { Http1Error } from './errors.ts';
import { encodeTrailers } from './head-writer.ts';

/** What becomes of the body's bytes. */
export type BodyFraming =
	| 'idle'
	/** No body may be sent (HEAD, 204, 304): what is written is dropped. */
	| 'dropped'
	| 'length'
	| 'chunked'
	| 'until_close'
	/** After an upgrade: as they are, and FIN at the end. */
	| 'raw';

/** Chunks up to this size are copied together with their framing, for one write. */
const COPIED_CHUNK_BYTES_MAX = 8 * 1024;
const scratch = new Uint8Array(COPIED_CHUNK_BYTES_MAX + 32);
const CHUNK_END = ascii('\r\n');
const CHUNK_END_AND_LAST = ascii('\r\n0\r\n\r\n');
const LAST_CHUNK = ascii('0\r\n\r\n');

export class MessageWriter {
	framing: BodyFraming = 'idle';
	/** The direction has ended. */
	ended = false;
	private remainingBytes = 0;

	constructor(private readonly transport: CodecTransport) {}

	reset(): void {
		this.framing = 'idle';
		this.ended = false;
	}

	/** `lengthBytes` for framing `length`. */
	begin(head: Uint8Array, framing: BodyFraming, lengthBytes: number, end: boolean): void {
		this.framing = framing;
		this.remainingBytes = lengthBytes;
		this.ended = end;
		this.transport.write(head);
	}

	/** What `Stream.writeData` returns, or an error after which the connection must close. */
	writeData(bytes: Uint8Array, end: boolean): boolean | Http1Error {
		if (end) this.ended = true;
		switch (this.framing) {
			case 'length': {
				this.remainingBytes -= bytes.length;
				if (this.remainingBytes < 0 || (end && this.remainingBytes > 0)) {
					return new Http1Error(
						'http1_body_length_mismatch',
						this.remainingBytes < 0
							? 'body is longer than its content-length'
							: 'body is shorter than its content-length',
						'local',
					);
				}
				return bytes.length === 0 ? true : this.transport.write(bytes);
			}
			case 'chunked':
				return this.writeChunk(bytes, end);
			case 'until_close':
				return bytes.length === 0 ? true : this.transport.write(bytes);
			case 'raw': {
				const more = bytes.length === 0 ? true : this.transport.write(bytes);
				if (end) this.transport.close('flush');
				return more;
			}
			default:
				return true;
		}
	}

	/** Ends the direction. Only chunks can carry trailers; elsewhere they are dropped. */
	writeTrailers(trailers: HeaderList): Http1Error | null {
		if (this.framing !== 'chunked') {
			const result = this.writeData(new Uint8Array(0), true);
			return result instanceof Http1Error ? result : null;
		}
		this.ended = true;
		const encoded = encodeTrailers(trailers);
		if (encoded instanceof Http1Error) return encoded;
		this.transport.write(encoded);
		return null;
	}

	private writeChunk(bytes: Uint8Array, end: boolean): boolean {
		const size = bytes.length;
		if (size === 0) return end ? this.transport.write(LAST_CHUNK) : true;
		const sizeEnd = putChunkSize(size);
		if (size <= COPIED_CHUNK_BYTES_MAX) {
			scratch.set(bytes, sizeEnd);
			const tail = end ? CHUNK_END_AND_LAST : CHUNK_END;
			scratch.set(tail, sizeEnd + size);
			return this.transport.write(scratch.subarray(0, sizeEnd + size + tail.length));
		}
		this.transport.write(scratch.subarray(0, sizeEnd));
		this.transport.write(bytes);
		return this.transport.write(end ? CHUNK_END_AND_LAST : CHUNK_END);
	}
}

/** Writes `size` CR LF at the beginning of the scratch buffer; returns where it ends. */
function putChunkSize(size: number): number {
	let digits = 1;
	for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 16)) digits++;
	let rest = size;
	for (let i = digits - 1; i >= 0; i--) {
		const digit = rest % 16;
		scratch[i] = digit < 10 ? 0x30 + digit : 0x57 + digit;
		rest = (rest - digit) / 16;
	}
	scratch[digits] = 0x0d;
	scratch[digits + 1] = 0x0a;
	return digits + 2;
}

function ascii(text: string): Uint8Array {
	return new TextEncoder().encode(text);
}
