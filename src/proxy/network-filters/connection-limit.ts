// Envoy's `ConnectionLimit`: how many connections of a filter chain are open at once. It stands before
// the filter that serves them, HTTP or TCP alike; one too many is kept unread for a while and closed.

import {
	type ConnectionLimit,
	ConnectionLimitSchema,
} from '../../generated/envoy/extensions/filters/network/connection_limit/v3/connection_limit_pb.ts';
import type { Connection, ConnectionHandler } from '../../net/network.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import type { Counter, Gauge } from '../../telemetry/registry.ts';
import { durationMs } from '../duration-ms.ts';
import type { SupportedFields } from '../field-check.ts';
import type { TypedConfig } from '../typed-config.ts';
import type { ConnectionInfo, NetworkFilter, ServedConnection } from './network-filter.ts';
import type { NetworkFilterContext } from './network-filter-context.ts';

export const CONNECTION_LIMIT_TYPE =
	'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit';

export const CONNECTION_LIMIT_FIELDS: SupportedFields = {
	'envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit': [
		'stat_prefix',
		'max_connections',
		'delay',
		'runtime_enabled',
	],
	'envoy.config.core.v3.RuntimeFeatureFlag': ['default_value', 'runtime_key'],
};

/** A client that was told that we are done has this long to close its side. */
const CLOSE_GRACE_MS = 1000;

export interface LimitSettings {
	readonly connectionsMax: number;
	/** 0: closed at once. */
	readonly delayMs: number;
	readonly active: Gauge;
	readonly limited: Counter;
}

/** Null: it is switched off (`runtime_enabled`). @throws ConfigError */
export function compileConnectionLimit(config: TypedConfig, context: NetworkFilterContext): LimitSettings | null {
	const message = config.message(ConnectionLimitSchema, CONNECTION_LIMIT_FIELDS);
	const { statPrefix } = message;
	if (statPrefix === '') throw config.error('stat_prefix', undefined, 'a name for its statistics');
	const connectionsMax = maxOf(message, config);
	const labels = ['envoy_connection_limit_prefix'];
	const { registry } = context;
	const active = registry.gauge('envoy_connection_limit_active_connections', 'Connections now open', labels);
	const limited = registry.counter('envoy_connection_limit_limited_connections', 'Connections over the limit', labels);
	if (message.runtimeEnabled?.defaultValue === false) return null;
	const delayMs = durationMs(message.delay) ?? 0;
	return { connectionsMax, delayMs, active: active.with(statPrefix), limited: limited.with(statPrefix) };
}

function maxOf(message: ConnectionLimit, config: TypedConfig): number {
	const { maxConnections } = message;
	if (maxConnections !== undefined && maxConnections >= 1n) return Number(maxConnections);
	throw config.error('max_connections', maxConnections === undefined ? undefined : '0', 'at least 1');
}

export class ConnectionLimitFilter implements NetworkFilter {
	readonly kind: NetworkFilter['kind'];
	readonly ready: Promise<void>;
	/** Shared by all versions of a filter chain, whose connections live on in the next one. */
	private open = { count: 0 };

	constructor(
		private readonly settings: LimitSettings,
		private readonly next: NetworkFilter,
		private readonly clock: Clock,
	) {
		this.kind = next.kind;
		this.ready = next.ready;
	}

	serve(info: ConnectionInfo): ServedConnection {
		const { settings, open } = this;
		const isTooMany = open.count >= settings.connectionsMax;
		open.count += 1;
		settings.active.inc();
		const onClosed = (): void => {
			open.count -= 1;
			settings.active.dec();
			info.onClosed();
		};
		if (!isTooMany) {
			try {
				return this.next.serve({ ...info, onClosed });
			} catch (error) {
				open.count -= 1;
				settings.active.dec();
				throw error;
			}
		}
		settings.limited.inc();
		return new LimitedConnection(info.connection, settings.delayMs, this.clock, onClosed);
	}

	handOver(next: NetworkFilter): boolean {
		if (!(next instanceof ConnectionLimitFilter)) return this.next.handOver(next);
		if (!this.next.handOver(next.next)) return false;
		next.open = this.open;
		return true;
	}

	release(): void {
		this.next.release();
	}
}

/** Kept for the delay, so that who tries again at once is held up; then ended. */
class LimitedConnection implements ConnectionHandler, ServedConnection {
	private readonly timer: Timer;
	private isEnding = false;

	constructor(
		private readonly connection: Connection,
		delayMs: number,
		clock: Clock,
		private readonly onClosed: () => void,
	) {
		connection.handler = this;
		connection.pause();
		this.timer = clock.after(delayMs, () => this.onTimer());
		if (delayMs <= 0) this.onTimer();
	}

	drain(): void {}

	close(): void {
		this.connection.reset();
	}

	onConnect(): void {}
	onData(): void {}
	onDrain(): void {}

	onEnd(): void {
		this.connection.reset();
	}

	onClose(): void {
		this.timer.cancel();
		this.onClosed();
	}

	private onTimer(): void {
		if (this.isEnding) {
			this.connection.reset();
			return;
		}
		this.isEnding = true;
		// What came meanwhile is read and dropped: closing over it would be a reset.
		this.connection.resume();
		this.connection.end();
		this.timer.restart(CLOSE_GRACE_MS);
	}
}
