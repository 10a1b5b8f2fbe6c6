import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Timer } from '../../std/clock.ts';
import { VirtualClock } from '../../std/clock.ts';
import { ConnectionBudget } from './connection-budget.ts';
import type { MonitorConfig } from './overload-config.ts';
import { makeMonitor, type ResourceMonitor } from './resource-monitors.ts';

const connections = new ConnectionBudget(Number.POSITIVE_INFINITY, new Map());

function monitor(config: MonitorConfig, clock: Clock = new VirtualClock(), residentBytes = () => 0): ResourceMonitor {
	return makeMonitor(config, { clock, connections, residentBytes });
}

/** One timer, which rings when the test says so, however late that is. */
class LateClock implements Clock {
	private currentMs = 0;
	private callback: () => void = () => {};
	cancelled = false;

	nowMs(): number {
		return this.currentMs;
	}

	wallMs(): number {
		return this.currentMs;
	}

	after(_delayMs: number, callback: () => void): Timer {
		this.callback = callback;
		const cancel = (): void => {
			this.cancelled = true;
		};
		return { cancel, restart() {}, active: true };
	}

	ringAfter(ms: number): void {
		this.currentMs += ms;
		this.callback();
	}
}

test('the lag of the event loop is the mean lateness since the last look, beyond a tick', () => {
	const clock = new LateClock();
	const lag = monitor({ name: 'lag', kind: 'loop-lag', lagMsMax: 100 }, clock);
	expect(lag.pressure()).toBe(0);
	for (let i = 0; i < 10; i++) clock.ringAfter(105);
	expect(lag.pressure()).toBe(0);
	// One pause of 410 ms among ten looks is 40 ms.
	clock.ringAfter(510);
	for (let i = 0; i < 9; i++) clock.ringAfter(100);
	expect(lag.pressure()).toBeCloseTo(0.4);
	// Turns of 210 ms each.
	for (let i = 0; i < 5; i++) clock.ringAfter(310);
	expect(lag.pressure()).toBeCloseTo(2);
	// Nothing rang since: the loop is no better than it was.
	expect(lag.pressure()).toBeCloseTo(2);
	lag.close();
	expect(clock.cancelled).toBe(true);
});

test('memory and connections are shares of what is allowed', () => {
	const memory = monitor({ name: 'memory', kind: 'memory', bytesMax: 400 }, undefined, () => 100);
	expect(memory.pressure()).toBe(0.25);
	const open = monitor({ name: 'connections', kind: 'connections', connectionsMax: 8 });
	connections.active = 6;
	expect(open.pressure()).toBe(0.75);
	connections.active = 0;
});

test('an injected pressure is one number from 0 to 1, and nothing else', () => {
	const directory = mkdtempSync(join(tmpdir(), 'weft-monitor-'));
	const path = join(directory, 'pressure');
	const injected = monitor({ name: 'file', kind: 'file', path });
	expect(() => injected.pressure()).toThrow('ENOENT');
	for (const [text, value] of [
		['0', 0],
		['0.75\n', 0.75],
		['1', 1],
	] as const) {
		writeFileSync(path, text);
		expect(injected.pressure()).toBe(value);
	}
	for (const text of ['', '1.5', '-1', '0x1', '1e-1', 'NaN', '0.5 0.6', '.5']) {
		writeFileSync(path, text);
		expect(() => injected.pressure()).toThrow('expected 0 to 1');
	}
	rmSync(directory, { recursive: true });
});
