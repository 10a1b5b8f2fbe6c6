// The bytes of a body: a function of the request's id, the direction and the offset, so that each
// end can make and check any part of it, and no two bodies agree for long.

import { SeededRandom } from '../../src/std/random.ts';

export type Direction = 'request' | 'response';

/** A prime, so that positions of different bodies do not fall into step with sizes of buffers. */
const PERIOD = 65_521;
const BYTES_MAX = 256 * 1024;

const pattern = makePattern();

/** Bytes `offset` to `offset + length` of the body; at most 256 KiB. Not to be changed. */
export function payload(id: number, direction: Direction, offset: number, length: number): Uint8Array {
	const start = (id * 7919 + (direction === 'request' ? 0 : 31_337) + offset) % PERIOD;
	return pattern.subarray(start, start + Math.min(length, BYTES_MAX));
}

/** Whether `bytes` stand at `offset` in the body. */
export function isPayload(id: number, direction: Direction, offset: number, bytes: Uint8Array): boolean {
	for (let at = 0; at < bytes.length; at += BYTES_MAX) {
		const part = bytes.subarray(at, at + BYTES_MAX);
		if (Buffer.compare(part, payload(id, direction, offset + at, part.length)) !== 0) return false;
	}
	return true;
}

function makePattern(): Uint8Array {
	const random = new SeededRandom(42);
	const bytes = new Uint8Array(PERIOD + BYTES_MAX);
	for (let i = 0; i < bytes.length; i++) bytes[i] = i < PERIOD ? random.below(256) : bytes[i - PERIOD]!;
	return bytes;
}
