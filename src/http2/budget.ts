// So many at once, so many per second: what a peer may make us do for nothing.

import type { Clock } from '../std/clock.ts';
import type { Rate } from './limits.ts';

export class Budget {
	private left: number;
	private sinceMs: number;

	constructor(
		private readonly rate: Rate,
		private readonly clock: Clock,
	) {
		this.left = rate.burst;
		this.sinceMs = clock.nowMs();
	}

	/** False: used up. */
	take(): boolean {
		if (this.left < 1) {
			// The clock is asked only here: most connections never come near their bounds.
			const nowMs = this.clock.nowMs();
			const earned = ((nowMs - this.sinceMs) / 1000) * this.rate.perSecond;
			this.left = Math.min(this.rate.burst, this.left + earned);
			this.sinceMs = nowMs;
			if (this.left < 1) return false;
		}
		this.left--;
		return true;
	}
}
