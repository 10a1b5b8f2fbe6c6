import { describe, expect, test } from 'bun:test';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { RouteConfigurationSchema } from '../../generated/envoy/config/route/v3/route_pb.ts';
import type { RequestHead } from '../../http/stream.ts';
import { ConfigError } from '../../std/errors.ts';
import { SeededRandom } from '../../std/random.ts';
import { typeRegistry } from '../type-registry.ts';
import { compileRouteConfiguration } from './route-compiler.ts';
import type { RouteTable } from './route-table.ts';

function compile(json: JsonObject): RouteTable {
	const message = fromJson(RouteConfigurationSchema, json, { registry: typeRegistry });
	return compileRouteConfiguration(message, (name) => `config of ${name}`);
}

function errorsOf(json: JsonObject): string {
	try {
		compile(json);
	} catch (error) {
		if (error instanceof ConfigError) return error.message;
		throw error;
	}
	return '';
}

function head(path: string, authority = 'x'): RequestHead {
	return { method: 'GET', scheme: 'http', authority, path, headers: [], upgrade: '' };
}

function oneHost(routes: JsonObject[]): JsonObject {
	return { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes }] };
}

const random = new SeededRandom(1);

describe('compileRouteConfiguration', () => {
	test('shares requests by weight', () => {
		const clusters = [
			{ name: 'a', weight: 1 },
			{ name: 'b', weight: 3 },
		];
		const table = compile(oneHost([{ match: { prefix: '/' }, route: { weighted_clusters: { clusters } } }]));
		const counts: Record<string, number> = { a: 0, b: 0 };
		for (let i = 0; i < 4000; i++) {
			const action = table.route(head('/'), random)?.action;
			if (action?.kind === 'forward') counts[action.cluster]! += 1;
		}
		expect(counts.a).toBeGreaterThan(900);
		expect(counts.a).toBeLessThan(1100);
	});

	test('lets a share of what matches through', () => {
		const runtime_fraction = { default_value: { numerator: 25 } };
		const table = compile(
			oneHost([
				{ match: { prefix: '/', runtime_fraction }, route: { cluster: 'some' } },
				{ match: { prefix: '/' }, route: { cluster: 'rest' } },
			]),
		);
		let some = 0;
		for (let i = 0; i < 4000; i++) {
			const action = table.route(head('/'), random)?.action;
			if (action?.kind === 'forward' && action.cluster === 'some') some += 1;
		}
		expect(some).toBeGreaterThan(900);
		expect(some).toBeLessThan(1100);
	});

	test('timeouts have Envoy defaults', () => {
		const table = compile(
			oneHost([
				{ match: { path: '/none' }, route: { cluster: 'a', timeout: '0s' } },
				{ match: { prefix: '/' }, route: { cluster: 'a', retry_policy: { retry_on: '5xx' } } },
			]),
		);
		expect(table.route(head('/none'), random)?.action).toMatchObject({ timeoutMs: 0, retryPolicy: null });
		expect(table.route(head('/'), random)?.action).toMatchObject({
			timeoutMs: 15_000,
			retryPolicy: { retriesMax: 1, backoffBaseMs: 25, backoffMaxMs: 250, perTryTimeoutMs: 0 },
		});
	});

	test('the most specific filter configuration holds', () => {
		const any = { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' };
		const table = compile({
			name: 'r',
			typed_per_filter_config: { outer: any },
			virtual_hosts: [
				{
					name: 'v',
					domains: ['*'],
					routes: [{ match: { prefix: '/' }, typed_per_filter_config: { inner: any }, route: { cluster: 'a' } }],
				},
			],
		});
		const configs = table.route(head('/'), random)?.filterConfigs;
		expect([...(configs ?? [])]).toEqual([
			['inner', 'config of inner'],
			['outer', 'config of outer'],
		]);
	});

	test('what is not supported is refused by name', () => {
		const route = { cluster: 'a', request_mirror_policies: [{ cluster: 'b' }] };
		expect(errorsOf(oneHost([{ match: { prefix: '/' }, route }]))).toBe(
			'route configuration "r": virtual_hosts[0].routes[0].route.request_mirror_policies: expected it to be absent: weft does not support it',
		);
	});

	test('all that is wrong is said at once', () => {
		const text = errorsOf(
			oneHost([
				{ match: { safe_regex: { regex: '(' } }, route: { cluster: 'a' } },
				{ match: { prefix: '/' }, route: { cluster: 'a', retry_policy: { retry_on: '5xx,sometimes' } } },
				{ match: { prefix: '/' }, route: { weighted_clusters: { clusters: [{ name: 'a', weight: 0 }] } } },
				{ match: { safe_regex: { regex: '/a' } }, route: { cluster: 'a', prefix_rewrite: '/' } },
				{ match: { prefix: '/' } },
			]),
		);
		expect(text).toContain('routes[0].match.safe_regex.regex');
		expect(text).toContain('routes[1].route.retry_policy.retry_on: found sometimes');
		expect(text).toContain('routes[2].route.weighted_clusters.clusters: found weights that sum to 0');
		expect(text).toContain('routes[3].route.prefix_rewrite');
		expect(text).toContain('routes[4]: expected one of route, redirect, direct_response');
	});

	test('a domain belongs to one virtual host', () => {
		const host = (name: string, domains: string[]): JsonObject => ({ name, domains, routes: [] });
		expect(errorsOf({ name: 'r', virtual_hosts: [host('a', ['x.y']), host('b', ['X.Y'])] })).toContain(
			'(it is in "a")',
		);
		expect(errorsOf({ name: 'r', virtual_hosts: [host('a', ['a.*.b'])] })).toContain('virtual_hosts[0].domains[0]');
	});

	test('a header that frames the message cannot be added', () => {
		const add = [{ header: { key: 'Content-Length', value: '5' } }];
		const text = errorsOf({ ...oneHost([]), response_headers_to_add: add });
		expect(text).toContain('response_headers_to_add[0].header.key: found "Content-Length"');
	});

	test('an offset to grpc-timeout without its bound is refused', () => {
		const route = (more: JsonObject) => oneHost([{ match: { prefix: '/' }, route: { cluster: 'a', ...more } }]);
		expect(errorsOf(route({ max_stream_duration: { grpc_timeout_header_offset: '1s' } }))).toContain(
			'routes[0].route.max_stream_duration.grpc_timeout_header_offset',
		);
		expect(errorsOf(route({ grpc_timeout_offset: '1s' }))).toContain('routes[0].route.grpc_timeout_offset');
		expect(errorsOf(route({ max_grpc_timeout: '0s', grpc_timeout_offset: '1s' }))).toBe('');
	});
});
