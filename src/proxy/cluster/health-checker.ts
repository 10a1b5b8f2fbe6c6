// Active health checks of one cluster: each host is checked by itself at the configured pace, and
// turns healthy or unhealthy by Envoy's rules.
//
//              first success, or healthy_threshold in a row
//   unhealthy ─────────────────────────────────────────────▶ healthy
//       ▲                                                      │
//       └──────────────────────────────────────────────────────┘
//         unhealthy_threshold in a row; at once for a status that is neither expected nor retriable
//
// A new host starts unhealthy and is checked at once. The cluster is ready when each of its first
// hosts has been checked once.

import { GuardedClock, type Timer } from '../../std/clock.ts';
import { reportFault } from '../../std/fault.ts';
import { Logger } from '../../std/log.ts';
import type { Random } from '../../std/random.ts';
import type { PoolContext } from './connection-pool.ts';
import type { HealthCheckConfig } from './health-check-config.ts';
import { HealthProbe } from './health-probe.ts';
import type { CheckOutcome } from './probe-session.ts';
import type { UpstreamHost } from './upstream-host.ts';

export interface HealthCheckEvents {
	/** A host turned healthy or unhealthy. */
	onHealthChanged(): void;
	/** Each host of the first set was checked once (or there was none). */
	onFirstRound(): void;
}

const log = new Logger('health');

export class HealthChecker {
	private readonly checks = new Map<UpstreamHost, HostCheck>();
	private awaited: Set<UpstreamHost> | null = null;

	constructor(
		private readonly config: HealthCheckConfig,
		private readonly context: PoolContext,
		private readonly random: Random,
		private readonly events: HealthCheckEvents,
	) {}

	get firstRoundDone(): boolean {
		return this.awaited !== null && this.awaited.size === 0;
	}

	setHosts(hosts: readonly UpstreamHost[]): void {
		const wanted = new Set(hosts.filter((host) => !host.spec.healthChecksDisabled));
		for (const [host, check] of this.checks) {
			if (wanted.has(host)) continue;
			check.close();
			this.checks.delete(host);
			host.failedActiveHealthCheck = false;
			this.settled(host);
		}
		const added = [...wanted].filter((host) => !this.checks.has(host));
		// A source may begin with an empty set (DNS): the first round is that of the first hosts.
		if (this.awaited === null && added.length > 0) this.awaited = new Set(added);
		else if (this.awaited === null && hosts.length > 0) this.awaited = new Set();
		for (const host of added) {
			host.failedActiveHealthCheck = true;
			const check = new HostCheck(host, this.config, this.context, this.random, (changed) => {
				if (changed) this.events.onHealthChanged();
				this.settled(host);
			});
			this.checks.set(host, check);
		}
		for (const host of added) this.checks.get(host)?.start();
	}

	/** The source has answered; with no hosts there is nothing to wait for. */
	sourceInitialized(): void {
		this.awaited ??= new Set();
	}

	close(): void {
		for (const check of this.checks.values()) check.close();
		this.checks.clear();
	}

	private settled(host: UpstreamHost): void {
		if (this.awaited?.delete(host) && this.awaited.size === 0) this.events.onFirstRound();
	}
}

class HostCheck {
	private readonly probe: HealthProbe;
	private readonly timer: Timer;
	private checkedOnce = false;
	private successes = 0;
	private failures = 0;
	private closed = false;

	constructor(
		private readonly host: UpstreamHost,
		private readonly config: HealthCheckConfig,
		private readonly context: PoolContext,
		private readonly random: Random,
		private readonly onChecked: (changed: boolean) => void,
	) {
		this.probe = new HealthProbe(host, config, context);
		const clock = new GuardedClock(context.network.clock, (error) => {
			const { clusterName: cluster } = context;
			reportFault('timer', 'a health check failed by a fault of ours', error, { cluster, host: host.addressText });
			if (!this.closed) this.timer.restart(config.intervalMs);
		});
		this.timer = clock.after(0, () => this.check());
		this.timer.cancel();
	}

	start(): void {
		this.timer.restart(this.config.initialJitterMs * this.random.next());
	}

	close(): void {
		this.closed = true;
		this.timer.cancel();
		this.probe.close();
	}

	private check(): void {
		this.context.stats.counters.health_check_attempt.inc();
		this.probe.check((outcome) => {
			if (!this.closed) this.checked(outcome);
		});
	}

	private checked(outcome: CheckOutcome): void {
		const { counters } = this.context.stats;
		const { host, config } = this;
		const wasFailed = host.failedActiveHealthCheck;
		if (outcome.kind === 'success') {
			counters.health_check_success.inc();
			this.failures = 0;
			this.successes++;
			if (wasFailed && (!this.checkedOnce || this.successes >= config.healthyThreshold)) {
				host.failedActiveHealthCheck = false;
			}
		} else {
			counters.health_check_failure.inc();
			if (outcome.kind === 'network') counters.health_check_network_failure.inc();
			this.successes = 0;
			this.failures++;
			if (outcome.kind === 'refused' || this.failures >= config.unhealthyThreshold) host.failedActiveHealthCheck = true;
		}
		const changed = wasFailed !== host.failedActiveHealthCheck;
		this.checkedOnce = true;
		if (changed) {
			const state = host.failedActiveHealthCheck ? 'unhealthy' : 'healthy';
			const reason = outcome.kind === 'success' ? undefined : outcome.reason;
			log.info('host changed', { cluster: this.context.clusterName, host: host.addressText, state, reason });
		}
		this.timer.restart(this.pauseMs(outcome, changed));
		this.onChecked(changed);
	}

	private pauseMs(outcome: CheckOutcome, changed: boolean): number {
		const { config, host } = this;
		let pauseMs: number;
		if (this.context.stats.counters.upstream_cx_total.value === 0) {
			pauseMs = host.failedActiveHealthCheck ? config.noTrafficIntervalMs : config.noTrafficHealthyIntervalMs;
		} else if (host.failedActiveHealthCheck) {
			pauseMs = changed ? config.unhealthyEdgeIntervalMs : config.unhealthyIntervalMs;
			if (outcome.kind === 'success') pauseMs = config.intervalMs;
		} else {
			pauseMs = changed ? config.healthyEdgeIntervalMs : config.intervalMs;
		}
		const jitterMs = config.intervalJitterMs + (pauseMs * config.intervalJitterPercent) / 100;
		return pauseMs + jitterMs * this.random.next();
	}
}
