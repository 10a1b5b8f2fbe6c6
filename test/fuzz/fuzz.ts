// Runs a fuzz target for a time, from a seed. A finding names the seed of the one input that made
// it, so that this input alone can be made again.
//
//   scripts/bun test/fuzz/main.ts TARGET [SECONDS, default 60] [SEED]

import type { Http1Limits } from '../../src/http1/limits.ts';
import { type Random, SeededRandom } from '../../src/std/random.ts';

/** For what is written anew: framing of our own may come on top of fields that just fitted. */
export const ROOMIER: Partial<Http1Limits> = { headersMax: 104, headerBytesMax: 61 * 1024 };

export interface FuzzTarget {
	readonly name: string;
	/** Makes one input out of `random` and holds the target's properties to it. @throws what does not hold */
	run(random: Random): void;
}

export interface FuzzResult {
	readonly inputs: number;
}

/** At least one input. @throws Error with the seed of the input; its cause is what did not hold */
export function fuzz(target: FuzzTarget, durationMs: number, seed: number): FuzzResult {
	const end = performance.now() + durationMs;
	for (let inputs = 1; ; inputs++) {
		const inputSeed = (seed + inputs - 1) >>> 0;
		try {
			target.run(new SeededRandom(inputSeed));
		} catch (error) {
			const again = `scripts/bun test/fuzz/main.ts ${target.name} 0 ${inputSeed}`;
			const why = error instanceof Error ? error.message : String(error);
			throw new Error(`${target.name}: ${why}\nThis input again: ${again}`, { cause: error });
		}
		if (performance.now() >= end) return { inputs };
	}
}

/** For the suite: WEFT_FUZZ_MS for each target, default 2000, from WEFT_TEST_SEED or a new seed. */
export function fuzzDurationMs(): number {
	return Number(process.env.WEFT_FUZZ_MS ?? 2000);
}

export function fuzzSeed(): number {
	return Number(process.env.WEFT_TEST_SEED ?? Date.now() % 1_000_000_000);
}

/** An input grown from good and bad ones: joined, cut, and spiced with what parsers like to differ over. */
export function grow(random: Random, corpus: readonly string[], spice: readonly string[], joinedMax: number): string {
	let input = '';
	for (let i = 1 + random.below(joinedMax); i > 0; i--) input += pick(random, corpus);
	for (let i = random.below(4); i > 0; i--) {
		const at = random.below(input.length + 1);
		switch (random.below(6)) {
			case 0:
				input = input.slice(0, at) + pick(random, spice) + input.slice(at);
				break;
			case 1:
				input = input.slice(0, at) + input.slice(at + 1 + random.below(4));
				break;
			case 2:
				input = input.slice(0, at) + String.fromCharCode(random.below(256)) + input.slice(at + 1);
				break;
			case 3: {
				const other = pick(random, corpus);
				input = input.slice(0, at) + other.slice(random.below(other.length + 1));
				break;
			}
			case 4: {
				// A piece of it once more.
				const to = Math.min(input.length, at + random.below(30));
				input = input.slice(0, to) + input.slice(at);
				break;
			}
			default: {
				// After a line end, where fields and chunk sizes stand.
				const line = input.indexOf('\r\n', at);
				if (line !== -1) input = input.slice(0, line + 2) + pick(random, spice) + input.slice(line + 2);
			}
		}
	}
	return input;
}

/** Pieces of random length, most of them short. */
export function cutAtRandom(random: Random, bytes: Uint8Array): Uint8Array[] {
	const longest = 1 + random.below(40);
	const parts: Uint8Array[] = [];
	for (let at = 0; at < bytes.length; ) {
		const to = at + 1 + random.below(longest);
		parts.push(bytes.slice(at, to));
		at = to;
	}
	return parts;
}

export function pick<Item>(random: Random, items: readonly Item[]): Item {
	return items[random.below(items.length)]!;
}

export function same(found: unknown, expected: unknown, what: string, input: string): void {
	const one = JSON.stringify(found);
	const other = JSON.stringify(expected);
	if (one !== other) fail(`${what}:\n${one}\nand\n${other}`, input);
}

export function fail(what: string, input: string): never {
	throw new Error(`${what}\nInput: ${JSON.stringify(input.slice(0, 4000))}`);
}
