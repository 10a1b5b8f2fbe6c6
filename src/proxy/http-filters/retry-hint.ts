// weft's own filter `weft.retry_hint`. On an inbound sidecar (`direction: inbound`) it says by
// `x-weft-retry: safe` that a failure may be tried elsewhere: the program cannot have seen the
// request, or the method may be repeated and the connection broke before an answer came (RFC 9110
// §9.2.2). On an outbound sidecar (`direction: outbound`) it takes the header away before the caller sees
// it. A program behind the sidecar cannot set it.
//
// Configured by a TypedStruct `type.googleapis.com/weft.retry.v1.RetryHint`: `{direction:
// inbound|outbound}`; without it, the listener's `traffic_direction` says which.

import { removeHeader } from '../../http/headers.ts';
import { isIdempotent } from '../../http/methods.ts';
import type { ResponseHead } from '../../http/stream.ts';
import { ResponseFlag } from '../stream-info.ts';
import type { Exchange } from './exchange.ts';
import type { HttpFilter, HttpFilterFactory } from './filter.ts';

export const RETRY_HINT_TYPE = 'type.googleapis.com/weft.retry.v1.RetryHint';
export const RETRY_HINT_HEADER = 'x-weft-retry';

/** Failures of the upstream, or of finding one. Others (no route, faults, policies, timeouts) are answers. */
const UPSTREAM_FAILED =
	ResponseFlag.noHealthyUpstream |
	ResponseFlag.upstreamConnectionFailure |
	ResponseFlag.upstreamOverflow |
	ResponseFlag.noClusterFound |
	ResponseFlag.upstreamConnectionTermination |
	ResponseFlag.upstreamRemoteReset |
	ResponseFlag.upstreamProtocolError;

class MarkFilter implements HttpFilter {
	constructor(readonly name: string) {}

	onResponseHead(exchange: Exchange, head: ResponseHead): void {
		removeHeader(head.headers, RETRY_HINT_HEADER);
		if (!exchange.localReply || (exchange.responseFlags & UPSTREAM_FAILED) === 0) return;
		if (exchange.upstreamMayHaveSeen && !isIdempotent(exchange.requestHead.method)) return;
		head.headers.push(RETRY_HINT_HEADER, 'safe');
	}
}

class RemoveFilter implements HttpFilter {
	constructor(readonly name: string) {}

	onResponseHead(_exchange: Exchange, head: ResponseHead): void {
		removeHeader(head.headers, RETRY_HINT_HEADER);
	}
}

export const retryHintFilterFactory: HttpFilterFactory = {
	typeUrl: RETRY_HINT_TYPE,
	compile: (config, context) => {
		const struct = config.struct();
		for (const key of Object.keys(struct)) {
			if (key !== 'direction') throw config.error(key, undefined, 'no field but direction');
		}
		const direction = struct.direction ?? context.direction;
		if (direction === 'inbound') return new MarkFilter(context.name);
		if (direction === 'outbound') return new RemoveFilter(context.name);
		throw config.error('direction', JSON.stringify(direction), 'inbound or outbound');
	},
};
