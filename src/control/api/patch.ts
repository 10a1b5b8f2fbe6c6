// The three patches of the Kubernetes API over plain JSON values: JSON merge patch (RFC 7386), JSON
// patch (RFC 6902) and strategic merge patch, which merges some lists by a key. None changes its
// input. Sizes are bounded, because `copy` can double an object with each operation.

import { OBJECT_BYTES_MAX } from '../../config/parse-object.ts';
import { badRequest } from './api-error.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const OPERATIONS_MAX = 1000;

function isObject(value: Json | undefined): value is JsonObject {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function mergePatch(target: Json | undefined, patch: Json): Json {
	if (!isObject(patch)) return patch;
	const result: JsonObject = isObject(target) ? { ...target } : {};
	for (const [key, value] of Object.entries(patch)) {
		if (value === null) delete result[key];
		else result[key] = mergePatch(Object.hasOwn(result, key) ? result[key] : undefined, value);
	}
	return result;
}

/**
 * `mergeKeys` says which lists are merged, by path without indices: `spec.ports` → `port`. Knows the
 * directives `$patch`, `$retainKeys`, `$setElementOrder/LIST` and `$deleteFromPrimitiveList/LIST`.
 */
export function strategicMergePatch(
	target: Json | undefined,
	patch: Json,
	mergeKeys: Readonly<Record<string, string>>,
	path = '',
): Json {
	if (!isObject(patch)) return patch;
	if (patch.$patch === 'delete') return {};
	const base: JsonObject = isObject(target) && patch.$patch !== 'replace' ? { ...target } : {};
	const retained = patch.$retainKeys;
	if (Array.isArray(retained)) {
		for (const key of Object.keys(base)) if (!retained.includes(key)) delete base[key];
	}
	for (const [key, value] of Object.entries(patch)) {
		if (key.startsWith('$')) continue;
		const place = path === '' ? key : `${path}.${key}`;
		const mergeKey = mergeKeys[place];
		if (value === null) delete base[key];
		else if (Array.isArray(value) && mergeKey !== undefined) {
			base[key] = mergeList(base[key], value, mergeKey, mergeKeys, place);
		} else base[key] = strategicMergePatch(Object.hasOwn(base, key) ? base[key] : undefined, value, mergeKeys, place);
	}
	applyListDirectives(base, patch, mergeKeys, path);
	return base;
}

function applyListDirectives(
	base: JsonObject,
	patch: JsonObject,
	mergeKeys: Readonly<Record<string, string>>,
	path: string,
): void {
	for (const [directive, values] of Object.entries(patch)) {
		const [name, key] = directive.split('/');
		const list = key === undefined ? undefined : base[key];
		if (key === undefined || !Array.isArray(values) || !Array.isArray(list)) continue;
		if (name === '$deleteFromPrimitiveList') {
			base[key] = list.filter((item) => !values.includes(item));
		} else if (name === '$setElementOrder') {
			const mergeKey = mergeKeys[path === '' ? key : `${path}.${key}`];
			const identity = (item: Json) => JSON.stringify(mergeKey !== undefined && isObject(item) ? item[mergeKey] : item);
			const order = new Map(values.map((item, index) => [identity(item), index]));
			base[key] = list.toSorted(
				(a, b) => (order.get(identity(a)) ?? Infinity) - (order.get(identity(b)) ?? Infinity) || 0,
			);
		}
	}
}

function mergeList(
	target: Json | undefined,
	patch: readonly Json[],
	mergeKey: string,
	mergeKeys: Readonly<Record<string, string>>,
	path: string,
): Json[] {
	const result = Array.isArray(target) ? [...target] : [];
	if (patch.some((item) => isObject(item) && item.$patch === 'replace')) {
		return patch.filter((item) => !(isObject(item) && item.$patch !== undefined));
	}
	for (const item of patch) {
		if (!isObject(item) || item[mergeKey] === undefined) {
			throw badRequest(`strategic merge patch: an item of ${path} has no ${mergeKey}`);
		}
		const index = result.findIndex((other) => isObject(other) && other[mergeKey] === item[mergeKey]);
		if (item.$patch === 'delete') {
			if (index >= 0) result.splice(index, 1);
		} else if (index >= 0) result[index] = strategicMergePatch(result[index], item, mergeKeys, path);
		else result.push(strategicMergePatch(undefined, item, mergeKeys, path));
	}
	return result;
}

/** @throws ApiError 400 with the number of the operation */
export function jsonPatch(target: Json, operations: Json): Json {
	if (!Array.isArray(operations) || operations.length > OPERATIONS_MAX) {
		throw badRequest(`a JSON patch is a list of at most ${OPERATIONS_MAX} operations`);
	}
	// One holder, so that the empty pointer (the whole document) is no special case.
	const holder: JsonObject = { root: structuredClone(target) };
	let charactersLeft = OBJECT_BYTES_MAX;
	for (const [index, operation] of operations.entries()) {
		const fail = (message: string) => badRequest(`JSON patch: operation ${index}: ${message}`);
		if (!isObject(operation)) throw fail('expected an object');
		const { op, path, from, value } = operation;
		if (typeof path !== 'string') throw fail('expected "path", a JSON pointer');
		const at = locate(holder, path, fail);
		switch (op) {
			case 'add':
				if (value === undefined) throw fail('expected "value"');
				add(at, structuredClone(value), fail);
				break;
			case 'remove':
				remove(at, fail);
				break;
			case 'replace':
				if (value === undefined) throw fail('expected "value"');
				read(at, fail);
				write(at, structuredClone(value));
				break;
			case 'move':
			case 'copy': {
				if (typeof from !== 'string') throw fail('expected "from", a JSON pointer');
				if (op === 'move' && path.startsWith(`${from}/`)) throw fail('cannot move a value into itself');
				const source = locate(holder, from, fail);
				const moved = structuredClone(read(source, fail));
				charactersLeft -= JSON.stringify(moved).length;
				if (charactersLeft < 0) throw fail('the patch copies too much');
				if (op === 'move') remove(source, fail);
				add(locate(holder, path, fail), moved, fail);
				break;
			}
			case 'test':
				if (value === undefined || !Bun.deepEquals(read(at, fail), value)) throw fail(`the test of ${path} failed`);
				break;
			default:
				throw fail('expected op to be add, remove, replace, move, copy or test');
		}
	}
	return holder.root ?? null;
}

interface Location {
	readonly parent: JsonObject | Json[];
	readonly key: string;
}
type Fail = (message: string) => Error;

function locate(holder: JsonObject, pointer: string, fail: Fail): Location {
	if (pointer !== '' && !pointer.startsWith('/')) throw fail('a JSON pointer begins with /');
	const parts = ['root', ...pointer.split('/').slice(1)].map((part) =>
		part.replaceAll('~1', '/').replaceAll('~0', '~'),
	);
	if (parts.includes('__proto__')) throw fail('a JSON pointer has __proto__');
	let parent: JsonObject | Json[] = holder;
	for (const part of parts.slice(0, -1)) {
		const next = child(parent, part);
		if (typeof next !== 'object' || next === null) throw fail(`${pointer} does not exist`);
		parent = next;
	}
	return { parent, key: parts[parts.length - 1] ?? '' };
}

function child(parent: JsonObject | Json[], key: string): Json | undefined {
	if (!Array.isArray(parent)) return Object.hasOwn(parent, key) ? parent[key] : undefined;
	return /^(0|[1-9]\d{0,8})$/.test(key) ? parent[Number(key)] : undefined;
}

function read(at: Location, fail: Fail): Json {
	const value = child(at.parent, at.key);
	if (value === undefined) throw fail(`nothing is at ${JSON.stringify(at.key)}`);
	return value;
}

function write(at: Location, value: Json): void {
	if (Array.isArray(at.parent)) at.parent[Number(at.key)] = value;
	else at.parent[at.key] = value;
}

function add(at: Location, value: Json, fail: Fail): void {
	if (!Array.isArray(at.parent)) {
		at.parent[at.key] = value;
		return;
	}
	const index = at.key === '-' ? at.parent.length : /^(0|[1-9]\d{0,8})$/.test(at.key) ? Number(at.key) : -1;
	if (index < 0 || index > at.parent.length)
		throw fail(`${JSON.stringify(at.key)} is no place in a list of ${at.parent.length}`);
	at.parent.splice(index, 0, value);
}

function remove(at: Location, fail: Fail): void {
	read(at, fail);
	if (Array.isArray(at.parent)) at.parent.splice(Number(at.key), 1);
	else delete at.parent[at.key];
}
