// How the path of a request is changed before it goes on: by prefix or by pattern. The query is
// never touched.

import type { RE2JS } from 're2js';
import type { RegexMatchAndSubstitute } from '../../generated/envoy/type/matcher/v3/regex_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import { compileRegex } from '../string-matcher.ts';

export type PathRewrite =
	/** What the route matched (its prefix or whole path, `matchedLength` characters) becomes `replacement`. */
	| { readonly kind: 'prefix'; readonly matchedLength: number; readonly replacement: string }
	| { readonly kind: 'regex'; readonly rewrite: RegexRewrite };

export interface RegexRewrite {
	readonly pattern: RE2JS;
	/** Text, or the number of a group. */
	readonly parts: readonly (string | number)[];
}

/** `path` with its query. */
export function rewritePath(rewrite: PathRewrite, path: string): string {
	if (rewrite.kind === 'prefix') return rewrite.replacement + path.slice(rewrite.matchedLength);
	const end = pathLength(path);
	return regexReplaced(rewrite.rewrite, path.slice(0, end)) + path.slice(end);
}

/** Characters before the query or fragment. */
export function pathLength(path: string): number {
	const query = path.indexOf('?');
	const end = query < 0 ? path.length : query;
	const fragment = path.indexOf('#');
	return fragment >= 0 && fragment < end ? fragment : end;
}

/** Every match of the pattern is replaced. */
export function regexReplaced(rewrite: RegexRewrite, text: string): string {
	const matcher = rewrite.pattern.matcher(text);
	let out = '';
	let position = 0;
	while (matcher.find()) {
		out += text.slice(position, matcher.start());
		for (const part of rewrite.parts) out += typeof part === 'string' ? part : (matcher.group(part) ?? '');
		position = matcher.end();
	}
	return out + text.slice(position);
}

/** `\1` stands for a group, `\\` for a backslash, as in RE2. @throws ConfigError */
export function compileRegexRewrite(
	config: RegexMatchAndSubstitute | undefined,
	object: string,
	field: string,
): RegexRewrite {
	const pattern = compileRegex(config?.pattern, object, `${field}.pattern`);
	const groups = pattern.groupCount();
	const substitution = config?.substitution ?? '';
	const parts: (string | number)[] = [];
	let literal = '';
	for (let i = 0; i < substitution.length; i++) {
		if (substitution[i] !== '\\') {
			literal += substitution[i];
			continue;
		}
		const next = substitution[++i];
		if (next === '\\') {
			literal += '\\';
			continue;
		}
		if (next === undefined || next < '0' || next > '9' || Number(next) > groups) {
			throw new ConfigError({
				object,
				field: `${field}.substitution`,
				found: JSON.stringify(substitution.slice(0, 100)),
				expected: `\\0 to \\${groups}, or \\\\ for a backslash`,
			});
		}
		if (literal !== '') parts.push(literal);
		literal = '';
		parts.push(Number(next));
	}
	if (literal !== '') parts.push(literal);
	return { pattern, parts };
}
