// Time is passed in, so that tests run on virtual time. The real implementation is the coarse
// timer wheel in net/; `VirtualClock` here moves only when told to.

export interface Timer {
	/** Idempotent. The callback never runs after it. */
	cancel(): void;
	/** Starts the delay anew, also after it has fired or was cancelled; cheaper than a new timer. */
	restart(delayMs: number): void;
	readonly active: boolean;
}

export interface Clock {
	/** Monotonic, milliseconds, with a fraction. Arbitrary origin. */
	nowMs(): number;
	/** Milliseconds since the Unix epoch. */
	wallMs(): number;
	/** Calls back once, never before the delay has passed, and up to one tick (10 ms) later. */
	after(delayMs: number, callback: () => void): Timer;
}

interface VirtualTimer extends Timer {
	dueMs: number;
	order: number;
}

/** Time that stands still until `advance`. Timers due at the same time fire in the order they were started. */
export class VirtualClock implements Clock {
	private currentMs = 0;
	private started = 0;
	private readonly pending = new Set<VirtualTimer>();
	private readonly callbacks = new WeakMap<VirtualTimer, () => void>();

	constructor(private readonly epochMs = Date.UTC(2026, 0, 1)) {}

	nowMs(): number {
		return this.currentMs;
	}

	wallMs(): number {
		return this.epochMs + this.currentMs;
	}

	after(delayMs: number, callback: () => void): Timer {
		const pending = this.pending;
		const timer: VirtualTimer = {
			dueMs: 0,
			order: 0,
			get active() {
				return pending.has(timer);
			},
			cancel: () => {
				pending.delete(timer);
			},
			restart: (ms: number) => {
				timer.dueMs = this.currentMs + Math.max(0, ms);
				timer.order = this.started++;
				pending.add(timer);
			},
		};
		this.callbacks.set(timer, callback);
		timer.restart(delayMs);
		return timer;
	}

	/** Moves time forward, firing what becomes due, in order. */
	advance(ms: number): void {
		const target = this.currentMs + ms;
		for (;;) {
			let next: VirtualTimer | null = null;
			for (const timer of this.pending) {
				if (timer.dueMs > target) continue;
				if (next === null || timer.dueMs < next.dueMs || (timer.dueMs === next.dueMs && timer.order < next.order)) {
					next = timer;
				}
			}
			if (next === null) break;
			this.currentMs = Math.max(this.currentMs, next.dueMs);
			this.pending.delete(next);
			this.callbacks.get(next)?.();
		}
		this.currentMs = target;
	}

	/** When the next timer is due, on `nowMs`'s scale; null when there is none. */
	nextDueMs(): number | null {
		let due: number | null = null;
		for (const timer of this.pending) if (due === null || timer.dueMs < due) due = timer.dueMs;
		return due;
	}
}
