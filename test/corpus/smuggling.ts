// The classes of request smuggling: what is one request to the one and two to the other. Each ends
// with the request that a smuggler wants to see arrive; it must not, unless it is plainly one of the
// client's own.

import { passes, post, type RequestCase, refused, SMUGGLED, waits } from './case.ts';

const CLTE = 'CWE-444, CL.TE';
const TECL = 'CWE-444, TE.CL';
const TETE = 'CWE-444, TE.TE';
const CL0 = 'CWE-444, CL.0';
const ZEROCL = 'CWE-444, 0.CL';

const both = (fields: string, body: string) => post(fields, body);

export const SMUGGLING: readonly RequestCase[] = [
	refused('CL.TE', CLTE, both('Content-Length: 6\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\nG${SMUGGLED}`)),
	refused(
		'CL.TE with the smuggled request in the length',
		CLTE,
		both(`Content-Length: ${5 + SMUGGLED.length}\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${SMUGGLED}`),
	),
	refused('TE.CL', TECL, both('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `23\r\n${SMUGGLED}\r\n0\r\n\r\n`)),
	refused(
		'TE and a length of 0',
		TECL,
		both('Transfer-Encoding: chunked\r\nContent-Length: 0\r\n', `0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'TE and an empty length',
		TECL,
		both('Transfer-Encoding: chunked\r\nContent-Length:\r\n', `0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'an unknown coding and a length',
		TECL,
		both('Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n', `0\r\n\r\n${SMUGGLED}`),
		501,
	),
	refused(
		'TE named in Connection, with a length',
		TECL,
		both(
			'Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n',
			`0\r\n\r\n${SMUGGLED}`,
		),
	),
	refused(
		'a length named in Connection, with TE',
		CLTE,
		both('Connection: content-length\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n', `0\r\n\r\n${SMUGGLED}`),
	),
	passes(
		'a length named in Connection is kept',
		'CWE-444, hop-by-hop',
		both('Connection: content-length\r\nContent-Length: 5\r\n', 'hello'),
		'POST / hello',
		{ has: ['content-length: 5'] },
	),
	passes(
		'a coding named in Connection is kept',
		'CWE-444, hop-by-hop',
		both('Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'),
		'POST / hello',
	),
	refused(
		'TE.TE, the second is another case',
		TETE,
		both('Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n', `0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'TE.TE by a tab',
		TETE,
		both('Transfer-Encoding: chunked\r\nTransfer-Encoding:\tx\r\n', `0\r\n\r\n${SMUGGLED}`),
	),
	refused('CL.CL', 'CWE-444, CL.CL', both('Content-Length: 0\r\nContent-Length: 35\r\n', SMUGGLED)),
	refused('a length in the trailing space of another field', CLTE, both('X: y\rContent-Length: 35\r\n', SMUGGLED)),
	refused('a length after a bare LF', CLTE, both('X: y\nContent-Length: 35\r\n', SMUGGLED)),
	refused('a coding after NUL', CLTE, both('X: y\0Transfer-Encoding: chunked\r\n', `0\r\n\r\n${SMUGGLED}`)),
	refused('a length on a folded line', 'CWE-444, folding', both('X: y\r\n Content-Length: 35\r\n', SMUGGLED)),
	refused('a length with a vertical tab before the colon', CLTE, both('Content-Length\x0b: 38\r\n', SMUGGLED)),
	refused('a length whose name ends in NUL', CLTE, both('Content-Length\0: 38\r\n', SMUGGLED)),
	refused('a length behind a colon too many', CLTE, both(':Content-Length: 35\r\n', SMUGGLED)),
	passes(
		'CL.0: content of a GET is content',
		CL0,
		`GET / HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
		`GET / ${SMUGGLED}`,
	),
	passes(
		'CL.0: content of a HEAD is content',
		CL0,
		`HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
		`HEAD / ${SMUGGLED}`,
	),
	passes(
		'CL.0: content of OPTIONS is content',
		CL0,
		`OPTIONS / HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
		`OPTIONS / ${SMUGGLED}`,
	),
	passes(
		'CL.0: content of a POST to a file is content',
		CL0,
		`POST /x.png HTTP/1.1\r\nHost: a\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
		`POST /x.png ${SMUGGLED}`,
	),
	passes(
		'TE.0: chunks of OPTIONS are content',
		'CWE-444, TE.0',
		`OPTIONS / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n${SMUGGLED}\r\n0\r\n\r\n`,
		`OPTIONS / ${SMUGGLED}`,
	),
	passes(
		'TE.0: chunks of a GET are content',
		'CWE-444, TE.0',
		`GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n${SMUGGLED}\r\n0\r\n\r\n`,
		`GET / ${SMUGGLED}`,
	),
	passes('0.CL: a GET without content, and a second request', ZEROCL, `GET / HTTP/1.1\r\nHost: a\r\n\r\n${SMUGGLED}`, [
		'GET /',
		'GET /smuggled',
	]),
	passes('0.CL: a length of 0, and a second request', ZEROCL, both('Content-Length: 0\r\n', SMUGGLED), [
		'POST /',
		'GET /smuggled',
	]),
	passes(
		'0.CL: Expect and a length',
		ZEROCL,
		both('Expect: 100-continue\r\nContent-Length: 5\r\n', `hello${SMUGGLED}`),
		['POST / hello', 'GET /smuggled'],
		{ answers: [100, 200, 200] },
	),
	refused(
		'0.CL: Expect obfuscated',
		'CWE-444, Expect',
		both('Expect: y 100-continue\r\nContent-Length: 5\r\n', 'hello'),
		417,
	),
	waits('a length that waits for more', ZEROCL, both(`Content-Length: ${SMUGGLED.length + 1}\r\n`, SMUGGLED)),
	refused(
		'a chunk size with an overflow',
		'CWE-190, TE',
		both('Transfer-Encoding: chunked\r\n', `100000000000000000\r\n${SMUGGLED}`),
	),
	refused(
		'a chunk size cut by a space',
		'CWE-444, chunk size',
		both('Transfer-Encoding: chunked\r\n', `0 1\r\n${SMUGGLED}\r\n0\r\n\r\n`),
	),
	refused(
		'a chunk extension with a bare LF (TERM.EXT)',
		'CWE-444, TERM.EXT',
		both('Transfer-Encoding: chunked\r\n', `2;\nxx\r\n26\r\n0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'a chunk extension with a bare CR (EXT.TERM)',
		'CWE-444, EXT.TERM',
		both('Transfer-Encoding: chunked\r\n', `2;\rxx\r\n26\r\n0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'a chunk that ends in a bare LF (TERM.SPILL)',
		'CWE-444, TERM.SPILL',
		both('Transfer-Encoding: chunked\r\n', `5\r\nhello\n26\r\n0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'a chunk with two bytes too many (SPILL.TERM)',
		'CWE-444, SPILL.TERM',
		both('Transfer-Encoding: chunked\r\n', `5\r\nhelloXX26\r\n0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'a chunk that ends in CR and another byte',
		'CWE-444, ONE.TWO',
		both('Transfer-Encoding: chunked\r\n', `5\r\nhello\rX0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'a chunk one byte too long',
		'CWE-444, chunk end',
		both('Transfer-Encoding: chunked\r\n', `5\r\nhello!\r\n0\r\n\r\n${SMUGGLED}`),
	),
	refused(
		'a last chunk that ends in LF',
		'CWE-444, chunk end',
		both('Transfer-Encoding: chunked\r\n', `0\n\n${SMUGGLED}`),
	),
	passes('a second request behind a length', 'RFC 9112 §9.3.2', both('Content-Length: 5\r\n', `hello${SMUGGLED}`), [
		'POST / hello',
		'GET /smuggled',
	]),
	passes(
		'a second request behind chunks',
		'RFC 9112 §9.3.2',
		both('Transfer-Encoding: chunked\r\n', `5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`),
		['POST / hello', 'GET /smuggled'],
	),
	passes(
		'a second request behind trailers',
		'RFC 9112 §9.3.2',
		both('Transfer-Encoding: chunked\r\n', `0\r\nX-T: 1\r\n\r\n${SMUGGLED}`),
		['POST /', 'GET /smuggled'],
	),
	passes('a request in a field', 'CWE-444', `GET / HTTP/1.1\r\nHost: a\r\nX: GET /smuggled HTTP/1.1\r\n\r\n`, 'GET /', {
		has: ['x: GET /smuggled HTTP/1.1'],
	}),
	refused('a request in a method', 'CWE-444', `${SMUGGLED.trimEnd()} / HTTP/1.1\r\nHost: a\r\n\r\n`),
	refused(
		'bytes after a chunked request, of no request',
		'CWE-444',
		both('Transfer-Encoding: chunked\r\n', '0\r\n\r\nX\r\n\r\n'),
		400,
		{ answers: [200, 400], upstream: ['POST /'] },
	),
	refused(
		'bytes after a request with a length, of no request',
		'CWE-444',
		both('Content-Length: 2\r\n', 'abcd\r\n\r\n'),
		400,
		{ answers: [200, 400], upstream: ['POST / ab'] },
	),
	refused('a body that no length speaks of', 'RFC 9112 §6.3', both('', 'hello\r\n\r\n'), 400, {
		answers: [200, 400],
		upstream: ['POST /'],
	}),
	passes(
		'a path that would be a request, encoded',
		'CWE-93',
		'GET /%20HTTP/1.1%0d%0aHost:%20b HTTP/1.1\r\nHost: a\r\n\r\n',
		'GET /%20HTTP/1.1%0d%0aHost:%20b',
	),
	refused(
		'upgrade to h2c with a length',
		'CWE-444, h2c',
		'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
	),
	passes(
		'upgrade to h2c goes no further',
		'CWE-444, h2c',
		'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n',
		'GET /',
		{ hasNot: ['upgrade', 'http2-settings'] },
	),
];
