// Chooses one host of a fixed list, by Envoy's policies. The list never changes: an update of the
// hosts makes new pickers. Only cursors move.

import type { Random } from '../../std/random.ts';
import type { Host } from '../upstream.ts';
import { EdfSchedule } from './edf-schedule.ts';

export interface HostPicker {
	/** Null only when the list is empty. */
	next(): Host | null;
	readonly hosts: readonly Host[];
}

export type LoadBalancingPolicy =
	| { readonly kind: 'round_robin' }
	| {
			readonly kind: 'least_request';
			/** Hosts drawn at each pick when weights are equal; at least 2. */
			readonly choiceCount: number;
			/** With unequal weights: weight / (active requests + 1)^bias. At least 0. */
			readonly activeRequestBias: number;
	  }
	| { readonly kind: 'random' };

export function makeHostPicker(policy: LoadBalancingPolicy, hosts: readonly Host[], random: Random): HostPicker {
	switch (policy.kind) {
		case 'round_robin':
			return equalWeights(hosts) ? new RoundRobinPicker(hosts, random) : weightedRoundRobin(hosts, random);
		case 'least_request':
			if (equalWeights(hosts)) return new LeastRequestPicker(hosts, policy.choiceCount, random);
			return weightedLeastRequest(hosts, policy.activeRequestBias, random);
		case 'random':
			return new RandomPicker(hosts, random);
	}
}

/** In turn, from a random place, so that many proxies do not all begin with the same host. */
class RoundRobinPicker implements HostPicker {
	private index: number;

	constructor(
		readonly hosts: readonly Host[],
		random: Random,
	) {
		this.index = hosts.length === 0 ? 0 : random.below(hosts.length);
	}

	next(): Host | null {
		const hosts = this.hosts;
		if (hosts.length === 0) return null;
		const host = hosts[this.index]!;
		this.index = this.index + 1 === hosts.length ? 0 : this.index + 1;
		return host;
	}
}

/** The power of two (or more) choices: of those drawn, the one with the fewest requests under way. */
class LeastRequestPicker implements HostPicker {
	constructor(
		readonly hosts: readonly Host[],
		private readonly choiceCount: number,
		private readonly random: Random,
	) {}

	next(): Host | null {
		const { hosts, random } = this;
		if (hosts.length <= 1) return hosts[0] ?? null;
		let best = hosts[random.below(hosts.length)]!;
		for (let drawn = 1; drawn < this.choiceCount; drawn++) {
			const other = hosts[random.below(hosts.length)]!;
			if (other.activeRequests < best.activeRequests) best = other;
		}
		return best;
	}
}

/** Weights play no part, as in Envoy. */
class RandomPicker implements HostPicker {
	constructor(
		readonly hosts: readonly Host[],
		private readonly random: Random,
	) {}

	next(): Host | null {
		return this.hosts.length === 0 ? null : this.hosts[this.random.below(this.hosts.length)]!;
	}
}

class ScheduledPicker implements HostPicker {
	private readonly schedule: EdfSchedule<Host>;

	constructor(
		readonly hosts: readonly Host[],
		random: Random,
		weightOf: (host: Host) => number,
	) {
		// The order among equal deadlines, and the place to start from, differ from proxy to proxy.
		const first = random.below(hosts.length);
		this.schedule = new EdfSchedule([...hosts.slice(first), ...hosts.slice(0, first)], weightOf);
		for (let skip = random.below(hosts.length); skip > 0; skip--) this.schedule.next();
	}

	next(): Host {
		return this.schedule.next();
	}
}

function weightedRoundRobin(hosts: readonly Host[], random: Random): HostPicker {
	return new ScheduledPicker(hosts, random, (host) => host.weight);
}

function weightedLeastRequest(hosts: readonly Host[], bias: number, random: Random): HostPicker {
	if (bias === 0) return weightedRoundRobin(hosts, random);
	if (bias === 1) return new ScheduledPicker(hosts, random, (host) => host.weight / (host.activeRequests + 1));
	return new ScheduledPicker(hosts, random, (host) => host.weight / (host.activeRequests + 1) ** bias);
}

function equalWeights(hosts: readonly Host[]): boolean {
	for (let i = 1; i < hosts.length; i++) if (hosts[i]!.weight !== hosts[0]!.weight) return false;
	return true;
}
