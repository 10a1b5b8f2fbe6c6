// GRPCRoutes from the store to resources and statuses, alone and beside HTTPRoutes.

import { describe, expect, test } from 'bun:test';
import { GRPC_ROUTE } from '../config/grpc-route.ts';
import { HTTP_ROUTE } from '../config/http-route.ts';
import {
	RouteAction_ClusterNotFoundResponseCode as NotFoundCode,
	type Route,
} from '../generated/envoy/config/route/v3/route_components_pb.ts';
import { routeSummary } from './mesh-view-routes.ts';
import { RouteStatusWriter } from './route-status.ts';
import { sidecarNode, TestMesh } from './testing-mesh.ts';

const PRICES = 'outbound|50051||prices.default.svc.cluster.local';

const SERVICES = ['prices', 'prices-v2']
	.map(
		(name) => `
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: default }
spec: { selector: { app: ${name} }, ports: [{ name: grpc, port: 50051 }] }
`,
	)
	.join('');

const grpcRoute = (rules: string, more = '') => `
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: prices, namespace: default }
spec:
  parentRefs: [{ group: "", kind: Service, name: prices ${more} }]
  rules: ${rules}
`;
const httpRoute = (more = '') => `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: prices, namespace: default }
spec:
  parentRefs: [{ group: "", kind: Service, name: prices ${more} }]
  rules: [{ backendRefs: [{ name: prices-v2, port: 50051 }] }]
`;
const BACKEND = '{ name: prices-v2, port: 50051 }';

/** How a route is matched: the kind of its path specifier and its value. */
const matchOf = ({ match }: Route) => [
	match?.pathSpecifier.case,
	match?.pathSpecifier.case === 'safeRegex' ? match.pathSpecifier.value.regex : match?.pathSpecifier.value,
];

test.each([
	['{ service: shop.Prices, method: Get }', ['path', '/shop.Prices/Get']],
	['{ service: .shop.Prices, method: Get }', ['path', '/shop.Prices/Get']],
	['{ service: shop.Prices }', ['pathSeparatedPrefix', '/shop.Prices']],
	['{ method: Get }', ['safeRegex', '/[^/]+/Get']],
	['{ type: RegularExpression, service: "shop[.].*|x" }', ['safeRegex', '/(?:shop[.].*|x)/[^/]+']],
	['{ type: RegularExpression, service: "a|b", method: "Get.*" }', ['safeRegex', '/(?:a|b)/(?:Get.*)']],
])('a method %s is a path', async (method, expected) => {
	const mesh = await TestMesh.start(
		SERVICES + grpcRoute(`[{ matches: [{ method: ${method} }], backendRefs: [${BACKEND}] }]`),
	);
	const [route] = mesh.open(sidecarNode()).routeList(PRICES);
	expect(matchOf(route!)).toEqual(expected);
});

test('weights, header changes and metadata are those of an HTTPRoute', async () => {
	const mesh = await TestMesh.start(
		SERVICES +
			grpcRoute(`
    - matches: [{ headers: [{ name: x-user, value: beta }] }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-canary, value: "1" }] } }]
      backendRefs: [{ name: prices, port: 50051, weight: 9 }, { name: prices-v2, port: 50051, weight: 1 }]`),
	);
	const [route] = mesh.open(sidecarNode()).routeList(PRICES);
	expect(route!.match!.headers[0]!.name).toBe('x-user');
	expect(route!.requestHeadersToAdd[0]!.header!.key).toBe('x-canary');
	const action = route!.action.case === 'route' ? route!.action.value.clusterSpecifier : null;
	if (action?.case !== 'weightedClusters') throw new Error('no weights');
	expect(action.value.clusters.map(({ weight }) => weight)).toEqual([9, 1]);
});

test('the longest name of a service comes first, and a dot before it is none of its letters', async () => {
	const mesh = await TestMesh.start(
		SERVICES +
			grpcRoute(`
    - { matches: [{ method: { service: .shop.Prices } }], backendRefs: [${BACKEND}] }
    - { matches: [{ method: { service: shop.Prices, method: Get } }], backendRefs: [${BACKEND}] }`),
	);
	const routes = mesh.open(sidecarNode()).routeList(PRICES);
	expect(routes.map(matchOf)).toEqual([
		['path', '/shop.Prices/Get'],
		['pathSeparatedPrefix', '/shop.Prices'],
	]);
});

test('a call for a backend that is not there is UNAVAILABLE, all of them or their share', async () => {
	const mesh = await TestMesh.start(
		SERVICES +
			grpcRoute(`
    - { matches: [{ method: { service: a.A } }], backendRefs: [{ name: none, port: 50051 }] }
    - { matches: [{ method: { service: b.B } }], backendRefs: [{ name: none, port: 50051 }, ${BACKEND}] }
    - { matches: [{ method: { service: c.C } }] }`),
	);
	const routes = mesh.open(sidecarNode()).routeList(PRICES);
	expect(
		routes.map(({ action }) =>
			action.case === 'directResponse'
				? action.value.status
				: action.case === 'route' && action.value.clusterNotFoundResponseCode,
		),
	).toEqual([503, NotFoundCode.SERVICE_UNAVAILABLE, 503]);
});

describe('beside an HTTPRoute of the same port', () => {
	const rules = `[{ matches: [{ method: { service: shop.Prices } }], backendRefs: [${BACKEND}] }]`;

	async function meshWith(yaml: string) {
		const mesh = await TestMesh.start(SERVICES + yaml);
		const progress = { of: 0, acknowledged: 0, rejection: null };
		const writer = new RouteStatusWriter(mesh.model, mesh.objects, mesh.clock, () => progress);
		const accepted = async (kind: 'HTTPRoute' | 'GRPCRoute') => {
			writer.mark(mesh.model.routeKeys());
			await writer.idle();
			await mesh.settle();
			const route =
				kind === 'HTTPRoute'
					? await mesh.objects.get(HTTP_ROUTE, 'default', 'prices')
					: await mesh.objects.get(GRPC_ROUTE, 'default', 'prices');
			return route?.status?.parents[0]?.conditions[0]?.reason;
		};
		return { mesh, accepted };
	}

	test('counts alone, and the HTTPRoute says why it does not; until it is gone', async () => {
		const { mesh, accepted } = await meshWith(grpcRoute(rules) + httpRoute());
		const sidecar = mesh.open(sidecarNode());
		expect(sidecar.routeList(PRICES).map(({ name }) => name)).toEqual(['default/prices.0.0']);
		expect(matchOf(sidecar.routeList(PRICES)[0]!)).toEqual(['pathSeparatedPrefix', '/shop.Prices']);
		expect([await accepted('GRPCRoute'), await accepted('HTTPRoute')]).toEqual(['Accepted', 'Conflicted']);
		await mesh.objects.delete(GRPC_ROUTE, 'default', 'prices');
		await mesh.settle();
		expect(matchOf(sidecar.routeList(PRICES)[0]!)).toEqual(['prefix', '/']);
		expect(await accepted('HTTPRoute')).toBe('Accepted');
	});

	test('of another port, each has its own', async () => {
		const two = SERVICES.replace(
			'ports: [{ name: grpc, port: 50051 }]',
			'ports: [{ name: grpc, port: 50051 }, { name: http, port: 80 }]',
		);
		const { mesh, accepted } = await meshWith(two + grpcRoute(rules, ', port: 50051') + httpRoute());
		const sidecar = mesh.open(sidecarNode());
		expect(matchOf(sidecar.routeList(PRICES)[0]!)).toEqual(['pathSeparatedPrefix', '/shop.Prices']);
		expect(matchOf(sidecar.routeList(PRICES.replace('50051', '80'))[0]!)).toEqual(['prefix', '/']);
		expect([await accepted('GRPCRoute'), await accepted('HTTPRoute')]).toEqual(['Accepted', 'Accepted']);
	});
});

test('is told in its own words', async () => {
	const mesh = await TestMesh.start(
		SERVICES +
			grpcRoute(`
    - matches: [{ method: { service: shop.Prices, method: Get } }, { method: { type: RegularExpression, method: "G.*" } }]
      backendRefs: [${BACKEND}]
    - matches: [{ headers: [{ name: x, value: y }] }]
      backendRefs: [${BACKEND}]`),
	);
	const summary = routeSummary(mesh.model.route('GRPCRoute default/prices')!, mesh.model, { count: 0, of: 0 });
	expect([summary.kind, summary.parents, summary.rules.map(({ matches }) => matches)]).toEqual([
		'GRPCRoute',
		['Service prices'],
		[['service shop.Prices, method Get', 'method ~ G.*'], ['header x = y']],
	]);
});
