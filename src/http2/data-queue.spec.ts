import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../std/random.ts';
import { DataQueue } from './data-queue.ts';
import { Flag, FRAME_BYTES_DEFAULT, FRAME_HEADER_BYTES } from './frames.ts';

/** Bytes that differ by their place. */
function pattern(from: number, length: number): Uint8Array {
	return Uint8Array.from({ length }, (_, index) => (from + index) % 251);
}

/** The data of frames as they would go out, which are well formed and of stream 7; and whether the last one ends it. */
function dataOf(frames: Uint8Array): { data: number[]; ends: boolean } {
	const data: number[] = [];
	let ends = false;
	for (let at = 0; at < frames.length; ) {
		expect(ends).toBe(false);
		const length = (frames[at]! << 16) | (frames[at + 1]! << 8) | frames[at + 2]!;
		expect(length).toBeGreaterThan(0);
		expect(length).toBeLessThanOrEqual(FRAME_BYTES_DEFAULT);
		expect([...frames.subarray(at + 3, at + 4), ...frames.subarray(at + 5, at + 9)]).toEqual([0, 0, 0, 0, 7]);
		ends = frames[at + 4] === Flag.endStream;
		at += FRAME_HEADER_BYTES;
		data.push(...frames.subarray(at, at + length));
		at += length;
	}
	return { data, ends };
}

describe('data that waits', () => {
	test('leaves in frames that lie in one piece', () => {
		const queue = new DataQueue();
		queue.append(pattern(0, 4 * FRAME_BYTES_DEFAULT));
		const frames = queue.frames(7, 65_535, false);
		expect(queue.framed).toBe(65_535);
		expect(frames.length).toBe(65_535 + 4 * FRAME_HEADER_BYTES);
		expect(dataOf(frames).data).toEqual([...pattern(0, 65_535)]);
		queue.consume(queue.framed);
		expect(dataOf(queue.frames(7, 100, true))).toEqual({ data: [...pattern(65_535, 1)], ends: true });
		queue.consume(queue.framed);
		expect(queue.length).toBe(0);
		expect(queue.peek().length).toBe(0);
	});

	test('is the same whatever its parts and the windows are, and however it is taken', () => {
		const random = new SeededRandom(7);
		const below = (bound: number) => Math.floor(random.next() * bound);
		for (let run = 0; run < 30; run++) {
			const queue = new DataQueue();
			let written = 0;
			let read = 0;
			for (let step = 0; step < 60; step++) {
				if (random.next() < 0.5) {
					const from = below(20);
					const size = 1 + below(random.next() < 0.5 ? 100 : 60_000);
					const bytes = new Uint8Array(from + size);
					bytes.set(pattern(written, size), from);
					queue.append(bytes, from);
					written += size;
				} else if (queue.length > 0) {
					let taken: number[];
					if (random.next() < 0.5) taken = [...queue.peek()].slice(0, 1 + below(FRAME_BYTES_DEFAULT));
					else {
						const { data, ends } = dataOf(queue.frames(7, 1 + below(100_000), true));
						expect(data.length).toBe(queue.framed);
						expect(ends).toBe(data.length === queue.length);
						taken = data;
					}
					expect(Buffer.from(taken).equals(pattern(read, taken.length))).toBe(true);
					queue.consume(taken.length);
					read += taken.length;
				}
				expect(queue.length).toBe(written - read);
			}
			queue.clear();
			expect(queue.length).toBe(0);
		}
	});

	test('that is cleared leaves room for more', () => {
		const queue = new DataQueue();
		queue.append(pattern(0, 100_000));
		queue.consume(5);
		queue.clear();
		queue.append(pattern(3, 10));
		expect([...queue.peek()]).toEqual([...pattern(3, 10)]);
	});
});
