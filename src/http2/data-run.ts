// Small DATA frames that came in one read, by stream. Who sends messages of a few bytes on several streams has a frame
// for each, in turns; what they have to go through behind the codec is gone through once for each stream.
//
//   read    [1│a][3│x][1│b][5│p][1│c][3│y]│END of 1…
//   given   1│abc   3│xy   5│p

import { Flag, FRAME_BYTES_DEFAULT, FRAME_HEADER_BYTES, FrameType, streamIdAt } from './frames.ts';

/** Data of a frame. A larger one is not worth being copied. */
export const JOINED_BYTES_MAX = 1024;

/** Fewer are copied one by one: faster than making a view of them. */
const LOOP_BYTES_MAX = 64;
/** Of at least one byte each. */
const FRAMES_MAX = Math.ceil(FRAME_BYTES_DEFAULT / (FRAME_HEADER_BYTES + 1));

const runs: DataRun[] = [];

/**
 * The frames from `from` on that are DATA, whole, small, neither empty nor padded (those are counted and accounted for
 * one by one), and not the last of their streams (what a listener does about an end comes in its order); at most one full
 * frame's worth. Null: fewer than two.
 */
export function findRun(bytes: Uint8Array, from: number, end: number): DataRun | null {
	const run = runs.pop() ?? new DataRun();
	run.fill(bytes, from, Math.min(end, from + FRAME_BYTES_DEFAULT));
	if (run.frames > 1) return run;
	releaseRun(run);
	return null;
}

export function releaseRun(run: DataRun): void {
	runs.push(run);
}

export class DataRun {
	/** Where it ends. */
	end = 0;
	frames = 0;
	/** How many streams have frames in it. */
	streams = 0;
	/** By frame: where its data begins, and the number of the stream's next frame; -1: it is the last one. */
	private readonly start = new Uint32Array(FRAMES_MAX);
	private readonly next = new Int16Array(FRAMES_MAX);
	private readonly slots = new Map<number, number>();
	/** By slot, one for each stream, in the order of their first frames. */
	private readonly ids: number[] = [];
	private readonly lengths: number[] = [];
	private readonly first: number[] = [];
	private readonly last: number[] = [];

	fill(bytes: Uint8Array, from: number, stop: number): void {
		this.frames = 0;
		this.streams = 0;
		this.slots.clear();
		let at = from;
		while (stop - at > FRAME_HEADER_BYTES) {
			const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
			const next = at + FRAME_HEADER_BYTES + length;
			if (bytes[at + 3] !== FrameType.data || length === 0 || length > JOINED_BYTES_MAX || next > stop) break;
			if ((bytes[at + 4]! & (Flag.padded | Flag.endStream)) !== 0) break;
			this.add(streamIdAt(bytes, at), at + FRAME_HEADER_BYTES, length);
			at = next;
		}
		this.end = at;
	}

	streamId(slot: number): number {
		return this.ids[slot]!;
	}

	dataOf(slot: number, bytes: Uint8Array): Uint8Array {
		const length = this.lengths[slot]!;
		const first = this.first[slot]!;
		if (this.next[first] === -1) return bytes.subarray(this.start[first]!, this.start[first]! + length);
		const data = new Uint8Array(length);
		let to = 0;
		for (let frame = first; frame !== -1; frame = this.next[frame]!) {
			const start = this.start[frame]!;
			const size = (bytes[start - 8]! << 8) | bytes[start - 7]!;
			if (size < LOOP_BYTES_MAX) for (let i = 0; i < size; i++) data[to + i] = bytes[start + i]!;
			else data.set(bytes.subarray(start, start + size), to);
			to += size;
		}
		return data;
	}

	private add(streamId: number, start: number, length: number): void {
		const frame = this.frames;
		const slot = this.slots.get(streamId);
		if (slot === undefined) {
			const made = this.streams++;
			this.slots.set(streamId, made);
			this.ids[made] = streamId;
			this.first[made] = frame;
			this.last[made] = frame;
			this.lengths[made] = length;
		} else {
			this.next[this.last[slot]!] = frame;
			this.last[slot] = frame;
			this.lengths[slot] = this.lengths[slot]! + length;
		}
		this.start[frame] = start;
		this.next[frame] = -1;
		this.frames++;
	}
}
