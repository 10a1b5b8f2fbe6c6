// What an HTTP filter is. One object per configured filter, shared by all exchanges of its chain:
// what belongs to one request goes into `exchange.filterState[slot]`. Request hooks run in the
// order of the configuration and end in the router; response hooks run in reverse. A chain is
// compiled into one array per hook, so that a filter costs nothing where it has no hook.

import type { JsonObject, Message } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import type { HeaderList } from '../../http/headers.ts';
import type { ResponseHead } from '../../http/stream.ts';
import type { Clock } from '../../std/clock.ts';
import type { ConfigError } from '../../std/errors.ts';
import type { Random } from '../../std/random.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';
import type { SupportedFields } from '../field-check.ts';
import type { ClusterManager } from '../upstream.ts';
import type { Exchange } from './exchange.ts';

export type FilterStatus =
	/** The next filter may go on. */
	| 'continue'
	/** The filter calls `exchange.resumeRequest()` later; until then the request's body is held back. */
	| 'pause'
	/** The filter answered by `sendLocalReply`, or reset the stream. */
	| 'stop';

export interface HttpFilter {
	/** As in the configuration. */
	readonly name: string;
	/** `end`: there is no body. `exchange.requestHead` may be changed in place. */
	onRequestHead?(exchange: Exchange, end: boolean): FilterStatus;
	/** Returns what goes on, usually `bytes` itself. Valid during the call only. Nothing, before the end: no filter after it is called. */
	onRequestData?(exchange: Exchange, bytes: Uint8Array, end: boolean): Uint8Array;
	onRequestTrailers?(exchange: Exchange, trailers: HeaderList): void;
	/** The final response (upstream's or local), to be changed in place before it goes down. Not for 1xx. */
	onResponseHead?(exchange: Exchange, head: ResponseHead, end: boolean): void;
	/** As `onRequestData`. */
	onResponseData?(exchange: Exchange, bytes: Uint8Array, end: boolean): Uint8Array;
	onResponseTrailers?(exchange: Exchange, trailers: HeaderList): void;
	/** Once per exchange, last, however it ended: all of StreamInfo is final. */
	onComplete?(exchange: Exchange): void;
}

/** What a filter is compiled with. */
export interface FilterContext {
	/** Its name in the configuration. */
	readonly name: string;
	/** Its index into `exchange.filterState`. */
	readonly slot: number;
	/** Envoy's prefix of the connection manager: `http.STAT_PREFIX.`. */
	readonly statPrefix: string;
	readonly registry: MetricRegistry;
	readonly clock: Clock;
	readonly random: Random;
	readonly clusters: ClusterManager;
	/** `%LISTENER_NAME%`; `inbound|…` and `outbound|…` in weft's own meshes. */
	readonly listenerName: string;
	/** Listener `traffic_direction`. */
	readonly direction: 'unspecified' | 'inbound' | 'outbound';
}

/** A filter's configuration: a protobuf message, or a TypedStruct for filters that weft alone has. */
export interface FilterConfig {
	readonly typeUrl: string;
	/** Decodes and checks that nothing is set beside the fields of `supported`. @throws ConfigError */
	message<T extends Message>(schema: GenMessage<T>, supported: SupportedFields): T;
	/** Of a TypedStruct; an empty object when there is none. @throws ConfigError when it is no TypedStruct */
	struct(): JsonObject;
	/** An error about one of its fields; `field` is relative to the configuration. */
	error(field: string, found: string | undefined, expected: string): ConfigError;
	/** What it belongs to, and where it stands there: for compilers that take both. */
	readonly object: string;
	readonly field: string;
}

/** One kind of filter, by the type URL of its configuration. */
export interface HttpFilterFactory {
	/** `type.googleapis.com/…`; for a TypedStruct the inner one. */
	readonly typeUrl: string;
	/** Of its configuration on a route, where that is of another type. */
	readonly routeTypeUrl?: string;
	/** @throws ConfigError */
	compile(config: FilterConfig, context: FilterContext): HttpFilter;
	/**
	 * Compiles a `typed_per_filter_config` of a route; the filter reads it by
	 * `exchange.route.filterConfigs?.get(name)`. Absent: refused. A `LayeredConfig` is laid over that of the level
	 * above, any other takes its place. @throws ConfigError
	 */
	compileRouteConfig?(config: FilterConfig): unknown;
}

/** A chain in the order of configuration, without the router that ends it. One array per hook. */
export class HttpFilterChain {
	readonly requestHead: readonly Required<Pick<HttpFilter, 'onRequestHead'>>[];
	readonly requestData: readonly Required<Pick<HttpFilter, 'onRequestData'>>[];
	readonly requestTrailers: readonly Required<Pick<HttpFilter, 'onRequestTrailers'>>[];
	readonly responseHead: readonly Required<Pick<HttpFilter, 'onResponseHead'>>[];
	readonly responseData: readonly Required<Pick<HttpFilter, 'onResponseData'>>[];
	readonly responseTrailers: readonly Required<Pick<HttpFilter, 'onResponseTrailers'>>[];
	/** For each of `responseTrailers`, where in `responseData` the filters after it begin. */
	readonly dataAfterTrailers: readonly number[];
	readonly complete: readonly Required<Pick<HttpFilter, 'onComplete'>>[];

	constructor(readonly filters: readonly HttpFilter[]) {
		const reversed = [...filters].reverse();
		this.requestHead = filters.filter((filter) => filter.onRequestHead !== undefined) as never;
		this.requestData = filters.filter((filter) => filter.onRequestData !== undefined) as never;
		this.requestTrailers = filters.filter((filter) => filter.onRequestTrailers !== undefined) as never;
		this.responseHead = reversed.filter((filter) => filter.onResponseHead !== undefined) as never;
		this.responseData = reversed.filter((filter) => filter.onResponseData !== undefined) as never;
		this.responseTrailers = reversed.filter((filter) => filter.onResponseTrailers !== undefined) as never;
		const withData = reversed.filter((filter) => filter.onResponseData !== undefined);
		this.dataAfterTrailers = reversed
			.filter((filter) => filter.onResponseTrailers !== undefined)
			.map((filter) => withData.filter((other) => reversed.indexOf(other) <= reversed.indexOf(filter)).length);
		this.complete = reversed.filter((filter) => filter.onComplete !== undefined) as never;
	}
}
