// What the overload manager watches: each gives the pressure on one resource, 0 to 1 and beyond.

import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '../../std/clock.ts';
import { WeftError } from '../../std/errors.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import type { MonitorConfig } from './overload-config.ts';

export interface ResourceMonitor {
	readonly name: string;
	/** Used resource, as a share of what is allowed. @throws when it cannot be told */
	pressure(): number;
	close(): void;
}

/** What a monitor may ask of the process. */
export interface MonitorSources {
	readonly clock: Clock;
	readonly connections: ConnectionBudget;
	/** Resident bytes of the process. */
	readonly residentBytes: () => number;
}

export function makeMonitor(config: MonitorConfig, sources: MonitorSources): ResourceMonitor {
	switch (config.kind) {
		case 'memory':
			return simple(config.name, () => sources.residentBytes() / config.bytesMax);
		case 'connections':
			return simple(config.name, () => sources.connections.active / config.connectionsMax);
		case 'file':
			return simple(config.name, () => readPressure(config.path));
		case 'loop-lag':
			return new LoopLagMonitor(config.name, config.lagMsMax, sources.clock);
	}
}

function simple(name: string, pressure: () => number): ResourceMonitor {
	return { name, pressure, close: () => {} };
}

/** Of `injected_resource`: a number between 0 and 1, which Envoy checks too. */
function readPressure(path: string): number {
	const text = readFileSync(path, 'latin1').trim();
	const value = /^\d{1,3}(\.\d{1,18})?$/.test(text) ? Number(text) : Number.NaN;
	if (value >= 0 && value <= 1) return value;
	throw new WeftError('injected_pressure', `${path}: found ${JSON.stringify(text.slice(0, 40))}, expected 0 to 1`);
}

const SAMPLE_MS = 100;
/** Timers are late by up to this much on an idle loop: the tick of the wheel. */
const TICK_MS = 10;

/**
 * How late timers fire because the event loop is busy: the mean since the last refresh, so that one pause (a garbage
 * collection, say) does not count as overload, and a loop whose every turn is long does.
 */
class LoopLagMonitor implements ResourceMonitor {
	private lagMsSum = 0;
	private samples = 0;
	private lastMs: number;
	private meanMs = 0;
	private readonly timer: Timer;

	constructor(
		readonly name: string,
		private readonly lagMsMax: number,
		private readonly clock: Clock,
	) {
		this.lastMs = clock.nowMs();
		this.timer = clock.after(SAMPLE_MS, () => this.sample());
	}

	pressure(): number {
		if (this.samples > 0) this.meanMs = this.lagMsSum / this.samples;
		this.lagMsSum = 0;
		this.samples = 0;
		return this.meanMs / this.lagMsMax;
	}

	close(): void {
		this.timer.cancel();
	}

	private sample(): void {
		const nowMs = this.clock.nowMs();
		this.lagMsSum += Math.max(0, nowMs - this.lastMs - SAMPLE_MS - TICK_MS);
		this.samples += 1;
		this.lastMs = nowMs;
		this.timer.restart(SAMPLE_MS);
	}
}
