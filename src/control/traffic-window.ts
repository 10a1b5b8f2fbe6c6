// The last seconds of one edge: a ring of one-second slots. What a report adds is spread evenly
// over the time that it covers, so that a rate does not depend on where a second begins.
//
//   slots   │ 7 │ 8 │ 9 │ 10 │ 11 │ 12 │ …
//   report        └── delta ──┘            from the last report to this one
//   reading     └──── window ────┘         ends where every sidecar has reported

import { assert } from '../std/assert.ts';
import { newTally, TALLY_LENGTH, type Tally } from './traffic-figures.ts';

export const SLOT_MS = 1000;
export const WINDOW_SLOTS = 10;
/** With room for what is newer than the end of a reading. */
const RING_SLOTS = WINDOW_SLOTS + 4;

export class TrafficWindow {
	private readonly ring = new Float64Array(RING_SLOTS * TALLY_LENGTH);
	/** Newest slot that the ring holds, counted from the clock's origin. */
	private newest = 0;

	/** Adds `delta`, which happened between the two times (clock's `nowMs`); what is too old for the ring is dropped. */
	add(fromMs: number, toMs: number, delta: Tally): void {
		assert(toMs >= fromMs, 'a report covers time forwards');
		const last = Math.floor(toMs / SLOT_MS);
		this.moveTo(last);
		const span = toMs - fromMs;
		const oldest = Math.max(0, this.newest - RING_SLOTS + 1);
		if (span === 0) {
			if (last >= oldest) this.addTo(last, delta, 1);
			return;
		}
		for (let slot = Math.max(oldest, Math.floor(fromMs / SLOT_MS)); slot <= last; slot++) {
			const overlap = Math.min(toMs, (slot + 1) * SLOT_MS) - Math.max(fromMs, slot * SLOT_MS);
			if (overlap > 0) this.addTo(slot, delta, overlap / span);
		}
	}

	/** Adds the `WINDOW_SLOTS` whole slots that end before `endSlot` into `into`. */
	read(endSlot: number, into: Tally): void {
		this.moveTo(endSlot - 1);
		const first = Math.max(endSlot - WINDOW_SLOTS, this.newest - RING_SLOTS + 1, 0);
		for (let slot = first; slot < Math.min(endSlot, this.newest + 1); slot++) {
			const at = (slot % RING_SLOTS) * TALLY_LENGTH;
			for (let i = 0; i < TALLY_LENGTH; i++) into[i]! += this.ring[at + i]!;
		}
	}

	private addTo(slot: number, delta: Tally, share: number): void {
		const at = (slot % RING_SLOTS) * TALLY_LENGTH;
		for (let i = 0; i < TALLY_LENGTH; i++) this.ring[at + i]! += delta[i]! * share;
	}

	private moveTo(slot: number): void {
		if (slot <= this.newest) return;
		const first = Math.max(this.newest + 1, slot - RING_SLOTS + 1);
		for (let s = first; s <= slot; s++) {
			const at = (s % RING_SLOTS) * TALLY_LENGTH;
			this.ring.fill(0, at, at + TALLY_LENGTH);
		}
		this.newest = slot;
	}
}

export function readWindow(window: TrafficWindow, endSlot: number): Tally {
	const tally = newTally();
	window.read(endSlot, tally);
	return tally;
}
