// Paths in their normal form (RFC 3986 §6.2.2), where the connection manager is told to make it:
// `normalize_path`, `merge_slashes`, and `path_with_escaped_slashes_action: REJECT_REQUEST`.

import { passes, type RequestCase, type RequestOptions, refused } from './case.ts';

const DOTS = 'RFC 3986 §5.2.4';
const PERCENT = 'RFC 3986 §6.2.2.2';
const TRAVERSAL = 'CWE-22';

const at = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

function becomes(
	name: string,
	section: string,
	target: string,
	path: string,
	options: RequestOptions = {},
): RequestCase {
	return passes(name, section, at(target), `GET ${path}`, { variant: 'paths', ...options });
}

function no(name: string, section: string, target: string, options: RequestOptions = {}): RequestCase {
	return refused(name, section, at(target), 400, { variant: 'paths', after: 'open', ...options });
}

export const PATHS: readonly RequestCase[] = [
	becomes('in normal form already', DOTS, '/a/b', '/a/b'),
	becomes('a dot segment', DOTS, '/a/./b', '/a/b'),
	becomes('a dot segment at the end', DOTS, '/a/.', '/a/'),
	becomes('two dots', DOTS, '/a/../b', '/b'),
	becomes('two dots at the end', DOTS, '/a/b/..', '/a/'),
	becomes('two dots beyond the root', TRAVERSAL, '/../../etc/passwd', '/etc/passwd'),
	becomes('two dots alone', DOTS, '/..', '/'),
	becomes('three dots are a name', DOTS, '/a/.../b', '/a/.../b'),
	becomes('a name that begins with a dot', DOTS, '/.a/..b', '/.a/..b'),
	becomes('encoded dots', TRAVERSAL, '/a/%2e%2e/b', '/b'),
	becomes('encoded dots in upper case', TRAVERSAL, '/a/%2E%2E/b', '/b'),
	becomes('half-encoded dots', TRAVERSAL, '/a/.%2e/b', '/b'),
	becomes('an encoded dot', TRAVERSAL, '/a/%2e/b', '/a/b'),
	becomes('dots encoded twice stay', TRAVERSAL, '/a/%252e%252e/b', '/a/%252e%252e/b'),
	becomes('encoded letters', PERCENT, '/%61%5A%7e%2D%5f', '/aZ~-_'),
	becomes('encoded reserved characters stay', PERCENT, '/%3f%23%3B', '/%3f%23%3B'),
	becomes('an encoded space stays', PERCENT, '/a%20b', '/a%20b'),
	becomes('an encoded byte beyond ASCII stays', PERCENT, '/%c3%a9', '/%c3%a9'),
	becomes('overlong dots stay', 'CWE-176', '/%c0%ae%c0%ae/x', '/%c0%ae%c0%ae/x'),
	becomes('a backslash', TRAVERSAL, '/a\\..\\b', '/b'),
	becomes('slashes are merged', DOTS, '//a///b//', '/a/b/'),
	becomes('slashes and dots', DOTS, '//a/..//b', '/b'),
	becomes('dots between slashes', TRAVERSAL, '/a//../b', '/a/b'),
	becomes('the query is left alone', DOTS, '/a/../b?c=/../d//e%2e', '/b?c=/../d//e%2e'),
	becomes('dots in the query alone', DOTS, '/a?/../b', '/a?/../b'),
	becomes('two dots with a parameter', TRAVERSAL, '/a/..;/b', '/b'),
	becomes('two dots with a parameter that has a value', TRAVERSAL, '/a/..;x=1/b', '/b'),
	becomes('a dot with a parameter', TRAVERSAL, '/a/.;x/b', '/a/b'),
	becomes('two dots with a parameter at the end', TRAVERSAL, '/a/b/..;', '/a/'),
	becomes('encoded dots with a parameter', TRAVERSAL, '/a/%2e%2e;/b', '/b'),
	becomes('dots and an encoded semicolon stay', TRAVERSAL, '/a/..%3b/b', '/a/..%3b/b'),
	becomes('a parameter of a name stays', TRAVERSAL, '/a;b/c;d=e', '/a;b/c;d=e'),
	becomes('encodings of an encoding stay encoded once', TRAVERSAL, '/%25%32%65', '/%252e'),
	no('an encoding put together of two', TRAVERSAL, '/%%32%65%%32%65/x'),
	becomes('an absolute target', 'RFC 9112 §3.2.2', 'http://a/b/../c', '/c'),
	no('an encoded slash', TRAVERSAL, '/a%2fb'),
	no('an encoded slash in upper case', TRAVERSAL, '/a%2Fb'),
	no('an encoded backslash', TRAVERSAL, '/a%5cb'),
	no('dots and an encoded slash', TRAVERSAL, '/a/..%2fb'),
	no('an encoded NUL', 'CWE-158', '/a%00b'),
	no('a percent sign alone', PERCENT, '/a%'),
	no('a percent sign and one digit', PERCENT, '/a%2'),
	no('a percent sign and no digits', PERCENT, '/a%zz'),
	becomes('an encoded slash in the query', TRAVERSAL, '/a?b%2fc', '/a?b%2fc'),
	becomes('an encoded NUL in the query', 'CWE-158', '/a?b%00', '/a?b%00'),
];
