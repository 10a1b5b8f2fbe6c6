// Heads of the PROXY protocol, versions 1 and 2, before a request. `PROXY §` is a section of HAProxy's specification
// (doc/proxy-protocol.txt). Whom a head speaks for is shown behind each request; a head that is wrong costs the
// connection, without an answer.

import { passes, type RequestCase, type RequestOptions, refused, SMUGGLED, waits } from './case.ts';

const V1 = 'PROXY §2.1';
const V2 = 'PROXY §2.2';
const TLV = 'PROXY §2.2, extensions';
const LOCAL = 'PROXY §2.2, LOCAL';
const ORDER = 'PROXY §2';
const HIDDEN = 'CWE-444, PROXY';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const CLIENT = '192.0.2.7';
/** The connection speaks for itself. */
const SELF = 'itself';
const LINE = `PROXY TCP4 ${CLIENT} 10.1.2.3 4000 80\r\n`;
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
/** 192.0.2.7:4000 to 10.1.2.3:80. */
const V4 = '\xc0\x00\x02\x07\x0a\x01\x02\x03\x0f\xa0\x00\x50';
/** [2001:db8::1]:4000 to [::1]:80. */
const V6 = `\x20\x01\x0d\xb8${'\0'.repeat(11)}\x01${'\0'.repeat(15)}\x01\x0f\xa0\x00\x50`;

const two = (body: string, command = 0x21, family = 0x11, length = body.length) =>
	`${SIGNATURE}${String.fromCharCode(command, family, length >> 8, length & 255)}${body}`;

function speaks(name: string, section: string, preface: string, from = CLIENT, options: RequestOptions = {}) {
	return passes(name, section, GET, `GET / from ${from}`, { variant: 'proxy', preface, ...options });
}

/** Closed, and nothing is said. */
function closes(name: string, section: string, preface: string, raw = GET): RequestCase {
	return refused(name, section, raw, 0, { variant: 'proxy', preface, answers: [] });
}

/** The rest may come yet. */
function partial(name: string, section: string, preface: string): RequestCase {
	return waits(name, section, '', { variant: 'proxy', preface });
}

export const PROXY_HEADS: readonly RequestCase[] = [
	speaks('v1 of IPv4', V1, LINE),
	speaks('v1 of IPv6', V1, 'PROXY TCP6 2001:db8::1 ::1 4000 80\r\n', '2001:db8::1'),
	speaks('v1 of nobody known', V1, 'PROXY UNKNOWN\r\n', SELF),
	speaks('v1 of nobody known, with addresses', V1, `PROXY UNKNOWN ${CLIENT} 10.1.2.3 4000 80\r\n`, SELF),
	speaks('v1 of nobody known, 107 bytes', V1, `PROXY UNKNOWN ${'x'.repeat(91)}\r\n`, SELF),
	speaks('v1 of port 0', V1, `PROXY TCP4 ${CLIENT} 10.1.2.3 0 0\r\n`),
	closes('v1 of 108 bytes', V1, `PROXY UNKNOWN ${'x'.repeat(92)}\r\n`),
	closes('v1 without an end', V1, `PROXY UNKNOWN ${'x'.repeat(200)}`),
	closes('v1 without CR', V1, LINE.replace('\r', '')),
	closes('v1 that ends in CR alone', V1, LINE.replace('\n', '')),
	closes('v1 with a CR within', V1, LINE.replace(' 4000', '\r4000')),
	closes('v1 in lower case', V1, LINE.replace('PROXY', 'proxy')),
	closes('v1 of another protocol', V1, LINE.replace('TCP4', 'UDP4')),
	closes('v1, protocol in lower case', V1, LINE.replace('TCP4', 'tcp4')),
	closes('v1 of no protocol', V1, 'PROXY \r\n'),
	closes('v1, IPv6 addresses as TCP4', V1, 'PROXY TCP4 2001:db8::1 ::1 4000 80\r\n'),
	closes('v1, IPv4 addresses as TCP6', V1, LINE.replace('TCP4', 'TCP6')),
	closes('v1, names for addresses', V1, LINE.replace(CLIENT, 'a.example')),
	closes('v1, an address of three numbers', V1, LINE.replace(CLIENT, '192.0.2')),
	closes('v1, an address with a number too high', V1, LINE.replace(CLIENT, '192.0.2.256')),
	closes('v1, an address with a leading zero', V1, LINE.replace(CLIENT, '192.0.2.07')),
	closes('v1, an address in hexadecimal', V1, LINE.replace(CLIENT, '0xc0.0.2.7')),
	closes('v1, an address with a zone', V1, 'PROXY TCP6 fe80::1%lo ::1 4000 80\r\n'),
	closes('v1, two spaces', V1, LINE.replace(' 10', '  10')),
	closes('v1, a tab', V1, LINE.replace(' 10', '\t10')),
	closes('v1, a space at the end', V1, LINE.replace('\r\n', ' \r\n')),
	closes('v1, a seventh word', V1, LINE.replace('\r\n', ' x\r\n')),
	closes('v1, no ports', V1, `PROXY TCP4 ${CLIENT} 10.1.2.3\r\n`),
	closes('v1, one port', V1, `PROXY TCP4 ${CLIENT} 10.1.2.3 4000\r\n`),
	closes('v1, a port too high', V1, LINE.replace('4000', '65536')),
	closes('v1, a port with a leading zero', V1, LINE.replace('4000', '04000')),
	closes('v1, a port with a sign', V1, LINE.replace('4000', '+4000')),
	closes('v1, a port with letters', V1, LINE.replace('4000', '4000x')),
	closes('v1, NUL behind a port', V1, LINE.replace('4000', '4000\0')),
	partial('v1 cut in its name', V1, 'PRO'),
	partial('v1 cut in its last line end', V1, LINE.slice(0, -1)),

	speaks('v2 of IPv4', V2, two(V4)),
	speaks('v2 of IPv6', V2, two(V6, 0x21, 0x21), '2001:db8::1'),
	speaks('v2 LOCAL', LOCAL, two('', 0x20, 0), SELF),
	speaks('v2 LOCAL with addresses', LOCAL, two(V4, 0x20), SELF),
	speaks('v2 LOCAL with bytes of no meaning', LOCAL, two('\xff\xff\xff', 0x20, 0), SELF),
	speaks('v2 LOCAL with a request in it', HIDDEN, two(SMUGGLED, 0x20, 0), SELF),
	speaks('v2 with an extension', TLV, two(`${V4}\x04\x00\x02\x00\x00`)),
	speaks('v2 with an empty extension', TLV, two(`${V4}\x04\x00\x00`)),
	speaks('v2 with an extension that nobody knows', TLV, two(`${V4}\xea\x00\x01x`)),
	speaks('v2 with a request in an extension', HIDDEN, two(`${V4}\x04\x00\x23${SMUGGLED}`)),
	speaks('v2 with an extension of 1000 bytes', TLV, two(`${V4}\x04\x03\xe8${'x'.repeat(1000)}`)),
	closes('v2 of version 1', V2, two(V4, 0x11)),
	closes('v2 of version 3', V2, two(V4, 0x31)),
	closes('v2 of another command', V2, two(V4, 0x22)),
	closes('v2 of datagrams', V2, two(V4, 0x21, 0x12)),
	closes('v2 of no transport', V2, two(V4, 0x21, 0x10)),
	closes('v2 of an unknown transport', V2, two(V4, 0x21, 0x13)),
	closes('v2 of an unknown family', V2, two(V4, 0x21, 0x41)),
	closes('v2 of a unix socket', V2, two('x'.repeat(216), 0x21, 0x31)),
	closes('v2 of no family', V2, two(V4, 0x21, 0)),
	closes('v2, no room for its addresses', V2, two(V4.slice(0, 11))),
	closes('v2, no bytes at all', V2, two('')),
	closes('v2, IPv4 addresses as IPv6', V2, two(V4, 0x21, 0x21)),
	closes('v2, an extension without its length', TLV, two(`${V4}\x04\x00`)),
	closes('v2, an extension beyond the end', TLV, two(`${V4}\x04\x00\x09x`)),
	closes('v2, a request where an extension should be', HIDDEN, two(`${V4}${SMUGGLED}`)),
	closes('v2, a length that takes some of the request', HIDDEN, two(V4, 0x21, 0x11, 14)),
	closes('v2, a wrong last byte of the signature', V2, two(V4).replace('QUIT\n', 'QUIT\r')),
	partial('v2 cut in its signature', V2, SIGNATURE.slice(0, 8)),
	partial('v2 cut in its length', V2, two(V4).slice(0, 15)),
	partial('v2 cut in its addresses', V2, two(V4).slice(0, 20)),
	partial('v2 cut in its extensions', TLV, two(`${V4}\x04\x00\x09`, 0x21, 0x11, 24)),

	closes('no head', ORDER, '', GET),
	closes('an empty line before v1', ORDER, `\r\n${LINE}`),
	closes('a byte before v2', ORDER, `\0${two(V4)}`),
	refused('v1 twice', ORDER, LINE + GET, 400, { variant: 'proxy', preface: LINE }),
	refused('v1, then v2', ORDER, two(V4) + GET, 400, { variant: 'proxy', preface: LINE }),
	refused('v2, then v1', ORDER, LINE + GET, 400, { variant: 'proxy', preface: two(V4) }),
	refused('v1 behind a request', ORDER, GET + LINE + GET, 400, {
		variant: 'proxy',
		preface: LINE,
		answers: [200, 400],
		upstream: [`GET / from ${CLIENT}`],
	}),
	refused('v1 where none is expected', ORDER, LINE + GET, 400),
	refused('v2 where none is expected', ORDER, two(V4) + GET, 400),
	passes(
		'a second request behind a head',
		HIDDEN,
		GET + SMUGGLED,
		[`GET / from ${CLIENT}`, `GET /smuggled from ${CLIENT}`],
		{
			variant: 'proxy',
			preface: LINE,
		},
	),
	refused(
		'a head and two ways to read a body',
		'CWE-444, CL.TE',
		`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG${SMUGGLED}`,
		400,
		{ variant: 'proxy', preface: two(V4) },
	),
	passes(
		'a field that says another client',
		'CWE-290, PROXY',
		GET.replace('\r\n\r\n', '\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n'),
		`GET / from 10.9.9.9, ${CLIENT}`,
		{
			variant: 'proxy',
			preface: LINE,
		},
	),
];
