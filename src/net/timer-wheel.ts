// The coarse clock of a worker: a hierarchical timer wheel with ticks of 10 ms. Thousands of
// timeouts that almost never fire cost a list insertion each and no operating-system timer. One
// underlying alarm stands at the next slot that holds a timer; with no timers there is none, so
// that an idle process does not wake up. As with `setTimeout`, a timer that waits keeps the process.
//
// Level 0 has 256 slots of one tick (2.56 s); each of the 3 levels above has 64 slots that are as wide
// as the whole level below (164 s, 2.9 h, 7.8 d). When the hand enters a wide slot, its timers
// cascade down. What lies beyond the last level waits in its farthest slot and is put back from there.

import { assert } from '../std/assert.ts';
import type { Clock, Timer } from '../std/clock.ts';
import { reportFault } from '../std/fault.ts';

export const TICK_MS = 10;

const LEVELS = 4;
const LEVEL_SLOTS = [256, 64, 64, 64] as const;
/** Where each level's slots begin. */
const LEVEL_BASE = [0, 256, 320, 384] as const;
const SLOTS = 448;
/** How wide a slot of each level is; the last stands for the end of the wheel. */
const LEVEL_TICKS = [1, 2 ** 8, 2 ** 14, 2 ** 20, 2 ** 26] as const;
const TICKS_MAX = 2 ** 26 - 1;
/** `setTimeout` takes no more. */
const ALARM_MS_MAX = 2 ** 31 - 1;

/** Where time comes from and how to be woken; tests inject their own. */
export interface TimeSource {
	/** Monotonic milliseconds. */
	nowMs(): number;
	wallMs(): number;
	/** Calls `wake` once after `delayMs`; replaces the alarm that was set before. */
	setAlarm(delayMs: number, wake: () => void): void;
	clearAlarm(): void;
}

/** `performance.now` and one `setTimeout`. */
export function systemTimeSource(): TimeSource {
	let alarm: ReturnType<typeof setTimeout> | null = null;
	return {
		nowMs: () => performance.now(),
		wallMs: () => Date.now(),
		setAlarm(delayMs, wake) {
			if (alarm !== null) clearTimeout(alarm);
			alarm = setTimeout(wake, delayMs);
		},
		clearAlarm() {
			if (alarm !== null) clearTimeout(alarm);
			alarm = null;
		},
	};
}

/** A wall clock that was set shows after this long. */
const WALL_REFRESH_MS = 100;

export class TimerWheel implements Clock {
	/** All slots of all levels, level 0 first; each is the sentinel of a circular list. */
	private readonly slots: ListNode[] = [];
	/** Timers in each level, so that empty levels are not scanned. */
	private readonly counts: number[] = new Array<number>(LEVELS).fill(0);
	/** Timers that wait. */
	size = 0;
	/** The last tick whose timers have fired. */
	private handTick: number;
	private alarmTick = Number.POSITIVE_INFINITY;
	private advancing = false;
	/** The time that is held; -1: none is. */
	private heldMs = -1;
	/** While time is held, the wall clock goes with it, and is compared with the real one from time to time. */
	private wallOffsetMs = 0;
	private wallDueMs = 0;
	private readonly originMs: number;
	private readonly wake = () => {
		this.alarmTick = Number.POSITIVE_INFINITY;
		this.advance();
	};

	/** `onError` hears of what a callback threw; the other timers still fire. Default: logs it. */
	constructor(
		private readonly source: TimeSource = systemTimeSource(),
		private readonly onError: (error: unknown) => void = logCallbackError,
	) {
		this.originMs = source.nowMs();
		this.handTick = 0;
		for (let index = 0; index < SLOTS; index++) this.slots.push(new ListNode());
	}

	nowMs(): number {
		return this.heldMs >= 0 ? this.heldMs : this.source.nowMs();
	}

	/**
	 * Time stands still until `letGo`: the callbacks of one read ask for it ten times, and asking costs as much as
	 * parsing a header. Not for what takes long, nor across turns.
	 */
	hold(): void {
		this.heldMs = this.source.nowMs();
	}

	letGo(): void {
		this.heldMs = -1;
	}

	wallMs(): number {
		if (this.heldMs < 0) return this.source.wallMs();
		if (this.heldMs >= this.wallDueMs) {
			this.wallOffsetMs = this.source.wallMs() - this.heldMs;
			this.wallDueMs = this.heldMs + WALL_REFRESH_MS;
		}
		return Math.round(this.wallOffsetMs + this.heldMs);
	}

	after(delayMs: number, callback: () => void): Timer {
		const timer = new WheelTimer(this, callback);
		this.start(timer, delayMs);
		return timer;
	}

	/** @internal For `WheelTimer`. */
	start(timer: WheelTimer, delayMs: number): void {
		if (timer.level >= 0) this.remove(timer);
		// NaN and negative delays become 0; infinite ones the farthest there is.
		const delay = delayMs > 0 ? Math.min(delayMs, Number.MAX_SAFE_INTEGER / 4) : 0;
		const nowMs = this.nowMs() - this.originMs;
		// With nothing waiting, the hand need not walk through the time that passed.
		if (this.size === 0 && !this.advancing) {
			this.handTick = Math.max(this.handTick, Math.floor(nowMs / TICK_MS));
		}
		timer.dueTick = Math.max(Math.ceil((nowMs + delay) / TICK_MS), this.handTick + 1);
		this.insert(timer);
		if (!this.advancing && timer.dueTick < this.alarmTick) this.setAlarm(timer.dueTick);
	}

	/** @internal For `WheelTimer`. The alarm stays: a wake-up in vain is cheaper than moving it each time. */
	cancel(timer: WheelTimer): void {
		this.remove(timer);
		if (this.size === 0 && !this.advancing) this.clearAlarm();
	}

	private remove(timer: WheelTimer): void {
		assert(timer.level >= 0, 'a timer that waits is in a slot');
		this.size--;
		this.counts[timer.level]!--;
		timer.level = -1;
		timer.unlink();
	}

	private insert(timer: WheelTimer): void {
		const distance = Math.min(timer.dueTick - this.handTick, TICKS_MAX);
		const tick = this.handTick + distance;
		let level = 0;
		while (distance >= LEVEL_TICKS[level + 1]!) level++;
		const slot = Math.floor(tick / LEVEL_TICKS[level]!) % LEVEL_SLOTS[level]!;
		timer.level = level;
		this.size++;
		this.counts[level]!++;
		timer.linkBefore(this.slots[LEVEL_BASE[level]! + slot]!);
	}

	/** Fires all that is due now. */
	private advance(): void {
		this.advancing = true;
		const nowTick = Math.floor((this.source.nowMs() - this.originMs) / TICK_MS);
		try {
			while (this.handTick < nowTick) {
				const next = this.nextEventTick();
				if (next > nowTick) {
					this.handTick = nowTick;
					break;
				}
				this.handTick = next;
				this.cascade();
				this.fire(this.slots[this.handTick % LEVEL_SLOTS[0]]!);
			}
		} finally {
			this.advancing = false;
		}
		const next = this.nextEventTick();
		if (next === Number.POSITIVE_INFINITY) this.clearAlarm();
		else this.setAlarm(next);
	}

	/** Moves the timers of each wide slot that the hand has just entered one level down. */
	private cascade(): void {
		for (let level = 1; level < LEVELS; level++) {
			const width = LEVEL_TICKS[level]!;
			if (this.handTick % width !== 0) return;
			if (this.counts[level]! > 0) {
				const head = this.slots[LEVEL_BASE[level]! + ((this.handTick / width) % LEVEL_SLOTS[level]!)]!;
				// Detached first: a timer beyond the wheel may come back to the same slot.
				const moved = new ListNode();
				moved.takeAll(head);
				while (moved.next !== moved) {
					const timer = moved.next as WheelTimer;
					this.remove(timer);
					// `insert` puts what is due at the hand itself into the slot that fires next.
					this.insert(timer);
				}
			}
		}
	}

	private fire(head: ListNode): void {
		while (head.next !== head) {
			const timer = head.next as WheelTimer;
			assert(timer.dueTick <= this.handTick, 'a timer fires at its tick');
			this.remove(timer);
			try {
				timer.callback();
			} catch (error) {
				this.onError(error);
			}
		}
	}

	/** The next tick at which a timer fires or a slot that holds one cascades. */
	private nextEventTick(): number {
		let best = Number.POSITIVE_INFINITY;
		for (let level = 0; level < LEVELS; level++) {
			if (this.counts[level] === 0) continue;
			const slotCount = LEVEL_SLOTS[level]!;
			const width = LEVEL_TICKS[level]!;
			const position = Math.floor(this.handTick / width);
			for (let step = 1; step <= slotCount; step++) {
				const head = this.slots[LEVEL_BASE[level]! + ((position + step) % slotCount)]!;
				if (head.next === head) continue;
				best = Math.min(best, (position + step) * width);
				break;
			}
		}
		return best;
	}

	private clearAlarm(): void {
		this.alarmTick = Number.POSITIVE_INFINITY;
		this.source.clearAlarm();
	}

	private setAlarm(tick: number): void {
		this.alarmTick = tick;
		const delayMs = this.originMs + tick * TICK_MS - this.source.nowMs();
		this.source.setAlarm(Math.min(Math.max(0, Math.ceil(delayMs)), ALARM_MS_MAX), this.wake);
	}
}

/** A node of a circular doubly linked list; alone it is an empty list. */
class ListNode {
	next: ListNode = this;
	previous: ListNode = this;

	linkBefore(head: ListNode): void {
		this.previous = head.previous;
		this.next = head;
		head.previous.next = this;
		head.previous = this;
	}

	unlink(): void {
		this.previous.next = this.next;
		this.next.previous = this.previous;
		this.next = this;
		this.previous = this;
	}

	takeAll(other: ListNode): void {
		if (other.next === other) return;
		this.next = other.next;
		this.previous = other.previous;
		this.next.previous = this;
		this.previous.next = this;
		other.next = other;
		other.previous = other;
	}
}

class WheelTimer extends ListNode implements Timer {
	dueTick = 0;
	/** The level whose slot holds it; -1: not waiting. */
	level = -1;

	constructor(
		private readonly wheel: TimerWheel,
		readonly callback: () => void,
	) {
		super();
	}

	get active(): boolean {
		return this.level >= 0;
	}

	cancel(): void {
		if (this.level >= 0) this.wheel.cancel(this);
	}

	restart(delayMs: number): void {
		this.wheel.start(this, delayMs);
	}
}

function logCallbackError(error: unknown): void {
	reportFault('timer', 'a timer callback failed', error);
}
