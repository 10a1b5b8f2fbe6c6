import { expect, test } from 'bun:test';
import { GuardedClock, VirtualClock } from './clock.ts';

test('a guarded timer that throws is told of, and later ones go on', () => {
	const clock = new VirtualClock();
	const faults: unknown[] = [];
	const guarded = new GuardedClock(clock, (error) => faults.push(error));
	const bug = new Error('a bug in a test');
	let rings = 0;
	const timer = guarded.after(10, () => {
		rings += 1;
		if (rings === 1) throw bug;
	});
	clock.advance(20);
	expect(faults).toEqual([bug]);
	timer.restart(10);
	clock.advance(20);
	expect(rings).toBe(2);
	expect(faults).toHaveLength(1);
	expect(guarded.nowMs()).toBe(clock.nowMs());
});
