// Data of one stream that waits, in chunks from a pool of the worker. Before each frame's worth of it there is room
// for the frame's header, so that what waits leaves without being copied once more:
//
//   chunk   [room│ a frame's data ][room│ a frame's data ][room│ …
//   sent, and a window that ends within the third:
//           [HEAD│████████████████][HEAD│████████████████][HEAD│███|
//   next:                                         the header goes over bytes that are sent ─▶ [HEAD│███]
//
// An empty queue holds no memory.

import { Flag, FRAME_BYTES_DEFAULT, FRAME_HEADER_BYTES, FrameType, putFrameHeader } from './frames.ts';

const ROOM_BYTES = FRAME_HEADER_BYTES;
const PITCH_BYTES = ROOM_BYTES + FRAME_BYTES_DEFAULT;
/** For a little data; what comes behind it goes to large chunks. */
const SMALL_CHUNK_BYTES = PITCH_BYTES;
const LARGE_CHUNK_BYTES = 4 * PITCH_BYTES;
/** Kept for reuse by one worker: 0.5 MiB, and 2 MiB. */
const SMALL_CHUNKS_MAX = 32;
const LARGE_CHUNKS_MAX = 32;

const smallPool: Uint8Array[] = [];
const largePool: Uint8Array[] = [];
const EMPTY = new Uint8Array(0);

export class DataQueue {
	/** Bytes that wait. */
	length = 0;
	/** Bytes of data in what `frames` gave last. */
	framed = 0;
	private readonly chunks: Uint8Array[] = [];
	/** In the first chunk, and in the last. */
	private readAt = 0;
	private writeAt = 0;

	/** Copies `bytes[from..]`. */
	append(bytes: Uint8Array, from = 0): void {
		const end = bytes.length;
		let next = from;
		this.length += end - from;
		while (next < end) {
			let tail = this.chunks[this.chunks.length - 1];
			if (tail === undefined || this.writeAt === tail.length) {
				tail = takeChunk(tail === undefined && end - next <= FRAME_BYTES_DEFAULT);
				this.chunks.push(tail);
				this.writeAt = 0;
			}
			if (this.writeAt % PITCH_BYTES === 0) this.writeAt += ROOM_BYTES;
			const size = Math.min(end - next, frameEnd(this.writeAt) - this.writeAt);
			tail.set(next === 0 && size === end ? bytes : bytes.subarray(next, next + size), this.writeAt);
			this.writeAt += size;
			next += size;
		}
	}

	/** The first contiguous bytes; empty when nothing waits. Valid until they are consumed. */
	peek(): Uint8Array {
		const first = this.chunks[0];
		if (first === undefined) return EMPTY;
		const at = this.dataAt();
		return first.subarray(at, Math.min(frameEnd(at), this.stop()));
	}

	/**
	 * DATA frames of `streamId` with the first bytes, at most `bytesMax` (above 0) of data, and not more than lie in one
	 * piece: `framed` says how many. `ends`: END_STREAM goes with the last byte of the queue. What they take stays until
	 * it is consumed.
	 */
	frames(streamId: number, bytesMax: number, ends: boolean): Uint8Array {
		const chunk = this.chunks[0]!;
		const stop = this.stop();
		let at = this.dataAt();
		const start = at - ROOM_BYTES;
		let framed = 0;
		for (;;) {
			const size = Math.min(bytesMax - framed, Math.min(frameEnd(at), stop) - at);
			framed += size;
			const flags = ends && framed === this.length ? Flag.endStream : 0;
			putFrameHeader(chunk, at - ROOM_BYTES, size, FrameType.data, flags, streamId);
			at += size;
			if (framed === bytesMax || at === stop) break;
			at += ROOM_BYTES;
		}
		this.framed = framed;
		return chunk.subarray(start, at);
	}

	/** Takes off what `peek` or `frames` gave: `count` bytes of data, all in the first chunk. */
	consume(count: number): void {
		let left = count;
		let at = this.readAt;
		while (left > 0) {
			if (at % PITCH_BYTES === 0) at += ROOM_BYTES;
			const size = Math.min(left, frameEnd(at) - at);
			at += size;
			left -= size;
		}
		this.readAt = at;
		this.length -= count;
		if (this.length === 0) this.clear();
		else if (at === this.chunks[0]!.length) {
			releaseChunk(this.chunks.shift()!);
			this.readAt = 0;
		}
	}

	clear(): void {
		const { chunks } = this;
		for (let i = 0; i < chunks.length; i++) releaseChunk(chunks[i]!);
		chunks.length = 0;
		this.length = 0;
		this.readAt = 0;
		this.writeAt = 0;
	}

	/** Where the first byte of data is, in the first chunk. */
	private dataAt(): number {
		return this.readAt % PITCH_BYTES === 0 ? this.readAt + ROOM_BYTES : this.readAt;
	}

	/** The end of the data in the first chunk. */
	private stop(): number {
		return this.chunks.length === 1 ? this.writeAt : this.chunks[0]!.length;
	}
}

/** Of the frame's worth of data in which `at` is. */
function frameEnd(at: number): number {
	return at - (at % PITCH_BYTES) + PITCH_BYTES;
}

function takeChunk(isSmall: boolean): Uint8Array {
	if (isSmall) return smallPool.pop() ?? new Uint8Array(SMALL_CHUNK_BYTES);
	return largePool.pop() ?? new Uint8Array(LARGE_CHUNK_BYTES);
}

function releaseChunk(chunk: Uint8Array): void {
	if (chunk.length === SMALL_CHUNK_BYTES) {
		if (smallPool.length < SMALL_CHUNKS_MAX) smallPool.push(chunk);
	} else if (largePool.length < LARGE_CHUNKS_MAX) largePool.push(chunk);
}
