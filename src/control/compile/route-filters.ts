// HTTPRoute filters as Envoy route fields: header modifiers, redirects, rewrites, faults.

import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { FaultInjectionSpec } from '../../config/fault-injection.ts';
import type {
	HttpHeaderModifier,
	HttpPathModifier,
	HttpRequestRedirect,
	HttpRouteFilter,
	HttpRouteMatch,
	HttpUrlRewrite,
} from '../../config/http-route.ts';
import {
	HeaderValueOption_HeaderAppendAction as AppendAction,
	type HeaderValueOption,
	HeaderValueOptionSchema,
} from '../../generated/envoy/config/core/v3/base_pb.ts';
import {
	type RedirectAction,
	RedirectActionSchema,
	RedirectAction_RedirectResponseCode as RedirectCode,
} from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import { HTTPFaultSchema } from '../../generated/envoy/extensions/filters/http/fault/v3/fault_pb.ts';
import {
	type RegexMatchAndSubstitute,
	RegexMatchAndSubstituteSchema,
} from '../../generated/envoy/type/matcher/v3/regex_pb.ts';
import { FractionalPercent_DenominatorType as Denominator } from '../../generated/envoy/type/v3/percent_pb.ts';
import { parseDurationMs } from '../../std/duration.ts';
import { any, duration } from './messages.ts';

export const FAULT_FILTER = 'envoy.filters.http.fault';

export interface HeaderChanges {
	readonly requestHeadersToAdd: HeaderValueOption[];
	readonly requestHeadersToRemove: string[];
	readonly responseHeadersToAdd: HeaderValueOption[];
	readonly responseHeadersToRemove: string[];
}

export function headerChanges(filters: readonly HttpRouteFilter[] | undefined): HeaderChanges {
	const request = modifierOf(filters, 'RequestHeaderModifier')?.requestHeaderModifier;
	const response = modifierOf(filters, 'ResponseHeaderModifier')?.responseHeaderModifier;
	return {
		requestHeadersToAdd: headersToAdd(request),
		requestHeadersToRemove: request?.remove ?? [],
		responseHeadersToAdd: headersToAdd(response),
		responseHeadersToRemove: response?.remove ?? [],
	};
}

export function redirectOf(filters: readonly HttpRouteFilter[] | undefined): HttpRequestRedirect | undefined {
	return modifierOf(filters, 'RequestRedirect')?.requestRedirect;
}

export function rewriteOf(filters: readonly HttpRouteFilter[] | undefined): HttpUrlRewrite | undefined {
	return modifierOf(filters, 'URLRewrite')?.urlRewrite;
}

function modifierOf(filters: readonly HttpRouteFilter[] | undefined, type: HttpRouteFilter['type']) {
	return filters?.find((filter) => filter.type === type);
}

function headersToAdd(modifier: HttpHeaderModifier | undefined): HeaderValueOption[] {
	if (modifier === undefined) return [];
	const option = (header: { name: string; value: string }, appendAction: AppendAction) =>
		// A percent sign begins a command in Envoy's header values; what users write here is literal.
		create(HeaderValueOptionSchema, {
			header: { key: header.name, value: header.value.replaceAll('%', '%%') },
			appendAction,
			keepEmptyValue: true,
		});
	return [
		...(modifier.set ?? []).map((header) => option(header, AppendAction.OVERWRITE_IF_EXISTS_OR_ADD)),
		...(modifier.add ?? []).map((header) => option(header, AppendAction.APPEND_IF_EXISTS_OR_ADD)),
	];
}

const REDIRECT_CODES = {
	301: RedirectCode.MOVED_PERMANENTLY,
	302: RedirectCode.FOUND,
	303: RedirectCode.SEE_OTHER,
	307: RedirectCode.TEMPORARY_REDIRECT,
	308: RedirectCode.PERMANENT_REDIRECT,
} as const;
const WELL_KNOWN_PORTS = { http: 80, https: 443 } as const;

/** `servicePort`: the port that the request came for, which a redirect without scheme and port keeps. */
export function compileRedirect(
	redirect: HttpRequestRedirect,
	match: HttpRouteMatch,
	servicePort: number,
): RedirectAction {
	const action = create(RedirectActionSchema, { responseCode: REDIRECT_CODES[redirect.statusCode] });
	if (redirect.scheme !== undefined) action.schemeRewriteSpecifier = { case: 'schemeRedirect', value: redirect.scheme };
	if (redirect.hostname !== undefined) action.hostRedirect = redirect.hostname;
	const scheme = redirect.scheme ?? 'http';
	const port = redirect.port ?? (redirect.scheme === undefined ? servicePort : WELL_KNOWN_PORTS[scheme]);
	// A new host name stands without a port when its scheme implies it; else the old port would stay.
	if (redirect.hostname === undefined || port !== WELL_KNOWN_PORTS[scheme]) {
		if (redirect.port !== undefined || redirect.scheme !== undefined || redirect.hostname !== undefined) {
			action.portRedirect = port;
		}
	}
	const path = redirect.path === undefined ? null : pathChange(redirect.path, match);
	if (path?.kind === 'prefix') action.pathRewriteSpecifier = { case: 'prefixRewrite', value: path.value };
	else if (path?.kind === 'regex') action.pathRewriteSpecifier = { case: 'regexRewrite', value: path.value };
	return action;
}

export type PathChange =
	| { readonly kind: 'prefix'; readonly value: string }
	| { readonly kind: 'regex'; readonly value: RegexMatchAndSubstitute };

/** Gateway API `HTTPPathModifier`: prefixes are replaced by whole path segments. */
export function pathChange(modifier: HttpPathModifier, match: HttpRouteMatch): PathChange {
	if (modifier.type === 'ReplaceFullPath') return regexChange('^/.*$', modifier.replaceFullPath ?? '/');
	const prefix = match.path.value.replace(/\/$/, '');
	const replacement = (modifier.replacePrefixMatch ?? '').replace(/\/$/, '');
	if (prefix === '') return { kind: 'prefix', value: `${replacement}/` };
	// `/old/x` with an empty replacement is `/x`, never `//x`, and `/old` is `/`.
	if (replacement === '') return regexChange(`^${escapePattern(prefix)}/*`, '/');
	return { kind: 'prefix', value: replacement };
}

function regexChange(regex: string, literal: string): PathChange {
	return {
		kind: 'regex',
		value: create(RegexMatchAndSubstituteSchema, {
			pattern: { regex },
			substitution: literal.replaceAll('\\', '\\\\'),
		}),
	};
}

function escapePattern(text: string): string {
	return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

export function compileFault(fault: FaultInjectionSpec): Any {
	return any(
		HTTPFaultSchema,
		create(HTTPFaultSchema, {
			delay:
				fault.delay === undefined
					? undefined
					: {
							faultDelaySecifier: { case: 'fixedDelay', value: duration(parseDurationMs(fault.delay.fixedDelay) ?? 0) },
							percentage: millionths(fault.delay.percentage),
						},
			abort:
				fault.abort === undefined
					? undefined
					: {
							errorType: { case: 'httpStatus', value: fault.abort.httpStatus },
							percentage: millionths(fault.abort.percentage),
						},
		}),
	);
}

function millionths(percent: number) {
	return { numerator: Math.round(percent * 10_000), denominator: Denominator.MILLION };
}
