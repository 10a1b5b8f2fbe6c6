// What a route is once compiled: immutable data that the router only reads. Header mutations of
// all levels (weighted cluster, route, virtual host, route configuration) are one list; a weighted
// route is one Route per cluster.

import type { HeaderMutations } from '../format/header-mutations.ts';
import type { PathRewrite } from './path-rewrite.ts';
import type { RedirectAction } from './redirect.ts';
import type { RetryPolicy } from './retry-policy.ts';

export interface Route {
	/** Envoy `Route.name`; empty when it has none. */
	readonly name: string;
	readonly virtualHost: VirtualHostSettings;
	readonly action: ForwardAction | RedirectAction | DirectResponseAction;
	readonly requestHeaders: HeaderMutations | null;
	readonly responseHeaders: HeaderMutations | null;
	/** Compiled `typed_per_filter_config`, most specific level, by the filter's name. */
	readonly filterConfigs: ReadonlyMap<string, unknown> | null;
}

export interface VirtualHostSettings {
	readonly name: string;
	readonly includeRequestAttemptCount: boolean;
	readonly includeAttemptCountInResponse: boolean;
	readonly requireTls: boolean;
}

/** A filter's configuration on a route that takes what it leaves open from the level above. */
export interface LayeredConfig {
	/** Neither of the two is changed. */
	over(above: unknown): LayeredConfig;
}

export interface ForwardAction {
	readonly kind: 'forward';
	/** Empty when `clusterHeader` names it. */
	readonly cluster: string;
	/** Request header whose value is the cluster's name, lower case; empty: none. */
	readonly clusterHeader: string;
	/** Answer when the cluster does not exist. */
	readonly clusterNotFoundStatus: number;
	/** From the end of the request to the end of the response; 0: none. Default 15000; 0 with a `max_stream_duration`. */
	readonly timeoutMs: number;
	/** Nothing moved on the stream; null: the connection manager's `stream_idle_timeout`; 0: none. */
	readonly idleTimeoutMs: number | null;
	/** From the start of the request, whatever moves; null: the connection manager's `max_stream_duration`; 0: none. */
	readonly maxStreamDurationMs: number | null;
	/** What a gRPC client says in `grpc-timeout`; null: it has no effect. */
	readonly grpcTimeout: GrpcTimeout | null;
	readonly pathRewrite: PathRewrite | null;
	/** New authority; empty: kept. */
	readonly hostRewrite: string;
	/** The host's name becomes the authority. */
	readonly autoHostRewrite: boolean;
	/** Request header whose value becomes the authority; empty: none. */
	readonly hostRewriteHeader: string;
	readonly appendForwardedHost: boolean;
	readonly retryPolicy: RetryPolicy | null;
	/** Request bytes kept for a retry. Null: the listener's buffer limit. */
	readonly bufferLimitBytes: number | null;
	/** Protocols that may be upgraded to on this route, overriding the connection manager. Null: not set. */
	readonly upgrades: ReadonlyMap<string, boolean> | null;
	/** A CONNECT request ends here, and its bytes go to the host as they are. False: it is passed on. */
	readonly endsConnect: boolean;
}

/** How `grpc-timeout` bounds a request of this route. */
export interface GrpcTimeout {
	/**
	 * `duration`: it stands in for `max_stream_duration`, from the start of the request (`grpc_timeout_header_max`).
	 * `timeout`: in place of `timeout`, from the end of the request (the deprecated `max_grpc_timeout`).
	 * `none`: only what the upstream is told is changed, to the `max_stream_duration`.
	 */
	readonly as: 'duration' | 'timeout' | 'none';
	/** 0: no bound. */
	readonly maxMs: number;
	/** Taken off what the client says. */
	readonly offsetMs: number;
}

export interface DirectResponseAction {
	readonly kind: 'direct';
	readonly status: number;
	readonly body: string;
}
