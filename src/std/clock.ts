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

/** A clock whose timers belong to something that ends when one of them throws. */
export class GuardedClock implements Clock {
	constructor(
		private readonly clock: Clock,
		private readonly onFault: (error: unknown) => void,
	) {}

	nowMs(): number {
		return this.clock.nowMs();
	}

	wallMs(): number {
		return this.clock.wallMs();
	}

	after(delayMs: number, callback: () => void): Timer {
		return this.clock.after(delayMs, () => {
			try {
				callback();
			} catch (error) {
				this.onFault(error);
			}
		});
	}
}

/** One start of a timer; a later start or a cancel makes it void. */
interface Due {
	readonly timer: VirtualTimer;
	readonly atMs: number;
	readonly order: number;
}

/** Time that stands still until `advance`. Timers due at the same time fire in the order they were started. */
export class VirtualClock implements Clock {
	private currentMs = 0;
	private started = 0;
	/** A binary heap, the next one first; void ones are dropped when they come up. */
	private readonly heap: Due[] = [];

	constructor(private readonly epochMs = Date.UTC(2026, 0, 1)) {}

	nowMs(): number {
		return this.currentMs;
	}

	wallMs(): number {
		return this.epochMs + this.currentMs;
	}

	after(delayMs: number, callback: () => void): Timer {
		const timer = new VirtualTimer(this, callback);
		timer.restart(delayMs);
		return timer;
	}

	/** Moves time forward, firing what becomes due, in order. */
	advance(ms: number): void {
		const target = this.currentMs + ms;
		for (;;) {
			const next = this.peek();
			if (next === undefined || next.atMs > target) break;
			this.pop();
			this.currentMs = Math.max(this.currentMs, next.atMs);
			next.timer.due = null;
			next.timer.callback();
		}
		this.currentMs = target;
	}

	/** When the next timer is due, on `nowMs`'s scale; null when there is none. */
	nextDueMs(): number | null {
		return this.peek()?.atMs ?? null;
	}

	/** @internal For `VirtualTimer`. */
	start(timer: VirtualTimer, delayMs: number): Due {
		const due = { timer, atMs: this.currentMs + Math.max(0, delayMs), order: this.started++ };
		const { heap } = this;
		let index = heap.length;
		heap.push(due);
		while (index > 0) {
			const parent = (index - 1) >> 1;
			if (!comesBefore(due, heap[parent]!)) break;
			heap[index] = heap[parent]!;
			index = parent;
		}
		heap[index] = due;
		return due;
	}

	private peek(): Due | undefined {
		for (;;) {
			const next = this.heap[0];
			if (next === undefined || next.timer.due === next) return next;
			this.pop();
		}
	}

	private pop(): void {
		const { heap } = this;
		const last = heap.pop()!;
		if (heap.length === 0) return;
		let index = 0;
		for (;;) {
			let child = 2 * index + 1;
			if (child >= heap.length) break;
			if (child + 1 < heap.length && comesBefore(heap[child + 1]!, heap[child]!)) child++;
			if (!comesBefore(heap[child]!, last)) break;
			heap[index] = heap[child]!;
			index = child;
		}
		heap[index] = last;
	}
}

class VirtualTimer implements Timer {
	/** Its latest start; null: it does not wait. */
	due: Due | null = null;

	constructor(
		private readonly clock: VirtualClock,
		readonly callback: () => void,
	) {}

	get active(): boolean {
		return this.due !== null;
	}

	cancel(): void {
		this.due = null;
	}

	restart(delayMs: number): void {
		this.due = this.clock.start(this, delayMs);
	}
}

function comesBefore(a: Due, b: Due): boolean {
	return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
