// Finds where a JSON value does not fit its message: protobuf libraries say what is wrong, and not
// where. Only walked when decoding has failed.

import { type DescField, type DescMessage, fromJson, type JsonValue, type Registry } from '@bufbuild/protobuf';
import { didYouMean } from '../std/did-you-mean.ts';
import { type ConfigErrorDetail, errorMessage } from '../std/errors.ts';

const DETAILS_MAX = 20;

/** `cause`: what decoding said, for when no place is found. Never empty. */
export function locateJsonError(
	schema: DescMessage,
	json: JsonValue,
	registry: Registry,
	object: string,
	cause: unknown,
): ConfigErrorDetail[] {
	const details: ConfigErrorDetail[] = [];
	new Walk(registry, object, details).message(schema, json, '');
	if (details.length === 0)
		details.push({ object, field: '', expected: `a valid ${schema.typeName} (${errorMessage(cause)})` });
	return details;
}

class Walk {
	constructor(
		private readonly registry: Registry,
		private readonly object: string,
		private readonly details: ConfigErrorDetail[],
	) {}

	message(schema: DescMessage, json: JsonValue, at: string): void {
		if (this.details.length >= DETAILS_MAX) return;
		if (schema.typeName === 'google.protobuf.Any') {
			this.any(json, at);
			return;
		}
		if (schema.typeName.startsWith('google.protobuf.')) {
			this.wellKnown(schema, json, at);
			return;
		}
		if (typeof json !== 'object' || json === null || Array.isArray(json)) {
			this.wrong(at, json, `an object (${schema.typeName})`);
			return;
		}
		const before = this.details.length;
		for (const [key, value] of Object.entries(json)) {
			if (value === undefined) continue;
			const path = at === '' ? key : `${at}.${key}`;
			const field = schema.fields.find((one) => one.name === key || one.jsonName === key);
			if (field === undefined) this.unknown(schema, key, path);
			else this.field(schema, field, key, value, path);
		}
		if (this.details.length > before) return;
		// Each field by itself is right: two of one choice, for example.
		const reason = failure(schema, json, this.registry);
		if (reason !== null) this.wrong(at, undefined, `a valid ${schema.typeName} (${reason})`);
	}

	private field(schema: DescMessage, field: DescField, key: string, value: JsonValue, path: string): void {
		if (value === null) return;
		if (field.fieldKind === 'message') {
			this.message(field.message, value, path);
		} else if (field.fieldKind === 'list' && field.listKind === 'message' && Array.isArray(value)) {
			for (const [index, item] of value.entries()) this.message(field.message, item, `${path}[${index}]`);
		} else if (field.fieldKind === 'map' && field.mapKind === 'message' && isObject(value)) {
			for (const [name, item] of Object.entries(value))
				this.message(field.message, item, `${path}[${JSON.stringify(name)}]`);
		} else {
			const reason = failure(schema, { [key]: value }, this.registry);
			if (reason !== null) this.wrong(path, value, kindOf(field));
		}
	}

	private any(json: JsonValue, at: string): void {
		const typeUrl = isObject(json) ? json['@type'] : undefined;
		if (!isObject(json) || typeof typeUrl !== 'string') {
			this.wrong(at, json, 'an object with an @type');
			return;
		}
		const name = typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
		const schema = this.registry.getMessage(name);
		if (schema === undefined) {
			const known = [...this.registry].flatMap((type) => (type.kind === 'message' ? [type.typeName] : []));
			const near = didYouMean(name, known);
			const hint = near === null ? undefined : `did you mean type.googleapis.com/${near}?`;
			const detail = { object: this.object, field: `${at}.@type`, found: typeUrl, expected: 'a type that weft knows' };
			this.details.push(hint === undefined ? detail : { ...detail, hint });
			return;
		}
		const { '@type': _, ...rest } = json;
		this.message(schema, rest, at);
	}

	private wellKnown(schema: DescMessage, json: JsonValue, at: string): void {
		const reason = failure(schema, json, this.registry);
		if (reason === null) return;
		const expected =
			schema.typeName === 'google.protobuf.Duration' ? 'a duration in seconds, for example "1.5s"' : reason;
		this.wrong(at, json, expected);
	}

	private unknown(schema: DescMessage, key: string, path: string): void {
		const near = didYouMean(
			key,
			schema.fields.map((field) => field.name),
		);
		const detail = {
			object: this.object,
			field: path,
			found: 'an unknown field',
			expected: `a field of ${schema.typeName}`,
		};
		this.details.push(near === null ? detail : { ...detail, hint: `did you mean ${near}?` });
	}

	private wrong(field: string, found: JsonValue | undefined, expected: string): void {
		if (this.details.length >= DETAILS_MAX) return;
		const detail = { object: this.object, field, expected };
		this.details.push(found === undefined ? detail : { ...detail, found: JSON.stringify(found).slice(0, 80) });
	}
}

function failure(schema: DescMessage, json: JsonValue, registry: Registry): string | null {
	try {
		fromJson(schema, json, { registry });
		return null;
	} catch (error) {
		return errorMessage(error);
	}
}

function kindOf(field: DescField): string {
	if (field.fieldKind === 'enum') return `one of ${field.enum.values.map((value) => value.name).join(', ')}`;
	if (field.fieldKind === 'list') return 'a list of values of the right type';
	if (field.fieldKind === 'map') return 'an object of values of the right type';
	return field.fieldKind === 'scalar' ? (SCALARS[field.scalar] ?? 'a value of the right type') : 'an object';
}

/** By the number of the scalar's type in descriptor.proto. */
const SCALARS: Readonly<Record<number, string>> = {
	1: 'a number',
	2: 'a number',
	3: 'a whole number',
	4: 'a whole number of 0 or more',
	5: 'a whole number',
	8: 'true or false',
	9: 'a string (in quotes where it looks like a number)',
	12: 'bytes in base64',
	13: 'a whole number of 0 or more',
};

function isObject(value: JsonValue): value is { [key: string]: JsonValue } {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
