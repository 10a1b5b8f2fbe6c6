// A GRPCRoute in the terms of an HTTPRoute, which everything behind the model is written for: a call of
// method M of service S is a request for the path `/S/M` (gRPC over HTTP/2). What was asked for is kept beside
// the path, for the order of matches and for people.

import { callPattern, type GrpcRouteMatch, type GrpcRouteSpec } from '../config/grpc-route.ts';
import type { GrpcMethod, HttpRouteMatch, HttpRouteSpec } from '../config/http-route.ts';

export function inHttpTerms(spec: GrpcRouteSpec): HttpRouteSpec {
	return {
		...spec,
		rules: spec.rules.map((rule) => ({
			...rule,
			// Without any condition a rule takes every call.
			matches: (rule.matches.length === 0 ? [{}] : rule.matches).map(matchInHttpTerms),
		})),
	};
}

function matchInHttpTerms({ method: asked, headers }: GrpcRouteMatch): HttpRouteMatch {
	const type = asked?.type ?? 'Exact';
	const service = asked?.service ?? '';
	const grpc: GrpcMethod = {
		type,
		// A name that begins with a dot is a full name too; on the wire it has none, and the longest name comes first.
		service: type === 'Exact' ? service.replace(/^\./, '') : service,
		method: asked?.method ?? '',
	};
	return { path: pathOf(grpc), headers, grpc };
}

function pathOf({ type, service, method }: GrpcMethod): HttpRouteMatch['path'] {
	if (service === '' && method === '') return { type: 'PathPrefix', value: '/' };
	if (type === 'RegularExpression') return { type: 'RegularExpression', value: callPattern({ service, method }) };
	if (method === '') return { type: 'PathPrefix', value: `/${service}` };
	if (service === '') return { type: 'RegularExpression', value: `/[^/]+/${method}` };
	return { type: 'Exact', value: `/${service}/${method}` };
}
