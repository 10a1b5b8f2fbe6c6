// Envoy's `StringMatcher` and `RegexMatcher`, compiled to a function. Patterns come from users and
// control planes, so they run on RE2 (linear time, no backtracking).

import { RE2JS } from 're2js';
import type { RegexMatcher } from '../generated/envoy/type/matcher/v3/regex_pb.ts';
import type { StringMatcher } from '../generated/envoy/type/matcher/v3/string_pb.ts';
import { ConfigError, errorMessage } from '../std/errors.ts';

export type StringTest = (value: string) => boolean;

const PATTERN_LENGTH_MAX = 4096;

/** The whole value must match. @throws ConfigError */
export function compileRegex(config: RegexMatcher | undefined, object: string, field: string): RE2JS {
	const pattern = config?.regex ?? '';
	if (pattern === '' || pattern.length > PATTERN_LENGTH_MAX) {
		throw new ConfigError({
			object,
			field: `${field}.regex`,
			found: pattern === '' ? 'nothing' : `${pattern.length} characters`,
			expected: `a pattern of 1 to ${PATTERN_LENGTH_MAX} characters`,
		});
	}
	try {
		return RE2JS.compile(pattern);
	} catch (error) {
		throw new ConfigError({
			object,
			field: `${field}.regex`,
			found: JSON.stringify(pattern.slice(0, 100)),
			expected: `a pattern in RE2 syntax (${errorMessage(error)})`,
		});
	}
}

/** @throws ConfigError */
export function compileStringMatcher(config: StringMatcher | undefined, object: string, field: string): StringTest {
	const pattern = config?.matchPattern;
	if (pattern?.case === 'safeRegex') {
		const regex = compileRegex(pattern.value, object, `${field}.safe_regex`);
		return (value) => regex.testExact(value);
	}
	if (config === undefined || pattern?.case === undefined || pattern.case === 'custom') {
		throw new ConfigError({ object, field, expected: 'one of exact, prefix, suffix, contains, safe_regex' });
	}
	const test = compileComparison(pattern.case, config.ignoreCase ? pattern.value.toLowerCase() : pattern.value);
	return config.ignoreCase ? (value) => test(value.toLowerCase()) : test;
}

export function compileComparison(kind: 'exact' | 'prefix' | 'suffix' | 'contains', wanted: string): StringTest {
	switch (kind) {
		case 'exact':
			return (value) => value === wanted;
		case 'prefix':
			return (value) => value.startsWith(wanted);
		case 'suffix':
			return (value) => value.endsWith(wanted);
		case 'contains':
			return (value) => value.includes(wanted);
	}
}
