// Hosts without port or trailing dot, names with underscores refused, and escaped slashes undone, where the
// connection manager is told so: `strip_any_host_port`, `strip_trailing_host_dot`, `headers_with_underscores_action:
// REJECT_REQUEST`, and `path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD` with `normalize_path`.

import { get, passes, type RequestCase, type RequestOptions, refused } from './case.ts';

const HOST = 'RFC 9110 §7.2';
const NAME = 'RFC 9110 §5.1';
const SMUGGLING = 'CWE-444';
const TRAVERSAL = 'CWE-22';

const host = (value: string) => `GET / HTTP/1.1\r\nHost: ${value}\r\n\r\n`;
const at = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

function named(name: string, section: string, raw: string, authority: string): RequestCase {
	return passes(name, section, raw, 'GET /', { variant: 'hosts', has: [`host: ${authority}`] });
}

function becomes(name: string, target: string, path: string): RequestCase {
	return passes(name, TRAVERSAL, at(target), `GET ${path}`, { variant: 'hosts' });
}

function no(name: string, section: string, raw: string, options: RequestOptions = {}): RequestCase {
	return refused(name, section, raw, 400, { variant: 'hosts', ...options });
}

export const HOSTS: readonly RequestCase[] = [
	named('a host as it is', HOST, host('a.example'), 'a.example'),
	named('a port', HOST, host('a.example:80'), 'a.example'),
	named('a port of another listener', HOST, host('a.example:9999'), 'a.example'),
	named('a trailing dot', HOST, host('a.example.'), 'a.example'),
	named('a trailing dot before a port', HOST, host('a.example.:80'), 'a.example'),
	named('an IPv6 address and a port', HOST, host('[::1]:80'), '[::1]'),
	named('an IPv6 address', HOST, host('[::1]'), '[::1]'),
	named('the port of an absolute target', HOST, 'GET http://b.example:80/ HTTP/1.1\r\nHost: a\r\n\r\n', 'b.example'),
	no('a port that is no number', SMUGGLING, host('a.example:8a')),
	no('two ports', SMUGGLING, host('a.example:80:81')),
	no('a port too high', HOST, host('a.example:65536')),
	no('an underscore in a name', NAME, get('X_A: 1\r\n'), { after: 'open' }),
	no('an underscore in place of the dash of Content-Length', SMUGGLING, get('Content_Length: 5\r\n'), {
		after: 'open',
	}),
	no('an underscore in place of the dash of Transfer-Encoding', SMUGGLING, get('Transfer_Encoding: chunked\r\n'), {
		after: 'open',
	}),
	no('a name of one underscore', NAME, get('_: 1\r\n'), { after: 'open' }),
	passes('an underscore in a value', NAME, get('X-A: a_b\r\n'), 'GET /', { variant: 'hosts', has: ['x-a: a_b'] }),
	becomes('an encoded slash', '/a%2fb', '/a/b'),
	becomes('an encoded slash in upper case', '/a%2Fb', '/a/b'),
	becomes('an encoded backslash', '/a%5cb', '/a/b'),
	becomes('dots and an encoded slash', '/a/..%2fb', '/b'),
	becomes('encoded dots and slashes', '/a/%2e%2e%2fb', '/b'),
	becomes('encoded slashes beyond the root', '/%2e%2e%2f%2e%2e%2fetc', '/etc'),
	becomes('encoded slashes are merged', '/a%2f%2fb', '/a/b'),
	becomes('a slash encoded twice stays encoded once', '/a%252fb', '/a%252fb'),
	becomes('an encoded slash in the query stays', '/a?b%2fc', '/a?b%2fc'),
];
