// How overloaded the proxy is, as the data path reads it: plain numbers and booleans that the overload
// manager sets at each refresh. Without a configured overload manager all stay as they are here.

import type { Random } from '../../std/random.ts';
import type { Counter } from '../../telemetry/registry.ts';

/** One overload action or load shed point. */
export class OverloadLevel {
	/** 0: not in force; 1: wholly (Envoy: saturated); between: for that share of what comes. */
	value = 0;
	/** Of a load shed point: what it turned away. */
	shedCount: Counter | null = null;

	/** Whether it takes this one. */
	sheds(random: Random): boolean {
		if (this.value === 0 || (this.value < 1 && random.next() >= this.value)) return false;
		this.shedCount?.inc();
		return true;
	}
}

/** A timeout that shrinks from what is configured to a minimum as pressure grows (`reduce_timeouts`). */
export class ScaledTimeout {
	/** Of the configured one; 1: nothing is reduced. */
	private factor = 1;

	constructor(
		/** Null: a share of the configured one, `minShare`. */
		private readonly minMs: number | null,
		private readonly minShare: number,
	) {}

	/** 0, a timeout that is off, stays off. */
	of(configuredMs: number): number {
		if (this.factor === 1 || configuredMs <= 0) return configuredMs;
		const minMs = Math.min(configuredMs, this.minMs ?? configuredMs * this.minShare);
		return Math.max(1, minMs + (configuredMs - minMs) * this.factor);
	}

	set(level: number): void {
		this.factor = 1 - level;
	}
}

export class OverloadState {
	/** One of the levels that a new connection, a read, a request, a response head meets is above 0. */
	connectionsMeetLevels = false;
	readsMeetLevels = false;
	requestsMeetLevels = false;
	readonly stopAcceptingRequests = new OverloadLevel();
	readonly disableKeepAlive = new OverloadLevel();
	readonly stopAcceptingConnections = new OverloadLevel();
	readonly rejectConnections = new OverloadLevel();
	readonly shrinkHeap = new OverloadLevel();
	readonly reduceTimeouts = new OverloadLevel();
	readonly acceptPoint = new OverloadLevel();
	readonly requestPoint = new OverloadLevel();
	readonly http1DispatchPoint = new OverloadLevel();
	readonly http2DispatchPoint = new OverloadLevel();
	/** Null: not reduced, whatever the level. */
	httpIdleTimeout: ScaledTimeout | null = null;
	streamIdleTimeout: ScaledTimeout | null = null;
	connectionDuration: ScaledTimeout | null = null;
	handshakeTimeout: ScaledTimeout | null = null;

	/** After levels were set. */
	settle(): void {
		this.connectionsMeetLevels =
			this.rejectConnections.value > 0 || this.acceptPoint.value > 0 || this.stopAcceptingConnections.value > 0;
		this.readsMeetLevels = this.http1DispatchPoint.value > 0 || this.http2DispatchPoint.value > 0;
		this.requestsMeetLevels = this.stopAcceptingRequests.value > 0 || this.requestPoint.value > 0;
		for (const timeout of [
			this.httpIdleTimeout,
			this.streamIdleTimeout,
			this.connectionDuration,
			this.handshakeTimeout,
		]) {
			timeout?.set(this.reduceTimeouts.value);
		}
	}
}

/** For what no overload manager touches: a listener with `bypass_overload_manager`. Never changed. */
export const NO_OVERLOAD = new OverloadState();
