// `labelSelector` (equality and sets) and `fieldSelector` (`metadata.name`, `metadata.namespace`)
// of list, watch and deletecollection.

import type { MeshObject } from '../../config/object.ts';
import { badRequest } from './api-error.ts';

export type Selector = (object: MeshObject) => boolean;

const SELECTOR_CHARACTERS_MAX = 4096;
const KEY = /^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$/;

/** Null when both are empty: everything. @throws ApiError 400 */
export function parseSelectors(labelSelector: string | null, fieldSelector: string | null): Selector | null {
	const requirements: Selector[] = [];
	for (const text of requirementsOf(labelSelector)) requirements.push(labelRequirement(text));
	for (const text of requirementsOf(fieldSelector)) requirements.push(fieldRequirement(text));
	return requirements.length === 0 ? null : (object) => requirements.every((matches) => matches(object));
}

/** Cut at the commas outside parentheses. */
function requirementsOf(selector: string | null): string[] {
	if (selector === null || selector.trim() === '') return [];
	if (selector.length > SELECTOR_CHARACTERS_MAX) {
		throw badRequest(`a selector has at most ${SELECTOR_CHARACTERS_MAX} characters, this one ${selector.length}`);
	}
	return selector.split(/,(?![^(]*\))/).map((text) => text.trim());
}

function labelRequirement(text: string): Selector {
	const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text);
	if (set !== null) {
		const key = checkedKey(set[1] ?? '', text);
		const values = new Set((set[3] ?? '').split(',').map((value) => value.trim()));
		if (set[2] === 'in') return (object) => values.has(labelOf(object, key) ?? '\0');
		return (object) => !values.has(labelOf(object, key) ?? '\0');
	}
	const comparison = /^([^!=\s]+)\s*(==|=|!=)\s*(\S*)$/.exec(text);
	if (comparison !== null) {
		const key = checkedKey(comparison[1] ?? '', text);
		const value = comparison[3] ?? '';
		if (comparison[2] === '!=') return (object) => labelOf(object, key) !== value;
		return (object) => labelOf(object, key) === value;
	}
	const absent = text.startsWith('!');
	const key = checkedKey(absent ? text.slice(1) : text, text);
	return (object) => (labelOf(object, key) === undefined) === absent;
}

function fieldRequirement(text: string): Selector {
	const match = /^(metadata\.name|metadata\.namespace)\s*(==|=|!=)\s*([^,=!\s]*)$/.exec(text);
	if (match === null) {
		throw badRequest(
			`fieldSelector ${JSON.stringify(text)}: only metadata.name and metadata.namespace can be compared (=, !=)`,
		);
	}
	const value = match[3];
	const equal = match[2] !== '!=';
	if (match[1] === 'metadata.name') return (object) => (object.metadata.name === value) === equal;
	return (object) => ((object.metadata.namespace ?? '') === value) === equal;
}

function checkedKey(key: string, text: string): string {
	if (key.length > 317 || !KEY.test(key)) {
		throw badRequest(
			`labelSelector ${JSON.stringify(text)}: expected key=value, key!=value, key in (a,b), key notin (a,b), key or !key`,
		);
	}
	return key;
}

function labelOf(object: MeshObject, key: string): string | undefined {
	const labels = object.metadata.labels;
	return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}
