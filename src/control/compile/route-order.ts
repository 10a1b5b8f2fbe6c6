// HTTPRoutes attached to one service port, flattened into a list of matches in the order in which
// they are to be tried: Gateway API v1 `HTTPRouteRule.matches`. Which comes first: an exact path, then
// a regular expression (left to implementations; here before prefixes, which it is written to
// narrow), then the longest prefix; then one with a method, the most headers, the most query
// parameters; then the oldest route, then by `NAMESPACE/NAME`; then the order within the route. Of GRPCRoutes
// (`GRPCRouteRule.matches`) the longest service comes first, then the longest method, then the most headers.

import type { HttpRouteMatch, HttpRouteRule } from '../../config/http-route.ts';
import type { HttpRoute } from '../mesh-kinds.ts';

export interface OrderedMatch {
	readonly route: HttpRoute;
	readonly rule: HttpRouteRule;
	readonly match: HttpRouteMatch;
	/** `ROUTE.RULE.MATCH`, unique within the list. */
	readonly name: string;
}

export function orderMatches(routes: readonly HttpRoute[]): OrderedMatch[] {
	const matches: OrderedMatch[] = [];
	for (const route of [...routes].sort(byAge)) {
		route.spec.rules.forEach((rule, ruleIndex) => {
			rule.matches.forEach((match, matchIndex) => {
				const { namespace, name } = route.metadata;
				matches.push({ route, rule, match, name: `${namespace ?? ''}/${name}.${ruleIndex}.${matchIndex}` });
			});
		});
	}
	// Stable, so what compares equal stays in the order of age and of the file.
	return matches.sort((a, b) => compareMatches(a.match, b.match));
}

const PATH_RANK = { Exact: 0, RegularExpression: 1, PathPrefix: 2 } as const;

function compareMatches(a: HttpRouteMatch, b: HttpRouteMatch): number {
	// Of one kind: a port has routes of one kind only.
	if (a.grpc !== undefined && b.grpc !== undefined) {
		return (
			b.grpc.service.length - a.grpc.service.length ||
			b.grpc.method.length - a.grpc.method.length ||
			(b.headers?.length ?? 0) - (a.headers?.length ?? 0)
		);
	}
	return (
		PATH_RANK[a.path.type] - PATH_RANK[b.path.type] ||
		pathLength(b) - pathLength(a) ||
		Number(b.method !== undefined) - Number(a.method !== undefined) ||
		(b.headers?.length ?? 0) - (a.headers?.length ?? 0) ||
		(b.queryParams?.length ?? 0) - (a.queryParams?.length ?? 0)
	);
}

/** Exact paths are equal in rank; a prefix counts without its closing slash, as it matches. */
function pathLength({ path }: HttpRouteMatch): number {
	if (path.type === 'Exact') return 0;
	return path.type === 'PathPrefix' ? path.value.replace(/\/$/, '').length : path.value.length;
}

function byAge(a: HttpRoute, b: HttpRoute): number {
	const left = `${a.metadata.creationTimestamp ?? ''} ${a.metadata.namespace ?? ''}/${a.metadata.name}`;
	const right = `${b.metadata.creationTimestamp ?? ''} ${b.metadata.namespace ?? ''}/${b.metadata.name}`;
	if (left === right) return 0;
	return left < right ? -1 : 1;
}
