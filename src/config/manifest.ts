// Manifests: YAML or JSON, several documents in a file, `List` objects taken apart. Errors name the
// file and line. Size, number of objects and alias expansion are bounded: a file may be hostile.

import { isCollection, isMap, LineCounter, type ParsedNode, parseAllDocuments, type YAMLMap } from 'yaml';
import { ConfigError } from '../std/errors.ts';
import { describeFound } from './field-errors.ts';
import { describeObject, type ParsedObject, parseObject } from './parse-object.ts';

export const MANIFEST_BYTES_MAX = 16 << 20;
export const MANIFEST_OBJECTS_MAX = 10_000;
/** Nodes that aliases may add in one document. */
const ALIASES_MAX = 100;

export interface ManifestObject extends ParsedObject {
	/** `shop.yaml:12` */
	readonly source: string;
	/** As written, without defaults: what is sent to the API server. */
	readonly input: Readonly<Record<string, unknown>>;
}

export interface ManifestOptions {
	/** Of the file, for errors: `shop.yaml`. */
	readonly name: string;
	/** For namespaced objects that name none. */
	readonly namespace?: string;
}

/**
 * Every object in the text, parsed by its kind. All errors of all documents are thrown together.
 * @throws ConfigError
 */
export function parseManifest(text: string, options: ManifestOptions): ManifestObject[] {
	const details = [];
	const objects: ManifestObject[] = [];
	for (const { source, input } of manifestInputs(text, options.name)) {
		try {
			const parsed = parseObject(input, { source: `${source}: `, namespace: options.namespace });
			objects.push({ ...parsed, source, input: input as Record<string, unknown> });
		} catch (error) {
			if (!(error instanceof ConfigError)) throw error;
			details.push(...error.details);
		}
	}
	if (details.length > 0) throw new ConfigError(details.slice(0, 100));
	return objects;
}

interface Input {
	readonly source: string;
	readonly input: unknown;
}

/** The objects as plain JSON values, with where they begin. @throws ConfigError for what is not YAML */
function manifestInputs(text: string, name: string): Input[] {
	if (text.length > MANIFEST_BYTES_MAX) {
		throw new ConfigError({
			object: name,
			field: '',
			found: `${text.length} characters`,
			expected: `at most ${MANIFEST_BYTES_MAX} in one file`,
		});
	}
	const lines = new LineCounter();
	const documents = parseAllDocuments(text, { lineCounter: lines, version: '1.2', uniqueKeys: true });
	const inputs: Input[] = [];
	if (!Array.isArray(documents)) return inputs;
	for (const document of documents) {
		const [error] = document.errors;
		if (error !== undefined) {
			const { line, col } = lines.linePos(error.pos[0]);
			const [reason] = error.message.split('\n');
			const expected = `valid YAML (${(reason ?? '').replace(/ at line \d+, column \d+:?$/, '')})`;
			throw new ConfigError({ object: `${name}:${line}:${col}`, field: '', expected });
		}
		const root = document.contents;
		if (root === null || (!isCollection(root) && document.toJS() === null)) continue;
		let value: unknown;
		try {
			value = document.toJS({ maxAliasCount: ALIASES_MAX });
		} catch {
			const line = lineOf(root, lines);
			const expected = `at most ${ALIASES_MAX} expansions of aliases in a document`;
			throw new ConfigError({ object: `${name}:${line}`, field: '', expected });
		}
		addInputs(value, root, name, lines, inputs);
	}
	return inputs;
}

function addInputs(value: unknown, node: ParsedNode | null, name: string, lines: LineCounter, inputs: Input[]): void {
	const source = `${name}:${lineOf(node, lines)}`;
	if (isList(value)) {
		const items: unknown = value.items;
		if (!Array.isArray(items)) {
			throw new ConfigError({
				object: `${source}: List`,
				field: 'items',
				found: describeFound(items),
				expected: 'a list of objects',
			});
		}
		const nodes = itemNodes(node);
		for (const [index, item] of items.entries()) addInputs(item, nodes[index] ?? node, name, lines, inputs);
		return;
	}
	if (inputs.length >= MANIFEST_OBJECTS_MAX) {
		throw new ConfigError({ object: name, field: '', expected: `at most ${MANIFEST_OBJECTS_MAX} objects in one file` });
	}
	if (typeof value !== 'object' || value === null || Array.isArray(value)) {
		const object = describeObject(value, { source: `${source}: ` });
		throw new ConfigError({
			object,
			field: '',
			found: describeFound(value),
			expected: 'an object with apiVersion, kind and metadata',
		});
	}
	inputs.push({ source, input: value });
}

/** `v1` List, and the lists that `kubectl get -o yaml` of one kind gives. */
function isList(value: unknown): value is { items?: unknown } {
	if (typeof value !== 'object' || value === null || !('kind' in value)) return false;
	return typeof value.kind === 'string' && value.kind.endsWith('List');
}

function itemNodes(node: ParsedNode | null): readonly (ParsedNode | null)[] {
	if (!isMap(node)) return [];
	const items = (node as YAMLMap.Parsed).get('items', true);
	return isCollection(items) ? (items.items as unknown as (ParsedNode | null)[]) : [];
}

function lineOf(node: ParsedNode | null, lines: LineCounter): number {
	return node === null ? 1 : lines.linePos(node.range[0]).line;
}
