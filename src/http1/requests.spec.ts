// A table of raw requests: what is taken, as what, and what is refused, with the section that says so.

import { describe, expect, test } from 'bun:test';
import type { Http1ServerOptions } from './limits.ts';
import { ServerPeer } from './testing.ts';

interface Refused {
	readonly why: string;
	readonly raw: string;
	readonly code: string;
	readonly status?: number;
	readonly options?: Http1ServerOptions;
}

const H = 'Host: a\r\n';
const CHUNKED = `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n`;

const REFUSED: readonly Refused[] = [
	// Line ends: RFC 9112 §2.2 lets a recipient take a bare LF; two parsers that differ there can be set against each other.
	{ why: 'RFC 9112 §2.2 bare LF after the request line', raw: `GET / HTTP/1.1\n${H}\r\n`, code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §2.2 bare LF after a field', raw: 'GET / HTTP/1.1\r\nHost: a\n\r\n', code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §2.2 bare LF ends the head', raw: `GET / HTTP/1.1\r\n${H}\n`, code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §2.2 bare CR in the request line', raw: `GET /\r HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §2.2 bare CR in a value', raw: `GET / HTTP/1.1\r\n${H}X: a\rb\r\n\r\n`, code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §2.2 CR before CR LF', raw: `GET / HTTP/1.1\r\n${H}X: a\r\r\n\r\n`, code: 'http1_bad_line_end' },
	{
		why: 'RFC 9112 §2.2 two empty lines first',
		raw: `\r\n\r\nGET / HTTP/1.1\r\n${H}\r\n`,
		code: 'http1_bad_request_line',
	},
	{
		why: 'RFC 9112 §2.2 space between request line and fields',
		raw: `GET / HTTP/1.1\r\n ${H}\r\n`,
		code: 'http1_obsolete_folding',
	},
	// Request line.
	{ why: 'RFC 9112 §3 HTTP/0.9', raw: 'GET /\r\n\r\n', code: 'http1_bad_request_line' },
	{ why: 'RFC 9112 §3 two spaces', raw: `GET  / HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_request_line' },
	{ why: 'RFC 9112 §3 space after the version', raw: `GET / HTTP/1.1 \r\n${H}\r\n`, code: 'http1_bad_request_line' },
	{ why: 'RFC 9112 §3 tabs', raw: `GET\t/\tHTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_request_line' },
	{ why: 'RFC 9112 §3 space in the target', raw: `GET /a b HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_request_line' },
	{ why: 'RFC 9112 §3 leading space', raw: ` GET / HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_method' },
	{ why: 'RFC 9110 §9.1 method is a token', raw: `G(T / HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_method' },
	{ why: 'RFC 9112 §3.2 NUL in the target', raw: `GET /\0 HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_request_line' },
	{
		why: 'RFC 3986 §2 byte beyond ASCII in the target',
		raw: `GET /\xe9 HTTP/1.1\r\n${H}\r\n`,
		code: 'http1_bad_request_line',
	},
	{ why: 'RFC 9112 §3.2 fragment', raw: `GET /a#b HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_target' },
	{ why: 'RFC 9112 §3.2.1 no leading slash', raw: `GET a HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_target' },
	{ why: 'RFC 9112 §3.2.2 another scheme', raw: `GET ftp://a/ HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_target' },
	{ why: 'RFC 9110 §4.2.1 no host in an http URI', raw: `GET http:///x HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_host' },
	{ why: 'RFC 9110 §4.2.4 user information', raw: `GET http://u:p@a/ HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_host' },
	{
		why: 'RFC 9112 §3.2.3 authority-form without CONNECT',
		raw: `GET a:80 HTTP/1.1\r\n${H}\r\n`,
		code: 'http1_bad_target',
	},
	{ why: 'RFC 9112 §3.2.3 CONNECT to a path', raw: `CONNECT / HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_target' },
	{ why: 'RFC 9112 §3.2.3 CONNECT without a port', raw: `CONNECT a HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_target' },
	{ why: 'RFC 9112 §3.2.4 * without OPTIONS', raw: `GET * HTTP/1.1\r\n${H}\r\n`, code: 'http1_bad_target' },
	{ why: 'RFC 9112 §2.3 version in lower case', raw: `GET / http/1.1\r\n${H}\r\n`, code: 'http1_bad_request_line' },
	{ why: 'RFC 9112 §2.3 HTTP/1.10', raw: `GET / HTTP/1.10\r\n${H}\r\n`, code: 'http1_bad_request_line' },
	{
		why: 'RFC 9110 §15.6.6 HTTP/1.2',
		raw: `GET / HTTP/1.2\r\n${H}\r\n`,
		code: 'http1_unsupported_version',
		status: 505,
	},
	{
		why: 'RFC 9113 §3.4 preface of HTTP/2',
		raw: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
		code: 'http1_unsupported_version',
		status: 505,
	},
	{
		why: 'Envoy accept_http_10 false',
		raw: `GET / HTTP/1.0\r\n${H}\r\n`,
		code: 'http1_unsupported_version',
		status: 505,
	},
	{
		why: 'RFC 9112 §3 request line too long',
		raw: `GET /${'a'.repeat(100)}`,
		code: 'http1_request_line_too_long',
		status: 414,
		options: { requestLineBytesMax: 100 },
	},
	// Field names and values.
	{
		why: 'RFC 9112 §5.1 space before the colon',
		raw: `GET / HTTP/1.1\r\n${H}X : a\r\n\r\n`,
		code: 'http1_space_before_colon',
	},
	{
		why: 'RFC 9112 §5.2 obsolete folding',
		raw: `GET / HTTP/1.1\r\n${H}X: a\r\n b\r\n\r\n`,
		code: 'http1_obsolete_folding',
	},
	{
		why: 'RFC 9112 §5.2 folding with a tab',
		raw: `GET / HTTP/1.1\r\n${H}X: a\r\n\tb\r\n\r\n`,
		code: 'http1_obsolete_folding',
	},
	{ why: 'RFC 9110 §5.1 empty name', raw: `GET / HTTP/1.1\r\n${H}: a\r\n\r\n`, code: 'http1_bad_header_name' },
	{ why: 'RFC 9110 §5.1 no colon', raw: `GET / HTTP/1.1\r\n${H}X\r\n\r\n`, code: 'http1_bad_header_name' },
	{
		why: 'RFC 9110 §5.1 name is not a token',
		raw: `GET / HTTP/1.1\r\n${H}X(y): a\r\n\r\n`,
		code: 'http1_bad_header_name',
	},
	{
		why: 'RFC 9110 §5.1 name beyond ASCII',
		raw: `GET / HTTP/1.1\r\n${H}X\xe9: a\r\n\r\n`,
		code: 'http1_bad_header_name',
	},
	{ why: 'RFC 9110 §5.1 NUL in a name', raw: `GET / HTTP/1.1\r\n${H}X\0: a\r\n\r\n`, code: 'http1_bad_header_name' },
	{ why: 'RFC 9110 §5.5 NUL in a value', raw: `GET / HTTP/1.1\r\n${H}X: a\0b\r\n\r\n`, code: 'http1_bad_header_value' },
	{
		why: 'RFC 9110 §5.5 control character in a value',
		raw: `GET / HTTP/1.1\r\n${H}X: a\x0bb\r\n\r\n`,
		code: 'http1_bad_header_value',
	},
	{
		why: 'RFC 9110 §5.5 DEL in a value',
		raw: `GET / HTTP/1.1\r\n${H}X: a\x7fb\r\n\r\n`,
		code: 'http1_bad_header_value',
	},
	{
		why: 'RFC 6585 §5 head too large',
		raw: `GET / HTTP/1.1\r\n${H}X: ${'a'.repeat(300)}`,
		code: 'http1_headers_too_large',
		status: 431,
		options: { headerBytesMax: 300 },
	},
	{
		why: 'RFC 6585 §5 too many fields',
		raw: `GET / HTTP/1.1\r\n${H}A: 1\r\nB: 2\r\n\r\n`,
		code: 'http1_too_many_headers',
		status: 431,
		options: { headersMax: 2 },
	},
	// Host.
	{ why: 'RFC 9112 §3.2 no Host', raw: 'GET / HTTP/1.1\r\n\r\n', code: 'http1_missing_host' },
	{ why: 'RFC 9112 §3.2 two Hosts', raw: `GET / HTTP/1.1\r\n${H}Host: b\r\n\r\n`, code: 'http1_duplicate_host' },
	{ why: 'RFC 9112 §3.2 the same Host twice', raw: `GET / HTTP/1.1\r\n${H}${H}\r\n`, code: 'http1_duplicate_host' },
	{ why: 'RFC 9110 §7.2 empty Host', raw: 'GET / HTTP/1.1\r\nHost:\r\n\r\n', code: 'http1_bad_host' },
	{ why: 'RFC 9110 §7.2 list in Host', raw: 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', code: 'http1_bad_host' },
	{ why: 'RFC 9110 §7.2 path in Host', raw: 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', code: 'http1_bad_host' },
	{ why: 'RFC 9110 §7.2 user in Host', raw: 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n', code: 'http1_bad_host' },
	{ why: 'RFC 3986 §3.2.3 port too large', raw: 'GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n', code: 'http1_bad_host' },
	{ why: 'RFC 3986 §3.2.3 port is not digits', raw: 'GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n', code: 'http1_bad_host' },
	{
		why: 'RFC 3986 §3.2.2 IPv6 literal left open',
		raw: 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n',
		code: 'http1_bad_host',
	},
	{
		why: 'RFC 3986 §3.2.2 IPv6 literal without brackets',
		raw: 'GET / HTTP/1.1\r\nHost: ::1\r\n\r\n',
		code: 'http1_bad_host',
	},
	{
		why: 'RFC 9112 §3.2.2 bad Host under an absolute-form target',
		raw: 'GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n',
		code: 'http1_bad_host',
	},
	// Framing.
	{
		why: 'RFC 9112 §6.3 Content-Length and Transfer-Encoding',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n`,
		code: 'http1_ambiguous_framing',
	},
	{
		why: 'RFC 9112 §6.3 the same, other order',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n`,
		code: 'http1_ambiguous_framing',
	},
	{
		why: 'RFC 9110 §8.6 two lengths',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\nContent-Length: 4\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9110 §8.6 list of lengths',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 3, 4\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9110 §8.6 sign',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: +3\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9110 §8.6 negative',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: -3\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9110 §8.6 hexadecimal',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 0x3\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9110 §8.6 empty',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length:\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9110 §8.6 space within',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 3 3\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9110 §8.6 overflow',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 18446744073709551617\r\n\r\n`,
		code: 'http1_bad_content_length',
	},
	{
		why: 'RFC 9112 §6.1 another coding',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n`,
		code: 'http1_unsupported_transfer_encoding',
		status: 501,
	},
	{
		why: 'RFC 9112 §6.1 chunked is not last',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, gzip\r\n\r\n`,
		code: 'http1_unsupported_transfer_encoding',
		status: 501,
	},
	{
		why: 'RFC 9112 §6.1 chunked twice',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, chunked\r\n\r\n`,
		code: 'http1_ambiguous_framing',
	},
	{
		why: 'RFC 9112 §6.1 two fields',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
		code: 'http1_ambiguous_framing',
	},
	{
		why: 'RFC 9112 §6.1 empty coding',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding:\r\n\r\n`,
		code: 'http1_ambiguous_framing',
	},
	{
		why: 'RFC 9112 §6.1 identity',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: identity\r\n\r\n`,
		code: 'http1_unsupported_transfer_encoding',
		status: 501,
	},
	{
		why: 'RFC 9112 §6.1 parameter on chunked',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked;q=1\r\n\r\n`,
		code: 'http1_unsupported_transfer_encoding',
		status: 501,
	},
	{
		why: 'RFC 9112 §6.1 obfuscated by a quote',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: "chunked"\r\n\r\n`,
		code: 'http1_unsupported_transfer_encoding',
		status: 501,
	},
	{
		why: 'RFC 9112 §6.1 Transfer-Encoding in HTTP/1.0',
		raw: `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n`,
		code: 'http1_ambiguous_framing',
		options: { acceptHttp10: true },
	},
	{
		why: 'RFC 9110 §9.3.6 CONNECT with content',
		raw: `CONNECT a:1 HTTP/1.1\r\n${H}Content-Length: 3\r\n\r\n`,
		code: 'http1_ambiguous_framing',
	},
	{
		why: 'RFC 9110 §7.6.1 Connection is a list of tokens',
		raw: `GET / HTTP/1.1\r\n${H}Connection: a b\r\n\r\n`,
		code: 'http1_bad_connection',
	},
	// Chunks.
	{ why: 'RFC 9112 §7.1 size is not hexadecimal', raw: `${CHUNKED}x\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 empty size', raw: `${CHUNKED}\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 0x', raw: `${CHUNKED}0x1\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 sign', raw: `${CHUNKED}+1\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 underscore', raw: `${CHUNKED}1_0\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 size too long', raw: `${CHUNKED}0000000000001\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 space before the size', raw: `${CHUNKED} 1\r\na\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 space after the size', raw: `${CHUNKED}1 \r\na\r\n`, code: 'http1_bad_chunk_size' },
	{ why: 'RFC 9112 §7.1 LF after the size', raw: `${CHUNKED}1\na\r\n`, code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §7.1 CR alone after the size', raw: `${CHUNKED}1\ra\r\n`, code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §7.1.1 LF in an extension', raw: `${CHUNKED}1;a\na\r\n`, code: 'http1_bad_line_end' },
	{ why: 'RFC 9112 §7.1.1 NUL in an extension', raw: `${CHUNKED}1;a\0\r\na\r\n`, code: 'http1_bad_chunk_extension' },
	{
		why: 'RFC 9112 §7.1.1 extensions without end',
		raw: `${CHUNKED}1;${'a'.repeat(17000)}`,
		code: 'http1_chunk_extension_too_large',
	},
	{ why: 'RFC 9112 §7.1 chunk longer than its size', raw: `${CHUNKED}1\r\nab\r\n`, code: 'http1_bad_chunk_end' },
	{ why: 'RFC 9112 §7.1 LF after the data', raw: `${CHUNKED}1\r\na\n0\r\n\r\n`, code: 'http1_bad_chunk_end' },
	{ why: 'RFC 9112 §7.1.2 bad trailer', raw: `${CHUNKED}0\r\nX : a\r\n\r\n`, code: 'http1_space_before_colon' },
	{ why: 'RFC 9112 §7.1.2 LF after trailers', raw: `${CHUNKED}0\r\nX: a\r\n\n`, code: 'http1_bad_line_end' },
	{
		why: 'RFC 9112 §7.1.2 trailers too large',
		raw: `${CHUNKED}0\r\nX: ${'a'.repeat(300)}`,
		code: 'http1_headers_too_large',
		status: 431,
		options: { headerBytesMax: 300 },
	},
];

describe('a request that is refused', () => {
	for (const { why, raw, code, status, options } of REFUSED) {
		test(why, () => {
			const peer = new ServerPeer(options);
			peer.receive(raw);
			expect(peer.error?.code).toBe(code);
			expect(peer.error?.origin).toBe('downstream');
			expect(peer.transport.written).toStartWith(`HTTP/1.1 ${status ?? 400} `);
			expect(peer.transport.written).toEndWith('\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
			expect(peer.transport.closed).toBe('flush');
			expect(peer.requests.every((request) => !request.ended)).toBe(true);
			// Nothing after it is read.
			peer.receive(`GET / HTTP/1.1\r\n${H}\r\n`);
			expect(peer.requests.length).toBeLessThanOrEqual(1);
		});
	}
});

interface Taken {
	readonly why: string;
	readonly raw: string;
	/** METHOD scheme authority path, then fields, body and trailers. */
	readonly as: string;
	readonly options?: Http1ServerOptions;
}

const TAKEN: readonly Taken[] = [
	{ why: 'RFC 9112 §3.2.1 origin-form', raw: `GET /a?b=c HTTP/1.1\r\n${H}\r\n`, as: 'GET http a /a?b=c' },
	{
		why: 'scheme of the connection',
		raw: `GET / HTTP/1.1\r\n${H}\r\n`,
		as: 'GET https a /',
		options: { scheme: 'https' },
	},
	{ why: 'RFC 9112 §2.2 one empty line first', raw: `\r\nGET / HTTP/1.1\r\n${H}\r\n`, as: 'GET http a /' },
	{ why: 'RFC 9110 §9.1 an unknown method', raw: `M-SEARCH / HTTP/1.1\r\n${H}\r\n`, as: 'M-SEARCH http a /' },
	{ why: 'RFC 9112 §3.2.2 absolute-form', raw: `GET HTTP://b:81/x?y HTTP/1.1\r\n${H}\r\n`, as: 'GET http b:81 /x?y' },
	{ why: 'RFC 9112 §3.2.2 absolute-form, https', raw: `GET https://b HTTP/1.1\r\n${H}\r\n`, as: 'GET https b /' },
	{
		why: 'RFC 9112 §3.2.2 absolute-form, only a query',
		raw: `GET http://b?y HTTP/1.1\r\n${H}\r\n`,
		as: 'GET http b /?y',
	},
	{ why: 'RFC 9112 §3.2.4 asterisk-form', raw: `OPTIONS * HTTP/1.1\r\n${H}\r\n`, as: 'OPTIONS http a *' },
	{ why: 'RFC 9112 §3.2.4 absolute-form of it', raw: `OPTIONS http://b HTTP/1.1\r\n${H}\r\n`, as: 'OPTIONS http b *' },
	{ why: 'RFC 9110 §7.2 IPv6 Host', raw: 'GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n', as: 'GET http [::1]:80 /' },
	{
		why: 'RFC 9110 §5.1 names in any case, values as they are',
		raw: `GET / HTTP/1.1\r\n${H}USER-Agent: Me\r\nX-Other-NAME:Y\r\n\r\n`,
		as: 'GET http a / user-agent=Me x-other-name=Y',
	},
	{
		why: 'RFC 9110 §5.5 whitespace around a value, and within',
		raw: `GET / HTTP/1.1\r\n${H}X: \t a \t b \t \r\nY:\r\nZ: \r\n\r\n`,
		as: 'GET http a / x=a \t b y= z=',
	},
	{ why: 'RFC 9110 §5.5 obs-text', raw: `GET / HTTP/1.1\r\n${H}X: \xe9\xff\r\n\r\n`, as: 'GET http a / x=\xe9\xff' },
	{
		why: 'RFC 9110 §5.3 repeated fields stay apart',
		raw: `GET / HTTP/1.1\r\n${H}X: 1\r\nX: 2\r\n\r\n`,
		as: 'GET http a / x=1 x=2',
	},
	{
		why: 'RFC 9110 §7.6.1 hop-by-hop fields go',
		raw: `GET / HTTP/1.1\r\n${H}Connection: keep-alive, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: foo\r\nX-Kept: 1\r\n\r\n`,
		as: 'GET http a / x-kept=1',
	},
	{
		why: 'RFC 9110 §7.6.1 fields for all recipients cannot be nominated',
		raw: `GET / HTTP/1.1\r\n${H}Connection: authorization, x-forwarded-for\r\nAuthorization: b\r\nX-Forwarded-For: c\r\n\r\n`,
		as: 'GET http a / authorization=b x-forwarded-for=c',
	},
	{
		why: 'RFC 9110 §10.1.4 TE: trailers only',
		raw: `GET / HTTP/1.1\r\n${H}TE: gzip, trailers\r\nConnection: TE\r\n\r\n`,
		as: 'GET http a / te=trailers',
	},
	{
		why: 'RFC 9110 §10.1.4 another TE goes',
		raw: `GET / HTTP/1.1\r\n${H}TE: gzip\r\nConnection: TE\r\n\r\n`,
		as: 'GET http a /',
	},
	{
		why: 'RFC 9112 §6.2 Content-Length',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\n\r\nabc`,
		as: 'POST http a / content-length=3 |abc|',
	},
	{
		why: 'RFC 9110 §8.6 Content-Length, normalised',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 003, 3\r\nContent-Length: 3\r\n\r\nabc`,
		as: 'POST http a / content-length=3 |abc|',
	},
	{
		why: 'RFC 9110 §8.6 Content-Length 0',
		raw: `POST / HTTP/1.1\r\n${H}Content-Length: 0\r\n\r\n`,
		as: 'POST http a / content-length=0',
	},
	{ why: 'RFC 9112 §6.3 no length: no content', raw: `POST / HTTP/1.1\r\n${H}\r\n`, as: 'POST http a /' },
	{
		why: 'RFC 9112 §7.1 chunks',
		raw: `${CHUNKED}3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n`,
		as: 'POST http a / |abc0123456789|',
	},
	{
		why: 'RFC 9112 §7.1.1 extensions are dropped',
		raw: `${CHUNKED}3;a="b;c" ; d\r\nabc\r\n0;x\r\n\r\n`,
		as: 'POST http a / |abc|',
	},
	{
		why: 'RFC 9112 §7.1.2 trailers',
		raw: `${CHUNKED}1\r\na\r\n0\r\nX-Sum: 1 \r\n\r\n`,
		as: 'POST http a / |a| x-sum=1',
	},
	{
		why: 'RFC 9110 §6.5.1 forbidden trailers go',
		raw: `${CHUNKED}1\r\na\r\n0\r\nHost: b\r\nContent-Length: 9\r\nAuthorization: c\r\nX-Forwarded-For: d\r\nX: e\r\n\r\n`,
		as: 'POST http a / |a| x=e',
	},
	{
		why: 'RFC 9112 §6.1 the coding in any case',
		raw: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: ChunkeD\r\n\r\n0\r\n\r\n`,
		as: 'POST http a / ||',
	},
	{
		why: 'Envoy accept_http_10',
		raw: `GET / HTTP/1.0\r\n${H}\r\n`,
		as: 'GET http a /',
		options: { acceptHttp10: true },
	},
	{
		why: 'Envoy default_host_for_http_10',
		raw: 'GET / HTTP/1.0\r\n\r\n',
		as: 'GET http d /',
		options: { acceptHttp10: true, defaultHostForHttp10: 'd' },
	},
];

describe('a request that is taken', () => {
	for (const { why, raw, as, options } of TAKEN) {
		test(why, () => {
			const peer = new ServerPeer(options);
			peer.receive(raw);
			expect(peer.error?.message).toBeUndefined();
			const [heard] = peer.requests;
			expect(heard?.ended).toBe(true);
			const { method, scheme, authority, path, headers } = heard!.request;
			const fields = pairs(headers).concat(heard!.body === '' && !raw.includes('hunke') ? [] : [`|${heard!.body}|`]);
			expect([method, scheme, authority, path, ...fields, ...pairs(heard!.trailers ?? [])].join(' ')).toBe(as);
		});
	}
});

function pairs(headers: readonly string[]): string[] {
	const result: string[] = [];
	for (let i = 0; i < headers.length; i += 2) result.push(`${headers[i]}=${headers[i + 1]}`);
	return result;
}
