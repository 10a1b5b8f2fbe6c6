// Turns what a schema or a rule found wrong into ConfigErrorDetails: object, field, found,
// expected, hint. Relies on zod's issue codes; unknown fields get a guess at what was meant by
// walking the schema to the object in which they stand.

import { z } from 'zod';
import { didYouMean } from '../std/did-you-mean.ts';
import type { ConfigErrorDetail } from '../std/errors.ts';

/** Errors reported for one object at most; the rest would not be read. */
const DETAILS_MAX = 20;
const FOUND_CHARACTERS_MAX = 60;

export type FieldPath = readonly (string | number)[];

/** Collects what the rules of a kind find wrong in one object. */
export class FieldErrors {
	readonly details: ConfigErrorDetail[] = [];

	constructor(
		private readonly object: string,
		/** The whole object as the user wrote it: what was found is read from here. */
		private readonly input: unknown,
	) {}

	add(path: FieldPath, expected: string, hint?: string): void {
		if (this.details.length >= DETAILS_MAX) return;
		const found = describeFound(valueAt(this.input, path));
		this.details.push({ object: this.object, field: formatFieldPath(path), found, expected, hint });
	}

	addIssues(schema: z.ZodType, issues: readonly z.core.$ZodIssue[], prefix: FieldPath = []): void {
		for (const issue of issues) {
			const path = [...prefix, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))];
			if (issue.code === 'unrecognized_keys') {
				const known = knownFields(schema, issue.path);
				for (const key of issue.keys) this.addUnknownField([...path, key], known);
			} else {
				this.add(path, expectation(issue));
			}
		}
	}

	private addUnknownField(path: FieldPath, known: readonly string[]): void {
		const key = String(path[path.length - 1]);
		const meant = didYouMean(key, known);
		const expected = known.length > 0 ? `one of the fields ${known.join(', ')}` : 'no fields';
		if (this.details.length >= DETAILS_MAX) return;
		this.details.push({
			object: this.object,
			field: formatFieldPath(path),
			found: 'an unknown field',
			expected,
			hint: meant === null ? undefined : `did you mean "${meant}"?`,
		});
	}
}

/** `spec.rules[0].matches[1].path`, `metadata.labels["example.com/app"]`. */
export function formatFieldPath(path: FieldPath): string {
	let text = '';
	for (const part of path) {
		if (typeof part === 'number') text += `[${part}]`;
		else if (/^[A-Za-z_$][\w$-]*$/.test(part)) text += text === '' ? part : `.${part}`;
		else text += `[${JSON.stringify(part)}]`;
	}
	return text;
}

/** A short form of a value for an error message; undefined when there is none. */
export function describeFound(value: unknown): string | undefined {
	if (value === undefined) return undefined;
	if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
	if (typeof value === 'object' && value !== null) {
		const keys = Object.keys(value);
		return keys.length === 0 ? 'an empty object' : `an object with ${shortened(keys.join(', '))}`;
	}
	return shortened(JSON.stringify(value) ?? String(value));
}

function shortened(text: string): string {
	return text.length > FOUND_CHARACTERS_MAX ? `${text.slice(0, FOUND_CHARACTERS_MAX)}…` : text;
}

export function valueAt(input: unknown, path: FieldPath): unknown {
	let value = input;
	for (const part of path) {
		if (typeof value !== 'object' || value === null) return undefined;
		value = Object.getOwnPropertyDescriptor(value, part)?.value;
	}
	return value;
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
	string: 'a string',
	number: 'a number',
	int: 'a whole number',
	boolean: 'true or false',
	array: 'a list',
	object: 'an object',
	record: 'an object',
};

function expectation(issue: z.core.$ZodIssue): string {
	switch (issue.code) {
		case 'invalid_type': {
			const name = TYPE_NAMES[issue.expected] ?? issue.expected;
			return issue.input === undefined && issue.message.includes('undefined') ? `${name} (it is required)` : name;
		}
		case 'invalid_value': {
			const values = issue.values.map((value) => JSON.stringify(value)).join(', ');
			return issue.values.length === 1 ? values : `one of ${values}`;
		}
		case 'too_small':
			return sized(issue.origin, 'at least', Number(issue.minimum));
		case 'too_big':
			return sized(issue.origin, 'at most', Number(issue.maximum));
		case 'invalid_key':
			return issue.issues[0] === undefined ? 'a valid key' : `a valid key: ${expectation(issue.issues[0])}`;
		default:
			return issue.message;
	}
}

function sized(origin: string, relation: string, bound: number): string {
	if (origin === 'string') return `${relation} ${bound} character${bound === 1 ? '' : 's'}`;
	if (origin === 'array') return `${relation} ${bound} item${bound === 1 ? '' : 's'}`;
	return `a number of ${relation} ${bound}`;
}

/** The names of the fields that the object at `path` may have. */
function knownFields(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
	let current: z.ZodType | null = unwrapped(schema);
	for (const part of path) {
		if (current instanceof z.ZodArray) current = unwrapped(current.element as z.ZodType);
		else if (current instanceof z.ZodRecord) current = unwrapped(current.valueType as z.ZodType);
		else if (current instanceof z.ZodObject) {
			const next: unknown = current.shape[String(part)];
			current = next instanceof z.ZodType ? unwrapped(next) : null;
		} else return [];
	}
	return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrapped(schema: z.ZodType): z.ZodType {
	let current = schema;
	while (
		current instanceof z.ZodOptional ||
		current instanceof z.ZodDefault ||
		current instanceof z.ZodPrefault ||
		current instanceof z.ZodNullable
	) {
		current = current.unwrap() as z.ZodType;
	}
	return current;
}
