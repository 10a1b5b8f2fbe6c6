// Virtual time in which, as on a real event loop, what waits for promises happens after each timer
// and not after all timers of the same moment.

import { drainMicrotasks } from 'bun:jsc';
import { type Timer, VirtualClock } from '../../src/std/clock.ts';

export class StepClock extends VirtualClock {
	/** Timers that fired. */
	steps = 0;

	override after(delayMs: number, callback: () => void): Timer {
		return super.after(delayMs, () => {
			this.steps++;
			callback();
			drainMicrotasks();
		});
	}

	/** Moves on to the next timer, at most to `limitMs` on `nowMs`'s scale. False: nothing is due by then. */
	step(limitMs: number): boolean {
		drainMicrotasks();
		const dueMs = this.nextDueMs();
		if (dueMs === null || dueMs > limitMs) {
			if (limitMs > this.nowMs() && limitMs < Number.POSITIVE_INFINITY) this.advance(limitMs - this.nowMs());
			return false;
		}
		this.advance(dueMs - this.nowMs());
		return true;
	}
}
