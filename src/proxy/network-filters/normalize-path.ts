// The normal form of a path (RFC 3986 §6.2.2 as Envoy's `normalize_path` does it): dot segments and
// needless percent-encodings go, backslashes are slashes. Most paths are in it already, so that is
// asked first.

/** Unreserved characters may stand for themselves (RFC 3986 §2.3). */
const ENCODED_UNRESERVED = /%(2[dDeE]|3\d|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])/g;

/** With its query. Null: it cannot be normalized. */
export function normalizedPath(path: string): string | null {
	if (!path.includes('/.') && !path.includes('%') && !path.includes('\\')) return path;
	let end = path.search(/[?#]/);
	if (end < 0) end = path.length;
	let only = path.slice(0, end);
	if (/%(?![0-9a-fA-F]{2})/.test(only) || /%00/.test(only)) return null;
	only = only
		.replace(ENCODED_UNRESERVED, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
		.replaceAll('\\', '/');
	return withoutDotSegments(only) + path.slice(end);
}

/**
 * RFC 3986 §5.2.4. A dot segment with parameters (`..;x`) is one too: servlet containers drop the parameters first,
 * and would climb where a policy saw a name.
 */
function withoutDotSegments(path: string): string {
	const kept: string[] = [];
	const segments = path.split('/');
	for (let i = 1; i < segments.length; i++) {
		const segment = segments[i]!;
		const name = segment.startsWith('.') ? segment.split(';', 1)[0]! : segment;
		const last = i === segments.length - 1;
		if (name === '..') {
			kept.pop();
			if (last) kept.push('');
		} else if (name === '.') {
			if (last) kept.push('');
		} else kept.push(segment);
	}
	return `/${kept.join('/')}`;
}

/** `//` becomes `/`, before the query. */
export function withMergedSlashes(path: string): string {
	if (!path.includes('//')) return path;
	let end = path.search(/[?#]/);
	if (end < 0) end = path.length;
	return path.slice(0, end).replace(/\/{2,}/g, '/') + path.slice(end);
}
