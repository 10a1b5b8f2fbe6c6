import { describe, expect, test } from 'bun:test';
import type { HttpPathModifier, HttpRequestRedirect, HttpRouteMatch } from '../../config/http-route.ts';
import { compileFault, compileRedirect, headerChanges, pathChange } from './route-filters.ts';

const prefix = (value: string): HttpRouteMatch => ({ path: { type: 'PathPrefix', value } });
const replace = (text: string): HttpPathModifier => ({ type: 'ReplacePrefixMatch', replacePrefixMatch: text });

/** What Envoy does with the change to a path that matched. */
function rewritten(path: string, match: HttpRouteMatch, modifier: HttpPathModifier): string {
	const change = pathChange(modifier, match);
	const matched = match.path.value === '/' ? '/' : match.path.value.replace(/\/$/, '');
	if (change.kind === 'prefix') return change.value + path.slice(matched.length);
	return path.replace(new RegExp(change.value.pattern!.regex), change.value.substitution.replaceAll('$', '$$$$'));
}

describe('paths', () => {
	// The table of Gateway API `HTTPPathModifier.replacePrefixMatch`.
	for (const [path, from, to, result] of [
		['/foo/bar', '/foo', '/xyz', '/xyz/bar'],
		['/foo/bar', '/foo', '/xyz/', '/xyz/bar'],
		['/foo/bar', '/foo/', '/xyz', '/xyz/bar'],
		['/foo/bar', '/foo/', '/xyz/', '/xyz/bar'],
		['/foo', '/foo', '/xyz', '/xyz'],
		['/foo/', '/foo', '/xyz', '/xyz/'],
		['/foo/bar', '/foo', '', '/bar'],
		['/foo/', '/foo', '', '/'],
		['/foo', '/foo', '', '/'],
		['/foo/', '/foo', '/', '/'],
		['/foo', '/foo', '/', '/'],
		['/abc', '/', '/xyz', '/xyz/abc'],
	] as const) {
		test(`${path} with ${from} replaced by "${to}" is ${result}`, () => {
			expect(rewritten(path, prefix(from), replace(to))).toBe(result);
		});
	}

	test('characters that mean something to a pattern are themselves', () => {
		expect(rewritten('/a.b/c', prefix('/a.b'), replace('/'))).toBe('/c');
		expect(rewritten('/aXb/c', prefix('/a.b'), replace('/'))).toBe('/aXb/c');
	});

	test('a whole path is replaced', () => {
		expect(rewritten('/x/y', prefix('/'), { type: 'ReplaceFullPath', replaceFullPath: '/z' })).toBe('/z');
	});
});

describe('redirects', () => {
	const redirect = (spec: Partial<HttpRequestRedirect>) =>
		compileRedirect({ statusCode: 302, ...spec }, prefix('/'), 9080);

	test('keep the port of the service where only the host changes', () => {
		expect(redirect({ hostname: 'a.b' })).toMatchObject({ hostRedirect: 'a.b', portRedirect: 9080 });
	});

	test('leave the port out where the scheme implies it', () => {
		expect(redirect({ hostname: 'a.b', scheme: 'https' })).toMatchObject({ hostRedirect: 'a.b', portRedirect: 0 });
	});

	test('take the port that is asked for', () => {
		expect(redirect({ hostname: 'a.b', scheme: 'https', port: 8443 }).portRedirect).toBe(8443);
	});

	test('change nothing of the authority where only the path changes', () => {
		const action = redirect({ path: { type: 'ReplaceFullPath', replaceFullPath: '/x' } });
		expect(action).toMatchObject({ hostRedirect: '', portRedirect: 0 });
		expect(action.pathRewriteSpecifier.case).toBe('regexRewrite');
	});
});

test('header values are literal, set overwrites and add appends', () => {
	const changes = headerChanges([
		{
			type: 'RequestHeaderModifier',
			requestHeaderModifier: {
				set: [{ name: 'a', value: '50%' }],
				add: [{ name: 'b', value: '1' }],
				remove: ['c'],
			},
		},
	]);
	expect(
		changes.requestHeadersToAdd.map(({ header, appendAction }) => [header?.key, header?.value, appendAction]),
	).toEqual([
		['a', '50%%', 2],
		['b', '1', 0],
	]);
	expect(changes.requestHeadersToRemove).toEqual(['c']);
	expect(changes.responseHeadersToAdd).toEqual([]);
});

test('a fault is of the type that the filter reads', () => {
	const fault = compileFault({ delay: { fixedDelay: '150ms', percentage: 0.5 } });
	expect(fault.typeUrl).toBe('type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault');
});
