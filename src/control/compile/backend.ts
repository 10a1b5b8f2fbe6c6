// What an HTTPRoute refers to, looked up: its parents, its backends' service ports, its fault injections.
// Used both to compile the route and to say in its status what is missing.

import type { HttpBackendRef, HttpRouteRule, ParentRef } from '../../config/http-route.ts';
import type { FaultInjection, HttpRoute, Service } from '../mesh-kinds.ts';
import { portProtocol } from './mesh-service.ts';
import { hostOf, outboundName } from './names.ts';

/** The part of the model that routes are compiled from. */
export interface RouteContext {
	readonly services: ReadonlyMap<string, Service>;
	readonly faults: ReadonlyMap<string, FaultInjection>;
	/** That name the Service (`NAMESPACE/NAME`) as a parent. */
	routesOf(serviceKey: string): readonly HttpRoute[];
}

export interface Unresolved {
	/** Reason of the condition ResolvedRefs, Gateway API `RouteConditionReason`; `ExtensionNotFound` is weft's own. */
	readonly reason: 'BackendNotFound' | 'RefNotPermitted' | 'InvalidKind' | 'ExtensionNotFound';
	readonly message: string;
}

export interface ResolvedBackend {
	readonly ref: HttpBackendRef;
	/** Exists only when `unresolved` is null. */
	readonly cluster: string;
	readonly unresolved: Unresolved | null;
}

export function resolveBackend(context: RouteContext, route: HttpRoute, ref: HttpBackendRef): ResolvedBackend {
	const own = route.metadata.namespace ?? '';
	const namespace = ref.namespace ?? own;
	const cluster = outboundName(ref.port ?? 0, hostOf(namespace, ref.name));
	const failed = (reason: Unresolved['reason'], message: string) => ({ ref, cluster, unresolved: { reason, message } });
	if (ref.kind !== 'Service' || (ref.group !== '' && ref.group !== 'core')) {
		return failed('InvalidKind', `${ref.kind} ${ref.name} is no Service`);
	}
	if (namespace !== own) {
		return failed(
			'RefNotPermitted',
			`no ReferenceGrant lets a route of ${own} refer to Service ${namespace}/${ref.name}`,
		);
	}
	const service = context.services.get(`${namespace}/${ref.name}`);
	if (service === undefined) return failed('BackendNotFound', `Service ${namespace}/${ref.name} does not exist`);
	if (!service.spec.ports.some(({ port }) => port === ref.port)) {
		const ports = service.spec.ports.map(({ port }) => port).join(', ');
		return failed('BackendNotFound', `Service ${namespace}/${ref.name} has no port ${ref.port} (it has ${ports})`);
	}
	return { ref, cluster, unresolved: null };
}

/** The rule's FaultInjection; undefined when it names none, null when the one it names is not there. */
export function resolveFault(
	context: RouteContext,
	route: HttpRoute,
	rule: HttpRouteRule,
): FaultInjection | null | undefined {
	for (const { extensionRef } of rule.filters ?? []) {
		if (extensionRef === undefined) continue;
		return context.faults.get(`${route.metadata.namespace ?? ''}/${extensionRef.name}`) ?? null;
	}
	return undefined;
}

export interface ParentFault {
	/** Of the condition Accepted; `Conflicted` is GEP-1426's. */
	readonly reason: 'NoMatchingParent' | 'Conflicted';
	readonly message: string;
}

/** Why the parent does not take the route; null: it does. */
export function parentFault(
	context: Pick<RouteContext, 'services' | 'routesOf'>,
	route: HttpRoute,
	parent: ParentRef,
): ParentFault | null {
	const message = missingParent(context, route, parent);
	if (message !== null) return { reason: 'NoMatchingParent', message };
	const rival = conflictingRoute(context, route, parent);
	if (rival === null) return null;
	const { namespace = '', name } = rival.metadata;
	return { reason: 'Conflicted', message: `GRPCRoute ${namespace}/${name} has the same parent and comes first` };
}

/** GEP-1426: of two kinds of routes at one port the more specific counts, a GRPCRoute before any HTTPRoute. */
export function mostSpecificKind(routes: readonly HttpRoute[]): readonly HttpRoute[] {
	const grpc = routes.filter(({ kind }) => kind === 'GRPCRoute');
	return grpc.length > 0 ? grpc : routes;
}

/** The GRPCRoute of the same namespace that takes the parent from an HTTPRoute at all of its ports; null: none. */
function conflictingRoute(
	context: Pick<RouteContext, 'services' | 'routesOf'>,
	route: HttpRoute,
	parent: ParentRef,
): HttpRoute | null {
	if (route.kind === 'GRPCRoute') return null;
	const own = route.metadata.namespace ?? '';
	const key = `${parent.namespace ?? own}/${parent.name}`;
	const rivals = context
		.routesOf(key)
		.filter(({ kind, metadata }) => kind === 'GRPCRoute' && (metadata.namespace ?? '') === own);
	if (rivals.length === 0) return null;
	let first: HttpRoute | null = null;
	for (const { port } of context.services.get(key)?.spec.ports ?? []) {
		if (parent.port !== undefined && parent.port !== port) continue;
		const rival = rivals.find((one) =>
			one.spec.parentRefs.some(
				(ref) => `${ref.namespace ?? own}/${ref.name}` === key && (ref.port === undefined || ref.port === port),
			),
		);
		if (rival === undefined) return null;
		first ??= rival;
	}
	return first;
}

function missingParent(context: Pick<RouteContext, 'services'>, route: HttpRoute, parent: ParentRef): string | null {
	const key = `${parent.namespace ?? route.metadata.namespace ?? ''}/${parent.name}`;
	const service = context.services.get(key);
	if (service === undefined) return `Service ${key} does not exist`;
	const ports = service.spec.ports.filter(({ port }) => parent.port === undefined || parent.port === port);
	if (ports.length === 0) return `Service ${key} has no port ${parent.port}`;
	if (ports.every((port) => portProtocol(port) === 'tcp')) return `Service ${key} does not speak HTTP`;
	return null;
}

/** All that the route names and that is not there. */
export function unresolvedReferences(context: RouteContext, route: HttpRoute): Unresolved[] {
	const found: Unresolved[] = [];
	for (const rule of route.spec.rules) {
		for (const ref of rule.backendRefs ?? []) {
			const { unresolved } = resolveBackend(context, route, ref);
			if (unresolved !== null) found.push(unresolved);
		}
		for (const { extensionRef } of rule.filters ?? []) {
			if (extensionRef === undefined || resolveFault(context, route, rule) !== null) continue;
			const message = `${extensionRef.kind} ${extensionRef.name} does not exist`;
			found.push({ reason: 'ExtensionNotFound', message });
		}
	}
	return found;
}
