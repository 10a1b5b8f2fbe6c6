// What watches proxied TCP connections: the TCP counterpart of an HTTP filter, for telemetry and
// access policies. One object per filter chain; hooks are synchronous.

import type { FilterConfig, FilterContext } from '../http-filters/filter.ts';
import type { StreamInfo } from '../stream-info.ts';

export interface TcpSessionFilter {
	readonly name: string;
	/** A connection came in (handshaken). False: it is closed. */
	onOpen?(info: StreamInfo): boolean;
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
