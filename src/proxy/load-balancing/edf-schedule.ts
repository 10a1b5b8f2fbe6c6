// Earliest deadline first: entries come up in proportion to their weights and evenly spread.
// Each entry's next deadline is its last plus 1/weight; a binary heap keeps the earliest on top.
// Weights are read when an entry is put back, so that they may depend on load.

export class EdfSchedule<T> {
	private readonly deadlines: number[] = [];
	private readonly orders: number[] = [];
	private readonly entries: T[] = [];
	private now = 0;
	private added = 0;

	/** @param weightOf above 0 */
	constructor(
		entries: readonly T[],
		private readonly weightOf: (entry: T) => number,
	) {
		for (const entry of entries) this.add(entry);
	}

	/** The next entry, put back at once. Must not be called when there are none. */
	next(): T {
		const entry = this.entries[0]!;
		this.now = this.deadlines[0]!;
		this.deadlines[0] = this.now + 1 / this.weightOf(entry);
		this.orders[0] = this.added++;
		this.sink();
		return entry;
	}

	private add(entry: T): void {
		let i = this.entries.length;
		this.entries.push(entry);
		this.deadlines.push(this.now + 1 / this.weightOf(entry));
		this.orders.push(this.added++);
		while (i > 0) {
			const parent = (i - 1) >> 1;
			if (!this.before(i, parent)) break;
			this.swap(i, parent);
			i = parent;
		}
	}

	private sink(): void {
		const count = this.entries.length;
		let i = 0;
		for (;;) {
			let least = i;
			const left = 2 * i + 1;
			if (left < count && this.before(left, least)) least = left;
			if (left + 1 < count && this.before(left + 1, least)) least = left + 1;
			if (least === i) return;
			this.swap(i, least);
			i = least;
		}
	}

	private before(a: number, b: number): boolean {
		const difference = this.deadlines[a]! - this.deadlines[b]!;
		return difference < 0 || (difference === 0 && this.orders[a]! < this.orders[b]!);
	}

	private swap(a: number, b: number): void {
		const entry = this.entries[a]!;
		const deadline = this.deadlines[a]!;
		const order = this.orders[a]!;
		this.entries[a] = this.entries[b]!;
		this.deadlines[a] = this.deadlines[b]!;
		this.orders[a] = this.orders[b]!;
		this.entries[b] = entry;
		this.deadlines[b] = deadline;
		this.orders[b] = order;
	}
}
