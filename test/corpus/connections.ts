// Persistence, pipelining, HTTP/1.0, hop-by-hop fields, Expect, Upgrade, and limits.

import { get, passes, post, type RequestCase, refused, waits } from './case.ts';

const KEEP = 'RFC 9112 §9.3';
const PIPE = 'RFC 9112 §9.3.2';
const CLOSE = 'RFC 9112 §9.6';
const HOP = 'RFC 9110 §7.6.1';
const EXPECT = 'RFC 9110 §10.1.1';
const UPGRADE = 'RFC 9110 §7.8';
const OLD = 'RFC 9112 §2.3';
const LIMIT = 'RFC 6585 §5';

const g = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const old = (fields: string, body = '', method = 'GET') => `${method} / HTTP/1.0\r\n${fields}\r\n${body}`;
const ws = (fields: string) => `GET /ws HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

export const CONNECTIONS: readonly RequestCase[] = [
	passes('two requests at once', PIPE, g('/1') + g('/2'), ['GET /1', 'GET /2']),
	passes(
		'ten requests at once',
		PIPE,
		Array.from({ length: 10 }, (_, i) => g(`/${i}`)).join(''),
		Array.from({ length: 10 }, (_, i) => `GET /${i}`),
	),
	passes('an empty line between requests', 'RFC 9112 §2.2', `${g('/1')}\r\n${g('/2')}`, ['GET /1', 'GET /2']),
	passes('HEAD, then GET', PIPE, `HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n${g('/2')}`, ['HEAD /1', 'GET /2']),
	refused('a bad request behind a good one', PIPE, `${g('/1')}GET\r\n\r\n`, 400, {
		answers: [200, 400],
		upstream: ['GET /1'],
	}),
	refused('a good request behind a bad one is never read', PIPE, `GET\r\n\r\n${g('/2')}`),
	refused('two empty lines between requests', 'RFC 9112 §2.2', `${g('/1')}\r\n\r\n${g('/2')}`, 400, {
		answers: [200, 400],
		upstream: ['GET /1'],
	}),
	passes('keep-alive is the default', KEEP, g('/'), 'GET /', { hasNot: ['connection'] }),
	passes('keep-alive said', KEEP, g('/', 'Connection: keep-alive\r\n'), 'GET /', { hasNot: ['connection'] }),
	passes('close', CLOSE, g('/', 'Connection: close\r\n'), 'GET /', { after: 'closed', hasNot: ['connection'] }),
	passes('close in upper case', CLOSE, g('/', 'Connection: CLOSE\r\n'), 'GET /', { after: 'closed' }),
	passes('close in a list', CLOSE, g('/', 'Connection: x-a, close\r\n'), 'GET /', { after: 'closed' }),
	passes('close in a second field', CLOSE, g('/', 'Connection: keep-alive\r\nConnection: close\r\n'), 'GET /', {
		after: 'closed',
	}),
	passes('close wins over keep-alive', CLOSE, g('/', 'Connection: close, keep-alive\r\n'), 'GET /', {
		after: 'closed',
	}),
	passes('what follows close is not read', CLOSE, `${g('/1', 'Connection: close\r\n')}${g('/2')}`, 'GET /1', {
		after: 'closed',
	}),
	passes('an empty Connection', HOP, g('/', 'Connection:\r\n'), 'GET /', { hasNot: ['connection'] }),
	passes('empty members in Connection', HOP, g('/', 'Connection: ,, keep-alive,\r\n'), 'GET /'),
	refused('Connection that is no list of tokens', HOP, g('/', 'Connection: a b\r\n')),
	refused('Connection with a no-break space', HOP, g('/', 'Connection: x,\xa0close\r\n')),
	refused('Connection in quotation marks', HOP, g('/', 'Connection: "close"\r\n')),
	passes('Proxy-Connection goes no further', HOP, g('/', 'Proxy-Connection: close\r\n'), 'GET /', {
		hasNot: ['proxy-connection'],
	}),
	passes('Keep-Alive goes no further', HOP, g('/', 'Keep-Alive: timeout=5\r\n'), 'GET /', { hasNot: ['keep-alive'] }),
	passes('a nominated field goes no further', HOP, g('/', 'Connection: x-a\r\nX-A: 1\r\nX-B: 2\r\n'), 'GET /', {
		has: ['x-b: 2'],
		hasNot: ['x-a'],
	}),
	passes('a field nominated after it was given', HOP, g('/', 'X-A: 1\r\nConnection: x-a\r\n'), 'GET /', {
		hasNot: ['x-a'],
	}),
	passes('a field nominated in upper case', HOP, g('/', 'Connection: X-A\r\nx-a: 1\r\n'), 'GET /', { hasNot: ['x-a'] }),
	passes('Host cannot be nominated', 'CWE-444, hop-by-hop', g('/', 'Connection: host\r\n'), 'GET /', {
		has: ['host: a'],
	}),
	passes(
		'Authorization cannot be nominated',
		'CWE-444, hop-by-hop',
		g('/', 'Connection: authorization\r\nAuthorization: x\r\n'),
		'GET /',
		{ has: ['authorization: x'] },
	),
	passes('Cookie cannot be nominated', 'CWE-444, hop-by-hop', g('/', 'Connection: cookie\r\nCookie: x\r\n'), 'GET /', {
		has: ['cookie: x'],
	}),
	passes(
		'X-Forwarded-For cannot be nominated',
		'CWE-348, hop-by-hop',
		g('/', 'Connection: x-forwarded-for\r\nX-Forwarded-For: 10.0.0.1\r\n'),
		'GET /',
		{ has: ['x-forwarded-for: 10.0.0.1'] },
	),
	passes(
		'X-Forwarded-Proto cannot be nominated',
		'CWE-348, hop-by-hop',
		g('/', 'Connection: x-forwarded-proto\r\nX-Forwarded-Proto: https\r\n'),
		'GET /',
		{ has: ['x-forwarded-proto: https'] },
	),
	passes('TE: trailers', 'RFC 9110 §10.1.4', g('/', 'TE: trailers\r\nConnection: TE\r\n'), 'GET /'),
	passes('TE with codings', 'RFC 9110 §10.1.4', g('/', 'TE: gzip, trailers;q=0.5\r\n'), 'GET /', { hasNot: ['te'] }),
	passes('TE of a coding', 'RFC 9110 §10.1.4', g('/', 'TE: gzip\r\nConnection: TE\r\n'), 'GET /', { hasNot: ['te'] }),
	passes(
		'Trailer passes',
		'RFC 9110 §6.6.2',
		post('Trailer: X-T\r\nTransfer-Encoding: chunked\r\n', '0\r\nX-T: 1\r\n\r\n'),
		'POST /',
	),
	passes('Max-Forwards passes on GET', 'RFC 9110 §7.6.2', g('/', 'Max-Forwards: 0\r\n'), 'GET /', {
		has: ['max-forwards: 0'],
	}),
	passes('Via passes', 'RFC 9110 §7.6.3', g('/', 'Via: 1.0 b\r\n'), 'GET /', { has: ['via: 1.0 b'] }),

	passes(
		'Expect: 100-continue',
		EXPECT,
		post('Expect: 100-continue\r\nContent-Length: 5\r\n', 'hello'),
		'POST / hello',
		{ answers: [100, 200], hasNot: ['expect'] },
	),
	passes(
		'Expect in upper case',
		EXPECT,
		post('Expect: 100-CONTINUE\r\nContent-Length: 5\r\n', 'hello'),
		'POST / hello',
		{ answers: [100, 200] },
	),
	passes(
		'Expect with chunks',
		EXPECT,
		post('Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
		'POST /',
		{ answers: [100, 200] },
	),
	passes('Expect without content', EXPECT, g('/', 'Expect: 100-continue\r\n'), 'GET /'),
	refused('Expect of something else', EXPECT, post('Expect: 200-ok\r\nContent-Length: 5\r\n', 'hello'), 417),
	passes(
		'Expect from HTTP/1.0 is ignored',
		EXPECT,
		old('Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n', 'hello', 'POST'),
		'POST / hello',
		{ variant: 'http10', after: 'closed', hasNot: ['expect'] },
	),

	passes('an upgrade that is agreed', UPGRADE, ws('Connection: Upgrade\r\nUpgrade: websocket\r\n'), 'GET /ws', {
		answers: [101],
		after: 'tunnel',
	}),
	passes('an upgrade in upper case', UPGRADE, ws('Connection: UPGRADE\r\nUpgrade: WebSocket\r\n'), 'GET /ws', {
		answers: [101],
		after: 'tunnel',
	}),
	passes('an upgrade that is refused', UPGRADE, get('Connection: Upgrade\r\nUpgrade: websocket\r\n'), 'GET /', {
		has: ['upgrade: websocket'],
	}),
	passes(
		'bytes after an upgrade that is refused are the next request',
		UPGRADE,
		get('Connection: Upgrade\r\nUpgrade: websocket\r\n', g('/2')),
		['GET /', 'GET /2'],
	),
	passes('Upgrade that Connection does not name', UPGRADE, g('/ws', 'Upgrade: websocket\r\n'), 'GET /ws', {
		hasNot: ['upgrade'],
	}),
	passes('Connection: upgrade without Upgrade', UPGRADE, g('/', 'Connection: upgrade\r\n'), 'GET /', {
		hasNot: ['upgrade', 'connection'],
	}),
	passes(
		'an upgrade from HTTP/1.0 is ignored',
		UPGRADE,
		old('Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'),
		'GET /',
		{ variant: 'http10', after: 'closed', hasNot: ['upgrade'] },
	),
	passes(
		'an upgrade with content',
		UPGRADE,
		'POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nab',
		'POST /ws ab',
		{ hasNot: ['upgrade'] },
	),
	refused('an upgrade that is not configured', UPGRADE, ws('Connection: Upgrade\r\nUpgrade: other/1\r\n'), 403, {
		after: 'open',
	}),
	refused('an upgrade to TLS', 'RFC 2817', ws('Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n'), 403, { after: 'open' }),

	refused('HTTP/1.0 where it is not accepted', OLD, old('Host: a\r\n'), 505),
	passes('HTTP/1.0', OLD, old('Host: a\r\n'), 'GET /', { variant: 'http10', after: 'closed' }),
	passes('HTTP/1.0 without Host', OLD, old(''), 'GET /', {
		variant: 'http10',
		after: 'closed',
		has: ['host: old.example'],
	}),
	passes('HTTP/1.0 keep-alive', KEEP, old('Host: a\r\nConnection: keep-alive\r\n'), 'GET /', { variant: 'http10' }),
	passes('HTTP/1.0 keep-alive and close', KEEP, old('Host: a\r\nConnection: keep-alive, close\r\n'), 'GET /', {
		variant: 'http10',
		after: 'closed',
	}),
	passes('HTTP/1.0 with a length', OLD, old('Host: a\r\nContent-Length: 5\r\n', 'hello', 'POST'), 'POST / hello', {
		variant: 'http10',
		after: 'closed',
	}),
	passes('HTTP/1.0 POST without a length', OLD, old('Host: a\r\n', '', 'POST'), 'POST /', {
		variant: 'http10',
		after: 'closed',
	}),
	passes('what follows HTTP/1.0 without keep-alive is not read', OLD, old('Host: a\r\n') + g('/2'), 'GET /', {
		variant: 'http10',
		after: 'closed',
	}),
	refused(
		'HTTP/1.0 with chunks',
		'RFC 9112 §6.1',
		old('Host: a\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n', 'POST'),
		400,
		{ variant: 'http10' },
	),
	refused(
		'HTTP/1.0 with chunks and keep-alive',
		'RFC 9112 §6.1',
		old('Host: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n', 'POST'),
		400,
		{ variant: 'http10' },
	),
	refused('HTTP/1.0 with two Hosts', 'RFC 9112 §3.2', old('Host: a\r\nHost: b\r\n'), 400, { variant: 'http10' }),
	waits('HTTP/0.9 where HTTP/1.0 is accepted', OLD, 'GET /\r\n', { variant: 'http10' }),
	refused('HTTP/2.0 where HTTP/1.0 is accepted', OLD, g('/').replace('1.1', '2.0'), 505, { variant: 'http10' }),

	passes('a head just within its limit', LIMIT, g('/', `X: ${'a'.repeat(900)}\r\n`), 'GET /', { variant: 'small' }),
	refused('a value beyond the limit', LIMIT, g('/', `X: ${'a'.repeat(1100)}\r\n`), 431, { variant: 'small' }),
	refused('a name beyond the limit', LIMIT, g('/', `${'a'.repeat(1100)}: 1\r\n`), 431, { variant: 'small' }),
	refused('a target beyond the limit', LIMIT, g(`/${'a'.repeat(1100)}`), 431, { variant: 'small' }),
	refused('a method beyond the limit', LIMIT, `${'A'.repeat(1100)} / HTTP/1.1\r\nHost: a\r\n\r\n`, 431, {
		variant: 'small',
	}),
	refused('fields that are together too long', LIMIT, g('/', `X: ${'a'.repeat(200)}\r\n`.repeat(6)), 431, {
		variant: 'small',
	}),
	refused('white space beyond the limit', LIMIT, g('/', `X:${' '.repeat(1100)}a\r\n`), 431, { variant: 'small' }),
	refused('a head without end', LIMIT, `GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(1100)}`, 431, {
		variant: 'small',
	}),
	refused('a start line without end', LIMIT, `GET /${'a'.repeat(1100)}`, 431, { variant: 'small' }),
	passes('as many fields as are allowed', LIMIT, g('/', 'X: 1\r\n'.repeat(9)), 'GET /', { variant: 'small' }),
	refused('a field too many', LIMIT, g('/', 'X: 1\r\n'.repeat(10)), 431, { variant: 'small' }),
	passes('60,000 bytes of head', LIMIT, g('/', `X: ${'a'.repeat(60_000)}\r\n`), 'GET /'),
	refused('62,000 bytes of head', LIMIT, g('/', `X: ${'a'.repeat(62_000)}\r\n`), 431),
	passes('a hundred fields', LIMIT, g('/', 'X: 1\r\n'.repeat(99)), 'GET /'),
	refused('a hundred and one fields', LIMIT, g('/', 'X: 1\r\n'.repeat(100)), 431),
];
