import { expect, test } from 'bun:test';
import type { Timer } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { TICK_MS, TimerWheel, type TimeSource } from './timer-wheel.ts';

/** Time that moves when told to, and rings its one alarm on the way. */
class FakeTime implements TimeSource {
	atMs = 1234.5;
	alarmAtMs: number | null = null;
	rings = 0;
	private wake: () => void = () => {};

	nowMs(): number {
		return this.atMs;
	}

	wallMs(): number {
		return this.atMs;
	}

	setAlarm(delayMs: number, wake: () => void): void {
		this.alarmAtMs = this.atMs + delayMs;
		this.wake = wake;
	}

	clearAlarm(): void {
		this.alarmAtMs = null;
	}

	/** `lateMs`: how late each alarm rings. */
	pass(ms: number, lateMs = 0): void {
		const target = this.atMs + ms;
		while (this.alarmAtMs !== null && this.alarmAtMs + lateMs <= target) {
			this.atMs = Math.max(this.atMs, this.alarmAtMs + lateMs);
			this.alarmAtMs = null;
			this.rings++;
			this.wake();
		}
		this.atMs = target;
	}
}

function make(): { time: FakeTime; wheel: TimerWheel } {
	const time = new FakeTime();
	return { time, wheel: new TimerWheel(time) };
}

test('a timer fires once, not before its delay and at most a tick after', () => {
	for (const delayMs of [0, 1, 9.5, 10, 25, 2559, 2560, 2561, 163_840, 200_000, 10_485_760, 11_000_000, 700_000_000]) {
		const { time, wheel } = make();
		const startedMs = time.atMs;
		const firedMs: number[] = [];
		wheel.after(delayMs, () => firedMs.push(time.atMs));
		time.pass(delayMs + 100);
		expect(firedMs).toHaveLength(1);
		expect(firedMs[0]! - startedMs).toBeGreaterThanOrEqual(delayMs);
		expect(firedMs[0]! - startedMs).toBeLessThanOrEqual(delayMs + TICK_MS + 1);
		expect(wheel.size).toBe(0);
	}
});

test('held time stands still, for timers too, and goes on when it is let go', () => {
	const { time, wheel } = make();
	const heldMs = time.atMs;
	wheel.hold();
	const wallMs = wheel.wallMs();
	time.atMs += 700;
	expect(wheel.nowMs()).toBe(heldMs);
	expect(wheel.wallMs()).toBe(wallMs);
	let firedMs = 0;
	wheel.after(1000, () => {
		firedMs = time.atMs;
	});
	wheel.letGo();
	expect(wheel.nowMs()).toBe(heldMs + 700);
	expect(wheel.wallMs()).toBe(heldMs + 700);
	time.pass(2000);
	expect(firedMs - heldMs).toBeGreaterThanOrEqual(1000);
	expect(firedMs - heldMs).toBeLessThanOrEqual(1000 + TICK_MS + 1);
});

test('the wall clock of held time follows the real one', () => {
	const { time, wheel } = make();
	let setForwardMs = 0;
	time.wallMs = () => time.atMs + setForwardMs;
	wheel.hold();
	wheel.wallMs();
	setForwardMs = 3_600_000;
	time.pass(200);
	wheel.hold();
	expect(wheel.wallMs()).toBe(Math.round(time.atMs + 3_600_000));
});

test('a delay beyond the last level is kept', () => {
	const { time, wheel } = make();
	const delayMs = 40 * 86_400_000;
	let fired = 0;
	wheel.after(delayMs, () => fired++);
	time.pass(delayMs - 1);
	expect(fired).toBe(0);
	time.pass(20);
	expect(fired).toBe(1);
});

test('with no timers there is no alarm', () => {
	const { time, wheel } = make();
	expect(time.alarmAtMs).toBeNull();
	const timer = wheel.after(50, () => {});
	expect(time.alarmAtMs).not.toBeNull();
	timer.cancel();
	expect(time.alarmAtMs).toBeNull();
	timer.restart(50);
	time.pass(1000);
	expect(time.rings).toBe(1);
	expect(time.alarmAtMs).toBeNull();
});

test('the alarm stands at the next timer, not at each tick', () => {
	const { time, wheel } = make();
	wheel.after(2000, () => {});
	time.pass(1990);
	expect(time.rings).toBe(0);
	time.pass(30);
	expect(time.rings).toBe(1);
});

test('a cancelled timer never fires, a restarted one fires at its new time only', () => {
	const { time, wheel } = make();
	const fired: string[] = [];
	const cancelled = wheel.after(100, () => fired.push('cancelled'));
	const restarted = wheel.after(100, () => fired.push('restarted'));
	time.pass(50);
	cancelled.cancel();
	cancelled.cancel();
	expect(cancelled.active).toBe(false);
	restarted.restart(200);
	time.pass(199);
	expect(fired).toEqual([]);
	time.pass(20);
	expect(fired).toEqual(['restarted']);
	expect(restarted.active).toBe(false);
	restarted.restart(10);
	expect(restarted.active).toBe(true);
	time.pass(30);
	expect(fired).toEqual(['restarted', 'restarted']);
});

test('callbacks may start, cancel and restart timers', () => {
	const { time, wheel } = make();
	const fired: string[] = [];
	const victim = wheel.after(100, () => fired.push('victim'));
	const periodic: Timer = wheel.after(50, () => {
		fired.push('tick');
		if (fired.length < 4) periodic.restart(50);
	});
	wheel.after(60, () => {
		victim.cancel();
		wheel.after(0, () => fired.push('child'));
	});
	time.pass(1000);
	expect(fired.filter((one) => one === 'tick')).toHaveLength(3);
	expect(fired).toContain('child');
	expect(fired).not.toContain('victim');
});

test('a callback that throws does not stop the others', () => {
	const time = new FakeTime();
	const errors: unknown[] = [];
	const wheel = new TimerWheel(time, (error) => errors.push(error));
	let fired = 0;
	wheel.after(20, () => {
		throw new Error('a bug in a test');
	});
	wheel.after(20, () => fired++);
	wheel.after(50, () => fired++);
	time.pass(100);
	expect(fired).toBe(2);
	expect(errors).toHaveLength(1);
});

test('after a long sleep of the machine everything due fires, in order of ticks', () => {
	const { time, wheel } = make();
	const fired: number[] = [];
	for (const delayMs of [5000, 100, 200_000, 30]) wheel.after(delayMs, () => fired.push(delayMs));
	time.pass(300_000, 299_000);
	expect(fired).toEqual([30, 100, 5000, 200_000]);
});

test('thousands of random timers behave as a sorted list would', () => {
	const seed = Math.floor(Math.random() * 2 ** 32);
	const random = new SeededRandom(seed);
	const { time, wheel } = make();
	const due = new Map<number, number>();
	const timers: Timer[] = [];
	const start = (index: number, delayMs: number) => {
		due.set(index, time.atMs + delayMs);
		if (timers[index] !== undefined) timers[index].restart(delayMs);
		else {
			timers[index] = wheel.after(delayMs, () => {
				const dueMs = due.get(index)!;
				expect(time.atMs, `seed ${seed}`).toBeGreaterThanOrEqual(dueMs);
				expect(time.atMs, `seed ${seed}`).toBeLessThanOrEqual(dueMs + TICK_MS + 1);
				due.delete(index);
			});
		}
	};
	for (let index = 0; index < 2000; index++) start(index, random.next() * 10 ** random.below(7));
	for (let round = 0; round < 2000; round++) {
		const index = random.below(2000);
		if (random.below(2) === 0) {
			timers[index]!.cancel();
			due.delete(index);
		} else start(index, random.next() * 10 ** random.below(7));
		time.pass(random.next() * 100);
	}
	expect(wheel.size, `seed ${seed}`).toBe(due.size);
	time.pass(2_000_000);
	expect(due.size, `seed ${seed}`).toBe(0);
	expect(wheel.size).toBe(0);
});
