// Reads an Envoy v3 bootstrap, JSON or YAML, snake_case or camelCase: the same file that Envoy
// takes. An unknown field, an unknown @type or a wrong value is a ConfigError with the path of the
// field; what weft does not support is one as well.

import type { DescMessage, JsonValue } from '@bufbuild/protobuf';
import { LineCounter, parseAllDocuments } from 'yaml';
import { type Bootstrap, BootstrapSchema } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { fromJsonOnce } from '../protobuf/type-files.ts';
import { ConfigError, errorMessage } from '../std/errors.ts';
import { BOOTSTRAP_FIELDS } from './bootstrap-fields.ts';
import { unsupportedFields } from './field-check.ts';
import { locateJsonError } from './json-error.ts';
import { typeRegistry } from './type-registry.ts';

const TEXT_BYTES_MAX = 16 * 1024 * 1024;

/** `object` names it in errors: `bootstrap /etc/weft.yaml`. @throws ConfigError */
export function parseBootstrap(text: string, object: string): Bootstrap {
	const json = parseYamlOrJson(text, object);
	let bootstrap: Bootstrap;
	try {
		bootstrap = fromJsonOnce(BootstrapSchema, json, typeRegistry);
	} catch (error) {
		throw new ConfigError(locateJsonError(BootstrapSchema, json, typeRegistry, object, error));
	}
	const details = unsupportedFields(BootstrapSchema, bootstrap, BOOTSTRAP_FIELDS, object);
	const logPath = bootstrap.admin?.accessLogPath ?? '';
	if (logPath !== '' && logPath !== '/dev/null') {
		details.push({
			object,
			field: 'admin.access_log_path',
			found: logPath,
			expected: '/dev/null: weft keeps no such log',
		});
	}
	if (details.length > 0) throw new ConfigError(details);
	return bootstrap;
}

/**
 * `overrides` (YAML or JSON, `--config-yaml`) is merged over the bootstrap: objects by field, lists appended, and
 * of fields that exclude each other (`socket_address`, `pipe`) the later stays, as Envoy merges protobuf messages. @throws ConfigError
 */
export function mergeBootstrapText(text: string, overrides: string, object: string): string {
	const base = parseYamlOrJson(text, object);
	return JSON.stringify(merged(base, parseYamlOrJson(overrides, '--config-yaml'), BootstrapSchema));
}

/** JSON is YAML. Aliases are bounded by the library, documents must be one. */
function parseYamlOrJson(text: string, object: string): JsonValue {
	if (text.length > TEXT_BYTES_MAX) {
		throw new ConfigError({ object, field: '', found: `${text.length} bytes`, expected: `at most ${TEXT_BYTES_MAX}` });
	}
	const lines = new LineCounter();
	const documents = parseAllDocuments(text, { lineCounter: lines, merge: true, stringKeys: true });
	const first = Array.isArray(documents) ? documents[0] : undefined;
	if (first === undefined || documents.length !== 1) {
		throw new ConfigError({ object, field: '', expected: 'one YAML or JSON document' });
	}
	const problem = first.errors[0];
	if (problem !== undefined) {
		const { line, col } = lines.linePos(problem.pos[0]);
		const expected = `valid YAML or JSON (line ${line}, column ${col}: ${problem.message.split('\n')[0]})`;
		throw new ConfigError({ object, field: '', expected });
	}
	let value: unknown;
	try {
		value = first.toJS({ maxAliasCount: 1000 });
	} catch (error) {
		throw new ConfigError({ object, field: '', expected: `valid YAML or JSON (${errorMessage(error)})` });
	}
	if (typeof value !== 'object' || value === null || Array.isArray(value)) {
		throw new ConfigError({ object, field: '', found: JSON.stringify(value)?.slice(0, 60), expected: 'an object' });
	}
	return value as JsonValue;
}

/** `schema`: of what both are; null where it is not known (in an Any, a map). */
function merged(base: JsonValue, over: JsonValue, schema: DescMessage | null): JsonValue {
	if (Array.isArray(base) && Array.isArray(over)) return [...base, ...over];
	if (!isObject(base) || !isObject(over)) return over;
	const result: { [key: string]: JsonValue } = { ...base };
	for (const [key, value] of Object.entries(over)) {
		const field = schema?.fields.find((one) => one.name === key || one.jsonName === key);
		for (const rival of field?.oneof?.fields ?? []) {
			if (rival === field) continue;
			delete result[rival.name];
			delete result[rival.jsonName];
		}
		const present = result[key];
		const inner = field?.fieldKind === 'message' ? field.message : null;
		result[key] = present === undefined ? value : merged(present, value, inner);
	}
	return result;
}

function isObject(value: JsonValue): value is { [key: string]: JsonValue } {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
