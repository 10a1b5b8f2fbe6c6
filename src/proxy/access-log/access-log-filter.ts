// Envoy's `AccessLogFilter`, compiled to a question about a stream: is it to be logged? Mappers of
// local replies ask the same.

import {
	type AccessLogFilter,
	type ComparisonFilter,
	GrpcStatusFilter_Status as GrpcStatusName,
	ComparisonFilter_Op as Op,
} from '../../generated/envoy/config/accesslog/v3/accesslog_pb.ts';
import type { RequestHead } from '../../http/stream.ts';
import { ConfigError } from '../../std/errors.ts';
import type { Random } from '../../std/random.ts';
import type { SupportedFields } from '../field-check.ts';
import { grpcStatusOfAny } from '../format/operators.ts';
import { compileFraction } from '../fraction.ts';
import { compileHeaderMatchers, matchesRequestHeaders } from '../route/header-matcher.ts';
import { responseFlagOf, type StreamInfo } from '../stream-info.ts';

export type StreamTest = (info: StreamInfo) => boolean;

const ACCESS_LOG = 'envoy.config.accesslog.v3';

export const ACCESS_LOG_FILTER_FIELDS: SupportedFields = {
	[`${ACCESS_LOG}.AccessLogFilter`]: [
		'status_code_filter',
		'duration_filter',
		'not_health_check_filter',
		'traceable_filter',
		'runtime_filter',
		'and_filter',
		'or_filter',
		'header_filter',
		'response_flag_filter',
		'grpc_status_filter',
		'log_type_filter',
	],
	[`${ACCESS_LOG}.StatusCodeFilter`]: ['comparison'],
	[`${ACCESS_LOG}.DurationFilter`]: ['comparison'],
	[`${ACCESS_LOG}.ComparisonFilter`]: ['op', 'value'],
	[`${ACCESS_LOG}.RuntimeFilter`]: ['runtime_key', 'percent_sampled', 'use_independent_randomness'],
	[`${ACCESS_LOG}.AndFilter`]: ['filters'],
	[`${ACCESS_LOG}.OrFilter`]: ['filters'],
	[`${ACCESS_LOG}.HeaderFilter`]: ['header'],
	[`${ACCESS_LOG}.ResponseFlagFilter`]: ['flags'],
	[`${ACCESS_LOG}.GrpcStatusFilter`]: ['statuses', 'exclude'],
	[`${ACCESS_LOG}.LogTypeFilter`]: ['types', 'exclude'],
	'envoy.config.core.v3.RuntimeUInt32': ['default_value', 'runtime_key'],
};

/** Headers of a stream without a request. */
const NO_HEAD: RequestHead = { method: '', scheme: '', authority: '', path: '', headers: [], upgrade: '' };

/** @throws ConfigError */
export function compileAccessLogFilter(
	config: AccessLogFilter,
	random: Random,
	object: string,
	field: string,
): StreamTest {
	const specifier = config.filterSpecifier;
	const error = (at: string, found: string | undefined, expected: string): ConfigError =>
		new ConfigError({ object, field: `${field}.${at}`, found, expected });
	switch (specifier.case) {
		case 'statusCodeFilter': {
			const compare = comparison(specifier.value.comparison);
			return (info) => compare(info.status);
		}
		case 'durationFilter': {
			const compare = comparison(specifier.value.comparison);
			return (info) => info.endMs !== 0 && compare(Math.floor(info.endMs - info.startMs));
		}
		// No filter here answers health checks by itself.
		case 'notHealthCheckFilter':
			return () => true;
		// Without tracing no request is traced, in Envoy too.
		case 'traceableFilter':
			return () => false;
		case 'runtimeFilter': {
			const { percentSampled, useIndependentRandomness } = specifier.value;
			const share = percentSampled === undefined ? 0 : compileFraction(percentSampled);
			return useIndependentRandomness
				? () => random.next() < share
				: (info) => (shareOfRequest(info) ?? random.next()) < share;
		}
		case 'andFilter':
		case 'orFilter': {
			const at = specifier.case === 'andFilter' ? 'and_filter' : 'or_filter';
			if (specifier.value.filters.length < 2) throw error(`${at}.filters`, undefined, 'at least two filters');
			const tests = specifier.value.filters.map((filter, index) =>
				compileAccessLogFilter(filter, random, object, `${field}.${at}.filters[${index}]`),
			);
			return specifier.case === 'andFilter'
				? (info) => tests.every((test) => test(info))
				: (info) => tests.some((test) => test(info));
		}
		case 'headerFilter': {
			if (specifier.value.header === undefined) throw error('header_filter.header', undefined, 'a header matcher');
			const matchers = compileHeaderMatchers([specifier.value.header], object, `${field}.header_filter.header`);
			return (info) => matchesRequestHeaders(matchers, info.requestHead ?? NO_HEAD);
		}
		case 'responseFlagFilter': {
			let bits = 0;
			specifier.value.flags.forEach((name, index) => {
				const flag = responseFlagOf(name);
				if (flag === null) throw error(`response_flag_filter.flags[${index}]`, name, 'a response flag, for example UF');
				bits |= flag;
			});
			return specifier.value.flags.length === 0
				? (info) => info.responseFlags !== 0
				: (info) => (info.responseFlags & bits) !== 0;
		}
		case 'grpcStatusFilter': {
			const { statuses, exclude } = specifier.value;
			const codes = new Set(statuses.map((status) => Number(status)));
			for (const status of statuses) {
				if (GrpcStatusName[status] === undefined)
					throw error('grpc_status_filter.statuses', String(status), 'a status');
			}
			return (info) => codes.has(grpcStatusOfAny(info)) !== exclude;
		}
		case 'logTypeFilter': {
			const { types, exclude } = specifier.value;
			const set = new Set(types.map((type) => Number(type)));
			return (info) => set.has(info.logType) !== exclude;
		}
		default:
			throw error(
				'',
				specifier.case,
				'one of status_code_filter, duration_filter, not_health_check_filter, traceable_filter, runtime_filter, and_filter, or_filter, header_filter, response_flag_filter, grpc_status_filter, log_type_filter',
			);
	}
}

function comparison(config: ComparisonFilter | undefined): (value: number) => boolean {
	const wanted = config?.value?.defaultValue ?? 0;
	switch (config?.op) {
		case Op.GE:
			return (value) => value >= wanted;
		case Op.LE:
			return (value) => value <= wanted;
		default:
			return (value) => value === wanted;
	}
}

const ID_NAME = 'x-request-id';

/** 0…1 out of the request's id, so that all proxies on its way log the same requests; null: it has none. */
function shareOfRequest(info: StreamInfo): number | null {
	const headers = info.requestHead?.headers ?? NO_HEAD.headers;
	for (let i = 0; i < headers.length; i += 2) {
		if (headers[i] !== ID_NAME) continue;
		const id = headers[i + 1]!;
		return /^[0-9a-fA-F]{8}-/.test(id) ? (Number.parseInt(id.slice(0, 8), 16) % 1_000_000) / 1_000_000 : null;
	}
	return null;
}
