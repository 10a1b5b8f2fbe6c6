// How many downstream connections the listeners of one worker may have, together and each: Envoy's
// `global_downstream_max_connections` (the monitor, or the runtime key) and
// `envoy.resource_limits.listener.NAME.connection_limit`.

import type { RuntimeValues } from './runtime.ts';

const GLOBAL_KEY = 'overload.global_downstream_max_connections';
const LISTENER_KEY = /^envoy\.resource_limits\.listener\.(.+)\.connection_limit$/;

export class ConnectionBudget {
	/** Over all listeners, those included that ignore the limit. */
	active = 0;

	constructor(
		/** Infinity: no limit. */
		readonly max: number,
		private readonly byListener: ReadonlyMap<string, number>,
	) {}

	/** Infinity: no limit. */
	listenerMax(name: string): number {
		return this.byListener.get(name) ?? Number.POSITIVE_INFINITY;
	}
}

/** `monitorMax`: of the monitor, which counts where both are set, as with Envoy; null: there is none. */
export function connectionBudget(runtime: RuntimeValues, monitorMax: number | null): ConnectionBudget {
	const byListener = new Map<string, number>();
	for (const [key, value] of runtime) {
		const name = LISTENER_KEY.exec(key)?.[1];
		if (name !== undefined) byListener.set(name, value);
	}
	return new ConnectionBudget(monitorMax ?? runtime.get(GLOBAL_KEY) ?? Number.POSITIVE_INFINITY, byListener);
}

/** Whether weft reads this runtime key. */
export function isConnectionLimitKey(key: string): boolean {
	return key === GLOBAL_KEY || LISTENER_KEY.test(key);
}
