// How streams ended, for the last few hundred: what comes late on one is judged by it (RFC 9113 §5.1).

const SLOTS = 512;

export const Ended = {
	/** Not known: never opened, or too long ago. */
	unknown: 0,
	/** END_STREAM both ways, or reset by the peer: nothing may follow. */
	finished: 1,
	/** Reset by us: what the peer sent before it knew is ignored. */
	resetByUs: 2,
} as const;

export class ClosedStreams {
	private ids: Int32Array | null = null;
	private readonly how = new Uint8Array(SLOTS);

	add(streamId: number, how: number): void {
		this.ids ??= new Int32Array(SLOTS);
		const slot = (streamId >>> 1) & (SLOTS - 1);
		this.ids[slot] = streamId;
		this.how[slot] = how;
	}

	find(streamId: number): number {
		const slot = (streamId >>> 1) & (SLOTS - 1);
		return this.ids !== null && this.ids[slot] === streamId ? this.how[slot]! : Ended.unknown;
	}
}
