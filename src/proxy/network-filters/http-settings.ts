// A compiled `HttpConnectionManager`: everything its connections and exchanges read, immutable.

import type { AccessLog } from '../access-log/access-log.ts';
import type { HttpFilterChain } from '../http-filters/filter.ts';
import type { Router } from '../http-filters/router.ts';
import type { Http2Settings } from '../http2-options.ts';
import type { OverloadState } from '../overload/overload-state.ts';
import type { RouteSource } from '../route/route-source.ts';
import type { HttpStats } from './http-stats.ts';
import type { LocalReplyMap } from './local-reply-config.ts';

export type ForwardClientCert = 'sanitize' | 'forward_only' | 'append_forward' | 'sanitize_set' | 'always_forward_only';

/** What `x-forwarded-client-cert` says beside the hash. */
export interface ClientCertFields {
	readonly cert: boolean;
	readonly subject: boolean;
	readonly uri: boolean;
	readonly dns: boolean;
}

export interface HttpSettings {
	readonly statPrefix: string;
	readonly listenerName: string;
	readonly routes: RouteSource;
	readonly filters: HttpFilterChain;
	readonly router: Router;
	readonly accessLogs: readonly AccessLog[];
	/** A line when a request begins, beside that at its end. */
	readonly logsNewRequests: boolean;
	/** A line so often about a request that is not over. 0: none. */
	readonly logIntervalMs: number;
	/** What becomes of answers of our own. Null: they stay as they are. */
	readonly localReplies: LocalReplyMap | null;
	readonly stats: HttpStats;
	/** Read at each use. */
	readonly overload: OverloadState;
	/** Value of the `server` header; empty: none is set. Default `weft`. */
	readonly serverName: string;
	readonly serverHeader: 'overwrite' | 'append_if_absent' | 'pass_through';
	/** From the first byte of a request to the end of its head. 0: no limit. Default 0. */
	readonly requestHeadersTimeoutMs: number;
	/** 0: no limit. Default 0. */
	readonly requestTimeoutMs: number;
	/** Nothing moved on a stream. Default 300000. */
	readonly streamIdleTimeoutMs: number;
	/** A connection without a stream. Default 3600000. */
	readonly idleTimeoutMs: number;
	/** 0: no limit. Default 0. */
	readonly maxConnectionDurationMs: number;
	/** How long a connection that reached its longest duration may still be idle. Default 5000. */
	readonly drainTimeoutMs: number;
	/** How long a client that broke the protocol has to close its side. Default 1000. */
	readonly delayedCloseMs: number;
	/** How long a client may take nothing of what is left for it once we have closed. Default 30000. */
	readonly flushLingerMs: number;
	readonly maxStreamDurationMs: number;
	/** 0: no limit. */
	readonly requestsPerConnectionMax: number;
	readonly requestHeaderBytesMax: number;
	readonly requestHeadersMax: number;
	/** `auto`: by ALPN, or by the client's first bytes. */
	readonly codec: 'auto' | 'http1' | 'http2';
	readonly http2: Http2Settings;
	readonly acceptHttp10: boolean;
	readonly defaultHostForHttp10: string;
	/** Bytes of a request that may be kept. Listener `per_connection_buffer_limit_bytes`, default 1 MiB. */
	readonly bufferLimitBytes: number;
	readonly useRemoteAddress: boolean;
	readonly trustedHops: number;
	readonly skipForwardedForAppend: boolean;
	/** Addresses whose requests are trusted with `x-envoy-*` request headers. */
	readonly isInternalAddress: (host: string) => boolean;
	readonly via: string;
	readonly generateRequestId: boolean;
	readonly preserveExternalRequestId: boolean;
	readonly requestIdInResponse: boolean;
	readonly forwardClientCert: ForwardClientCert;
	readonly clientCertFields: ClientCertFields;
	readonly normalizePath: boolean;
	readonly mergeSlashes: boolean;
	/** `redirect`: to the path without them, when there were some. */
	readonly escapedSlashes: 'keep' | 'reject' | 'unescape' | 'redirect';
	readonly stripPort: 'no' | 'matching' | 'any';
	readonly stripTrailingHostDot: boolean;
	/** `x-forwarded-port` says the port that the connection came to. */
	readonly appendForwardedPort: boolean;
	/** IPv4 peers stand in `x-forwarded-for` as `::ffff:1.2.3.4`. */
	readonly mapsIpv4: boolean;
	/** `websocket` and the like, lower case. */
	readonly upgrades: ReadonlySet<string>;
	/** Headers with `_` in their names. */
	readonly underscores: 'allow' | 'reject' | 'drop';
}
