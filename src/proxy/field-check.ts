// Refuses what weft would otherwise ignore: walks a decoded message and reports each field that is
// set and not in the table of supported ones, also fields that are newer than our .proto files.
// The tables are data, one per resource, so that docs/ can list them.

import { type DescMessage, isFieldSet, type Message } from '@bufbuild/protobuf';
import { type ReflectList, type ReflectMap, type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import type { ConfigErrorDetail } from '../std/errors.ts';

/**
 * Full message name → names of its fields (as in the .proto) that are read or change nothing for users.
 * `*`: all. A message that is not in the table is not looked into (its parent vouches for it);
 * `google.protobuf.*` never is.
 */
export type SupportedFields = Readonly<Record<string, readonly string[] | '*'>>;

/** Number of details after which the walk stops: one resource's error must stay readable. */
const DETAILS_MAX = 20;

/** What is set in `message` and not in `supported`; empty when all is. `at` is the path of `message` itself. */
export function unsupportedFields(
	schema: DescMessage,
	message: Message,
	supported: SupportedFields,
	object: string,
	at = '',
): ConfigErrorDetail[] {
	const details: ConfigErrorDetail[] = [];
	walk(reflect(schema, message), supported, object, at, details);
	return details;
}

function walk(
	message: ReflectMessage,
	supported: SupportedFields,
	object: string,
	at: string,
	details: ConfigErrorDetail[],
): void {
	const allowed = supported[message.desc.typeName];
	if (allowed === undefined || message.desc.typeName.startsWith('google.protobuf.')) return;
	const unknown = message.message.$unknown;
	if (unknown !== undefined && unknown.length > 0) {
		details.push({
			object,
			field: at,
			found: `field number ${unknown[0]!.no}`,
			expected: `fields of ${message.desc.typeName} that weft knows`,
		});
	}
	for (const field of message.desc.fields) {
		if (details.length >= DETAILS_MAX) return;
		if (!isFieldSet(message.message, field)) continue;
		const path = at === '' ? field.name : `${at}.${field.name}`;
		if (allowed !== '*' && !allowed.includes(field.name)) {
			details.push({ object, field: path, expected: 'it to be absent: weft does not support it' });
			continue;
		}
		if (field.fieldKind === 'message') {
			const value: unknown = message.get(field);
			if (isReflectMessage(value)) walk(value, supported, object, path, details);
		} else if (field.fieldKind === 'list' && field.listKind === 'message') {
			const list = message.get(field) as ReflectList;
			for (let i = 0; i < list.size; i++) {
				const value: unknown = list.get(i);
				if (isReflectMessage(value)) walk(value, supported, object, `${path}[${i}]`, details);
			}
		} else if (field.fieldKind === 'map' && field.mapKind === 'message') {
			for (const [key, value] of message.get(field) as ReflectMap) {
				if (isReflectMessage(value)) walk(value, supported, object, `${path}[${JSON.stringify(key)}]`, details);
			}
		}
	}
}

/** A Struct or a wrapper is given as plain JSON or a scalar, not as a message. */
function isReflectMessage(value: unknown): value is ReflectMessage {
	return typeof value === 'object' && value !== null && 'desc' in value && 'message' in value;
}
