// The id that a request is given where it enters the mesh (`x-request-id`).

import type { Random } from '../../std/random.ts';

const HEX_DIGITS = Buffer.from('0123456789abcdef', 'latin1');
/** The dashes stay, the rest is written anew for each id. */
const idBytes = Buffer.from('00000000-0000-0000-0000-000000000000', 'latin1');
/** Where the hexadecimal pairs of a UUID stand. */
const PAIR_OFFSETS = Uint8Array.of(0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34);

/** A version 4 UUID (RFC 9562) of the proxy's own randomness: unique, not secret. */
export function requestId(random: Random): string {
	for (let word = 0; word < 4; word++) {
		let rest = random.below(0x1_0000_0000);
		// Version in the seventh byte, variant in the ninth.
		if (word === 1) rest = (rest & 0xff0fffff) | 0x00400000;
		else if (word === 2) rest = (rest & 0xffffff3f) | 0x00000080;
		for (let i = 0; i < 4; i++) {
			const offset = PAIR_OFFSETS[word * 4 + i]!;
			idBytes[offset] = HEX_DIGITS[(rest >>> 4) & 0x0f]!;
			idBytes[offset + 1] = HEX_DIGITS[rest & 0x0f]!;
			rest >>>= 8;
		}
	}
	return idBytes.toString('latin1');
}
