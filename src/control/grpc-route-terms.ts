// A GRPCRoute in the terms of an HTTPRoute, which everything behind the model is written for: a call of
// method M of service S is a request for the path `/S/M` (gRPC over HTTP/2). What was asked for is kept beside
// the path, for the order of matches and for people.

import type { GrpcRouteMatch, GrpcRouteSpec } from '../config/grpc-route.ts';
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
	const grpc: GrpcMethod = {
		type: asked?.type ?? 'Exact',
		service: asked?.service ?? '',
		method: asked?.method ?? '',
	};
	return { path: pathOf(grpc), headers, grpc };
}

function pathOf({ type, service, method }: GrpcMethod): HttpRouteMatch['path'] {
	if (service === '' && method === '') return { type: 'PathPrefix', value: '/' };
	if (type === 'RegularExpression') {
		const part = (pattern: string) => (pattern === '' ? '[^/]+' : `(?:${pattern})`);
		return { type: 'RegularExpression', value: `/${part(service)}/${part(method)}` };
	}
	// A name that begins with a dot is a full name too; on the wire it has none.
	const name = service.replace(/^\./, '');
	if (method === '') return { type: 'PathPrefix', value: `/${name}` };
	if (service === '') return { type: 'RegularExpression', value: `/[^/]+/${method}` };
	return { type: 'Exact', value: `/${name}/${method}` };
}
