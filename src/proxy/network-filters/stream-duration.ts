// How long a request may take from its start, whatever moves: the route's `max_stream_duration`, what
// a gRPC client says in `grpc-timeout`, or the connection manager's own limit. As Envoy decides it.

import { formatGrpcTimeout, parseGrpcTimeoutMs } from '../../grpc/timeout.ts';
import { getHeader, removeHeader, setHeader } from '../../http/headers.ts';
import type { RequestHead } from '../../http/stream.ts';
import type { ForwardAction } from '../route/route.ts';
import { isGrpc } from '../route/route-match.ts';

/**
 * Milliseconds; null: no limit. 0 is a limit that is over already.
 * Tells a gRPC upstream what is left to it, on a route with a `max_stream_duration`.
 * `ownMs`: the connection manager's; 0: none.
 */
export function streamDurationMs(action: ForwardAction, head: RequestHead, ownMs: number): number | null {
	const { grpcTimeout, maxStreamDurationMs } = action;
	if (grpcTimeout === null || grpcTimeout.as === 'timeout') return limitMs(maxStreamDurationMs, ownMs);
	const said = grpcTimeout.as === 'duration' ? getHeader(head.headers, 'grpc-timeout') : undefined;
	let durationMs = said === undefined ? null : parseGrpcTimeoutMs(said);
	if (durationMs === null) durationMs = limitMs(maxStreamDurationMs, ownMs);
	else {
		if (grpcTimeout.maxMs > 0) durationMs = Math.min(durationMs, grpcTimeout.maxMs);
		durationMs = Math.max(0, durationMs - grpcTimeout.offsetMs);
	}
	if (isGrpc(getHeader(head.headers, 'content-type'))) {
		if (durationMs !== null) setHeader(head.headers, 'grpc-timeout', formatGrpcTimeout(durationMs));
		// No limit of the route lifts one of the connection manager, and the client's with it.
		else if (ownMs > 0) removeHeader(head.headers, 'grpc-timeout');
	}
	return durationMs;
}

/** `routeMs` 0: explicitly none. */
function limitMs(routeMs: number | null, ownMs: number): number | null {
	const ms = routeMs ?? ownMs;
	return ms > 0 ? ms : null;
}
