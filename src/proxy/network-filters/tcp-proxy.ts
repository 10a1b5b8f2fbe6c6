// Envoy's `TcpProxy`, compiled: which cluster a connection goes to, how long it may be idle, how
// often a connect is tried.

import {
	type TcpProxy,
	TcpProxySchema,
} from '../../generated/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts';
import type { Counter, Gauge } from '../../telemetry/registry.ts';
import type { AccessLog } from '../access-log/access-log.ts';
import { ACCESS_LOG_FILTER_FIELDS } from '../access-log/access-log-filter.ts';
import { compileAccessLogs } from '../access-log/compile-access-log.ts';
import { durationMs } from '../duration-ms.ts';
import type { SupportedFields } from '../field-check.ts';
import type { TypedConfig } from '../typed-config.ts';
import type { ConnectionInfo, NetworkFilter, ServedConnection } from './network-filter.ts';
import type { NetworkFilterContext } from './network-filter-context.ts';
import { TcpSession } from './tcp-session.ts';
import type { TcpSessionFilter } from './tcp-session-filter.ts';

export const TCP_PROXY_TYPE = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';

const TCP = 'envoy.extensions.filters.network.tcp_proxy.v3';

export const TCP_PROXY_FIELDS: SupportedFields = {
	[`${TCP}.TcpProxy`]: [
		'stat_prefix',
		'cluster',
		'weighted_clusters',
		'idle_timeout',
		'access_log',
		'max_connect_attempts',
		'max_downstream_connection_duration',
		'max_downstream_connection_duration_jitter_percentage',
		'backoff_options',
		'access_log_options',
	],
	[`${TCP}.TcpProxy.TcpAccessLogOptions`]: ['access_log_flush_interval', 'flush_access_log_on_connected'],
	'envoy.config.core.v3.BackoffStrategy': ['base_interval', 'max_interval'],
	'envoy.type.v3.Percent': ['value'],
	[`${TCP}.TcpProxy.WeightedCluster`]: ['clusters'],
	[`${TCP}.TcpProxy.WeightedCluster.ClusterWeight`]: ['name', 'weight'],
	'envoy.config.accesslog.v3.AccessLog': ['name', 'typed_config', 'filter'],
	...ACCESS_LOG_FILTER_FIELDS,
};

const IDLE_TIMEOUT_MS_DEFAULT = 3_600_000;
/** Of `base_interval`. */
const BACKOFF_MAX_FACTOR_DEFAULT = 10;
/** Bytes a client may send before the upstream connection is up. */
const EARLY_BYTES_MAX = 1024 * 1024;

export interface TcpSettings {
	readonly statPrefix: string;
	readonly listenerName: string;
	readonly clusters: readonly { readonly name: string; readonly weight: number }[];
	readonly totalWeight: number;
	/** 0: none. Default 3600000. */
	readonly idleTimeoutMs: number;
	/** 0: none. */
	readonly durationMaxMs: number;
	/** Up to so much of `durationMaxMs` is added to it, at random; 0 to 1. */
	readonly durationJitter: number;
	/** Default 1. */
	readonly connectAttemptsMax: number;
	/** Between connect attempts; null: none. */
	readonly backoff: { readonly baseMs: number; readonly maxMs: number } | null;
	/** An entry is written when the upstream is connected. */
	readonly logsOnConnected: boolean;
	/** An entry is written so often while the connection lasts; 0: never. */
	readonly logIntervalMs: number;
	readonly earlyBytesMax: number;
	readonly accessLogs: readonly AccessLog[];
	readonly filters: readonly TcpSessionFilter[];
	readonly stats: TcpStats;
}

export interface TcpStats {
	readonly connectionsTotal: Counter;
	readonly connectionsActive: Gauge;
	readonly noRoute: Counter;
	readonly bytesReceived: Counter;
	readonly bytesSent: Counter;
	readonly idleTimeouts: Counter;
	/** A bug that closed one connection. */
	readonly faults: Counter;
}

/** @throws ConfigError */
export function compileTcpProxy(
	config: TypedConfig,
	filters: readonly TcpSessionFilter[],
	context: NetworkFilterContext,
): NetworkFilter {
	const message = config.message(TcpProxySchema, TCP_PROXY_FIELDS);
	if (message.statPrefix === '') throw config.error('stat_prefix', undefined, 'a name for its statistics');
	return new TcpProxyFilter(settingsOf(message, config, filters, context), context);
}

class TcpProxyFilter implements NetworkFilter {
	readonly kind = 'tcp';
	readonly ready = Promise.resolve();

	constructor(
		private readonly settings: TcpSettings,
		private readonly context: NetworkFilterContext,
	) {}

	serve(info: ConnectionInfo): ServedConnection {
		return new TcpSession(this.settings, info, this.context);
	}

	/** A connection that is being proxied keeps what it has until it ends. */
	handOver(next: NetworkFilter): boolean {
		return next.kind === 'tcp';
	}

	release(): void {}
}

function settingsOf(
	message: TcpProxy,
	config: TypedConfig,
	filters: readonly TcpSessionFilter[],
	context: NetworkFilterContext,
): TcpSettings {
	const { registry } = context;
	const clusters = clustersOf(message, config);
	const prefix = message.statPrefix;
	const labels = ['envoy_tcp_prefix'];
	const counter = (name: string, help: string): Counter => registry.counter(name, help, labels).with(prefix);
	return {
		statPrefix: prefix,
		listenerName: context.listenerName,
		clusters,
		totalWeight: clusters.reduce((sum, cluster) => sum + cluster.weight, 0),
		idleTimeoutMs: durationMs(message.idleTimeout) ?? IDLE_TIMEOUT_MS_DEFAULT,
		durationMaxMs: durationMs(message.maxDownstreamConnectionDuration) ?? 0,
		durationJitter: jitterOf(message, config),
		connectAttemptsMax: connectAttempts(message, config),
		backoff: backoffOf(message, config),
		logsOnConnected: message.accessLogOptions?.flushAccessLogOnConnected ?? false,
		logIntervalMs: logInterval(message, config),
		earlyBytesMax: EARLY_BYTES_MAX,
		accessLogs: compileAccessLogs(
			message.accessLog,
			context.logFiles,
			context.random,
			config.object,
			`${config.field}.access_log`,
		),
		filters,
		stats: {
			connectionsTotal: counter('envoy_tcp_downstream_cx_total', 'Downstream connections proxied as TCP'),
			connectionsActive: registry
				.gauge('envoy_tcp_downstream_cx_active', 'Downstream TCP connections now open', labels)
				.with(prefix),
			noRoute: counter('envoy_tcp_downstream_cx_no_route', 'Connections whose cluster does not exist'),
			bytesReceived: counter('envoy_tcp_downstream_cx_rx_bytes_total', 'Bytes from downstream'),
			bytesSent: counter('envoy_tcp_downstream_cx_tx_bytes_total', 'Bytes to downstream'),
			idleTimeouts: counter('envoy_tcp_idle_timeout', 'Connections closed because idle'),
			faults: counter('weft_tcp_connection_faults_total', 'Connections closed by a fault of the proxy itself'),
		},
	};
}

function connectAttempts(message: TcpProxy, config: TypedConfig): number {
	const attempts = message.maxConnectAttempts ?? 1;
	if (attempts >= 1) return attempts;
	throw config.error('max_connect_attempts', String(attempts), 'at least 1');
}

function backoffOf(message: TcpProxy, config: TypedConfig): TcpSettings['backoff'] {
	const options = message.backoffOptions;
	if (options === undefined) return null;
	const baseMs = durationMs(options.baseInterval);
	if (baseMs === null || baseMs < 1) throw config.error('backoff_options.base_interval', undefined, 'at least 1 ms');
	const maxMs = durationMs(options.maxInterval) ?? baseMs * BACKOFF_MAX_FACTOR_DEFAULT;
	if (maxMs >= baseMs) return { baseMs, maxMs };
	throw config.error('backoff_options.max_interval', `${maxMs} ms`, `at least base_interval, ${baseMs} ms`);
}

function jitterOf(message: TcpProxy, config: TypedConfig): number {
	const percent = message.maxDownstreamConnectionDurationJitterPercentage?.value ?? 0;
	if (percent >= 0 && percent <= 100) return percent / 100;
	const field = 'max_downstream_connection_duration_jitter_percentage';
	throw config.error(field, String(percent), '0 to 100');
}

function logInterval(message: TcpProxy, config: TypedConfig): number {
	const intervalMs = durationMs(message.accessLogOptions?.accessLogFlushInterval);
	if (intervalMs === null) return 0;
	if (intervalMs >= 1) return intervalMs;
	throw config.error('access_log_options.access_log_flush_interval', `${intervalMs} ms`, 'at least 1 ms');
}

function clustersOf(message: TcpProxy, config: TypedConfig): TcpSettings['clusters'] {
	const specifier = message.clusterSpecifier;
	if (specifier.case === 'cluster' && specifier.value !== '') return [{ name: specifier.value, weight: 1 }];
	if (specifier.case !== 'weightedClusters' || specifier.value.clusters.length === 0) {
		throw config.error('', undefined, 'one of cluster, weighted_clusters');
	}
	return specifier.value.clusters.map((cluster, index) => {
		const at = `weighted_clusters.clusters[${index}]`;
		if (cluster.name === '') throw config.error(`${at}.name`, undefined, 'the name of a cluster');
		if (cluster.weight < 1) throw config.error(`${at}.weight`, String(cluster.weight), 'at least 1');
		return { name: cluster.name, weight: cluster.weight };
	});
}
