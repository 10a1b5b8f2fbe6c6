// Envoy's `SubstitutionFormatString`, compiled: text or JSON about a stream, for access logs and
// local replies.

import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { SubstitutionFormatString } from '../../generated/envoy/config/core/v3/substitution_format_string_pb.ts';
import type { SupportedFields } from '../field-check.ts';
import type { StreamInfo } from '../stream-info.ts';
import { readDataSource } from '../tls/data-source.ts';
import { Template } from './template.ts';

export type TextOf = (info: StreamInfo) => string;

export interface Substitution {
	readonly text: TextOf;
	readonly isJson: boolean;
}

export const SUBSTITUTION_FIELDS: SupportedFields = {
	'envoy.config.core.v3.SubstitutionFormatString': [
		'text_format',
		'json_format',
		'text_format_source',
		'omit_empty_values',
		'json_format_options',
		'content_type',
	],
};

/** Null: no format is given. @throws ConfigError */
export function compileSubstitution(
	config: SubstitutionFormatString | undefined,
	object: string,
	field: string,
): Substitution | null {
	const format = config?.format;
	const omits = config?.omitEmptyValues ?? false;
	switch (format?.case) {
		case 'textFormat':
			return { text: textFormat(format.value, object, `${field}.text_format`, omits), isJson: false };
		case 'textFormatSource': {
			const at = `${field}.text_format_source`;
			return { text: textFormat(readDataSource(format.value, object, at), object, at, omits), isJson: false };
		}
		case 'jsonFormat':
			return { text: jsonFormat(format.value, object, `${field}.json_format`, omits), isJson: true };
		default:
			return null;
	}
}

/** Where an operator has no value: a dash, or nothing. @throws ConfigError */
export function textFormat(format: string, object: string, field: string, omitEmpty: boolean): TextOf {
	const template = Template.parse(format, object, field);
	const missing = omitEmpty ? '' : '-';
	return (info) => template.render(info, missing);
}

type Node =
	| Template
	| { readonly fields: readonly (readonly [string, Node])[] }
	| readonly Node[]
	| number
	| boolean
	| null;

/** One line. Lone operators keep their type; what has no value is null, or left out. @throws ConfigError */
export function jsonFormat(format: JsonObject, object: string, field: string, omitEmpty: boolean): TextOf {
	const node = compileJson(format, object, field);
	return (info) => `${JSON.stringify(renderJson(node, info, omitEmpty) ?? {})}\n`;
}

function compileJson(value: JsonValue, object: string, field: string): Node {
	if (typeof value === 'string') return Template.parse(value, object, field);
	if (Array.isArray(value)) return value.map((item, index) => compileJson(item, object, `${field}[${index}]`));
	if (value === null || typeof value !== 'object') return value;
	// In the protobuf they have no order of their own.
	const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
	return { fields: entries.map(([key, item]) => [key, compileJson(item, object, `${field}.${key}`)] as const) };
}

/** With `omitEmpty` what comes to nothing is left out wherever it stands, also an object without anything in it. */
function renderJson(node: Node, info: StreamInfo, omitEmpty: boolean): unknown {
	if (node instanceof Template) return node.value(info, omitEmpty ? '' : '-');
	if (node === null || typeof node !== 'object') return node;
	if (isList(node)) {
		const list = node.map((item) => renderJson(item, info, omitEmpty));
		return omitEmpty ? list.filter((item) => item !== null) : list;
	}
	const object: Record<string, unknown> = {};
	let isEmpty = true;
	for (const [key, item] of node.fields) {
		const value = renderJson(item, info, omitEmpty);
		if (value === null && omitEmpty) continue;
		object[key] = value;
		isEmpty = false;
	}
	return isEmpty && omitEmpty ? null : object;
}

function isList(node: Node): node is readonly Node[] {
	return Array.isArray(node);
}
