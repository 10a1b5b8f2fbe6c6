import { describe, expect, test } from 'bun:test';
import { ApiError } from './api-error.ts';
import { type Json, jsonPatch, mergePatch, strategicMergePatch } from './patch.ts';

function messageOf(action: () => unknown): string {
	try {
		action();
	} catch (error) {
		if (error instanceof ApiError) return error.message;
		throw error;
	}
	return '';
}

/** Literals of mixed objects are JSON, though TypeScript adds optional fields to their types. */
function json(value: unknown): Json {
	return value as Json;
}

test('merge patch: the examples of RFC 7386', () => {
	const cases: [Json, Json, Json][] = [
		[{ a: 'b' }, { a: 'c' }, { a: 'c' }],
		[{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
		[{ a: 'b' }, { a: null }, {}],
		[{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
		[{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
		[{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
		[{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
		[{ e: null }, { a: 1 }, { e: null, a: 1 }],
		[[1, 2], { a: 'b', c: null }, { a: 'b' }],
	];
	for (const [target, patch, result] of cases) expect(mergePatch(target, patch)).toEqual(result);
});

describe('strategic merge patch', () => {
	const mergeKeys = { 'spec.ports': 'port' };
	const target = {
		spec: {
			ports: [
				{ port: 1, name: 'a' },
				{ port: 2, name: 'b' },
			],
			selector: { app: 'x', v: '1' },
		},
	};

	test('merges a keyed list by its key, and replaces others', () => {
		const patch = {
			spec: {
				ports: [
					{ port: 2, name: 'c' },
					{ port: 3, name: 'd' },
				],
				selector: { v: null },
			},
		};
		expect(strategicMergePatch(target, json(patch), mergeKeys)).toEqual({
			spec: {
				ports: [
					{ port: 1, name: 'a' },
					{ port: 2, name: 'c' },
					{ port: 3, name: 'd' },
				],
				selector: { app: 'x' },
			},
		});
		expect(strategicMergePatch({ a: [1, 2] }, { a: [3] }, mergeKeys)).toEqual({ a: [3] });
	});

	test('deletes, orders and replaces by its directives', () => {
		const patch = {
			spec: {
				'$setElementOrder/ports': [{ port: 4 }, { port: 2 }],
				ports: [
					{ port: 1, $patch: 'delete' },
					{ port: 4, name: 'e' },
				],
			},
		};
		expect(strategicMergePatch(target, json(patch), mergeKeys)).toMatchObject({
			spec: {
				ports: [
					{ port: 4, name: 'e' },
					{ port: 2, name: 'b' },
				],
			},
		});
		expect(strategicMergePatch(target, { spec: { $patch: 'replace', ports: [] } }, mergeKeys)).toEqual({
			spec: { ports: [] },
		});
		expect(strategicMergePatch({ a: 1, b: 2 }, { $retainKeys: ['b', 'c'], c: 3 }, {})).toEqual({ b: 2, c: 3 });
		expect(messageOf(() => strategicMergePatch(target, { spec: { ports: [{ name: 'x' }] } }, mergeKeys))).toContain(
			'no port',
		);
	});

	test('leaves its input alone', () => {
		const before = structuredClone(target);
		strategicMergePatch(target, { spec: { ports: [{ port: 1, name: 'z' }], selector: { app: 'y' } } }, mergeKeys);
		expect(target).toEqual(before);
	});
});

describe('JSON patch', () => {
	test('does all six operations', () => {
		const operations = [
			{ op: 'test', path: '/a/0', value: 1 },
			{ op: 'add', path: '/a/1', value: 9 },
			{ op: 'add', path: '/a/-', value: 3 },
			{ op: 'remove', path: '/a/0' },
			{ op: 'replace', path: '/b~1c', value: { 'd~': 1 } },
			{ op: 'copy', from: '/b~1c', path: '/e' },
			{ op: 'move', from: '/e/d~0', path: '/f' },
		];
		const target = { a: [1, 2], 'b/c': 0 };
		expect(jsonPatch(target, json(operations))).toEqual({ a: [9, 2, 3], 'b/c': { 'd~': 1 }, e: {}, f: 1 });
		expect(target).toEqual({ a: [1, 2], 'b/c': 0 });
	});

	test('refuses what cannot be done, by number', () => {
		const refused: [Json, string][] = [
			[{ op: 'test', path: '/a', value: 2 }, 'test of /a failed'],
			[{ op: 'remove', path: '/x' }, 'nothing is at "x"'],
			[{ op: 'replace', path: '/x', value: 1 }, 'nothing is at "x"'],
			[{ op: 'add', path: '/l/5', value: 1 }, 'no place in a list'],
			[{ op: 'add', path: '/l/01', value: 1 }, 'no place in a list'],
			[{ op: 'add', path: '/x/y', value: 1 }, 'does not exist'],
			[{ op: 'add', path: 'a', value: 1 }, 'begins with /'],
			[{ op: 'add', path: '/a' }, 'expected "value"'],
			[{ op: 'move', from: '/o', path: '/o/x' }, 'into itself'],
			[{ op: 'poke', path: '/a' }, 'expected op'],
			[7, 'expected an object'],
		];
		for (const [operation, message] of refused) {
			const found = messageOf(() =>
				jsonPatch({ a: 1, l: [], o: {} }, [{ op: 'test', path: '/a', value: 1 }, operation]),
			);
			expect(found).toContain(message);
			expect(found).toContain('operation 1');
		}
	});

	test('a pointer cannot reach a prototype', () => {
		for (const path of ['/spec/__proto__', '/__proto__/x']) {
			const patch = [{ op: 'add', path, value: { clusterIP: '127.96.0.99' } }];
			expect(messageOf(() => jsonPatch({ spec: {} }, patch))).toContain('__proto__');
			const moved = [{ op: 'copy', from: '/spec', path }];
			expect(messageOf(() => jsonPatch({ spec: {} }, moved))).toContain('__proto__');
		}
	});

	test('copies are bounded', () => {
		const doubling = Array.from({ length: 40 }, () => ({ op: 'copy', from: '/a', path: '/a/-' }));
		expect(messageOf(() => jsonPatch({ a: ['x'.repeat(100)] }, doubling))).toContain('copies too much');
	});
});
