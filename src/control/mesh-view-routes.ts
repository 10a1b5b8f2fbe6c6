// A route in people's words: conditions, changes, shares, and what of it is missing.

import type {
	HttpHeaderModifier,
	HttpPathModifier,
	HttpRouteFilter,
	HttpRouteMatch,
	HttpRouteRule,
} from '../config/http-route.ts';
import { parentFault, type RouteContext, resolveBackend, unresolvedReferences } from './compile/backend.ts';
import type { FaultInjection, HttpRoute } from './mesh-kinds.ts';
import type { RouteBackend, RouteSummary } from './mesh-snapshot.ts';

export function routeSummary(
	route: HttpRoute,
	context: RouteContext,
	acknowledged: { readonly count: number; readonly of: number },
): RouteSummary {
	const namespace = route.metadata.namespace ?? '';
	const faults = route.spec.parentRefs
		.map((parent) => parentFault(context, route, parent))
		.filter((fault) => fault !== null);
	const unresolved = unresolvedReferences(context, route);
	// A backend that several rules name is missing once.
	const messages = new Set([
		...faults.map(({ message }) => `${message}, so the route has no effect on it`),
		...unresolved.map((each) => each.message),
	]);
	return {
		kind: route.kind === 'GRPCRoute' ? 'GRPCRoute' : 'HTTPRoute',
		namespace,
		name: route.metadata.name,
		parents: route.spec.parentRefs.map(({ name, namespace: other, port }) => {
			const place = other === undefined || other === namespace ? name : `${other}/${name}`;
			return `Service ${place}${port === undefined ? '' : `:${port}`}`;
		}),
		rules: route.spec.rules.map((rule) => ({
			matches: rule.matches.map(matchText),
			filters: ruleTexts(rule, namespace, context),
			backends: backendsOf(route, rule, context),
		})),
		accepted: faults.length < route.spec.parentRefs.length,
		resolvedRefs: unresolved.length === 0,
		message: [...messages].join('; '),
		acknowledged,
	};
}

/** `all` when nothing is asked of a request. */
function matchText(match: HttpRouteMatch): string {
	const { type, value } = match.path;
	const conditions: string[] = [];
	if (match.method !== undefined) conditions.push(`method ${match.method}`);
	if (match.grpc !== undefined) {
		const { service, method } = match.grpc;
		const pattern = match.grpc.type === 'RegularExpression' ? '~ ' : '';
		if (service !== '') conditions.push(`service ${pattern}${service}`);
		if (method !== '') conditions.push(`method ${pattern}${method}`);
	} else if (type === 'Exact') conditions.push(`path ${value}`);
	else if (type === 'RegularExpression') conditions.push(`path ~ ${value}`);
	else if (value !== '/') conditions.push(`path prefix ${value}`);
	for (const each of match.headers ?? []) conditions.push(`header ${comparison(each)}`);
	for (const each of match.queryParams ?? []) conditions.push(`query ${comparison(each)}`);
	return conditions.length === 0 ? 'all' : conditions.join(', ');
}

function comparison({
	name,
	type,
	value,
}: {
	readonly name: string;
	readonly type: string;
	readonly value: string;
}): string {
	return `${name} ${type === 'RegularExpression' ? '~' : '='} ${value}`;
}

function ruleTexts(rule: HttpRouteRule, namespace: string, context: RouteContext): string[] {
	const texts = (rule.filters ?? []).flatMap((filter) => filterTexts(filter, namespace, context));
	if (rule.timeouts?.request !== undefined) texts.push(`timeout ${rule.timeouts.request}`);
	if (rule.timeouts?.backendRequest !== undefined) texts.push(`timeout per try ${rule.timeouts.backendRequest}`);
	return texts;
}

function filterTexts(filter: HttpRouteFilter, namespace: string, context: RouteContext): string[] {
	const texts = [
		...modifierTexts(filter.requestHeaderModifier, 'header'),
		...modifierTexts(filter.responseHeaderModifier, 'response header'),
	];
	const redirect = filter.requestRedirect;
	if (redirect !== undefined) {
		const origin =
			redirect.hostname === undefined
				? ''
				: `${redirect.scheme === undefined ? '' : `${redirect.scheme}://`}${redirect.hostname}`;
		const scheme = redirect.hostname === undefined && redirect.scheme !== undefined ? `${redirect.scheme} ` : '';
		const port = redirect.port === undefined ? '' : `:${redirect.port}`;
		texts.push(
			`redirect ${redirect.statusCode} to ${scheme}${origin}${port}${pathText(redirect.path) ?? ''}`.trimEnd(),
		);
	}
	const rewrite = filter.urlRewrite;
	if (rewrite?.hostname !== undefined) texts.push(`rewrite host to ${rewrite.hostname}`);
	const path = pathText(rewrite?.path);
	if (path !== null)
		texts.push(`rewrite ${rewrite?.path?.type === 'ReplacePrefixMatch' ? 'prefix' : 'path'} to ${path}`);
	if (filter.extensionRef !== undefined) {
		texts.push(faultText(filter.extensionRef.name, context.faults.get(`${namespace}/${filter.extensionRef.name}`)));
	}
	return texts;
}

function modifierTexts(modifier: HttpHeaderModifier | undefined, what: string): string[] {
	return [
		...(modifier?.set ?? []).map(({ name, value }) => `set ${what} ${name} to ${value}`),
		...(modifier?.add ?? []).map(({ name, value }) => `add ${what} ${name}: ${value}`),
		...(modifier?.remove ?? []).map((name) => `remove ${what} ${name}`),
	];
}

function pathText(path: HttpPathModifier | undefined): string | null {
	if (path === undefined) return null;
	return path.type === 'ReplacePrefixMatch' ? path.replacePrefixMatch || '/' : (path.replaceFullPath ?? null);
}

function faultText(name: string, fault: FaultInjection | undefined): string {
	if (fault === undefined) return `fault ${name} (missing)`;
	const { delay, abort } = fault.spec;
	const parts: string[] = [];
	if (delay !== undefined) parts.push(`delay ${delay.fixedDelay} for ${delay.percentage} %`);
	if (abort !== undefined) parts.push(`answer ${abort.httpStatus} to ${abort.percentage} %`);
	return parts.join(', ');
}

function backendsOf(route: HttpRoute, rule: HttpRouteRule, context: RouteContext): RouteBackend[] {
	const own = route.metadata.namespace ?? '';
	const refs = rule.backendRefs ?? [];
	const sum = refs.reduce((total, ref) => total + ref.weight, 0);
	return refs.map((ref) => ({
		service: ref.namespace === undefined || ref.namespace === own ? ref.name : `${ref.namespace}/${ref.name}`,
		port: ref.port ?? null,
		weight: ref.weight,
		share: sum === 0 ? 0 : ref.weight / sum,
		resolved: resolveBackend(context, route, ref).unresolved === null,
	}));
}
