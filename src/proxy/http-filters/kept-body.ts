// The request's body as far as it is kept: until an upstream takes it, and for as long as the
// request may be sent again. Bounded; what does not fit ends the possibility of a retry.

export class KeptBody {
	private readonly chunks: Uint8Array[] = [];
	private byteCount = 0;

	constructor(private readonly limitBytes: number) {}

	/** Copies. */
	keep(bytes: Uint8Array): void {
		if (bytes.byteLength === 0) return;
		this.chunks.push(bytes.slice());
		this.byteCount += bytes.byteLength;
	}

	get overLimit(): boolean {
		return this.byteCount > this.limitBytes;
	}

	/** The chunks in order; not to be changed. */
	view(): readonly Uint8Array[] {
		return this.chunks;
	}
}
