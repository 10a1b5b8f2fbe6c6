// Envoy's `RouteMatch`, compiled: is this request for this route? Paths are compared without their
// query; `fraction` lets a share of what matches through.

import type { RouteMatch as RouteMatchConfig } from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import { getHeader } from '../../http/headers.ts';
import type { RequestHead } from '../../http/stream.ts';
import { ConfigError } from '../../std/errors.ts';
import type { Random } from '../../std/random.ts';
import { compileFraction } from '../fraction.ts';
import { compileRegex } from '../string-matcher.ts';
import {
	compileHeaderMatchers,
	compileQueryMatchers,
	type HeaderMatcher,
	matchesQuery,
	matchesRequestHeaders,
	type QueryMatcher,
} from './header-matcher.ts';

export type PathTest = (path: string) => boolean;

export interface RouteMatch {
	readonly path: PathTest;
	/** For CONNECT requests, which have no path, and for no others. */
	readonly connect: boolean;
	/** Characters of a path that the specifier matches, for prefix rewrites; null for patterns. */
	readonly matchedLength: number | null;
	/** The prefix or path itself, for the route table's summary. */
	readonly text: string;
	readonly headers: readonly HeaderMatcher[];
	readonly query: readonly QueryMatcher[];
	readonly grpc: boolean;
	/** 0…1. */
	readonly fraction: number;
}

/** `path` without its query, `query` without the question mark. */
export function matchesRoute(
	match: RouteMatch,
	head: RequestHead,
	path: string,
	query: string,
	random: Random,
): boolean {
	if (match.connect !== (head.method === 'CONNECT') || !match.path(path)) return false;
	if (match.headers.length > 0 && !matchesRequestHeaders(match.headers, head)) return false;
	if (match.query.length > 0 && !matchesQuery(match.query, query)) return false;
	if (match.grpc && !isGrpc(getHeader(head.headers, 'content-type'))) return false;
	return match.fraction === 1 || random.next() < match.fraction;
}

/** `application/grpc`, alone or with a subtype (`+proto`). With parameters it is none, to Envoy as well. */
export function isGrpc(contentType: string | undefined): boolean {
	return (
		contentType?.startsWith('application/grpc') === true &&
		(contentType.length === 16 || contentType.charCodeAt(16) === 0x2b)
	);
}

/** @throws ConfigError */
export function compileRouteMatch(config: RouteMatchConfig, object: string, field: string): RouteMatch {
	const { path, matchedLength, text } = compilePath(config, object, field);
	const fraction = config.runtimeFraction?.defaultValue;
	return {
		path,
		connect: config.pathSpecifier.case === 'connectMatcher',
		matchedLength,
		text,
		headers: compileHeaderMatchers(config.headers, object, `${field}.headers`),
		query: compileQueryMatchers(config.queryParameters, object, `${field}.query_parameters`),
		grpc: config.grpc !== undefined,
		fraction: fraction === undefined ? 1 : compileFraction(fraction),
	};
}

function compilePath(
	config: RouteMatchConfig,
	object: string,
	field: string,
): { path: PathTest; matchedLength: number | null; text: string } {
	const specifier = config.pathSpecifier;
	const folds = config.caseSensitive === false;
	switch (specifier.case) {
		case 'prefix': {
			const prefix = specifier.value;
			return { path: prefixTest(prefix, folds), matchedLength: prefix.length, text: prefix };
		}
		case 'path': {
			const wanted = folds ? specifier.value.toLowerCase() : specifier.value;
			const path = folds ? (value: string) => value.toLowerCase() === wanted : (value: string) => value === wanted;
			return { path, matchedLength: wanted.length, text: specifier.value };
		}
		case 'pathSeparatedPrefix': {
			const prefix = specifier.value;
			if (!prefix.startsWith('/') || prefix.endsWith('/') || /[?#]/.test(prefix)) {
				throw new ConfigError({
					object,
					field: `${field}.path_separated_prefix`,
					found: JSON.stringify(prefix),
					expected: 'a path that begins with / and does not end with it, without ? or #',
				});
			}
			const begins = prefixTest(prefix, folds);
			const length = prefix.length;
			return {
				path: (value) => begins(value) && (value.length === length || value.charCodeAt(length) === 0x2f),
				matchedLength: length,
				text: prefix,
			};
		}
		case 'safeRegex': {
			const regex = compileRegex(specifier.value, object, `${field}.safe_regex`);
			return { path: (value) => regex.testExact(value), matchedLength: null, text: specifier.value.regex };
		}
		case 'connectMatcher':
			return { path: () => true, matchedLength: null, text: 'CONNECT' };
		default:
			throw new ConfigError({
				object,
				field,
				expected: 'one of prefix, path, path_separated_prefix, safe_regex, connect_matcher',
			});
	}
}

function prefixTest(prefix: string, folds: boolean): PathTest {
	if (!folds) return (value) => value.startsWith(prefix);
	const wanted = prefix.toLowerCase();
	return (value) => value.length >= wanted.length && value.slice(0, wanted.length).toLowerCase() === wanted;
}
