// What is known of one request, or of one proxied TCP connection, for access logs, telemetry and
// header templates: data only, one object of one shape, filled in as the stream goes on. The HTTP
// side extends it by control over the stream (http-filters/exchange.ts).
//
// Times are `Clock.nowMs()`; 0 means: has not happened.

import type { HeaderList } from '../http/headers.ts';
import type { RequestHead, ResponseHead } from '../http/stream.ts';
import type { Connection, IpAddress, TlsInfo } from '../net/network.ts';
import type { Cluster, Host } from './upstream.ts';

/** Why a stream ended as it did, as bits. Names are Envoy's, `%RESPONSE_FLAGS%`. */
export const ResponseFlag = {
	/** UH: no host could be picked. */
	noHealthyUpstream: 1 << 0,
	/** UF: no connection to the upstream could be made. */
	upstreamConnectionFailure: 1 << 1,
	/** UO: a circuit breaker of the cluster is open. */
	upstreamOverflow: 1 << 2,
	/** NR: no route, or no filter chain, matched. */
	noRouteFound: 1 << 3,
	/** URX: the limit of retries, or of TCP connect attempts, was reached. */
	upstreamRetryLimitExceeded: 1 << 4,
	/** NC: the route's cluster does not exist. */
	noClusterFound: 1 << 5,
	/** DC: the downstream went away. */
	downstreamConnectionTermination: 1 << 6,
	/** UT: the upstream did not answer in time. */
	upstreamRequestTimeout: 1 << 7,
	/** LR: the stream was reset by this proxy. */
	localReset: 1 << 8,
	/** UR: the upstream reset the stream. */
	upstreamRemoteReset: 1 << 9,
	/** UC: the upstream connection was lost. */
	upstreamConnectionTermination: 1 << 10,
	/** DI: a delay was injected. */
	delayInjected: 1 << 11,
	/** FI: an abort was injected. */
	faultInjected: 1 << 12,
	/** SI: nothing moved on the stream for too long. */
	streamIdleTimeout: 1 << 13,
	/** DPE: the downstream broke the protocol. */
	downstreamProtocolError: 1 << 14,
	/** UPE: the upstream broke the protocol. */
	upstreamProtocolError: 1 << 15,
	/** DT: a duration limit of the whole request or connection was reached. */
	durationTimeout: 1 << 16,
	/** UAEX: an authorization policy said no. */
	unauthorized: 1 << 17,
	/** RL: a rate limit said no. */
	rateLimited: 1 << 18,
	/** DR: the downstream reset the stream. */
	downstreamRemoteReset: 1 << 19,
} as const;

const FLAG_NAMES: readonly (readonly [number, string, string])[] = [
	[ResponseFlag.noHealthyUpstream, 'UH', 'NoHealthyUpstream'],
	[ResponseFlag.upstreamConnectionFailure, 'UF', 'UpstreamConnectionFailure'],
	[ResponseFlag.upstreamOverflow, 'UO', 'UpstreamOverflow'],
	[ResponseFlag.noRouteFound, 'NR', 'NoRouteFound'],
	[ResponseFlag.upstreamRetryLimitExceeded, 'URX', 'UpstreamRetryLimitExceeded'],
	[ResponseFlag.noClusterFound, 'NC', 'NoClusterFound'],
	[ResponseFlag.durationTimeout, 'DT', 'DurationTimeout'],
	[ResponseFlag.downstreamConnectionTermination, 'DC', 'DownstreamConnectionTermination'],
	[ResponseFlag.downstreamRemoteReset, 'DR', 'DownstreamRemoteReset'],
	[ResponseFlag.upstreamRequestTimeout, 'UT', 'UpstreamRequestTimeout'],
	[ResponseFlag.localReset, 'LR', 'LocalReset'],
	[ResponseFlag.upstreamRemoteReset, 'UR', 'UpstreamRemoteReset'],
	[ResponseFlag.upstreamConnectionTermination, 'UC', 'UpstreamConnectionTermination'],
	[ResponseFlag.delayInjected, 'DI', 'DelayInjected'],
	[ResponseFlag.faultInjected, 'FI', 'FaultInjected'],
	[ResponseFlag.rateLimited, 'RL', 'RateLimited'],
	[ResponseFlag.unauthorized, 'UAEX', 'UnauthorizedExternalService'],
	[ResponseFlag.streamIdleTimeout, 'SI', 'StreamIdleTimeout'],
	[ResponseFlag.downstreamProtocolError, 'DPE', 'DownstreamProtocolError'],
	[ResponseFlag.upstreamProtocolError, 'UPE', 'UpstreamProtocolError'],
];

/** `UF,URX`; `-` when there is none. The `response_flags` label of Istio's metrics. */
export function formatResponseFlags(flags: number): string {
	if (flags === 0) return '-';
	let text = '';
	for (const [flag, name] of FLAG_NAMES) if ((flags & flag) !== 0) text += text === '' ? name : `,${name}`;
	return text;
}

/** The bit of a flag's short name (`UF`); null: there is none of that name. */
export function responseFlagOf(name: string): number | null {
	return FLAG_NAMES.find(([, short]) => short === name)?.[0] ?? null;
}

/** Envoy's `AccessLogType`, those that there are here. */
export const LogType = {
	notSet: 0,
	tcpUpstreamConnected: 1,
	tcpPeriodic: 2,
	tcpConnectionEnd: 3,
	downstreamStart: 4,
	downstreamPeriodic: 5,
	downstreamEnd: 6,
} as const;

/** `UpstreamConnectionFailure,…`, Envoy's `%RESPONSE_FLAGS_LONG%`; `-` when there is none. */
export function formatLongResponseFlags(flags: number): string {
	const names = FLAG_NAMES.filter(([flag]) => (flags & flag) !== 0).map(([, , long]) => long);
	return names.length === 0 ? '-' : names.join(',');
}

export class StreamInfo {
	/** The downstream connection; its `tls` says who the peer is. */
	readonly connection: Connection;
	/** Name of the listener that took the connection. */
	readonly listenerName: string;
	/** Null on a TCP stream, and never null while a filter runs. Filters and the router change it in place. */
	requestHead: RequestHead | null = null;
	/** The final response as it goes down; null until there is one. */
	responseHead: ResponseHead | null = null;
	responseTrailers: HeaderList | null = null;
	/** `HTTP/1.1`, `HTTP/2`; empty on a TCP stream. */
	protocol = '';
	/** Status that was sent down; 0 when none was. */
	status = 0;
	/** Bits of `ResponseFlag`. */
	responseFlags = 0;
	/** Envoy's `%RESPONSE_CODE_DETAILS%`: `via_upstream`, `route_not_found`, … Empty until known. */
	responseCodeDetails = '';
	/** Why the last upstream connection failed; empty when none did. */
	upstreamFailureReason = '';
	routeName = '';
	virtualHostName = '';
	/** Where the stream went; null when it got no further than this proxy. */
	cluster: Cluster | null = null;
	/** The host of the last attempt. */
	host: Host | null = null;
	/** Of the last attempt's connection; null on a plain one. */
	upstreamTls: TlsInfo | null = null;
	/** Upstream attempts so far, 1 for the first. */
	attempts = 0;
	/** Body bytes from the downstream. */
	bytesReceived = 0;
	/** Body bytes to the downstream. */
	bytesSent = 0;
	readonly startMs: number;
	/** The same moment as milliseconds since the Unix epoch. */
	readonly startWallMs: number;
	/** Last byte of the request was received. */
	requestEndMs = 0;
	/** First attempt began. */
	upstreamStartMs = 0;
	/** Head of the upstream's response was received. */
	upstreamFirstByteMs = 0;
	/** End of the upstream's response was received. */
	upstreamLastByteMs = 0;
	/** The stream was over; set before `onComplete` and the access log. */
	endMs = 0;
	/** The client's address as `use_remote_address` and x-forwarded-for give it, without port. */
	clientAddress = '';
	/** Where the connection was headed before it was redirected to the listener; null: it was not. */
	originalDestination: IpAddress | null = null;
	/** Why this proxy ended the connection, Envoy's `%CONNECTION_TERMINATION_DETAILS%`; empty: it did not. */
	connectionTerminationDetails = '';
	/** What the proxy itself answers, while the format of its answer is asked; empty at all other times. */
	localReplyBody = '';
	/** What an access log is written for, of `LogType`. */
	logType: number = LogType.notSet;
	/** SNI or name of the requested server, where known. */
	requestedServerName = '';

	constructor(connection: Connection, listenerName: string, startMs: number, startWallMs: number) {
		this.connection = connection;
		this.listenerName = listenerName;
		this.startMs = startMs;
		this.startWallMs = startWallMs;
	}
}
