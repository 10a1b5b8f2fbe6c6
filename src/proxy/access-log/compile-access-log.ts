// Envoy's access loggers `file`, `stdout` and `stderr`, compiled: which line a stream makes, and
// where it goes.

import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { AccessLog as AccessLogConfig } from '../../generated/envoy/config/accesslog/v3/accesslog_pb.ts';
import type { SubstitutionFormatString } from '../../generated/envoy/config/core/v3/substitution_format_string_pb.ts';
import { FileAccessLogSchema } from '../../generated/envoy/extensions/access_loggers/file/v3/file_pb.ts';
import {
	StderrAccessLogSchema,
	StdoutAccessLogSchema,
} from '../../generated/envoy/extensions/access_loggers/stream/v3/stream_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import type { SupportedFields } from '../field-check.ts';
import type { OperatorValue } from '../format/operators.ts';
import { Template } from '../format/template.ts';
import type { StreamInfo } from '../stream-info.ts';
import { readDataSource } from '../tls/data-source.ts';
import { TypedConfig } from '../typed-config.ts';
import type { AccessLog } from './access-log.ts';
import type { LogFiles, LogSink } from './log-files.ts';

const PREFIX = 'type.googleapis.com/envoy.extensions.access_loggers';
export const FILE_ACCESS_LOG_TYPE = `${PREFIX}.file.v3.FileAccessLog`;
export const STDOUT_ACCESS_LOG_TYPE = `${PREFIX}.stream.v3.StdoutAccessLog`;
export const STDERR_ACCESS_LOG_TYPE = `${PREFIX}.stream.v3.StderrAccessLog`;

export const ACCESS_LOG_FIELDS: SupportedFields = {
	'envoy.extensions.access_loggers.file.v3.FileAccessLog': [
		'path',
		'format',
		'json_format',
		'typed_json_format',
		'log_format',
	],
	'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog': ['log_format'],
	'envoy.extensions.access_loggers.stream.v3.StderrAccessLog': ['log_format'],
	'envoy.config.core.v3.SubstitutionFormatString': [
		'text_format',
		'json_format',
		'text_format_source',
		'omit_empty_values',
		'json_format_options',
	],
};

/** Envoy's default, without the fields of its own edge. */
export const DEFAULT_FORMAT =
	'[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ' +
	'%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
	'%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
	'"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

type LineOf = (info: StreamInfo) => string;

/** @throws ConfigError */
export function compileAccessLogs(
	configs: readonly AccessLogConfig[],
	files: LogFiles,
	object: string,
	field: string,
): readonly AccessLog[] {
	return configs.map((config, index) => {
		const at = `${field}[${index}]`;
		if (config.filter !== undefined) {
			throw new ConfigError({ object, field: `${at}.filter`, expected: 'it to be absent: weft does not support it' });
		}
		const any = config.configType.case === 'typedConfig' ? config.configType.value : undefined;
		const { sink, line } = compileOne(TypedConfig.read(any, object, `${at}.typed_config`), files);
		return { log: (info: StreamInfo) => sink.write(line(info)) };
	});
}

function compileOne(typed: TypedConfig, files: LogFiles): { sink: LogSink; line: LineOf } {
	switch (typed.typeUrl) {
		case STDOUT_ACCESS_LOG_TYPE: {
			const { accessLogFormat } = typed.message(StdoutAccessLogSchema, ACCESS_LOG_FIELDS);
			return { sink: files.standard(1), line: substitution(accessLogFormat.value, typed) };
		}
		case STDERR_ACCESS_LOG_TYPE: {
			const { accessLogFormat } = typed.message(StderrAccessLogSchema, ACCESS_LOG_FIELDS);
			return { sink: files.standard(2), line: substitution(accessLogFormat.value, typed) };
		}
		case FILE_ACCESS_LOG_TYPE: {
			const message = typed.message(FileAccessLogSchema, ACCESS_LOG_FIELDS);
			const format = message.accessLogFormat;
			const sink = files.file(message.path, typed.object, `${typed.field}.path`);
			switch (format.case) {
				case 'format':
					return { sink, line: textLine(format.value === '' ? DEFAULT_FORMAT : format.value, typed, 'format', false) };
				case 'jsonFormat':
					return { sink, line: jsonLine(format.value, typed, 'json_format', false) };
				case 'typedJsonFormat':
					return { sink, line: jsonLine(format.value, typed, 'typed_json_format', false) };
				default:
					return { sink, line: substitution(format.value, typed) };
			}
		}
		default:
			throw typed.error(
				'',
				typed.typeUrl,
				`one of: ${FILE_ACCESS_LOG_TYPE}, ${STDOUT_ACCESS_LOG_TYPE}, ${STDERR_ACCESS_LOG_TYPE}`,
			);
	}
}

function substitution(config: SubstitutionFormatString | undefined, typed: TypedConfig): LineOf {
	const format = config?.format;
	const omits = config?.omitEmptyValues ?? false;
	switch (format?.case) {
		case 'textFormat':
			return textLine(format.value, typed, 'log_format.text_format', omits);
		case 'textFormatSource': {
			const at = `${typed.field}.log_format.text_format_source`;
			return textLine(readDataSource(format.value, typed.object, at), typed, 'log_format.text_format_source', omits);
		}
		case 'jsonFormat':
			return jsonLine(format.value, typed, 'log_format.json_format', omits);
		default:
			return textLine(DEFAULT_FORMAT, typed, 'log_format', false);
	}
}

function textLine(format: string, typed: TypedConfig, field: string, omitEmpty: boolean): LineOf {
	const template = Template.parse(format, typed.object, `${typed.field}.${field}`);
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

function jsonLine(format: JsonObject, typed: TypedConfig, field: string, omitEmpty: boolean): LineOf {
	const node = compileJson(format, typed, field);
	return (info) => `${JSON.stringify(renderJson(node, info, omitEmpty) ?? {})}\n`;
}

function compileJson(value: JsonValue, typed: TypedConfig, field: string): Node {
	if (typeof value === 'string') return Template.parse(value, typed.object, `${typed.field}.${field}`);
	if (Array.isArray(value)) return value.map((item, index) => compileJson(item, typed, `${field}[${index}]`));
	if (value === null || typeof value !== 'object') return value;
	// In the protobuf they have no order of their own.
	const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
	return { fields: entries.map(([key, item]) => [key, compileJson(item, typed, `${field}.${key}`)] as const) };
}

function renderJson(node: Node, info: StreamInfo, omitEmpty: boolean): JsonValue | OperatorValue {
	if (node instanceof Template) return node.value(info);
	if (node === null || typeof node !== 'object') return node;
	if (isList(node)) return node.map((item) => renderJson(item, info, omitEmpty));
	const object: JsonObject = {};
	for (const [key, item] of node.fields) {
		const value = renderJson(item, info, omitEmpty);
		if (value !== null || !omitEmpty) object[key] = value;
	}
	return object;
}

function isList(node: Node): node is readonly Node[] {
	return Array.isArray(node);
}
