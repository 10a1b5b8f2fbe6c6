// Whether a listener takes one more connection: Envoy's checks at accept, in its order. Without a limit
// that is reached and without overload this is a few comparisons of numbers.

import type { Random } from '../../std/random.ts';
import type { Counter } from '../../telemetry/registry.ts';
import type { ConnectionBudget } from './connection-budget.ts';
import type { OverloadState } from './overload-state.ts';

/** What all listeners of a proxy share. */
export interface OverloadContext {
	readonly state: OverloadState;
	readonly connections: ConnectionBudget;
}

/** Counters of the listener. */
export interface AdmissionStats {
	readonly connectionsOverflowed: Counter;
	readonly globalConnectionsOverflowed: Counter;
	readonly overloadRejects: Counter;
}

/** What of a listener's configuration counts. */
export interface AdmissionConfig {
	/** `ignore_global_conn_limit` */
	readonly ignoresGlobalLimit: boolean;
	/** `bypass_overload_manager` */
	readonly bypassesOverload: boolean;
}

export class ListenerAdmission {
	private readonly connectionsMax: number;
	/** As `count` was told last. */
	private open = 0;
	/** Accepting should be paused, and cannot be: what comes is turned away. */
	rejectsAll = false;

	constructor(
		listenerName: string,
		private readonly context: OverloadContext,
		private readonly random: Random,
		private readonly stats: AdmissionStats,
	) {
		this.connectionsMax = context.connections.listenerMax(listenerName);
	}

	/** The listener has so many connections now. */
	count(open: number): void {
		this.context.connections.active += open - this.open;
		this.open = open;
	}

	/** `scarce`: see `ListenOptions.admit`. */
	admits(config: AdmissionConfig, scarce: boolean): boolean {
		const { connections, state } = this.context;
		if ((scarce || connections.active >= connections.max) && !config.ignoresGlobalLimit) {
			this.stats.globalConnectionsOverflowed.inc();
			return false;
		}
		if (state.connectionsMeetLevels && !config.bypassesOverload && this.sheds()) {
			this.stats.overloadRejects.inc();
			return false;
		}
		if (this.open >= this.connectionsMax) {
			this.stats.connectionsOverflowed.inc();
			return false;
		}
		return true;
	}

	private sheds(): boolean {
		const { state } = this.context;
		return this.rejectsAll || state.acceptPoint.sheds(this.random) || state.rejectConnections.sheds(this.random);
	}
}
