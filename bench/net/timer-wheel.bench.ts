// What a request pays for its timeouts: starting, restarting and cancelling a timer.
//
//   scripts/bun bench/net/timer-wheel.bench.ts

import { TimerWheel } from '../../src/net/timer-wheel.ts';
import type { Timer } from '../../src/std/clock.ts';
import { measure } from '../measure.ts';

const WAITING = 10_000;

const wheel = new TimerWheel();
const nothing = () => {};
for (let index = 0; index < WAITING; index++) wheel.after(60_000 + index, nothing);

measure(`TimerWheel: start and cancel, ${WAITING} waiting`, () => {
	wheel.after(15_000, nothing).cancel();
});

const timer: Timer = wheel.after(15_000, nothing);
measure(`TimerWheel: restart, ${WAITING} waiting`, () => {
	timer.restart(15_000);
});

measure('TimerWheel: cancel and restart', () => {
	timer.cancel();
	timer.restart(15_000);
});

measure('setTimeout and clearTimeout, for comparison', () => {
	clearTimeout(setTimeout(nothing, 15_000));
});
process.exit();
