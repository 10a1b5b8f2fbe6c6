// The schema of HTTPRoute: the standard channel of Gateway API v1.6, with Services as parents. What it
// gives has the defaults filled in.

import { z } from 'zod';
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

export const parentRef = z.strictObject({
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

export const valueMatchType = z.enum(['Exact', 'RegularExpression']).default('Exact');
export const headerMatch = z.strictObject({
	type: valueMatchType,
	name: headerName,
	value: z.string().min(1).max(4096),
});
const queryParamMatch = z.strictObject({ type: valueMatchType, name: headerName, value: z.string().min(1).max(1024) });

const routeMatch = z.strictObject({
	path: pathMatch.default({ type: 'PathPrefix', value: '/' }),
	/** All must match; of two with the same name the first counts, so a second is refused. */
	headers: z.array(headerMatch).max(16).optional(),
	queryParams: z.array(queryParamMatch).max(16).optional(),
	method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']).optional(),
});

const header = z.strictObject({ name: headerName, value: headerValue });
export const headerModifier = z.strictObject({
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
export const extensionRef = z.strictObject({ group, kind: kindName, name: objectName });

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

/** A backend of any kind of route, without its filters. */
export const backendFields = {
	group: group.default(''),
	kind: kindName.default('Service'),
	namespace: dnsLabel.optional(),
	name: objectName,
	port: port.optional(),
	/** Of the sum over the rule's backends. 0 sends nothing. */
	weight: z.int().min(0).max(1_000_000).default(1),
};

const backendRef = z.strictObject({
	...backendFields,
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

export const httpRouteSpec = z.strictObject({
	parentRefs: z.array(parentRef).min(1).max(32),
	hostnames: z.array(z.string().min(1).max(253)).max(16).optional(),
	rules: z
		.array(rule)
		.min(1)
		.max(16)
		.default([{ matches: [{ path: { type: 'PathPrefix', value: '/' } }] }]),
});

export const httpRouteStatus = z.strictObject({
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
/** `grpc`: what a GRPCRoute asks for, where one is read in the terms of an HTTPRoute; no HTTPRoute has it. */
export type HttpRouteMatch = z.output<typeof routeMatch> & { readonly grpc?: GrpcMethod };
/** Empty: any. */
export interface GrpcMethod {
	readonly type: 'Exact' | 'RegularExpression';
	readonly service: string;
	readonly method: string;
}
export type HttpHeaderModifier = z.output<typeof headerModifier>;
export type HttpPathModifier = z.output<typeof pathModifier>;
export type HttpRequestRedirect = z.output<typeof requestRedirect>;
export type HttpUrlRewrite = z.output<typeof urlRewrite>;
export type HttpRouteFilter = z.output<typeof filter>;
export type HttpBackendRef = z.output<typeof backendRef>;
export type HttpRouteRule = z.output<typeof rule>;
export type HttpRouteSpec = z.output<typeof httpRouteSpec>;
export type HttpRouteStatus = z.output<typeof httpRouteStatus>;
