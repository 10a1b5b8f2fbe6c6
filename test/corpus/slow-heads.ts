// Heads that do not come to their end within `request_headers_timeout` (0.3 s here): answered 408, RFC 9110 §15.5.9, and
// closed, whatever was answered on the connection before. What comes after a head is no matter of it.

import { post, type RequestCase, refused, SMUGGLED, waits } from './case.ts';

const SLOW = 'CWE-400, slow head';
const TIMEOUT = 'RFC 9110 §15.5.9';

const ONE = 'GET /1 HTTP/1.1\r\nHost: a\r\n\r\n';
const PART = 'GET /2 HTTP/1.1\r\nHost: a\r\nX:';

function late(name: string, section: string, raw: string, before: readonly string[] = []): RequestCase {
	const answers = [...before.map(() => 200), 408];
	return refused(name, section, raw, 408, { variant: 'slow', answers, upstream: before });
}

export const SLOW_HEADS: readonly RequestCase[] = [
	late('one byte', SLOW, 'G'),
	late('a method', SLOW, 'GET '),
	late('a start line', TIMEOUT, 'GET / HTTP/1.1'),
	late('a field that does not end', TIMEOUT, PART),
	late('all but the last byte', TIMEOUT, 'GET / HTTP/1.1\r\nHost: a\r\n\r'),
	late('CONNECT', TIMEOUT, 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n'),
	late('one that promises a body', SLOW, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\nX:'),
	late('behind a request', 'RFC 9112 §9.3.2', ONE + PART, ['GET /1']),
	late('behind two requests', 'RFC 9112 §9.3.2', ONE + ONE + PART, ['GET /1', 'GET /1']),
	late('behind a body', 'RFC 9112 §9.3.2', post('Content-Length: 5\r\n', `hello${PART}`), ['POST / hello']),
	late(
		'behind chunks and trailers',
		'RFC 9112 §9.3.2',
		post('Transfer-Encoding: chunked\r\n', `5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n${PART}`),
		['POST / hello'],
	),
	waits('a body that does not come', 'RFC 9112 §9.5', post('Content-Length: 36\r\n', SMUGGLED), { variant: 'slow' }),
	waits('a trailer that does not end', 'RFC 9112 §9.5', post('Transfer-Encoding: chunked\r\n', '0\r\nX-T:'), {
		variant: 'slow',
	}),
];
