// Envoy's overload manager: at each refresh asks every monitor for the pressure on its resource and
// sets the levels that the data path reads. What acts by itself (paused listeners, timers that run)
// is told when a level changed.
//
//   monitors ──pressure──▶ triggers ──greatest──▶ levels of OverloadState ──▶ data path, onChange

import type { Clock, Timer } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import type { Counter, Gauge, Histogram, MetricRegistry } from '../../telemetry/registry.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import type { CompiledLevel, CompiledTrigger, OverloadConfig } from './overload-config.ts';
import type { OverloadLevel, OverloadState } from './overload-state.ts';
import { makeMonitor, type ResourceMonitor } from './resource-monitors.ts';

const log = new Logger('overload');
/** While `shrink_heap` is saturated; Envoy's. */
const SHRINK_INTERVAL_MS = 10_000;

export interface OverloadManagerOptions {
	readonly config: OverloadConfig;
	readonly state: OverloadState;
	readonly clock: Clock;
	readonly registry: MetricRegistry;
	readonly connections: ConnectionBudget;
	readonly residentBytes: () => number;
	/** Gives back what the heap does not need. */
	readonly shrinkHeap: () => void;
	/** Levels of listeners and timers changed. */
	readonly onChange: () => void;
}

interface Watched {
	readonly monitor: ResourceMonitor;
	readonly pressure: Gauge;
	readonly failedUpdates: Counter;
	/** The last that could be told. */
	last: number;
}

interface Acting {
	readonly config: CompiledLevel;
	readonly level: OverloadLevel;
	readonly scalePercent: Gauge;
	/** Null: of a load shed point, which has none. */
	readonly active: Gauge | null;
}

export class OverloadManager {
	private readonly watched = new Map<string, Watched>();
	private readonly acting: Acting[] = [];
	private readonly refreshDelay: Histogram;
	private readonly shrinkCount: Counter | null;
	private readonly timer: Timer;
	private lastRefreshMs: number;
	private lastShrinkMs = Number.NEGATIVE_INFINITY;

	constructor(private readonly options: OverloadManagerOptions) {
		const { config, state, clock, registry } = options;
		for (const monitor of config.monitors) {
			this.watched.set(monitor.name, {
				monitor: makeMonitor(monitor, options),
				pressure: registry.gauge(statName(monitor.name, 'pressure'), 'Use of the resource, in percent').with(),
				failedUpdates: registry
					.counter(statName(monitor.name, 'failed_updates'), 'Refreshes at which it could not be told')
					.with(),
				last: 0,
			});
		}
		for (const [name, timeout] of config.timeouts) state[name] = timeout;
		for (const compiled of config.levels) {
			const level = state[compiled.level];
			const { name, isPoint } = compiled;
			if (isPoint) {
				level.shedCount = registry.counter(statName(name, 'shed_load_count'), 'Turned away at this point').with();
			}
			this.acting.push({
				config: compiled,
				level,
				scalePercent: registry.gauge(statName(name, 'scale_percent'), 'How far it is in force, in percent').with(),
				active: isPoint ? null : registry.gauge(statName(name, 'active'), '1 while it is wholly in force').with(),
			});
		}
		const shrinks = config.levels.find((one) => one.level === 'shrinkHeap');
		this.shrinkCount =
			shrinks === undefined
				? null
				: registry.counter(statName(shrinks.name, 'shrink_count'), 'Times that the heap was shrunk').with();
		this.refreshDelay = registry
			.histogram('envoy_overload_refresh_interval_delay', 'Milliseconds between two refreshes')
			.with();
		this.lastRefreshMs = clock.nowMs();
		this.timer = clock.after(config.refreshIntervalMs, () => this.onTimer());
	}

	close(): void {
		this.timer.cancel();
		for (const { monitor } of this.watched.values()) monitor.close();
	}

	/** Asks all monitors now. */
	refresh(): void {
		for (const watched of this.watched.values()) this.ask(watched);
		let changed = false;
		for (const acting of this.acting) {
			const value = this.valueOf(acting.config.triggers);
			if (value === acting.level.value) continue;
			changed = true;
			this.say(acting, value);
			acting.level.value = value;
			acting.scalePercent.set(Math.round(value * 100));
			acting.active?.set(value >= 1 ? 1 : 0);
		}
		if (changed) {
			this.options.state.settle();
			this.options.onChange();
		}
		this.shrinkWhenDue();
	}

	private onTimer(): void {
		const { clock, config } = this.options;
		const nowMs = clock.nowMs();
		this.refreshDelay.observe(nowMs - this.lastRefreshMs);
		this.lastRefreshMs = nowMs;
		// First of all, so that a fault below does not end the watch.
		this.timer.restart(config.refreshIntervalMs);
		this.refresh();
	}

	private ask(watched: Watched): void {
		try {
			watched.last = watched.monitor.pressure();
			watched.pressure.set(Math.round(watched.last * 100));
		} catch (error) {
			watched.failedUpdates.inc();
			if (log.enabled('debug')) {
				log.debug('a resource monitor failed', { name: watched.monitor.name, reason: errorMessage(error) });
			}
		}
	}

	private valueOf(triggers: readonly CompiledTrigger[]): number {
		let value = 0;
		for (const { monitor, from, to } of triggers)
			value = Math.max(value, share(this.watched.get(monitor)!.last, from, to));
		return value;
	}

	/** When an action begins and when it ends, not each step between. */
	private say(acting: Acting, value: number): void {
		const before = acting.level.value;
		if (before > 0 && value > 0 && before < 1 === value < 1) return;
		const pressures = acting.config.triggers.map(
			({ monitor }) => `${monitor}=${this.watched.get(monitor)!.last.toFixed(3)}`,
		);
		const fields = { name: acting.config.name, percent: Math.round(value * 100), pressure: pressures.join(' ') };
		if (value > 0) log.warning('overload action in force', fields);
		else log.info('overload action over', fields);
	}

	private shrinkWhenDue(): void {
		const { state, clock, shrinkHeap } = this.options;
		if (this.shrinkCount === null || state.shrinkHeap.value < 1) return;
		const nowMs = clock.nowMs();
		if (nowMs < this.lastShrinkMs + SHRINK_INTERVAL_MS) return;
		this.lastShrinkMs = nowMs;
		this.shrinkCount.inc();
		shrinkHeap();
	}
}

/** Envoy's: a threshold is reached at it, a scale begins above its start. */
function share(pressure: number, from: number, to: number): number {
	if (pressure >= to) return 1;
	return pressure <= from ? 0 : (pressure - from) / (to - from);
}

/** `envoy.resource_monitors.fixed_heap` is `envoy_overload_envoy_resource_monitors_fixed_heap_pressure` to Prometheus. */
function statName(name: string, stat: string): string {
	return `envoy_overload_${name.replace(/[^a-zA-Z0-9_]/g, '_')}_${stat}`;
}
