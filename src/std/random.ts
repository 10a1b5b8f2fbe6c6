// Randomness is passed in. `SeededRandom` repeats itself for a seed (tests print theirs).

export interface Random {
	/** In [0, 1). */
	next(): number;
	/** A whole number in [0, bound). */
	below(bound: number): number;
}

export const systemRandom: Random = {
	next: () => Math.random(),
	below: (bound) => Math.floor(Math.random() * bound),
};

/** mulberry32: fast, even, not for secrets. */
export class SeededRandom implements Random {
	private state: number;

	constructor(readonly seed: number) {
		this.state = seed >>> 0;
	}

	next(): number {
		this.state = (this.state + 0x6d2b79f5) >>> 0;
		let t = this.state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	}

	below(bound: number): number {
		return Math.floor(this.next() * bound);
	}
}
