// Envoy's access loggers `file`, `stdout` and `stderr`, compiled: which line a stream makes, and
// where it goes.

import type { AccessLog as AccessLogConfig } from '../../generated/envoy/config/accesslog/v3/accesslog_pb.ts';
import type { SubstitutionFormatString } from '../../generated/envoy/config/core/v3/substitution_format_string_pb.ts';
import { FileAccessLogSchema } from '../../generated/envoy/extensions/access_loggers/file/v3/file_pb.ts';
import {
	StderrAccessLogSchema,
	StdoutAccessLogSchema,
} from '../../generated/envoy/extensions/access_loggers/stream/v3/stream_pb.ts';
import type { Random } from '../../std/random.ts';
import type { SupportedFields } from '../field-check.ts';
import {
	compileSubstitution,
	jsonFormat,
	SUBSTITUTION_FIELDS,
	type TextOf,
	textFormat,
} from '../format/substitution.ts';
import { TypedConfig } from '../typed-config.ts';
import type { AccessLog } from './access-log.ts';
import { compileAccessLogFilter } from './access-log-filter.ts';
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
	...SUBSTITUTION_FIELDS,
};

/** Envoy's default, without the fields of its own edge. */
export const DEFAULT_FORMAT =
	'[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ' +
	'%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
	'%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
	'"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

/** @throws ConfigError */
export function compileAccessLogs(
	configs: readonly AccessLogConfig[],
	files: LogFiles,
	random: Random,
	object: string,
	field: string,
): readonly AccessLog[] {
	return configs.map((config, index): AccessLog => {
		const at = `${field}[${index}]`;
		const any = config.configType.case === 'typedConfig' ? config.configType.value : undefined;
		const { sink, line } = compileOne(TypedConfig.read(any, object, `${at}.typed_config`), files);
		if (config.filter === undefined) return { log: (info) => sink.write(line(info)) };
		const test = compileAccessLogFilter(config.filter, random, object, `${at}.filter`);
		return {
			log: (info) => {
				if (test(info)) sink.write(line(info));
			},
		};
	});
}

function compileOne(typed: TypedConfig, files: LogFiles): { sink: LogSink; line: TextOf } {
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
					return {
						sink,
						line: textFormat(
							format.value === '' ? DEFAULT_FORMAT : format.value,
							typed.object,
							`${typed.field}.format`,
							false,
						),
					};
				case 'jsonFormat':
					return { sink, line: jsonFormat(format.value, typed.object, `${typed.field}.json_format`, false) };
				case 'typedJsonFormat':
					return { sink, line: jsonFormat(format.value, typed.object, `${typed.field}.typed_json_format`, false) };
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

function substitution(config: SubstitutionFormatString | undefined, typed: TypedConfig): TextOf {
	const at = `${typed.field}.log_format`;
	return compileSubstitution(config, typed.object, at)?.text ?? textFormat(DEFAULT_FORMAT, typed.object, at, false);
}
