// `-o`: the forms in which commands show objects, the same for all. `table` and `wide` are for people, each
// command's own; `json` and `yaml` are data, and then nothing else is on standard output.

import { InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import type { MeshObject } from '../config/object.ts';
import { print } from './output.ts';

export type DataFormat = 'json' | 'yaml';
export type OutputFormat = 'table' | 'wide' | 'name' | DataFormat;

/** `-o, --output`, one of `formats`; the first is the default. `-o=json` is understood too, as kubectl does. */
export function outputOption(formats: readonly OutputFormat[], description = 'how'): Option {
	return new Option('-o, --output <format>', description)
		.choices(formats)
		.argParser((text) => {
			const format = formats.find((one) => one === text.replace(/^=/, ''));
			if (format === undefined) throw new InvalidArgumentError(`Allowed choices are ${formats.join(', ')}.`);
			return format;
		})
		.default(formats[0]);
}

export function isData(format: OutputFormat): format is DataFormat {
	return format === 'json' || format === 'yaml';
}

export function printData(value: unknown, format: DataFormat): void {
	print(
		format === 'json' ? JSON.stringify(value, null, 2) : stringify(value, { aliasDuplicateObjects: false }).trimEnd(),
	);
}

/** The one object that was asked for; else all of them as a List, which `weft apply` and kubectl take. */
export function printObjects(objects: readonly MeshObject[], format: DataFormat, isOne: boolean): void {
	const [only] = objects;
	if (!isOne || objects.length > 1) printData({ apiVersion: 'v1', kind: 'List', items: objects }, format);
	else if (only !== undefined) printData(only, format);
}

/** What `wide` adds to the line on an object: ` (namespace default, generation 2, resource version 17)`. */
export function wideNote({ metadata }: MeshObject): string {
	const parts = [
		['namespace', metadata.namespace],
		['generation', metadata.generation],
		['resource version', metadata.resourceVersion],
	].flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`]));
	return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}
