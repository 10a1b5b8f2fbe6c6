// Bytes between `write` and the kernel. The writes of one turn gather in a slab from a shared pool,
// which leaves with one system call at the end of the turn; what the kernel does not take waits in a
// queue of copies. An idle connection holds neither.
//
//   write ──small──▶ slab ──end of turn──▶ kernel ──not all taken──▶ queue ──drain──▶ kernel
//     └──────large, and nothing gathered───▶ ┘
//
// A slab that fills becomes a large one, so that frames of up to 16 KiB, each with a header of its own,
// leave together. Larger pieces are not copied: that costs more than the system call and the segment that
// it saves.

export const SLAB_BYTES = 16 * 1024;
const LARGE_SLAB_BYTES = 128 * 1024;
/** So much is worth a system call by itself: it leaves at once, and the slab is for the next one, still in the cache. */
export const SEND_AT_ONCE_BYTES = 64 * 1024;
/** Slabs kept for reuse by one worker: 1 MiB. */
const POOL_SLABS_MAX = 64;
/** Large ones of one worker, in use and kept for reuse: 1 MiB. */
const LARGE_SLABS_MAX = 8;
const FURTHER_CHUNK_BYTES = 64 * 1024;

const pool: Uint8Array[] = [];
const largePool: Uint8Array[] = [];
let largeInUse = 0;

export function takeSlab(): Uint8Array {
	return pool.pop() ?? new Uint8Array(SLAB_BYTES);
}

/** Null: too many are in use, the caller sends what it has. */
export function takeLargeSlab(): Uint8Array | null {
	if (largeInUse >= LARGE_SLABS_MAX) return null;
	largeInUse++;
	return largePool.pop() ?? new Uint8Array(LARGE_SLAB_BYTES);
}

/** Of either size. */
export function releaseSlab(slab: Uint8Array): void {
	if (slab.length === SLAB_BYTES) {
		if (pool.length < POOL_SLABS_MAX) pool.push(slab);
		return;
	}
	largeInUse--;
	largePool.push(slab);
}

/** Frees the memory of an array that nobody uses any more, which has all of its buffer to itself: it is empty then. */
export function giveBack(bytes: Uint8Array): void {
	(bytes.buffer as ArrayBuffer).transfer(0);
}

/** First in, first out, of bytes that it owns. */
export class ByteQueue {
	private readonly chunks: Uint8Array[] = [];
	/** Read position in the first chunk, write position in the last. */
	private readOffset = 0;
	private tailLength = 0;
	/** Bytes that wait. */
	length = 0;

	/** Copies `bytes[from..]`. Small appends share a chunk; what waits behind others goes out in larger pieces. */
	append(bytes: Uint8Array, from = 0): void {
		let offset = from;
		const end = bytes.length;
		this.length += end - offset;
		const tail = this.chunks[this.chunks.length - 1];
		if (tail !== undefined && this.tailLength < tail.length) {
			const take = Math.min(tail.length - this.tailLength, end - offset);
			tail.set(bytes.subarray(offset, offset + take), this.tailLength);
			this.tailLength += take;
			offset += take;
		}
		if (offset === end) return;
		const least = tail === undefined ? SLAB_BYTES : FURTHER_CHUNK_BYTES;
		const chunk = new Uint8Array(Math.max(least, end - offset));
		chunk.set(bytes.subarray(offset));
		this.chunks.push(chunk);
		this.tailLength = end - offset;
	}

	/** The first contiguous bytes; empty when nothing waits. Valid until the next call. */
	peek(): Uint8Array {
		const first = this.chunks[0];
		if (first === undefined) return EMPTY;
		return first.subarray(this.readOffset, this.chunks.length === 1 ? this.tailLength : first.length);
	}

	consume(count: number): void {
		this.length -= count;
		this.readOffset += count;
		const first = this.chunks[0]!;
		const limit = this.chunks.length === 1 ? this.tailLength : first.length;
		if (this.readOffset < limit) return;
		this.chunks.shift();
		giveBack(first);
		this.readOffset = 0;
		if (this.chunks.length === 0) this.tailLength = 0;
	}
}

const EMPTY = new Uint8Array(0);

export interface Flushable {
	flush(): void;
}

/** Says when a turn ends. */
export interface Turns {
	/** Calls `run` once, at the end of this turn. */
	atTurnEnd(run: () => void): void;
}

/** Calls `flush` of all that asked for it, once, at the end of the turn of the event loop. */
export class TurnEnd {
	private waiting: Flushable[] = [];
	private running: Flushable[] = [];
	private readonly run = () => {
		const list = this.waiting;
		this.waiting = this.running;
		this.running = list;
		// `flush` does not throw: it is itself a boundary (socket-connection.ts).
		for (let index = 0; index < list.length; index++) list[index]!.flush();
		list.length = 0;
	};

	/** Null: of Bun's. */
	constructor(private readonly turns: Turns | null = null) {}

	add(one: Flushable): void {
		if (this.waiting.push(one) !== 1) return;
		if (this.turns === null) setImmediate(this.run);
		else this.turns.atTurnEnd(this.run);
	}
}
