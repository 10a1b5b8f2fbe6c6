// What network filters are compiled with, the same for all chains of a listener.

import type { Clock } from '../../std/clock.ts';
import type { Random } from '../../std/random.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';
import type { LogFiles } from '../access-log/log-files.ts';
import type { HttpFilterRegistry } from '../http-filters/filter-registry.ts';
import type { OverloadState } from '../overload/overload-state.ts';
import type { RouteConfigs } from '../route/route-configs.ts';
import type { ClusterManager } from '../upstream.ts';
import type { TcpSessionFilterFactory } from './tcp-session-filter.ts';

export interface NetworkFilterContext {
	readonly clock: Clock;
	readonly random: Random;
	/** The `date` header's value now. */
	readonly date: () => string;
	readonly registry: MetricRegistry;
	readonly clusters: ClusterManager;
	readonly routeConfigs: RouteConfigs;
	readonly filters: HttpFilterRegistry;
	readonly tcpFilters: ReadonlyMap<string, TcpSessionFilterFactory>;
	readonly logFiles: LogFiles;
	readonly overload: OverloadState;
	readonly listenerName: string;
	readonly direction: 'unspecified' | 'inbound' | 'outbound';
	readonly bufferLimitBytes: number;
}
