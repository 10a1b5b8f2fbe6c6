import { describe, expect, test } from 'bun:test';
import { ConfigError, formatConfigErrorDetail } from '../std/errors.ts';
import { GRPC_ROUTE } from './grpc-route.ts';
import { findKindByName } from './kinds.ts';
import { parseObject } from './parse-object.ts';

const PARENT = { group: '', kind: 'Service', name: 'prices' };

function route(spec: object): object {
	return {
		apiVersion: 'gateway.networking.k8s.io/v1',
		kind: 'GRPCRoute',
		metadata: { name: 'r' },
		spec: { parentRefs: [PARENT], ...spec },
	};
}

function errorsOf(spec: object): string[] {
	try {
		parseObject(route(spec), { namespace: 'default' });
	} catch (error) {
		if (error instanceof ConfigError) return error.details.map(formatConfigErrorDetail);
		throw error;
	}
	return [];
}

const rule = (content: object) => errorsOf({ rules: [content] });
const match = (content: object) => rule({ matches: [content] });

test('without a rule, without a match, every call is meant; a method is meant exactly', () => {
	expect(parseObject(route({}), { namespace: 'shop' }).object.spec).toEqual({
		parentRefs: [PARENT],
		rules: [{ matches: [{}] }],
	});
	const { object } = parseObject(
		route({ rules: [{ matches: [{ method: { service: 'shop.v1.Prices' } }], backendRefs: [{ name: 'a', port: 1 }] }] }),
		{ namespace: 'shop' },
	);
	expect(object.spec).toMatchObject({
		rules: [
			{
				matches: [{ method: { type: 'Exact', service: 'shop.v1.Prices' } }],
				backendRefs: [{ group: '', kind: 'Service', weight: 1 }],
			},
		],
	});
});

test('is found by its names', () => {
	for (const name of ['GRPCRoute', 'grpcroutes', 'grpcroute', 'grpcroutes.gateway.networking.k8s.io']) {
		expect(findKindByName(name)?.kind).toBe('GRPCRoute');
	}
});

test.each([[{ service: 'shop\\Q' }], [{ service: '(?P<a>x)', method: '(?P<a>y)' }], [{ method: '\\Qy' }]])(
	'patterns that are none as one are refused, not given to proxies: %p',
	(method) => {
		expect(match({ method: { type: 'RegularExpression', ...method } })).toEqual([
			expect.stringMatching(/matches\[0\]\.method: found .* expected a regular expression in RE2 syntax/),
		]);
	},
);

describe('a match', () => {
	test.each([
		[{ method: { service: 'Prices', method: 'Get' } }],
		[{ method: { method: 'Get' }, headers: [{ name: 'x-user', value: 'beta' }] }],
		[{ method: { type: 'RegularExpression', service: 'shop\\..*' } }],
	])('may be %j', (content) => {
		expect(match(content)).toEqual([]);
	});

	test.each([
		[{ method: {} }, 'spec.rules[0].matches[0].method'],
		[{ method: { service: 'a/b' } }, 'spec.rules[0].matches[0].method.service'],
		[{ method: { service: 'a..b' } }, 'spec.rules[0].matches[0].method.service'],
		[{ method: { service: 'a', method: 'b.c' } }, 'spec.rules[0].matches[0].method.method'],
		[{ method: { type: 'RegularExpression', method: '(' } }, 'spec.rules[0].matches[0].method.method'],
		[{ method: { type: 'PathPrefix', method: 'b' } }, 'spec.rules[0].matches[0].method.type'],
		[{ path: { value: '/' } }, 'spec.rules[0].matches[0].path'],
		[
			{
				headers: [
					{ name: 'X-A', value: '1' },
					{ name: 'x-a', value: '2' },
				],
			},
			'spec.rules[0].matches[0].headers[1].name',
		],
	])('may not be %j', (content, field) => {
		const errors = match(content);
		expect(errors).toHaveLength(1);
		expect(errors[0]).toContain(`GRPCRoute default/r: ${field}: `);
	});
});

test.each([
	[{ filters: [{ type: 'RequestMirror', requestMirror: {} }] }, 'filters[0].type'],
	[{ filters: [{ type: 'URLRewrite' }] }, 'filters[0].type'],
	[{ filters: [{ type: 'RequestHeaderModifier' }] }, 'filters[0].requestHeaderModifier'],
	[
		{ filters: [{ type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name: 'te', value: 'x' }] } }] },
		'filters[0].requestHeaderModifier.set[0].name',
	],
	[{ backendRefs: [{ name: 'a' }] }, 'backendRefs[0].port'],
	[{ timeouts: { request: '1s' } }, 'timeouts'],
])('a rule may not have %j', (content, field) => {
	expect(rule(content)[0]).toContain(`spec.rules[0].${field}: `);
});

test('a Gateway as parent, and hostnames, are refused', () => {
	expect(errorsOf({ parentRefs: [{ name: 'gateway' }] })[0]).toContain('spec.parentRefs[0].kind');
	expect(errorsOf({ hostnames: ['a.example'] })[0]).toContain('spec.hostnames');
});

test('says what it refers to', () => {
	const { object } = parseObject(route({ rules: [{ backendRefs: [{ name: 'v2', port: 1 }] }] }), { namespace: 'shop' });
	const spec = GRPC_ROUTE.specSchema.parse(object.spec);
	const references = GRPC_ROUTE.references!({ ...object, spec, status: undefined });
	expect(references.map(({ kind, name, essential }) => [kind, name, essential])).toEqual([
		['Service', 'prices', true],
		['Service', 'v2', false],
	]);
});
