import { expect, test } from 'bun:test';
import { GRPC_ROUTE } from '../../config/grpc-route.ts';
import { HTTP_ROUTE } from '../../config/http-route.ts';
import { inHttpTerms } from '../grpc-route-terms.ts';
import type { HttpRoute } from '../mesh-kinds.ts';
import { orderMatches } from './route-order.ts';

function route(name: string, createdAt: string, matches: object[]): HttpRoute {
	const spec = HTTP_ROUTE.specSchema.parse({
		parentRefs: [{ group: '', kind: 'Service', name: 's' }],
		rules: matches.map((match) => ({ matches: [match] })),
	});
	return {
		apiVersion: 'gateway.networking.k8s.io/v1',
		kind: 'HTTPRoute',
		metadata: { name, namespace: 'default', creationTimestamp: createdAt },
		spec,
	};
}

const order = (...routes: HttpRoute[]) => orderMatches(routes).map(({ name }) => name.replace('default/', ''));

test('exact paths first, then patterns, then the longest prefix', () => {
	const one = route('r', '2026-01-01T00:00:00Z', [
		{ path: { value: '/' } },
		{ path: { value: '/long/prefix' } },
		{ path: { type: 'RegularExpression', value: '/l.*' } },
		{ path: { value: '/long' } },
		{ path: { type: 'Exact', value: '/a' } },
	]);
	expect(order(one)).toEqual(['r.4.0', 'r.2.0', 'r.1.0', 'r.3.0', 'r.0.0']);
});

test('then a method, the number of headers, the number of query parameters', () => {
	const header = (name: string) => ({ name, value: 'x' });
	const one = route('r', '2026-01-01T00:00:00Z', [
		{},
		{ queryParams: [header('a')] },
		{ headers: [header('a')], queryParams: [header('a'), header('b')] },
		{ headers: [header('a'), header('b')] },
		{ method: 'GET' },
	]);
	expect(order(one)).toEqual(['r.4.0', 'r.3.0', 'r.2.0', 'r.1.0', 'r.0.0']);
});

test('then the oldest route, then the name, then the order within the route', () => {
	const young = route('a', '2026-02-01T00:00:00Z', [{}, {}]);
	const old = route('z', '2026-01-01T00:00:00Z', [{}]);
	const twin = route('b', '2026-02-01T00:00:00Z', [{}]);
	expect(order(twin, young, old)).toEqual(['z.0.0', 'a.0.0', 'a.1.0', 'b.0.0']);
});

test('a closing slash does not make a prefix longer', () => {
	const one = route('r', '2026-01-01T00:00:00Z', [{ path: { value: '/a' } }, { path: { value: '/a/' } }]);
	expect(order(one)).toEqual(['r.0.0', 'r.1.0']);
});

test('of gRPC: the longest service, then the longest method, then the most headers', () => {
	const spec = GRPC_ROUTE.specSchema.parse({
		parentRefs: [{ group: '', kind: 'Service', name: 's' }],
		rules: [
			{ matches: [{}] },
			{ matches: [{ method: { method: 'GetPrice' } }] },
			{ matches: [{ method: { service: 'a.B' } }] },
			{ matches: [{ method: { service: 'a.B', method: 'Get' } }] },
			{ matches: [{ method: { type: 'RegularExpression', service: 'a[.].*' } }] },
			{ matches: [{ method: { service: 'a.B' }, headers: [{ name: 'x', value: 'y' }] }] },
		],
	});
	const metadata = { name: 'r', namespace: 'default', creationTimestamp: '2026-01-01T00:00:00Z' };
	const apiVersion = 'gateway.networking.k8s.io/v1';
	const one: HttpRoute = { apiVersion, kind: 'GRPCRoute', metadata, spec: inHttpTerms(spec) };
	expect(order(one)).toEqual(['r.4.0', 'r.3.0', 'r.5.0', 'r.2.0', 'r.1.0', 'r.0.0']);
});
