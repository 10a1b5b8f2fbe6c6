// STRICT_DNS: each address of each name is a host. LOGICAL_DNS: the first address of the one name is
// the host. Names are resolved again at the refresh rate (or when their TTL ends); a failure keeps
// what is known and is tried again with growing pauses.

import { isIPv6 } from 'node:net';
import type { Network } from '../../net/network.ts';
import type { Timer } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import { reportFault } from '../../std/fault.ts';
import { Logger } from '../../std/log.ts';
import type { DnsFamily, DnsSettings } from './cluster-config.ts';
import type { ClusterStats } from './cluster-stats.ts';
import { type AssignmentSpec, type EndpointSpec, hostSpecAt } from './endpoint-specs.ts';
import type { HostSink, HostSource } from './host-source.ts';
import type { HostSpec } from './upstream-host.ts';

/** One name may not fill a cluster. */
const ADDRESSES_PER_NAME_MAX = 1000;
/** A TTL of 0 must not become a busy loop. */
const REFRESH_MS_MIN = 1;

interface Target {
	readonly name: string;
	addresses: readonly string[];
	answered: boolean;
	failures: number;
	timer: Timer | null;
}

const log = new Logger('dns');

export class DnsHosts implements HostSource {
	private readonly targets = new Map<string, Target>();
	private closed = false;

	constructor(
		private readonly assignment: AssignmentSpec,
		private readonly settings: DnsSettings,
		private readonly firstAddressOnly: boolean,
		private readonly network: Network,
		private readonly stats: ClusterStats,
	) {}

	start(sink: HostSink): void {
		for (const { address } of this.assignment.endpoints) {
			if (address.kind !== 'name' || this.targets.has(address.name)) continue;
			const target = { name: address.name, addresses: [], answered: false, failures: 0, timer: null };
			this.targets.set(address.name, target);
		}
		this.publish(sink);
		for (const target of this.targets.values()) this.resolve(target, sink);
	}

	close(): void {
		this.closed = true;
		for (const target of this.targets.values()) target.timer?.cancel();
	}

	private resolve(target: Target, sink: HostSink): void {
		this.stats.counters.update_attempt.inc();
		this.network
			.resolve(target.name)
			.then(
				({ addresses, ttlMs }) => {
					if (this.closed) return;
					this.stats.counters.update_success.inc();
					if (addresses.length === 0) this.stats.counters.update_empty.inc();
					target.failures = 0;
					const chosen = chooseFamily(addresses, this.settings.family).slice(0, ADDRESSES_PER_NAME_MAX);
					const used = this.firstAddressOnly ? chosen.slice(0, 1) : chosen;
					// A resolver may give the same addresses in another order at each answer.
					const changed = !sameMembers(used, target.addresses);
					if (changed) target.addresses = used;
					this.settled(target, sink, changed);
					this.again(target, sink, this.settings.respectTtl ? ttlMs : this.settings.refreshMs);
				},
				(error: unknown) => {
					if (this.closed) return;
					this.stats.counters.update_failure.inc();
					log.debug('name not resolved', { name: target.name, reason: errorMessage(error) });
					this.settled(target, sink, false);
					const { failureRefreshMs, failureRefreshMaxMs } = this.settings;
					const pauseMs = Math.min(failureRefreshMaxMs, failureRefreshMs * 2 ** Math.min(target.failures, 20));
					target.failures++;
					this.again(target, sink, pauseMs);
				},
			)
			.catch((error: unknown) => {
				reportFault('resolver', 'what a name resolved to could not be applied', error, { name: target.name });
				if (!this.closed) this.again(target, sink, this.settings.failureRefreshMs);
			});
	}

	private again(target: Target, sink: HostSink, delayMs: number): void {
		const pauseMs = Math.max(REFRESH_MS_MIN, delayMs);
		if (target.timer === null) target.timer = this.network.clock.after(pauseMs, () => this.resolve(target, sink));
		else target.timer.restart(pauseMs);
	}

	private settled(target: Target, sink: HostSink, changed: boolean): void {
		target.answered = true;
		if (changed) this.publish(sink);
		else this.announce(sink);
	}

	private publish(sink: HostSink): void {
		const hosts: HostSpec[] = [];
		for (const endpoint of this.assignment.endpoints) this.addHosts(endpoint, hosts);
		sink.onHosts(hosts, this.assignment.overprovisioningFactor);
		this.announce(sink);
	}

	private announce(sink: HostSink): void {
		for (const target of this.targets.values()) if (!target.answered) return;
		sink.onInitialized();
	}

	private addHosts(endpoint: EndpointSpec, hosts: HostSpec[]): void {
		const { address } = endpoint;
		if (address.kind !== 'name') {
			hosts.push(hostSpecAt(endpoint, address));
			return;
		}
		for (const host of this.targets.get(address.name)!.addresses) {
			hosts.push(hostSpecAt(endpoint, { kind: 'ip', host, port: address.port }));
		}
	}
}

/** Envoy's `DnsLookupFamily`: AUTO takes IPv6 where there is any, V4_PREFERRED the other way round. */
function chooseFamily(addresses: readonly string[], family: DnsFamily): readonly string[] {
	const v6 = addresses.filter((address) => isIPv6(address));
	const v4 = addresses.filter((address) => !isIPv6(address));
	switch (family) {
		case 'auto':
			return v6.length > 0 ? v6 : v4;
		case 'v4_preferred':
			return v4.length > 0 ? v4 : v6;
		case 'v4_only':
			return v4;
		case 'v6_only':
			return v6;
		case 'all':
			return addresses;
	}
}

function sameMembers(a: readonly string[], b: readonly string[]): boolean {
	return a.length === b.length && a.every((address) => b.includes(address));
}
