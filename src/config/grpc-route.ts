// `gateway.networking.k8s.io` GRPCRoute with Services as parents (GAMMA): the standard channel of Gateway API
// v1.6. What it has in common with HTTPRoute is described there.

import { z } from 'zod';
import type { FieldErrors, FieldPath } from './field-errors.ts';
import { ROUTE_COLUMNS, routeReferences } from './http-route.ts';
import { validateForwarding, validatePattern, validateRoute, validateValueMatches } from './http-route-rules.ts';
import {
	backendFields,
	extensionRef,
	GATEWAY_GROUP,
	type HttpRouteStatus,
	headerMatch,
	headerModifier,
	httpRouteStatus,
	parentRef,
} from './http-route-schema.ts';
import type { KindDefinition } from './kind.ts';
import type { MeshObject } from './object.ts';
import { dnsSubdomain } from './schema.ts';

const name = z.string().min(1).max(1024);

const methodMatch = z.strictObject({
	type: z.enum(['Exact', 'RegularExpression']).default('Exact'),
	/** Full name: `shop.v1.Prices`. One of the two is required. */
	service: name.optional(),
	method: name.optional(),
});

const routeMatch = z.strictObject({
	/** Every method when left out. */
	method: methodMatch.optional(),
	/** All must match. gRPC calls them metadata. */
	headers: z.array(headerMatch).max(16).optional(),
});

const filter = z.strictObject({
	type: z.enum(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'ExtensionRef']),
	requestHeaderModifier: headerModifier.optional(),
	responseHeaderModifier: headerModifier.optional(),
	/** A FaultInjection of the same namespace. */
	extensionRef: extensionRef.optional(),
	/** Refused with the type. */
	requestMirror: z.unknown().optional(),
});

const rule = z.strictObject({
	/** Unique in the route. */
	name: dnsSubdomain.optional(),
	/** One of them must match; every call when there is none. */
	matches: z.array(routeMatch).max(64).default([{}]),
	filters: z.array(filter).max(16).optional(),
	backendRefs: z
		.array(z.strictObject({ ...backendFields, filters: z.array(filter).max(16).optional() }))
		.max(16)
		.optional(),
});

const grpcRouteSpec = z.strictObject({
	parentRefs: z.array(parentRef).min(1).max(32),
	hostnames: z.array(z.string().min(1).max(253)).max(16).optional(),
	rules: z
		.array(rule)
		.min(1)
		.max(16)
		.default([{ matches: [{}] }]),
});

export type GrpcRouteMatch = z.output<typeof routeMatch>;
export type GrpcRouteSpec = z.output<typeof grpcRouteSpec>;

export const GRPC_ROUTE: KindDefinition<GrpcRouteSpec, HttpRouteStatus> = {
	group: GATEWAY_GROUP,
	versions: ['v1'],
	kind: 'GRPCRoute',
	plural: 'grpcroutes',
	singular: 'grpcroute',
	shortNames: [],
	namespaced: true,
	specRequired: true,
	description: 'How gRPC calls of a Service are matched, changed and shared out over backends',
	nameSchema: dnsSubdomain,
	specSchema: grpcRouteSpec,
	statusSchema: httpRouteStatus,
	validate: validateGrpcRoute,
	references: routeReferences,
	columns: ROUTE_COLUMNS,
	mergeKeys: {},
};

function validateGrpcRoute({ spec }: MeshObject<GrpcRouteSpec>, errors: FieldErrors): void {
	validateRoute(spec, errors);
	for (const [index, one] of spec.rules.entries()) {
		const path = ['spec', 'rules', index];
		for (const [position, match] of one.matches.entries()) {
			validateMatch(match, [...path, 'matches', position], errors);
		}
		validateForwarding({ ...one, matches: [] }, path, errors);
	}
}

/** As the CRD has them: names of Protocol Buffers. */
const SERVICE_NAME = /^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i;
const METHOD_NAME = /^[a-z_][a-z_0-9]*$/i;

function validateMatch({ method, headers }: GrpcRouteMatch, path: FieldPath, errors: FieldErrors): void {
	validateValueMatches(headers ?? [], [...path, 'headers'], errors, (header) => header.toLowerCase());
	if (method === undefined) return;
	const place = [...path, 'method'];
	let isGood = true;
	if (method.service === undefined && method.method === undefined) {
		errors.add(place, 'a service, a method, or both', 'leave it out to match every method');
	}
	for (const [field, pattern] of [
		['service', SERVICE_NAME],
		['method', METHOD_NAME],
	] as const) {
		const value = method[field];
		if (value === undefined) continue;
		if (method.type === 'RegularExpression') {
			isGood = validatePattern(value, [...place, field], errors) && isGood;
		} else if (!pattern.test(value)) {
			const example = field === 'service' ? 'the full name of a service, like shop.v1.Prices' : 'the name of a method';
			errors.add([...place, field], example);
		}
	}
	// Each may be a pattern where they are none as one: an open \Q, two groups of one name.
	if (method.type === 'RegularExpression' && isGood) validatePattern(callPattern(method), place, errors);
}

/** What the path of a call must be, of which service and method are patterns; any, where one is not given. */
export function callPattern({ service = '', method = '' }: { service?: string; method?: string }): string {
	const part = (pattern: string) => (pattern === '' ? '[^/]+' : `(?:${pattern})`);
	return `/${part(service)}/${part(method)}`;
}
