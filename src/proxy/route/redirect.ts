// Envoy's `RedirectAction`: where a request is sent elsewhere.

import {
	RedirectAction_RedirectResponseCode as Code,
	type RedirectAction as RedirectConfig,
} from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import type { RequestHead } from '../../http/stream.ts';
import { compileRegexRewrite, type PathRewrite, pathLength, rewritePath } from './path-rewrite.ts';

export interface RedirectAction {
	readonly kind: 'redirect';
	readonly status: number;
	/** Empty: kept. */
	readonly scheme: string;
	readonly host: string;
	/** 0: kept, save that a default port goes when the scheme changes. */
	readonly port: number;
	/** With or without a query of its own; empty: kept. */
	readonly path: string;
	readonly pathRewrite: PathRewrite | null;
	readonly stripQuery: boolean;
}

const STATUS: Readonly<Record<Code, number>> = {
	[Code.MOVED_PERMANENTLY]: 301,
	[Code.FOUND]: 302,
	[Code.SEE_OTHER]: 303,
	[Code.TEMPORARY_REDIRECT]: 307,
	[Code.PERMANENT_REDIRECT]: 308,
};

/** `matchedLength`: characters of the path that the route matched, for `prefix_rewrite`. @throws ConfigError */
export function compileRedirect(
	config: RedirectConfig,
	matchedLength: number,
	object: string,
	field: string,
): RedirectAction {
	const scheme = config.schemeRewriteSpecifier;
	const path = config.pathRewriteSpecifier;
	let pathRewrite: PathRewrite | null = null;
	if (path.case === 'prefixRewrite') pathRewrite = { kind: 'prefix', matchedLength, replacement: path.value };
	else if (path.case === 'regexRewrite') {
		pathRewrite = { kind: 'regex', rewrite: compileRegexRewrite(path.value, object, `${field}.regex_rewrite`) };
	}
	return {
		kind: 'redirect',
		status: STATUS[config.responseCode] ?? 301,
		scheme: scheme.case === 'httpsRedirect' ? (scheme.value ? 'https' : '') : (scheme.value ?? ''),
		host: config.hostRedirect,
		port: config.portRedirect,
		path: path.case === 'pathRedirect' ? path.value : '',
		pathRewrite,
		stripQuery: config.stripQuery,
	};
}

/** `scheme` is that of the request as the client made it (`x-forwarded-proto`). */
export function redirectLocation(action: RedirectAction, head: RequestHead, scheme: string): string {
	const newScheme = action.scheme === '' ? scheme : action.scheme;
	let authority = head.authority;
	if (action.host !== '') authority = action.host;
	else if (action.scheme !== '') authority = withoutPort(authority, scheme === 'https' ? 443 : 80);
	if (action.port !== 0) authority = `${withoutPort(authority, null)}:${action.port}`;
	let path: string;
	if (action.path !== '') {
		const queryAt = pathLength(head.path);
		const keepsQuery = !action.stripQuery && !action.path.includes('?');
		path = keepsQuery ? action.path + head.path.slice(queryAt) : action.path;
	} else {
		const original = action.stripQuery ? head.path.slice(0, pathLength(head.path)) : head.path;
		path = action.pathRewrite === null ? original : rewritePath(action.pathRewrite, original);
	}
	return `${newScheme}://${authority}${path}`;
}

/** `port` null: whichever it is. */
function withoutPort(authority: string, port: number | null): string {
	const colon = authority.lastIndexOf(':');
	if (colon < 0 || authority.indexOf(']', colon) > 0) return authority;
	return port === null || authority.slice(colon + 1) === String(port) ? authority.slice(0, colon) : authority;
}
