// Envoy's `LocalReplyConfig`: what answers of the proxy's own are turned into, by the first mapper
// whose filter takes the stream, and the form of their bodies.

import type { SubstitutionFormatString } from '../../generated/envoy/config/core/v3/substitution_format_string_pb.ts';
import type {
	LocalReplyConfig,
	ResponseMapper as ResponseMapperConfig,
} from '../../generated/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts';
import type { HeaderList } from '../../http/headers.ts';
import { ConfigError } from '../../std/errors.ts';
import type { Random } from '../../std/random.ts';
import { compileAccessLogFilter, type StreamTest } from '../access-log/access-log-filter.ts';
import type { SupportedFields } from '../field-check.ts';
import { applyHeaderMutations, compileHeaderMutations, type HeaderMutations } from '../format/header-mutations.ts';
import { compileSubstitution, type TextOf } from '../format/substitution.ts';
import type { StreamInfo } from '../stream-info.ts';
import { readDataSource } from '../tls/data-source.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3';

export const LOCAL_REPLY_FIELDS: SupportedFields = {
	[`${HCM}.LocalReplyConfig`]: ['mappers', 'body_format'],
	[`${HCM}.ResponseMapper`]: ['filter', 'status_code', 'body', 'body_format_override', 'headers_to_add'],
};

interface BodyFormat {
	readonly text: TextOf;
	readonly contentType: string;
}

interface ResponseMapper {
	readonly test: StreamTest;
	/** 0: kept. */
	readonly status: number;
	/** Null: kept. */
	readonly body: string | null;
	readonly format: BodyFormat | null;
	readonly headers: HeaderMutations | null;
}

/** A local reply on its way through the mappers: what is read, and changed in place. */
export interface MappedReply {
	status: number;
	body: string;
	contentType: string;
	/** Added to the answer. */
	headers: HeaderList;
}

export class LocalReplyMap {
	private constructor(
		private readonly mappers: readonly ResponseMapper[],
		private readonly format: BodyFormat | null,
	) {}

	/** @throws ConfigError */
	static compile(config: LocalReplyConfig, random: Random, object: string, field: string): LocalReplyMap {
		const mappers = config.mappers.map((mapper, index) =>
			compileMapper(mapper, random, object, `${field}.mappers[${index}]`),
		);
		return new LocalReplyMap(mappers, compileFormat(config.bodyFormat, object, `${field}.body_format`));
	}

	/** `info` has the reply's flags and details; its `status` becomes the reply's. */
	apply(info: StreamInfo, reply: MappedReply): void {
		info.status = reply.status;
		// What `%RESP(:STATUS)%` says.
		const head = { status: reply.status, headers: reply.headers };
		info.responseHead = head;
		let format = this.format;
		for (let i = 0; i < this.mappers.length; i++) {
			const mapper = this.mappers[i]!;
			if (!mapper.test(info)) continue;
			if (mapper.headers !== null) applyHeaderMutations(mapper.headers, reply.headers, info);
			if (mapper.body !== null) reply.body = mapper.body;
			if (mapper.status !== 0) reply.status = mapper.status;
			format = mapper.format ?? format;
			break;
		}
		info.status = reply.status;
		head.status = reply.status;
		if (format !== null) {
			info.localReplyBody = reply.body;
			reply.body = format.text(info);
			reply.contentType = format.contentType;
		}
		info.localReplyBody = '';
	}
}

function compileMapper(config: ResponseMapperConfig, random: Random, object: string, field: string): ResponseMapper {
	if (config.filter === undefined) {
		throw new ConfigError({ object, field: `${field}.filter`, expected: 'a filter that says which replies it is for' });
	}
	const status = config.statusCode ?? 0;
	if (config.statusCode !== undefined && (status < 200 || status > 599)) {
		throw new ConfigError({
			object,
			field: `${field}.status_code`,
			found: String(status),
			expected: 'a status from 200 to 599',
		});
	}
	return {
		test: compileAccessLogFilter(config.filter, random, object, `${field}.filter`),
		status,
		body: config.body === undefined ? null : readDataSource(config.body, object, `${field}.body`),
		format: compileFormat(config.bodyFormatOverride, object, `${field}.body_format_override`),
		headers:
			config.headersToAdd.length === 0
				? null
				: compileHeaderMutations(config.headersToAdd, [], object, `${field}.headers_to_add`, ''),
	};
}

function compileFormat(config: SubstitutionFormatString | undefined, object: string, field: string): BodyFormat | null {
	const substitution = compileSubstitution(config, object, field);
	if (config === undefined || substitution === null) return null;
	const { contentType } = config;
	if (contentType !== '') return { text: substitution.text, contentType };
	return { text: substitution.text, contentType: substitution.isJson ? 'application/json' : 'text/plain' };
}
