// Envoy's circuit breakers of one cluster (priority DEFAULT): bounds on what may be under way at once,
// over all its hosts. Each `tryTake` is matched by exactly one `release`.

import type { Gauge } from '../../telemetry/registry.ts';
import type { ClusterStats } from './cluster-stats.ts';

export interface CircuitBreakerLimits {
	/** Default 1024. */
	readonly connectionsMax: number;
	/** Default 1024. */
	readonly pendingRequestsMax: number;
	/** Default 1024. */
	readonly requestsMax: number;
	/** Default 3. Not used with a budget. */
	readonly retriesMax: number;
	/** Retries may be this share of what is under way. */
	readonly retryBudget: { readonly percent: number; readonly concurrencyMin: number } | null;
}

export const CIRCUIT_BREAKER_DEFAULTS: CircuitBreakerLimits = {
	connectionsMax: 1024,
	pendingRequestsMax: 1024,
	requestsMax: 1024,
	retriesMax: 3,
	retryBudget: null,
};

/** One bounded count. `open` shows 1 while it is full. */
export class Breaker {
	count = 0;

	constructor(
		private readonly max: () => number,
		private readonly open: Gauge,
	) {}

	get full(): boolean {
		return this.count >= this.max();
	}

	tryTake(): boolean {
		if (this.full) return false;
		this.take();
		return true;
	}

	/** Also when it is full. */
	take(): void {
		this.count++;
		this.show();
	}

	release(): void {
		this.count--;
		this.show();
	}

	private show(): void {
		this.open.set(this.full ? 1 : 0);
	}
}

export class CircuitBreakers {
	readonly connections: Breaker;
	readonly pendingRequests: Breaker;
	readonly requests: Breaker;
	readonly retries: Breaker;

	constructor(limits: CircuitBreakerLimits, stats: ClusterStats) {
		const { gauges } = stats;
		this.connections = new Breaker(() => limits.connectionsMax, gauges.circuit_breakers_default_cx_open);
		this.pendingRequests = new Breaker(
			() => limits.pendingRequestsMax,
			gauges.circuit_breakers_default_rq_pending_open,
		);
		this.requests = new Breaker(() => limits.requestsMax, gauges.circuit_breakers_default_rq_open);
		const budget = limits.retryBudget;
		const retriesMax =
			budget === null
				? () => limits.retriesMax
				: () => {
						const underWay = this.requests.count + this.pendingRequests.count;
						return Math.max(budget.concurrencyMin, Math.floor((budget.percent * underWay) / 100));
					};
		this.retries = new Breaker(retriesMax, gauges.circuit_breakers_default_rq_retry_open);
	}
}
