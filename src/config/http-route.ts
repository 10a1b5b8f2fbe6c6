// `gateway.networking.k8s.io` HTTPRoute with Services as parents (GAMMA). The schema is in
// http-route-schema.ts; rules across fields, and what weft refuses, in http-route-rules.ts.

import { validateHttpRoute } from './http-route-rules.ts';
import {
	GATEWAY_GROUP,
	type HttpBackendRef,
	type HttpRouteFilter,
	type HttpRouteSpec,
	type HttpRouteStatus,
	httpRouteSpec,
	httpRouteStatus,
	type ParentRef,
} from './http-route-schema.ts';
import type { Column, KindDefinition, Reference } from './kind.ts';
import type { MeshObject } from './object.ts';
import { dnsSubdomain } from './schema.ts';

export type {
	GrpcMethod,
	HttpBackendRef,
	HttpHeaderModifier,
	HttpPathModifier,
	HttpRequestRedirect,
	HttpRouteFilter,
	HttpRouteMatch,
	HttpRouteRule,
	HttpRouteSpec,
	HttpRouteStatus,
	HttpUrlRewrite,
	ParentRef,
} from './http-route-schema.ts';
export { GATEWAY_GROUP };

/** What the kinds of routes have in common. */
export interface RouteSpec {
	readonly parentRefs: readonly ParentRef[];
	readonly rules: readonly {
		readonly filters?: readonly Pick<HttpRouteFilter, 'extensionRef'>[];
		readonly backendRefs?: readonly Pick<HttpBackendRef, 'namespace' | 'name' | 'port' | 'weight'>[];
	}[];
}

export function routeReferences(route: MeshObject<RouteSpec, HttpRouteStatus>): Reference[] {
	const own = route.metadata.namespace ?? '';
	const references: Reference[] = route.spec.parentRefs.map((parent, index) => ({
		field: ['spec', 'parentRefs', index, 'name'],
		kind: 'Service',
		namespace: parent.namespace ?? own,
		name: parent.name,
		consequence: 'the route has no effect until it exists',
		essential: true,
	}));
	for (const [index, { backendRefs, filters }] of route.spec.rules.entries()) {
		for (const [position, backend] of (backendRefs ?? []).entries()) {
			references.push({
				field: ['spec', 'rules', index, 'backendRefs', position, 'name'],
				kind: 'Service',
				namespace: backend.namespace ?? own,
				name: backend.name,
				consequence: 'its share of the requests is answered with status 500 until it exists',
				essential: false,
			});
		}
		for (const [position, { extensionRef }] of (filters ?? []).entries()) {
			if (extensionRef === undefined) continue;
			references.push({
				field: ['spec', 'rules', index, 'filters', position, 'extensionRef', 'name'],
				kind: extensionRef.kind,
				namespace: own,
				name: extensionRef.name,
				consequence: 'requests of this rule are answered with status 500 until it exists',
				essential: false,
			});
		}
	}
	return references;
}

export const ROUTE_COLUMNS: readonly Column<RouteSpec, HttpRouteStatus>[] = [
	{
		name: 'Parents',
		description: 'Services whose requests it takes',
		type: 'string',
		value: (route) => route.spec.parentRefs.map((parent) => named(parent)).join(','),
	},
	{
		name: 'Backends',
		description: 'Where they go, with weights',
		type: 'string',
		value: (route) => {
			const all = route.spec.rules.flatMap(({ backendRefs }) =>
				(backendRefs ?? []).map((backend) =>
					backendRefs?.length === 1 ? named(backend) : `${named(backend)}=${backend.weight}`,
				),
			);
			return [...new Set(all)].join(',') || '<none>';
		},
	},
	{
		name: 'Accepted',
		description: 'Whether all parents accept it',
		type: 'string',
		value: (route) => conditionOfAll(route.status, 'Accepted'),
	},
	{
		name: 'Resolved',
		description: 'Whether all that it names exists',
		type: 'string',
		wide: true,
		value: (route) => conditionOfAll(route.status, 'ResolvedRefs'),
	},
	{
		name: 'Rules',
		description: 'How many',
		type: 'integer',
		wide: true,
		value: (route) => String(route.spec.rules.length),
	},
];

export const HTTP_ROUTE: KindDefinition<HttpRouteSpec, HttpRouteStatus> = {
	group: GATEWAY_GROUP,
	versions: ['v1', 'v1beta1'],
	kind: 'HTTPRoute',
	plural: 'httproutes',
	singular: 'httproute',
	shortNames: ['route'],
	namespaced: true,
	specRequired: true,
	description: 'How HTTP requests to a Service are matched, changed and shared out over backends',
	nameSchema: dnsSubdomain,
	specSchema: httpRouteSpec,
	statusSchema: httpRouteStatus,
	validate: validateHttpRoute,
	references: routeReferences,
	columns: ROUTE_COLUMNS,
	mergeKeys: {},
};

function named(reference: { namespace?: string; name: string; port?: number }): string {
	const name = reference.namespace === undefined ? reference.name : `${reference.namespace}/${reference.name}`;
	return reference.port === undefined ? name : `${name}:${reference.port}`;
}

function conditionOfAll(status: HttpRouteStatus | undefined, type: string): string {
	const found = (status?.parents ?? []).map(
		(parent) => parent.conditions.find((condition) => condition.type === type)?.status ?? 'Unknown',
	);
	if (found.length === 0) return 'Unknown';
	return found.every((value) => value === 'True') ? 'True' : found.includes('False') ? 'False' : 'Unknown';
}
