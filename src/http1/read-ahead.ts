// Bytes that came before their turn: pipelined requests while an earlier one is answered.

export class ReadAhead {
	private held: Uint8Array | null = null;

	get empty(): boolean {
		return this.held === null;
	}

	get bytes(): number {
		return this.held === null ? 0 : this.held.length;
	}

	/** Copies. */
	append(bytes: Uint8Array): void {
		this.held = this.held === null ? bytes.slice() : joined(this.held, bytes);
	}

	/** For what is left of a read, during which more may have been appended. Copies, unless the bytes are `owned`. */
	prepend(bytes: Uint8Array, owned: boolean): void {
		if (this.held !== null) this.held = joined(bytes, this.held);
		else this.held = owned ? bytes : bytes.slice();
	}

	/** All of it, the caller's from now on. */
	take(): Uint8Array {
		const held = this.held ?? new Uint8Array(0);
		this.held = null;
		return held;
	}

	clear(): void {
		this.held = null;
	}
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
	const both = new Uint8Array(first.length + second.length);
	both.set(first);
	both.set(second, first.length);
	return both;
}
