// Responses of an upstream: status line, fields, framing, 1xx, bodies that may not be, premature
// ends, and bytes that nobody asked for (RFC 9112 §4, §6.3, RFC 9110 §15).

import { answers, badGateway, breaksOff, type ResponseCase } from './case.ts';

const LINE = 'RFC 9112 §4';
const FIELD = 'RFC 9112 §5';
const BODY = 'RFC 9112 §6.3';
const LENGTH = 'RFC 9110 §8.6';
const CODING = 'RFC 9112 §6.1';
const CHUNK = 'RFC 9112 §7.1';
const INFO = 'RFC 9110 §15.2';
const INCOMPLETE = 'RFC 9112 §8';
const SPLITTING = 'CWE-113';
const DESYNC = 'CWE-444, response queue';
const LIMIT = 'CWE-400';

const OK = 'HTTP/1.1 200 OK\r\n';
const hello = (fields = '') => `${OK}${fields}Content-Length: 5\r\n\r\nhello`;
const chunks = (body: string) => `${OK}Transfer-Encoding: chunked\r\n\r\n${body}`;
const HELLO_CHUNKS = '5\r\nhello\r\n0\r\n\r\n';
/** What follows a response and answers nothing. */
const EXTRA = 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned';

export const RESPONSES: readonly ResponseCase[] = [
	answers('a length', BODY, hello(), 'hello'),
	answers('a length of 0', BODY, `${OK}Content-Length: 0\r\n\r\n`, ''),
	answers('chunks', CHUNK, chunks(HELLO_CHUNKS), 'hello'),
	answers('chunks and trailers', CHUNK, chunks('5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n'), 'hello', {
		has: ['trailer x-t: 1'],
	}),
	answers('chunk extensions', CHUNK, chunks('5;a=b\r\nhello\r\n0;c\r\n\r\n'), 'hello'),
	answers('the same length twice', LENGTH, hello('Content-Length: 5\r\n'), 'hello'),
	answers('a list of the same length', LENGTH, `${OK}Content-Length: 5, 5\r\n\r\nhello`, 'hello'),
	answers('until the close', BODY, `${OK}\r\nhello`, 'hello', { ending: 'fin', reused: false }),
	answers('until the close, nothing', BODY, `${OK}\r\n`, '', { ending: 'fin', reused: false }),
	answers('HTTP/1.0 until the close', BODY, 'HTTP/1.0 200 OK\r\n\r\nhello', 'hello', { ending: 'fin', reused: false }),
	answers('HTTP/1.0 with a length', 'RFC 9112 §9.3', 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'hello', {
		reused: false,
	}),
	answers(
		'HTTP/1.0 keep-alive',
		'RFC 9112 §9.3',
		'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello',
		'hello',
	),
	answers('close', 'RFC 9112 §9.6', hello('Connection: close\r\n'), 'hello', { reused: false }),
	answers('close in a list', 'RFC 9112 §9.6', hello('Connection: x, Close\r\n'), 'hello', { reused: false }),
	answers('a length, then FIN', 'RFC 9112 §9.6', hello(), 'hello', { ending: 'fin', reused: false }),
	answers('no reason phrase', LINE, 'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n', ''),
	answers('no space before the empty reason', LINE, 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', ''),
	answers('a reason of odd characters', LINE, 'HTTP/1.1 200 \xe9 \t!\r\nContent-Length: 0\r\n\r\n', ''),
	answers('a status that nobody knows', LINE, 'HTTP/1.1 299 x\r\nContent-Length: 0\r\n\r\n', '', { statuses: [299] }),
	answers('418', LINE, 'HTTP/1.1 418 x\r\nContent-Length: 0\r\n\r\n', '', { statuses: [418] }),
	answers('599', LINE, 'HTTP/1.1 599 x\r\nContent-Length: 0\r\n\r\n', '', { statuses: [599] }),
	badGateway('600', LINE, 'HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('999', LINE, 'HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('status 099', LINE, 'HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('status 0', LINE, 'HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('a status of two digits', LINE, 'HTTP/1.1 20 x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('a status of four digits', LINE, 'HTTP/1.1 2000 x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('a status with a sign', LINE, 'HTTP/1.1 +20 x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('a status of letters', LINE, 'HTTP/1.1 abc x\r\nContent-Length: 0\r\n\r\n'),
	badGateway('two spaces before the status', LINE, 'HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n'),
	badGateway('a tab before the status', LINE, 'HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n'),
	badGateway('a space before the status line', LINE, ' HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
	badGateway('an empty line before the status line', LINE, `\r\n${hello()}`),
	badGateway('HTTP/2.0', 'RFC 9112 §2.3', 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n'),
	badGateway('HTTP/1.2', 'RFC 9112 §2.3', 'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n'),
	badGateway('ICY', 'RFC 9112 §2.3', 'ICY 200 OK\r\nContent-Length: 0\r\n\r\n'),
	badGateway('no HTTP at all', LINE, 'SSH-2.0-OpenSSH_9.2\r\n'),
	badGateway('HTTP/0.9', LINE, '<html>hello</html>\r\n', { ending: 'fin' }),
	badGateway('a settings frame of HTTP/2', 'RFC 9113 §3.4', '\0\0\0\x04\0\0\0\0\0'),
	badGateway('a bare LF after the status line', 'RFC 9112 §2.2', 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n'),
	badGateway('a bare CR in the reason', SPLITTING, 'HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n'),
	badGateway('NUL in the reason', LINE, 'HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n'),

	badGateway('a space before the colon', 'RFC 9112 §5.1', hello('X : 1\r\n')),
	badGateway('a name with a space', FIELD, hello('X A: 1\r\n')),
	badGateway('no colon', FIELD, hello('X\r\n')),
	badGateway('an empty name', FIELD, hello(': 1\r\n')),
	badGateway('folding', 'RFC 9112 §5.2', hello('X: 1\r\n 2\r\n')),
	badGateway('a bare LF at the end of a field', 'RFC 9112 §2.2', hello('X: 1\n')),
	badGateway('a bare CR in a value', SPLITTING, hello('X: 1\rSet-Cookie: a\r\n')),
	badGateway('a bare LF in a value', SPLITTING, hello('X: 1\nSet-Cookie: a\r\n')),
	badGateway('NUL in a value', 'RFC 9110 §5.5', hello('X: 1\0\r\n')),
	badGateway('a control character in a value', 'RFC 9110 §5.5', hello('X: \x07\r\n')),
	badGateway('LF for all line ends', 'RFC 9112 §2.2', 'HTTP/1.1 200 OK\nContent-Length: 5\n\nhello'),
	answers('bytes beyond ASCII in a value', 'RFC 9110 §5.5', hello('X: \xe9\r\n'), 'hello', { has: ['x: \xe9'] }),
	answers('two cookies', 'RFC 6265 §3', hello('Set-Cookie: a\r\nSet-Cookie: b\r\n'), 'hello', {
		has: ['set-cookie: a', 'set-cookie: b'],
	}),
	answers(
		'hop-by-hop fields go no further',
		'RFC 9110 §7.6.1',
		hello('Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nConnection: x-a\r\nX-A: 1\r\nX-B: 2\r\n'),
		'hello',
		{
			has: ['x-b: 2'],
			hasNot: ['keep-alive', 'proxy-connection', 'x-a'],
		},
	),
	answers(
		'Upgrade in an ordinary answer goes no further',
		'RFC 9110 §7.8',
		hello('Connection: upgrade\r\nUpgrade: h2c\r\n'),
		'hello',
		{ hasNot: ['upgrade'] },
	),
	answers(
		'a nomination that would take the length away',
		'CWE-444, hop-by-hop',
		hello('Connection: content-length\r\n'),
		'hello',
		{ has: ['content-length: 5'] },
	),

	badGateway('two lengths', LENGTH, hello('Content-Length: 6\r\n')),
	badGateway('two lengths in one field', LENGTH, `${OK}Content-Length: 5, 6\r\n\r\nhello`),
	badGateway('a length with a sign', LENGTH, `${OK}Content-Length: +5\r\n\r\nhello`),
	badGateway('a negative length', LENGTH, `${OK}Content-Length: -1\r\n\r\nhello`),
	badGateway('an empty length', LENGTH, `${OK}Content-Length:\r\n\r\nhello`, { ending: 'fin' }),
	badGateway('a hexadecimal length', LENGTH, `${OK}Content-Length: 0x5\r\n\r\nhello`),
	badGateway('a length of 2^64', 'CWE-190', `${OK}Content-Length: 18446744073709551616\r\n\r\nhello`),
	badGateway(
		'a length and chunks',
		CODING,
		`${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n${HELLO_CHUNKS}`,
	),
	badGateway(
		'chunks and a length of 0',
		CODING,
		`${OK}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n${HELLO_CHUNKS}`,
	),
	badGateway('gzip, chunked', CODING, `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n${HELLO_CHUNKS}`),
	badGateway('identity', CODING, `${OK}Transfer-Encoding: identity\r\n\r\nhello`, { ending: 'fin' }),
	badGateway('chunked twice', CODING, `${OK}Transfer-Encoding: chunked, chunked\r\n\r\n${HELLO_CHUNKS}`),
	badGateway('two codings', CODING, `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n${HELLO_CHUNKS}`),
	badGateway(
		'chunked after a vertical tab',
		'CWE-444, TE.TE',
		`${OK}Transfer-Encoding: \x0bchunked\r\n\r\n${HELLO_CHUNKS}`,
	),
	badGateway('chunks in HTTP/1.0', CODING, `HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${HELLO_CHUNKS}`, {
		ending: 'fin',
	}),

	breaksOff('a chunk size that is no number', CHUNK, chunks('5\r\nhello\r\nx\r\n'), 'hello'),
	breaksOff('a chunk that is too long', CHUNK, chunks('5\r\nhello!\r\n0\r\n\r\n'), 'hello'),
	breaksOff('a bare LF after a chunk', 'RFC 9112 §2.2', chunks('5\r\nhello\n0\r\n\r\n'), 'hello'),
	breaksOff('a bare LF in an extension', 'CWE-444, TERM.EXT', chunks('5\r\nhello\r\n1;a\nx\r\n0\r\n\r\n'), 'hello'),
	breaksOff('a chunk size of 2^64', 'CWE-190', chunks('5\r\nhello\r\n10000000000000000\r\n'), 'hello'),
	breaksOff('a bad trailer', CHUNK, chunks('5\r\nhello\r\n0\r\nX\r\n\r\n'), 'hello'),
	breaksOff(
		'extensions of 20,000 bytes',
		LIMIT,
		chunks(`5\r\nhello\r\n1;${'a'.repeat(20_000)}\r\nx\r\n0\r\n\r\n`),
		'hello',
	),
	breaksOff('FIN within a length', INCOMPLETE, `${OK}Content-Length: 10\r\n\r\nhello`, 'hello', { ending: 'fin' }),
	breaksOff('FIN within a chunk', INCOMPLETE, chunks('a\r\nhello'), 'hello', { ending: 'fin' }),
	breaksOff('FIN between chunks', INCOMPLETE, chunks('5\r\nhello\r\n'), 'hello', { ending: 'fin' }),
	breaksOff('FIN before the last chunk is whole', INCOMPLETE, chunks('5\r\nhello\r\n0\r\n'), 'hello', {
		ending: 'fin',
	}),
	breaksOff('FIN within trailers', INCOMPLETE, chunks('5\r\nhello\r\n0\r\nX-T: 1\r\n'), 'hello', { ending: 'fin' }),
	breaksOff('FIN at once after the head', INCOMPLETE, `${OK}Content-Length: 10\r\n\r\n`, '', { ending: 'fin' }),
	badGateway('FIN within the head', INCOMPLETE, `${OK}Content-Le`, { ending: 'fin', statuses: [502] }),
	badGateway('FIN within the status line', INCOMPLETE, 'HTTP/1.1 2', { ending: 'fin', statuses: [502] }),
	badGateway('FIN and nothing', INCOMPLETE, '', { ending: 'fin', statuses: [503] }),
	badGateway('RST and nothing', INCOMPLETE, '', { ending: 'reset', statuses: [503] }),

	answers('100 and 200', INFO, `HTTP/1.1 100 Continue\r\n\r\n${hello()}`, 'hello'),
	answers('102 and 200', INFO, `HTTP/1.1 102 Processing\r\n\r\n${hello()}`, 'hello', { statuses: [102, 200] }),
	answers(
		'103 with a link, and 200',
		'RFC 8297 §2',
		`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${hello()}`,
		'hello',
		{ statuses: [103, 200] },
	),
	answers('three 103', 'RFC 8297 §2', `${'HTTP/1.1 103 x\r\n\r\n'.repeat(3)}${hello()}`, 'hello', {
		statuses: [103, 103, 103, 200],
	}),
	answers('a 1xx that nobody knows', INFO, `HTTP/1.1 199 x\r\n\r\n${hello()}`, 'hello', { statuses: [199, 200] }),
	answers(
		'a length in a 1xx does not count',
		LENGTH,
		`HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n${hello()}`,
		'hello',
		{ statuses: [103, 200] },
	),
	badGateway(
		'101 that nobody asked for',
		'RFC 9110 §15.2.2',
		'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
	),
	badGateway('1xx without end', LIMIT, 'HTTP/1.1 102 x\r\n\r\n'.repeat(100), {
		statuses: [...Array<number>(32).fill(102), 502],
	}),
	badGateway('a 1xx, then FIN', INCOMPLETE, 'HTTP/1.1 103 x\r\n\r\n', { ending: 'fin', statuses: [103, 503] }),
	badGateway('a 1xx, then nonsense', INFO, 'HTTP/1.1 103 x\r\n\r\nnonsense\r\n', { statuses: [103, 502] }),

	answers('204', 'RFC 9110 §15.3.5', 'HTTP/1.1 204 No Content\r\n\r\n', '', { statuses: [204] }),
	answers('204 with a length of 0', LENGTH, 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', '', {
		statuses: [204],
		hasNot: ['content-length'],
	}),
	answers('204 with a length of 5 and no body', LENGTH, 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', '', {
		statuses: [204],
		hasNot: ['content-length'],
	}),
	answers('204 with a body', BODY, 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello', '', {
		statuses: [204],
		reused: false,
	}),
	answers('204 with chunks', BODY, `HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n${HELLO_CHUNKS}`, '', {
		statuses: [204],
		reused: false,
		hasNot: ['transfer-encoding'],
	}),
	answers('304 with a length', 'RFC 9110 §15.4.5', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n', '', {
		statuses: [304],
		has: ['content-length: 5'],
	}),
	answers('304 with a body', BODY, 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello', '', {
		statuses: [304],
		reused: false,
	}),
	answers('205 with a length of 0', 'RFC 9110 §15.3.6', 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n', '', {
		statuses: [205],
	}),
	answers('HEAD with a length', 'RFC 9110 §9.3.2', `${OK}Content-Length: 5\r\n\r\n`, '', {
		method: 'HEAD',
		has: ['content-length: 5'],
	}),
	answers('HEAD with chunks announced', 'RFC 9110 §9.3.2', `${OK}Transfer-Encoding: chunked\r\n\r\n`, '', {
		method: 'HEAD',
	}),
	answers('HEAD with neither', 'RFC 9110 §9.3.2', `${OK}\r\n`, '', { method: 'HEAD' }),
	answers('HEAD with a body', DESYNC, hello(), '', { method: 'HEAD', reused: false }),

	answers('a second response that nobody asked for', DESYNC, hello() + EXTRA, 'hello', { reused: false }),
	answers('a second response behind chunks', DESYNC, chunks(HELLO_CHUNKS) + EXTRA, 'hello', { reused: false }),
	answers('a second response behind 204', DESYNC, `HTTP/1.1 204 x\r\n\r\n${EXTRA}`, '', {
		statuses: [204],
		reused: false,
	}),
	answers('a second response behind 304', DESYNC, `HTTP/1.1 304 x\r\n\r\n${EXTRA}`, '', {
		statuses: [304],
		reused: false,
	}),
	answers('a second response behind HEAD', DESYNC, `${OK}Content-Length: 5\r\n\r\n${EXTRA}`, '', {
		method: 'HEAD',
		reused: false,
	}),
	answers('a body longer than its length', DESYNC, `${OK}Content-Length: 5\r\n\r\nhelloX`, 'hello', { reused: false }),
	answers('an empty line after the response', DESYNC, `${hello()}\r\n`, 'hello', { reused: false }),
	answers('a line end after the last chunk', DESYNC, chunks(`${HELLO_CHUNKS}\r\n`), 'hello', { reused: false }),
	answers('one byte after a response that closes', DESYNC, `${hello('Connection: close\r\n')}X`, 'hello', {
		reused: false,
	}),
	answers('a 1xx after the response', DESYNC, `${hello()}HTTP/1.1 103 x\r\n\r\n`, 'hello', { reused: false }),

	answers('60,000 bytes of head', LIMIT, hello(`X: ${'a'.repeat(60_000)}\r\n`), 'hello'),
	badGateway('62,000 bytes of head', LIMIT, hello(`X: ${'a'.repeat(62_000)}\r\n`)),
	badGateway('a head without end', LIMIT, `${OK}X: ${'a'.repeat(80_000)}`),
	badGateway('a hundred and two fields', LIMIT, hello('X: 1\r\n'.repeat(101))),
	answers('a hundred fields', LIMIT, hello('X: 1\r\n'.repeat(99)), 'hello'),
];
