// `gateway.networking.k8s.io` HTTPRoute with Services as parents (GAMMA): schema of the standard
// channel, v1.6. Rules across fields, and what weft refuses, are in http-route-rules.ts.

import { z } from 'zod';
import { validateHttpRoute } from './http-route-rules.ts';
import type { KindDefinition, Reference } from './kind.ts';
import {
	conditions,
	DNS_SUBDOMAIN,
	dnsLabel,
	dnsSubdomain,
	duration,
	headerName,
	headerValue,
	port,
} from './schema.ts';

export const GATEWAY_GROUP = 'gateway.networking.k8s.io';

const group = z
	.string()
	.max(253)
	.refine((text) => text === '' || DNS_SUBDOMAIN.test(text), { error: 'an API group; "" for Service' });
const kindName = z.string().min(1).max(63);
const objectName = z.string().min(1).max(253);

const parentRef = z.strictObject({
	group: group.default(GATEWAY_GROUP),
	kind: kindName.default('Gateway'),
	namespace: dnsLabel.optional(),
	name: objectName,
	/** Name of the Service's port. */
	sectionName: dnsSubdomain.optional(),
	/** All ports of the Service when left out. */
	port: port.optional(),
});

const pathMatch = z.strictObject({
	type: z.enum(['Exact', 'PathPrefix', 'RegularExpression']).default('PathPrefix'),
	value: z.string().max(1024).default('/'),
});

const valueMatchType = z.enum(['Exact', 'RegularExpression']).default('Exact');
const headerMatch = z.strictObject({ type: valueMatchType, name: headerName, value: z.string().min(1).max(4096) });
const queryParamMatch = z.strictObject({ type: valueMatchType, name: headerName, value: z.string().min(1).max(1024) });

const routeMatch = z.strictObject({
	path: pathMatch.default({ type: 'PathPrefix', value: '/' }),
	/** All must match; of two with the same name the first counts, so a second is refused. */
	headers: z.array(headerMatch).max(16).optional(),
	queryParams: z.array(queryParamMatch).max(16).optional(),
	method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']).optional(),
});

const header = z.strictObject({ name: headerName, value: headerValue });
const headerModifier = z.strictObject({
	set: z.array(header).max(16).optional(),
	add: z.array(header).max(16).optional(),
	remove: z.array(headerName).max(16).optional(),
});

const pathModifier = z.strictObject({
	type: z.enum(['ReplaceFullPath', 'ReplacePrefixMatch']),
	replaceFullPath: z.string().max(1024).optional(),
	replacePrefixMatch: z.string().max(1024).optional(),
});

const requestRedirect = z.strictObject({
	scheme: z.enum(['http', 'https']).optional(),
	hostname: dnsSubdomain.optional(),
	path: pathModifier.optional(),
	port: port.optional(),
	statusCode: z
		.union([z.literal(301), z.literal(302), z.literal(303), z.literal(307), z.literal(308)], {
			error: 'one of 301, 302, 303, 307, 308',
		})
		.default(302),
});

const urlRewrite = z.strictObject({ hostname: dnsSubdomain.optional(), path: pathModifier.optional() });
const extensionRef = z.strictObject({ group, kind: kindName, name: objectName });

const filter = z.strictObject({
	type: z.enum([
		'RequestHeaderModifier',
		'ResponseHeaderModifier',
		'RequestMirror',
		'RequestRedirect',
		'URLRewrite',
		'ExtensionRef',
		'CORS',
	]),
	requestHeaderModifier: headerModifier.optional(),
	responseHeaderModifier: headerModifier.optional(),
	requestRedirect: requestRedirect.optional(),
	urlRewrite: urlRewrite.optional(),
	/** A FaultInjection of the same namespace. */
	extensionRef: extensionRef.optional(),
	/** Refused with the type. */
	requestMirror: z.unknown().optional(),
	/** Refused with the type. */
	cors: z.unknown().optional(),
});

const backendRef = z.strictObject({
	group: group.default(''),
	kind: kindName.default('Service'),
	namespace: dnsLabel.optional(),
	name: objectName,
	port: port.optional(),
	/** Of the sum over the rule's backends. 0 sends nothing. */
	weight: z.int().min(0).max(1_000_000).default(1),
	/** Header modifiers only. */
	filters: z.array(filter).max(16).optional(),
});

const rule = z.strictObject({
	/** Unique in the route. */
	name: dnsSubdomain.optional(),
	/** One of them must match. */
	matches: z
		.array(routeMatch)
		.max(64)
		.default([{ path: { type: 'PathPrefix', value: '/' } }]),
	filters: z.array(filter).max(16).optional(),
	backendRefs: z.array(backendRef).max(16).optional(),
	/** `0s` is no limit. */
	timeouts: z.strictObject({ request: duration.optional(), backendRequest: duration.optional() }).optional(),
});

const httpRouteSpec = z.strictObject({
	parentRefs: z.array(parentRef).min(1).max(32),
	hostnames: z.array(z.string().min(1).max(253)).max(16).optional(),
	rules: z
		.array(rule)
		.min(1)
		.max(16)
		.default([{ matches: [{ path: { type: 'PathPrefix', value: '/' } }] }]),
});

const httpRouteStatus = z.strictObject({
	parents: z
		.array(
			z.strictObject({
				parentRef,
				controllerName: z.string().min(1).max(253),
				conditions,
			}),
		)
		.max(32),
});

export type ParentRef = z.output<typeof parentRef>;
export type HttpRouteMatch = z.output<typeof routeMatch>;
export type HttpHeaderModifier = z.output<typeof headerModifier>;
export type HttpPathModifier = z.output<typeof pathModifier>;
export type HttpRequestRedirect = z.output<typeof requestRedirect>;
export type HttpUrlRewrite = z.output<typeof urlRewrite>;
export type HttpRouteFilter = z.output<typeof filter>;
export type HttpBackendRef = z.output<typeof backendRef>;
export type HttpRouteRule = z.output<typeof rule>;
export type HttpRouteSpec = z.output<typeof httpRouteSpec>;
export type HttpRouteStatus = z.output<typeof httpRouteStatus>;

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
	references(route) {
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
	},
	columns: [
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
	],
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
