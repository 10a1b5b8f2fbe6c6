// Route configurations: one per service port (outbound), compiled from the HTTPRoutes whose parent
// the Service is, and one for the HTTP proxy port with a virtual host per service port.

import { create, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { HttpRouteMatch } from '../../config/http-route.ts';
import type { ServicePort } from '../../config/service.ts';
import {
	RouteAction_ClusterNotFoundResponseCode as NotFoundCode,
	type RetryPolicy,
	RetryPolicySchema,
	type Route,
	type RouteAction,
	RouteActionSchema,
	type RouteMatch,
	RouteMatchSchema,
	RouteSchema,
	type VirtualHost,
	VirtualHostSchema,
	WeightedCluster_ClusterWeightSchema,
	WeightedClusterSchema,
} from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import { RouteConfigurationSchema } from '../../generated/envoy/config/route/v3/route_pb.ts';
import { RegexMatcherSchema } from '../../generated/envoy/type/matcher/v3/regex_pb.ts';
import { type StringMatcher, StringMatcherSchema } from '../../generated/envoy/type/matcher/v3/string_pb.ts';
import { parseDurationMs } from '../../std/duration.ts';
import { type EncodedResource, encodeResource } from '../../xds/resource-view.ts';
import { ROUTE_TYPE } from '../../xds/type-urls.ts';
import type { HttpRoute } from '../mesh-kinds.ts';
import { type ResolvedBackend, type RouteContext, resolveBackend, resolveFault } from './backend.ts';
import { type MeshService, portProtocol } from './mesh-service.ts';
import { duration, emptyAny } from './messages.ts';
import { HTTP_PROXY_ROUTES, outboundName } from './names.ts';
import {
	compileFault,
	compileRedirect,
	FAULT_FILTER,
	headerChanges,
	pathChange,
	redirectOf,
	rewriteOf,
} from './route-filters.ts';
import { type OrderedMatch, orderMatches } from './route-order.ts';

/** Which proxy reads the resource: real Envoy is given nothing that only weft knows. */
export type Dialect = 'weft' | 'envoy';

export const RETRY_HEADER = 'x-weft-retry';
const RETRIES = 2;
/** Picks until a host is found that this request has not tried. */
const HOST_PICKS = 5;
const RETRY_ON = 'connect-failure,refused-stream,reset-before-request,retriable-headers';
const RETRY_ON_WEFT = 'connect-failure,refused-stream,reset-before-request,reset-idempotent,retriable-headers';

/** `routes` are those that apply to this port. */
export function compilePortRoutes(
	service: MeshService,
	port: ServicePort,
	routes: readonly HttpRoute[],
	context: RouteContext,
	dialect: Dialect,
): EncodedResource {
	const name = outboundName(port.port, service.host);
	return encodeRoutes(name, [compileVirtualHost(service, port, routes, context, dialect, ['*'])]);
}

/** Of `hosts`, made by `compileVirtualHost` with the domains of `proxyDomains`. */
export function compileProxyRoutes(hosts: readonly VirtualHost[]): EncodedResource {
	return encodeRoutes(HTTP_PROXY_ROUTES, hosts);
}

/** Names by which a client in `namespace` may call the port through an HTTP proxy. */
export function proxyDomains(service: MeshService, port: ServicePort, namespace: string): string[] {
	const { name, host } = service;
	const names = [host, `${name}.${service.namespace}.svc`, `${name}.${service.namespace}`];
	if (service.namespace === namespace) names.push(name);
	if (service.address !== '') names.push(service.address);
	return names.flatMap((one) => (port.port === 80 ? [one, `${one}:80`] : [`${one}:${port.port}`]));
}

export function compileVirtualHost(
	service: MeshService,
	port: ServicePort,
	httpRoutes: readonly HttpRoute[],
	context: RouteContext,
	dialect: Dialect,
	domains: string[],
): VirtualHost {
	const routes = orderMatches(httpRoutes).map((ordered) => compileRoute(ordered, port.port, context, dialect));
	if (httpRoutes.length === 0) {
		const action = create(RouteActionSchema, {
			clusterSpecifier: { case: 'cluster', value: outboundName(port.port, service.host) },
			timeout: duration(0),
			retryPolicy: retryPolicy(dialect),
		});
		routes.push(
			create(RouteSchema, {
				name: 'default',
				match: { pathSpecifier: { case: 'prefix', value: '/' } },
				action: { case: 'route', value: action },
			}),
		);
	}
	return create(VirtualHostSchema, {
		name: `${service.host}:${port.port}`,
		domains,
		routes,
		// weft's own filter takes it away; Envoy has to be told.
		responseHeadersToRemove: dialect === 'envoy' ? [RETRY_HEADER] : [],
		includeRequestAttemptCount: true,
	});
}

/** Whether any port of the Service, or this one, is what the route is attached to. */
export function appliesToPort(route: HttpRoute, service: MeshService, port: ServicePort): boolean {
	if (portProtocol(port) === 'tcp') return false;
	const own = route.metadata.namespace ?? '';
	return route.spec.parentRefs.some(
		(parent) =>
			parent.name === service.name &&
			(parent.namespace ?? own) === service.namespace &&
			(parent.port === undefined || parent.port === port.port),
	);
}

function compileRoute(ordered: OrderedMatch, servicePort: number, context: RouteContext, dialect: Dialect): Route {
	const { route, rule, match, name } = ordered;
	const base = { name, match: compileMatch(match), ...headerChanges(rule.filters) };
	const fault = resolveFault(context, route, rule);
	if (fault === null) return unanswerable(base, match);
	const typedPerFilterConfig: Record<string, Any> =
		fault === undefined ? {} : { [FAULT_FILTER]: compileFault(fault.spec) };
	const redirect = redirectOf(rule.filters);
	if (redirect !== undefined) {
		const value = compileRedirect(redirect, match, servicePort);
		return create(RouteSchema, { ...base, typedPerFilterConfig, action: { case: 'redirect', value } });
	}
	const backends = (rule.backendRefs ?? []).map((ref) => resolveBackend(context, route, ref));
	const weighted = backends.filter((backend) => backend.ref.weight > 0);
	if (weighted.every((backend) => backend.unresolved !== null)) return unanswerable(base, match);
	const value = forward(ordered, weighted, dialect);
	return create(RouteSchema, { ...base, typedPerFilterConfig, action: { case: 'route', value } });
}

/** Nothing to send it to: Gateway API wants 500, and for calls UNAVAILABLE, which 503 is to gRPC. */
function unanswerable(base: { readonly name: string; readonly match: RouteMatch }, { grpc }: HttpRouteMatch): Route {
	const status = grpc === undefined ? 500 : 503;
	return create(RouteSchema, { ...base, action: { case: 'directResponse', value: { status } } });
}

function forward({ rule, match }: OrderedMatch, backends: readonly ResolvedBackend[], dialect: Dialect): RouteAction {
	const { request, backendRequest } = rule.timeouts ?? {};
	const retry = retryPolicy(dialect);
	const perTryMs = backendRequest === undefined ? 0 : (parseDurationMs(backendRequest) ?? 0);
	if (perTryMs > 0) retry.perTryTimeout = duration(perTryMs);
	const action = create(RouteActionSchema, {
		// 0: no limit, instead of Envoy's 15 s.
		timeout: duration(request === undefined ? 0 : (parseDurationMs(request) ?? 0)),
		retryPolicy: retry,
	});
	const [only] = backends;
	if (backends.length === 1 && only !== undefined && (only.ref.filters ?? []).length === 0) {
		action.clusterSpecifier = { case: 'cluster', value: only.cluster };
	} else {
		const clusters = backends.map((backend) =>
			create(WeightedCluster_ClusterWeightSchema, {
				name: backend.cluster,
				weight: backend.ref.weight,
				...headerChanges(backend.ref.filters),
			}),
		);
		action.clusterSpecifier = { case: 'weightedClusters', value: create(WeightedClusterSchema, { clusters }) };
	}
	// The share of a backend that does not exist goes to a cluster that does not exist.
	if (backends.some((backend) => backend.unresolved !== null)) {
		action.clusterNotFoundResponseCode =
			match.grpc === undefined ? NotFoundCode.INTERNAL_SERVER_ERROR : NotFoundCode.SERVICE_UNAVAILABLE;
	}
	const rewrite = rewriteOf(rule.filters);
	if (rewrite?.hostname !== undefined) {
		action.hostRewriteSpecifier = { case: 'hostRewriteLiteral', value: rewrite.hostname };
	}
	const path = rewrite?.path === undefined ? null : pathChange(rewrite.path, match);
	if (path?.kind === 'prefix') action.prefixRewrite = path.value;
	else if (path?.kind === 'regex') action.regexRewrite = path.value;
	return action;
}

function compileMatch(match: HttpRouteMatch): RouteMatch {
	const { path } = match;
	const compiled = create(RouteMatchSchema, {
		headers: (match.headers ?? []).map(({ name, type, value }) => ({
			// An HTTP/2 authority is what users call the Host header.
			name: name.toLowerCase() === 'host' ? ':authority' : name,
			headerMatchSpecifier: { case: 'stringMatch' as const, value: stringMatch(type, value) },
		})),
		queryParameters: (match.queryParams ?? []).map(({ name, type, value }) => ({
			name,
			queryParameterMatchSpecifier: { case: 'stringMatch' as const, value: stringMatch(type, value) },
		})),
	});
	if (match.method !== undefined) {
		compiled.headers.push(
			...create(RouteMatchSchema, {
				headers: [
					{ name: ':method', headerMatchSpecifier: { case: 'stringMatch', value: stringMatch('Exact', match.method) } },
				],
			}).headers,
		);
	}
	if (path.type === 'Exact') compiled.pathSpecifier = { case: 'path', value: path.value };
	else if (path.type === 'RegularExpression') {
		compiled.pathSpecifier = { case: 'safeRegex', value: create(RegexMatcherSchema, { regex: path.value }) };
	} else {
		const prefix = path.value.replace(/\/$/, '');
		compiled.pathSpecifier =
			prefix === '' ? { case: 'prefix', value: '/' } : { case: 'pathSeparatedPrefix', value: prefix };
	}
	return compiled;
}

function stringMatch(type: 'Exact' | 'RegularExpression', value: string): StringMatcher {
	return create(StringMatcherSchema, {
		matchPattern: type === 'Exact' ? { case: 'exact', value } : { case: 'safeRegex', value: { regex: value } },
	});
}

/** The default of every route: send again, elsewhere, what nobody can have acted upon. */
function retryPolicy(dialect: Dialect): RetryPolicy {
	return create(RetryPolicySchema, {
		retryOn: dialect === 'weft' ? RETRY_ON_WEFT : RETRY_ON,
		numRetries: RETRIES,
		retriableHeaders: [{ name: RETRY_HEADER, headerMatchSpecifier: { case: 'presentMatch', value: true } }],
		retryHostPredicate: [
			{
				name: 'envoy.retry_host_predicates.previous_hosts',
				configType: {
					case: 'typedConfig',
					value: emptyAny('envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate'),
				},
			},
		],
		hostSelectionRetryMaxAttempts: BigInt(HOST_PICKS),
	});
}

function encodeRoutes(name: string, virtualHosts: readonly VirtualHost[]): EncodedResource {
	const config = create(RouteConfigurationSchema, { name, virtualHosts: [...virtualHosts] });
	return encodeResource(ROUTE_TYPE, name, toBinary(RouteConfigurationSchema, config));
}
