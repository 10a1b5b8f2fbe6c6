// Ways of cutting the same bytes into reads.

import { SeededRandom } from '../../src/std/random.ts';

export type Split = 'whole' | 'bytes' | 'random';

export const SPLITS: readonly Split[] = ['whole', 'bytes', 'random'];

/** Longer inputs are not cut into single bytes, but into pieces around this size. */
const BYTES_MAX = 1500;

/** `seed` matters for `random`, and for inputs too long to be sent byte by byte. */
export function cut(bytes: Uint8Array, split: Split, seed: number): Uint8Array[] {
	if (split === 'whole' || bytes.length === 0) return [bytes];
	const random = new SeededRandom(seed);
	const longest = bytes.length > BYTES_MAX ? Math.ceil(bytes.length / 20) : split === 'bytes' ? 1 : 24;
	const parts: Uint8Array[] = [];
	for (let at = 0; at < bytes.length; ) {
		const to = Math.min(bytes.length, at + 1 + random.below(longest));
		parts.push(bytes.subarray(at, to));
		at = to;
	}
	return parts;
}
