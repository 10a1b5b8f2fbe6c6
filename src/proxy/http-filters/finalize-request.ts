// What a route changes on a request before it goes to an upstream.

import { getHeader, type HeaderList, removeHeader, setHeader } from '../../http/headers.ts';
import { applyHeaderMutations } from '../format/header-mutations.ts';
import { rewritePath } from '../route/path-rewrite.ts';
import type { ForwardAction, Route } from '../route/route.ts';
import type { Exchange } from './exchange.ts';

/** Header mutations and rewrites, once per request. Templates see the path and the authority as they came. */
export function finalizeRequest(
	exchange: Exchange,
	route: Route,
	action: ForwardAction,
	addEnvoyHeaders: boolean,
): void {
	const head = exchange.requestHead;
	if (route.requestHeaders !== null) applyHeaderMutations(route.requestHeaders, head.headers, exchange);
	let authority = action.hostRewrite;
	if (authority === '' && action.hostRewriteHeader !== '') {
		authority = getHeader(head.headers, action.hostRewriteHeader) ?? '';
	}
	if (authority !== '') rewriteAuthority(exchange, action, authority, addEnvoyHeaders);
	if (action.pathRewrite !== null) {
		if (addEnvoyHeaders) setHeader(head.headers, 'x-envoy-original-path', head.path);
		head.path = rewritePath(action.pathRewrite, head.path);
	}
}

export function rewriteAuthority(
	exchange: Exchange,
	action: ForwardAction,
	authority: string,
	addEnvoyHeaders: boolean,
): void {
	const head = exchange.requestHead;
	if (head.authority === authority) return;
	if (action.appendForwardedHost) head.headers.push('x-forwarded-host', head.authority);
	if (addEnvoyHeaders) setHeader(head.headers, 'x-envoy-original-host', head.authority);
	head.authority = authority;
}

/** What asks the router for something and means nothing to the upstream. */
export function removeRouterHeaders(headers: HeaderList): void {
	for (let i = 0; i < headers.length; i += 2) {
		if (!headers[i]!.startsWith('x-envoy-')) continue;
		removeHeader(headers, 'x-envoy-retry-on');
		removeHeader(headers, 'x-envoy-retry-grpc-on');
		removeHeader(headers, 'x-envoy-max-retries');
		removeHeader(headers, 'x-envoy-retriable-status-codes');
		removeHeader(headers, 'x-envoy-upstream-rq-timeout-ms');
		removeHeader(headers, 'x-envoy-upstream-rq-per-try-timeout-ms');
		return;
	}
}
