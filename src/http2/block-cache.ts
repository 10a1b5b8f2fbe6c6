// What short header blocks were found to mean. A block that refers to table entries alone means the
// same as long as the dynamic table does not change, so that clients that repeat themselves are read
// once. Direct-mapped; bounded by its slots.

const SLOTS = 32;
const BLOCK_BYTES_MAX = 192;

interface Slot<T> {
	readonly block: Uint8Array;
	readonly version: number;
	readonly meaning: T;
}

export class BlockCache<T> {
	private slots: (Slot<T> | null)[] | null = null;
	/** Hashes of the last blocks that were not found, by slot: only what comes a second time is kept. */
	private readonly seen = new Int32Array(SLOTS);
	/** Of the last block that was looked up. */
	private slot = -1;
	private hash = 0;

	/** Null: not known. `version`: of the dynamic table. */
	find(bytes: Uint8Array, from: number, to: number, version: number): T | null {
		const length = to - from;
		if (length > BLOCK_BYTES_MAX) {
			this.slot = -1;
			return null;
		}
		let hash = length;
		for (let i = from; i < to; i++) hash = (Math.imul(hash, 31) + bytes[i]!) | 0;
		this.hash = hash;
		this.slot = (hash ^ (hash >>> 10)) & (SLOTS - 1);
		const found = this.slots === null ? null : this.slots[this.slot]!;
		if (found === null || found.version !== version || found.block.length !== length) return null;
		const { block } = found;
		for (let i = 0; i < length; i++) if (block[i] !== bytes[from + i]) return null;
		return found.meaning;
	}

	/** Right after `find` gave null for the same bytes; the table must not have changed since. Takes effect the second time. */
	keep(bytes: Uint8Array, from: number, to: number, version: number, meaning: T): void {
		if (this.slot < 0) return;
		if (this.seen[this.slot] !== this.hash) {
			this.seen[this.slot] = this.hash;
			return;
		}
		this.slots ??= new Array<Slot<T> | null>(SLOTS).fill(null);
		this.slots[this.slot] = { block: bytes.slice(from, to), version, meaning };
	}
}
