import { describe, expect, test } from 'bun:test';
import { ConfigError, formatConfigErrorDetail } from '../std/errors.ts';
import { parseObject } from './parse-object.ts';

function errorsOf(input: unknown): string[] {
	try {
		parseObject(input, { namespace: 'default' });
	} catch (error) {
		if (error instanceof ConfigError) return error.details.map(formatConfigErrorDetail);
		throw error;
	}
	return [];
}

function service(spec: object, metadata: object = {}) {
	return { apiVersion: 'v1', kind: 'Service', metadata: { name: 'reviews', ...metadata }, spec };
}

function route(spec: object) {
	const parentRefs = [{ group: '', kind: 'Service', name: 'reviews' }];
	return {
		apiVersion: 'gateway.networking.k8s.io/v1',
		kind: 'HTTPRoute',
		metadata: { name: 'r' },
		spec: { parentRefs, ...spec },
	};
}

function rule(content: object) {
	return route({ rules: [content] });
}

function fault(spec: object) {
	return { apiVersion: 'weft.dev/v1alpha1', kind: 'FaultInjection', metadata: { name: 'slow' }, spec };
}

function entry(spec: object) {
	return { apiVersion: 'networking.istio.io/v1', kind: 'WorkloadEntry', metadata: { name: 'a' }, spec };
}

describe('any object', () => {
	test('gets its defaults and the preferred version', () => {
		const { object } = parseObject(
			{ ...rule({}), apiVersion: 'gateway.networking.k8s.io/v1beta1' },
			{ namespace: 'shop' },
		);
		expect(object).toEqual({
			apiVersion: 'gateway.networking.k8s.io/v1',
			kind: 'HTTPRoute',
			metadata: { name: 'r', namespace: 'shop' },
			spec: {
				parentRefs: [{ group: '', kind: 'Service', name: 'reviews' }],
				rules: [{ matches: [{ path: { type: 'PathPrefix', value: '/' } }] }],
			},
		});
	});

	test('errors name object, field, found and expected', () => {
		expect(errorsOf(service({ ports: [{ port: '80' }] }))).toEqual([
			'Service default/reviews: spec.ports[0].port: found "80", expected a number',
		]);
		expect(errorsOf(service({ ports: [{ port: 70000 }] }))).toEqual([
			'Service default/reviews: spec.ports[0].port: found 70000, expected a port: 1 to 65535',
		]);
		expect(errorsOf(service({}))).toEqual(['Service default/reviews: spec.ports: expected a list (it is required)']);
	});

	test('an unknown field gets a guess', () => {
		expect(errorsOf(rule({ backendRef: [] }))).toEqual([
			'HTTPRoute default/r: spec.rules[0].backendRef: found an unknown field, expected one of the fields name, matches, filters, backendRefs, timeouts (did you mean "backendRefs"?)',
		]);
		expect(errorsOf({ ...service({ ports: [{ port: 1 }] }), sepc: {} })[0]).toContain('did you mean "spec"?');
	});

	test('an unknown kind or version says what there is', () => {
		expect(errorsOf({ ...service({}), kind: 'Servcie' })[0]).toContain('did you mean "Service"?');
		expect(errorsOf({ ...service({}), apiVersion: 'v2' })).toEqual([
			'Service default/reviews: apiVersion: found "v2", expected "v1"',
		]);
		expect(errorsOf({ metadata: {} })).toEqual(['object: apiVersion: expected a string (it is required)']);
		expect(errorsOf([1])).toEqual(['object: found a list of 1, expected an object']);
		expect(errorsOf(null)).toEqual(['object: found null, expected an object']);
	});

	test('names, labels and fields that weft has not are checked', () => {
		const ports = { ports: [{ port: 1 }] };
		expect(errorsOf(service(ports, { name: 'Reviews' }))[0]).toContain(
			'metadata.name: found "Reviews", expected a DNS label',
		);
		expect(errorsOf(service(ports, { labels: { 'a b': 'c' } }))[0]).toContain('metadata.labels["a b"]');
		expect(errorsOf(service(ports, { labels: { a: 'c d' } }))[0]).toContain('metadata.labels.a: found "c d"');
		expect(errorsOf(service(ports, { finalizers: ['x'] }))[0]).toContain('does not support this field');
		expect(errorsOf(service(ports, { creationTimestamp: null, managedFields: [{}] }))).toEqual([]);
		const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a', namespace: 'b' } };
		expect(errorsOf(namespace)[0]).toContain('a Namespace is in none');
	});
});

describe('Service', () => {
	test('ports: names where there are several, nothing twice', () => {
		expect(errorsOf(service({ ports: [{ port: 1 }, { port: 1 }] }))).toHaveLength(3);
		expect(
			errorsOf(
				service({
					ports: [
						{ port: 1, name: 'a' },
						{ port: 2, name: 'a' },
					],
				}),
			),
		).toHaveLength(1);
		expect(errorsOf(service({ ports: [{ port: 1, protocol: 'UDP' }] }))[0]).toContain('found "UDP", expected "TCP"');
		expect(errorsOf(service({ ports: [{ port: 1, targetPort: 'http' }] }))).toEqual([]);
		expect(errorsOf(service({ ports: [{ port: 1, targetPort: true }] }))[0]).toContain(
			'a port (1 to 65535) or the name',
		);
	});

	test('what Kubernetes has and weft does otherwise is refused', () => {
		const ports = [{ port: 1 }];
		expect(errorsOf(service({ ports, clusterIP: 'None' }))[0]).toContain('headless');
		expect(errorsOf(service({ ports, clusterIP: '10.0.0.1' }))[0]).toContain('127.96.0.0/16');
		expect(errorsOf(service({ ports, clusterIP: '127.96.0.0' }))).toHaveLength(1);
		expect(errorsOf(service({ ports, clusterIP: '127.96.0.1', clusterIPs: ['127.96.0.1'] }))).toEqual([]);
		expect(errorsOf(service({ ports, type: 'LoadBalancer' }))).toHaveLength(1);
		expect(errorsOf(service({ ports, sessionAffinity: 'ClientIP' }))).toHaveLength(1);
	});
});

describe('HTTPRoute', () => {
	const backendRefs = [{ name: 'reviews', port: 80 }];

	test('only Services are parents', () => {
		expect(errorsOf(route({ parentRefs: [{ name: 'gw' }] }))[0]).toContain('weft does not serve Gateways yet');
		expect(errorsOf(route({ parentRefs: [] }))[0]).toContain('at least 1 item');
		expect(errorsOf(route({ hostnames: ['a.example'] }))[0]).toContain('match the header "host"');
	});

	test('weights are 0 to a million, ports are required', () => {
		expect(errorsOf(rule({ backendRefs: [{ name: 'a', port: 1, weight: 0 }] }))).toEqual([]);
		expect(errorsOf(rule({ backendRefs: [{ name: 'a', port: 1, weight: 1_000_001 }] }))[0]).toContain(
			'at most 1000000',
		);
		expect(errorsOf(rule({ backendRefs: [{ name: 'a', port: 1, weight: -1 }] }))).toHaveLength(1);
		expect(errorsOf(rule({ backendRefs: [{ name: 'a' }] }))[0]).toContain('the port of the Service');
	});

	test('paths are absolute and normal; patterns compile', () => {
		const path = (type: string, value: string) => errorsOf(rule({ matches: [{ path: { type, value } }] }));
		expect(path('Exact', '/a/b')).toEqual([]);
		for (const value of [
			'a',
			'/a//b',
			'/a/../b',
			'/a/./b',
			'/a%2fb',
			'/a%2Fb',
			'/a#b',
			'/a/..',
			'/a/.',
			'/a b',
			'/ä',
		]) {
			expect([value, path('PathPrefix', value).length]).toEqual([value, 1]);
		}
		expect(path('RegularExpression', '/a(b|c)+')).toEqual([]);
		expect(path('RegularExpression', '/a(b')[0]).toContain('RE2 syntax');
		expect(path('RegularExpression', '(a)\\1')[0]).toContain('RE2 syntax');
	});

	test('bounds: 16 rules, 64 matches in one, 128 in all', () => {
		const matches = (count: number) => Array.from({ length: count }, (_, index) => ({ path: { value: `/${index}` } }));
		expect(errorsOf(route({ rules: Array.from({ length: 17 }, () => ({})) }))[0]).toContain('at most 16 items');
		expect(errorsOf(rule({ matches: matches(65) }))[0]).toContain('at most 64 items');
		const rules = [{ matches: matches(64) }, { matches: matches(64) }, { matches: matches(1) }];
		expect(errorsOf(route({ rules }))[0]).toContain('at most 128 matches');
	});

	test('header and query names are listed once', () => {
		const header = (name: string) => ({ name, value: 'x' });
		expect(errorsOf(rule({ matches: [{ headers: [header('a'), header('A')] }] }))).toHaveLength(1);
		expect(errorsOf(rule({ matches: [{ queryParams: [header('a'), header('A')] }] }))).toEqual([]);
		const filter = { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [header('a'), header('A')] } };
		expect(errorsOf(rule({ filters: [filter] }))).toHaveLength(1);
	});

	test('header values cannot smuggle a line', () => {
		const set = (name: string, value: string) =>
			errorsOf(
				rule({ filters: [{ type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name, value }] } }] }),
			);
		expect(set('x', 'a b')).toEqual([]);
		expect(set('x', 'a\r\nb: c')).toHaveLength(1);
		expect(set('x', ' a')).toHaveLength(1);
		expect(set('x\n', 'a')).toHaveLength(1);
		expect(set('Host', 'a')[0]).toContain('URLRewrite');
	});

	test('a route cannot say where a message ends, or who calls', () => {
		for (const name of ['Content-Length', 'transfer-encoding', 'Connection', 'x-weft-peer']) {
			const set = { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name, value: '5' }] } };
			const remove = { type: 'ResponseHeaderModifier', responseHeaderModifier: { remove: [name] } };
			expect(errorsOf(rule({ filters: [set] }))[0]).toContain("the proxies' own");
			expect(errorsOf(rule({ filters: [remove] }))[0]).toContain("the proxies' own");
		}
	});

	test('a filter has what its type says and nothing else, once', () => {
		const redirect = { type: 'RequestRedirect', requestRedirect: { scheme: 'https' } };
		expect(errorsOf(rule({ filters: [redirect] }))).toEqual([]);
		expect(errorsOf(rule({ filters: [redirect, redirect] }))[0]).toContain('once');
		expect(errorsOf(rule({ filters: [redirect], backendRefs }))[0]).toContain('no backendRefs');
		expect(errorsOf(rule({ filters: [{ type: 'RequestRedirect' }] }))[0]).toContain(
			'required with type RequestRedirect',
		);
		expect(errorsOf(rule({ filters: [{ ...redirect, urlRewrite: {} }] }))[0]).toContain('nothing here with type');
		expect(errorsOf(rule({ filters: [redirect, { type: 'URLRewrite', urlRewrite: {} }] }))).toHaveLength(1);
	});

	test('what weft does not do yet is refused by name', () => {
		expect(errorsOf(rule({ filters: [{ type: 'RequestMirror', requestMirror: {} }] }))[0]).toContain('RequestMirror');
		expect(errorsOf(rule({ filters: [{ type: 'CORS', cors: {} }] }))[0]).toContain('CORS');
		const extensionRef = { group: 'other.dev', kind: 'X', name: 'x' };
		expect(errorsOf(rule({ filters: [{ type: 'ExtensionRef', extensionRef }] }))[0]).toContain('"weft.dev"');
		const filters = [{ type: 'URLRewrite', urlRewrite: { hostname: 'a.example' } }];
		expect(errorsOf(rule({ backendRefs: [{ name: 'a', port: 1, filters }] }))[0]).toContain('filters of the rule');
	});

	test('a prefix is replaced only where one is matched', () => {
		const filters = [
			{ type: 'URLRewrite', urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' } } },
		];
		expect(errorsOf(rule({ filters, matches: [{ path: { value: '/a' } }] }))).toEqual([]);
		expect(errorsOf(rule({ filters, matches: [{ path: { type: 'Exact', value: '/a' } }] }))).toHaveLength(1);
		expect(errorsOf(rule({ filters, matches: [{}, {}] }))).toHaveLength(1);
		const wrong = [{ type: 'URLRewrite', urlRewrite: { path: { type: 'ReplaceFullPath', replacePrefixMatch: '/' } } }];
		expect(errorsOf(rule({ filters: wrong }))).toHaveLength(2);
	});

	test('timeouts are durations, the inner one not above the outer', () => {
		expect(errorsOf(rule({ timeouts: { request: '10s', backendRequest: '2s' } }))).toEqual([]);
		expect(errorsOf(rule({ timeouts: { request: '0s', backendRequest: '2s' } }))).toEqual([]);
		expect(errorsOf(rule({ timeouts: { request: '1s', backendRequest: '2s' } }))[0]).toContain('at most 1s');
		expect(errorsOf(rule({ timeouts: { request: '10' } }))[0]).toContain('a duration like');
	});
});

describe('WorkloadEntry and FaultInjection', () => {
	test('an address is an IP address', () => {
		expect(errorsOf(entry({ address: '10.0.0.1', ports: { http: 80 }, locality: 'eu/west' }))).toEqual([]);
		expect(errorsOf(entry({ address: '::1' }))).toEqual([]);
		expect(errorsOf(entry({ address: 'db.example' }))[0]).toContain('an IP address');
		expect(errorsOf(entry({ address: '10.0.0.1', network: 'n2' }))).toHaveLength(1);
		expect(errorsOf(entry({ address: '10.0.0.1', weight: 0 }))).toHaveLength(1);
	});

	test('a fault delays, aborts or both', () => {
		expect(parseObject(fault({ delay: { fixedDelay: '2s' } })).object.spec).toEqual({
			delay: { fixedDelay: '2s', percentage: 100 },
		});
		expect(errorsOf(fault({}))[0]).toContain('delay, abort or both');
		expect(errorsOf(fault({ delay: { fixedDelay: '0s' } }))[0]).toContain('1ms to 1h');
		expect(errorsOf(fault({ abort: { httpStatus: 600 } }))).toHaveLength(1);
		expect(errorsOf(fault({ abort: { httpStatus: 503, percentage: 101 } }))[0]).toContain('at most 100');
	});
});
