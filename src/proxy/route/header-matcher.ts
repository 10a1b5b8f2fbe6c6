// Envoy's `HeaderMatcher` and `QueryParameterMatcher`. A header with several values is matched by
// the values joined with a comma.

import type {
	HeaderMatcher as HeaderMatcherConfig,
	QueryParameterMatcher as QueryMatcherConfig,
} from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import { getHeaderJoined, type HeaderList } from '../../http/headers.ts';
import type { RequestHead } from '../../http/stream.ts';
import { ConfigError } from '../../std/errors.ts';
import { compileComparison, compileRegex, compileStringMatcher } from '../string-matcher.ts';

export interface HeaderMatcher {
	/** Lower case; `:method`, `:path`, `:authority`, `:scheme` for what is not in the header list. */
	readonly name: string;
	/** Undefined: the header is absent. */
	readonly test: (value: string | undefined) => boolean;
}

export function matchesRequestHeaders(matchers: readonly HeaderMatcher[], head: RequestHead): boolean {
	for (let i = 0; i < matchers.length; i++) {
		const matcher = matchers[i]!;
		if (!matcher.test(requestValue(head, matcher.name))) return false;
	}
	return true;
}

/** One of them matches a response: retriable headers. */
export function anyMatchesResponse(matchers: readonly HeaderMatcher[], status: number, headers: HeaderList): boolean {
	for (let i = 0; i < matchers.length; i++) {
		const matcher = matchers[i]!;
		if (matcher.test(matcher.name === ':status' ? String(status) : getHeaderJoined(headers, matcher.name))) return true;
	}
	return false;
}

function requestValue(head: RequestHead, name: string): string | undefined {
	if (name.charCodeAt(0) !== 0x3a) return name === 'host' ? head.authority : getHeaderJoined(head.headers, name);
	switch (name) {
		case ':method':
			return head.method;
		case ':path':
			return head.path;
		case ':authority':
			return head.authority;
		case ':scheme':
			return head.scheme;
		default:
			return undefined;
	}
}

/** @throws ConfigError */
export function compileHeaderMatchers(
	configs: readonly HeaderMatcherConfig[],
	object: string,
	field: string,
): readonly HeaderMatcher[] {
	return configs.map((config, index) => compileHeaderMatcher(config, object, `${field}[${index}]`));
}

function compileHeaderMatcher(config: HeaderMatcherConfig, object: string, field: string): HeaderMatcher {
	if (config.name === '') throw new ConfigError({ object, field: `${field}.name`, expected: 'the name of a header' });
	const specifier = config.headerMatchSpecifier;
	const wanted = !config.invertMatch;
	const name = config.name.toLowerCase();
	if (specifier.case === 'presentMatch' || specifier.case === undefined) {
		const present = specifier.case === undefined || specifier.value;
		if (config.treatMissingHeaderAsEmpty) return { name, test: () => present === wanted };
		return { name, test: (value) => ((value !== undefined) === present) === wanted };
	}
	const test = valueTest(config, object, field);
	const missingAsEmpty = config.treatMissingHeaderAsEmpty;
	return {
		name,
		// As Envoy: a header that is not there matches nothing by its value, inverted or not.
		test: (value) => (value === undefined && !missingAsEmpty ? false : test(value ?? '') === wanted),
	};
}

function valueTest(config: HeaderMatcherConfig, object: string, field: string): (value: string) => boolean {
	const specifier = config.headerMatchSpecifier;
	switch (specifier.case) {
		case 'exactMatch':
			return compileComparison('exact', specifier.value);
		case 'prefixMatch':
			return compileComparison('prefix', specifier.value);
		case 'suffixMatch':
			return compileComparison('suffix', specifier.value);
		case 'containsMatch':
			return compileComparison('contains', specifier.value);
		case 'safeRegexMatch': {
			const regex = compileRegex(specifier.value, object, `${field}.safe_regex_match`);
			return (value) => regex.testExact(value);
		}
		case 'stringMatch':
			return compileStringMatcher(specifier.value, object, `${field}.string_match`);
		case 'rangeMatch': {
			const start = specifier.value.start;
			const end = specifier.value.end;
			return (value) => {
				if (!/^[+-]?\d{1,19}$/.test(value)) return false;
				const number = BigInt(value.startsWith('+') ? value.slice(1) : value);
				return number >= start && number < end;
			};
		}
		default:
			throw new ConfigError({ object, field, expected: 'a header match specifier' });
	}
}

export interface QueryMatcher {
	readonly name: string;
	readonly test: (value: string | undefined) => boolean;
}

/** @throws ConfigError */
export function compileQueryMatchers(
	configs: readonly QueryMatcherConfig[],
	object: string,
	field: string,
): readonly QueryMatcher[] {
	return configs.map((config, index) => {
		const specifier = config.queryParameterMatchSpecifier;
		if (specifier.case === 'stringMatch') {
			const test = compileStringMatcher(specifier.value, object, `${field}[${index}].string_match`);
			return { name: config.name, test: (value) => value !== undefined && test(value) };
		}
		const present = specifier.case === undefined || specifier.value;
		return { name: config.name, test: (value) => (value !== undefined) === present };
	});
}

/** Looks at the first value of each parameter, percent signs undecoded, as Envoy does. */
export function matchesQuery(matchers: readonly QueryMatcher[], query: string): boolean {
	for (let i = 0; i < matchers.length; i++) {
		const matcher = matchers[i]!;
		if (!matcher.test(queryParameter(query, matcher.name))) return false;
	}
	return true;
}

function queryParameter(query: string, name: string): string | undefined {
	let start = 0;
	while (start <= query.length) {
		let end = query.indexOf('&', start);
		if (end < 0) end = query.length;
		const equals = query.indexOf('=', start);
		const nameEnd = equals < 0 || equals > end ? end : equals;
		if (nameEnd - start === name.length && query.startsWith(name, start)) {
			return nameEnd === end ? '' : query.slice(nameEnd + 1, end);
		}
		start = end + 1;
	}
	return undefined;
}
