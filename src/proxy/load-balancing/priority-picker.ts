// Spreads picks over priorities as Envoy does, then lets a HostPicker choose within one.
//
// The health of a priority is min(100, factor × available hosts / hosts), factor 140 by default: up
// to 28 % of the hosts may fail before anything spills over. Load goes to priority 0 as far as its
// health carries, then to 1, and so on; degraded hosts get what healthy ones cannot carry.
//
// Panic: when all priorities together cannot carry 100 and a priority's share of available hosts is
// below the threshold (default 50 %), its load goes to all its hosts, whatever their health: too many
// failures at once are more likely wrong checks than dead hosts. Threshold 0 turns that off.

import type { Random } from '../../std/random.ts';
import type { Host, PickContext, Picker } from '../upstream.ts';
import { type HostPicker, type LoadBalancingPolicy, makeHostPicker } from './host-picker.ts';

export type HostHealth = 'healthy' | 'degraded' | 'unhealthy';

export interface BalancedHost extends Host {
	readonly health: HostHealth;
}

export interface PickerOptions {
	readonly policy: LoadBalancingPolicy;
	/** Percent, 0 to 100. Envoy `common_lb_config.healthy_panic_threshold`. */
	readonly panicThresholdPercent: number;
	/** Percent. Envoy `ClusterLoadAssignment.policy.overprovisioning_factor`. */
	readonly overprovisioningFactor: number;
}

export const OVERPROVISIONING_FACTOR_DEFAULT = 140;
export const PANIC_THRESHOLD_PERCENT_DEFAULT = 50;

/** How often a pick is repeated to get away from a host that was tried, before looking through all. */
const RETRY_PICKS_MAX = 3;

/** `priorities[p]` are the hosts of priority p; empty ones are allowed. */
export function makePicker(
	options: PickerOptions,
	priorities: readonly (readonly BalancedHost[])[],
	random: Random,
): Picker {
	return new PriorityPicker(makeShares(options, priorities, random), random);
}

interface Share {
	readonly picker: HostPicker;
	/** Out of 100. */
	readonly load: number;
}

class PriorityPicker implements Picker {
	private readonly only: HostPicker | null;

	constructor(
		private readonly shares: readonly Share[],
		private readonly random: Random,
	) {
		this.only = shares.length === 1 ? shares[0]!.picker : null;
	}

	pick(context: PickContext | null): Host | null {
		const picker = this.only ?? this.draw();
		if (picker === null) return null;
		const host = picker.next();
		if (host === null || context === null || context.tried.length === 0 || !context.tried.includes(host)) return host;
		return this.pickUntried(picker, host, context.tried);
	}

	private draw(): HostPicker | null {
		let ticket = this.random.below(100);
		for (const { picker, load } of this.shares) {
			if (ticket < load) return picker;
			ticket -= load;
		}
		return null;
	}

	/** Another host where there is one: first by the policy, then any, also of another priority. */
	private pickUntried(picker: HostPicker, first: Host, tried: readonly Host[]): Host {
		for (let again = 0; again < RETRY_PICKS_MAX; again++) {
			const host = picker.next()!;
			if (!tried.includes(host)) return host;
		}
		for (const candidate of [picker, ...this.shares.map((share) => share.picker)]) {
			const untried = candidate.hosts.filter((host) => !tried.includes(host));
			if (untried.length > 0) return untried[this.random.below(untried.length)]!;
		}
		return first;
	}
}

function makeShares(
	options: PickerOptions,
	priorities: readonly (readonly BalancedHost[])[],
	random: Random,
): readonly Share[] {
	const levels = priorities.map((hosts) => makeLevel(hosts, options.overprovisioningFactor));
	const availability = Math.min(
		100,
		sum(levels, (level) => level.healthyScore + level.degradedScore),
	);
	const inPanic = levels.map((level) => availability < 100 && level.availablePercent < options.panicThresholdPercent);
	const shares: Share[] = [];
	const add = (hosts: readonly Host[], load: number) => {
		if (load > 0) shares.push({ picker: makeHostPicker(options.policy, hosts, random), load });
	};

	if (levels.length > 0 && inPanic.every((panic) => panic)) {
		// Nothing to prefer: every host gets the same.
		const hostCount = sum(levels, (level) => level.hosts.length);
		let left = 100;
		for (const [i, level] of levels.entries()) {
			const last = levels.slice(i + 1).every((later) => later.hosts.length === 0);
			const load = hostCount === 0 ? 0 : last ? left : Math.round((100 * level.hosts.length) / hostCount);
			add(level.hosts, Math.min(left, level.hosts.length === 0 ? 0 : load));
			left -= level.hosts.length === 0 ? 0 : Math.min(left, load);
		}
		return shares;
	}

	if (availability === 0) return [];
	const loads = levels.map(() => ({ healthy: 0, degraded: 0 }));
	let left = 100;
	for (const kind of ['healthy', 'degraded'] as const) {
		for (const [i, level] of levels.entries()) {
			const score = kind === 'healthy' ? level.healthyScore : level.degradedScore;
			const load = Math.min(left, Math.floor((score * 100) / availability));
			loads[i]![kind] = load;
			left -= load;
		}
	}
	// What rounding left over goes to the first that has a share.
	const first = loads.find((load) => load.healthy + load.degraded > 0);
	if (first !== undefined) first[first.healthy > 0 ? 'healthy' : 'degraded'] += left;
	for (const [i, level] of levels.entries()) {
		const { healthy, degraded } = loads[i]!;
		if (inPanic[i]) add(level.hosts, healthy + degraded);
		else {
			add(level.healthy, healthy);
			add(level.degraded, degraded);
		}
	}
	return shares;
}

interface Level {
	readonly hosts: readonly BalancedHost[];
	readonly healthy: readonly BalancedHost[];
	readonly degraded: readonly BalancedHost[];
	readonly healthyScore: number;
	readonly degradedScore: number;
	readonly availablePercent: number;
}

function makeLevel(hosts: readonly BalancedHost[], factor: number): Level {
	const healthy = hosts.filter((host) => host.health === 'healthy');
	const degraded = hosts.filter((host) => host.health === 'degraded');
	const count = hosts.length;
	return {
		hosts,
		healthy,
		degraded,
		healthyScore: count === 0 ? 0 : Math.min(100, Math.floor((factor * healthy.length) / count)),
		degradedScore: count === 0 ? 0 : Math.min(100, Math.floor((factor * degraded.length) / count)),
		availablePercent: count === 0 ? 0 : (100 * (healthy.length + degraded.length)) / count,
	};
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
	let total = 0;
	for (const item of list) total += of(item);
	return total;
}
