// What watches proxied TCP connections: the TCP counterpart of an HTTP filter, for telemetry and
// access policies. One object per filter chain; hooks are synchronous.

import type { FilterConfig, FilterContext } from '../http-filters/filter.ts';
import type { StreamInfo } from '../stream-info.ts';

export interface TcpSessionFilter {
	readonly name: string;
	/** Looks at connections only as they open: it may stand before any network filter. Default false. */
	readonly isGate?: boolean;
	/** A connection came in (handshaken). False: it is closed, and nothing is sent. */
	onOpen?(info: StreamInfo): boolean;
	/** The cluster to go to, in place of the TCP proxy's own; null: no opinion. */
	chooseCluster?(info: StreamInfo): string | null;
	/** The upstream connection is up: `info.cluster`, `host`, `upstreamTls` are set. */
	onUpstream?(info: StreamInfo): void;
	/** Once, last; byte counts and flags are final. */
	onComplete?(info: StreamInfo): void;
}

/** One kind of network filter that stands before `tcp_proxy`, by the type URL of its configuration. */
export interface TcpSessionFilterFactory {
	readonly typeUrl: string;
	/** @throws ConfigError */
	compile(config: FilterConfig, context: Omit<FilterContext, 'slot'>): TcpSessionFilter;
}
