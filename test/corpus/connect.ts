// CONNECT (RFC 9110 §9.3.6): passed on as a request of its own (`connect`), or ended here (`terminate`). What a
// client sends behind it is the tunnel's from the first byte; while there is no tunnel, nothing may be taken from it for
// a request, and nothing of it may reach a host that has refused.

import { get, passes, type RequestCase, type RequestOptions, refused, SMUGGLED, waits } from './case.ts';

const TARGET = 'RFC 9112 §3.2.3';
const METHOD = 'RFC 9110 §9.3.6';
const HOST = 'RFC 9112 §3.2';
const LENGTH = 'RFC 9112 §6.3';
const EARLY = 'CVE-2025-64763, early data';
const UPGRADE = 'RFC 9110 §7.8';
const EXTENDED = 'RFC 8441 §4';

const connect = (target: string, fields = '', more = '', host = target) =>
	`CONNECT ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n${more}`;

/** Answered 200, and bytes go both ways. */
function tunnels(name: string, section: string, raw: string, options: RequestOptions & { target?: string } = {}) {
	const { target = 'a:443', ...more } = options;
	return passes(name, section, raw, `CONNECT ${target}`, { variant: 'connect', after: 'tunnel', ...more });
}

/** The same where the tunnel ends here: `upstream` is what comes out of it. */
function ends(name: string, section: string, raw: string, upstream: readonly string[], options: RequestOptions = {}) {
	return passes(name, section, raw, upstream, { variant: 'terminate', answers: [200], after: 'tunnel', ...options });
}

/** By the proxy itself. */
function refuses(name: string, section: string, raw: string, status = 400, options: RequestOptions = {}): RequestCase {
	return refused(name, section, raw, status, { variant: 'connect', ...options });
}

/** By the host: its answer arrives, and then the connection is closed. */
function declined(name: string, section: string, target: string, status: number, more = '') {
	const options = { variant: 'connect', answers: [status], after: 'closed' } as const;
	return passes(name, section, connect(target, '', more), `CONNECT ${target}`, options);
}

export const CONNECT: readonly RequestCase[] = [
	tunnels('a name and a port', TARGET, connect('a:443'), { has: ['host: a:443'] }),
	tunnels('an IPv4 address', TARGET, connect('192.0.2.1:443'), { target: '192.0.2.1:443' }),
	tunnels('an IPv6 address', TARGET, connect('[2001:db8::1]:443'), { target: '[2001:db8::1]:443' }),
	tunnels('the highest port', TARGET, connect('a:65535'), { target: 'a:65535' }),
	tunnels('another Host than the target', HOST, connect('a:443', '', '', 'b'), { has: ['host: a:443'] }),
	refuses('a port too high', TARGET, connect('a:65536', '', '', 'a')),
	refuses('a port with a sign', TARGET, connect('a:+443', '', '', 'a')),
	refuses('a port with letters', TARGET, connect('a:443x', '', '', 'a')),
	refuses('two ports', TARGET, connect('a:443:80', '', '', 'a')),
	refuses('a port alone', TARGET, connect(':443', '', '', 'a')),
	refuses('no port', TARGET, connect('a')),
	refuses('an empty port', TARGET, connect('a:')),
	refuses('IPv6 without brackets', TARGET, connect('2001:db8::1:443', '', '', 'a')),
	refuses('IPv6 without a port', TARGET, connect('[::1]', '', '', 'a')),
	refuses('IPv6 without its end', TARGET, connect('[::1:443', '', '', 'a')),
	refuses('a slash behind the port', TARGET, connect('a:443/', '', '', 'a')),
	refuses('a query behind the port', TARGET, connect('a:443?x', '', '', 'a')),
	refuses('a path', TARGET, connect('/a:443', '', '', 'a')),
	refuses('an absolute target', TARGET, connect('http://a:443/', '', '', 'a')),
	refuses('an asterisk', TARGET, connect('*', '', '', 'a')),
	refuses('user information', TARGET, connect('u@a:443', '', '', 'a')),
	refuses('a list', TARGET, connect('a:443,b:443', '', '', 'a')),
	refuses('an encoded line end', 'CWE-93', connect('a%0d%0aX:%201:443', '', '', 'a^')),
	refuses('no Host', HOST, 'CONNECT a:443 HTTP/1.1\r\n\r\n'),
	refuses('two Hosts', HOST, connect('a:443', 'Host: a:443\r\n')),
	refuses('a bad Host', HOST, connect('a:443', '', '', 'a b')),
	refuses('another case is another method', 'RFC 9110 §9.1', connect('a:443').replace('CONNECT', 'connect')),
	refuses('GET of an authority', TARGET, 'GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n'),

	refuses('a length', METHOD, connect('a:443', 'Content-Length: 5\r\n', 'hello')),
	refuses('a length that covers a request', 'CWE-444, CL.0', connect('a:443', 'Content-Length: 35\r\n', SMUGGLED)),
	refuses('chunks', METHOD, connect('a:443', 'Transfer-Encoding: chunked\r\n', `0\r\n\r\n${SMUGGLED}`)),
	refuses('an unknown coding', METHOD, connect('a:443', 'Transfer-Encoding: x\r\n', SMUGGLED), 501),
	refuses(
		'a length and chunks',
		'CWE-444, CL.TE',
		connect('a:443', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${SMUGGLED}`),
	),
	refuses('two lengths', 'CWE-444, CL.CL', connect('a:443', 'Content-Length: 0\r\nContent-Length: 35\r\n', SMUGGLED)),
	tunnels('a length of 0', METHOD, connect('a:443', 'Content-Length: 0\r\n'), {
		hasNot: ['content-length', 'transfer-encoding'],
	}),
	tunnels('fields of one connection go no further', 'RFC 9110 §7.6.1', connect('a:443', 'Connection: X\r\nX: 1\r\n'), {
		hasNot: ['connection', 'x'],
	}),
	tunnels('Connection: close', 'RFC 9112 §9.6', connect('a:443', 'Connection: close\r\n'), { hasNot: ['connection'] }),

	tunnels('bytes that do not wait for the tunnel', EARLY, connect('a:443', '', 'early')),
	tunnels('a request that does not wait for the tunnel is the tunnel’s', EARLY, connect('a:443', '', SMUGGLED)),
	tunnels('NUL and bytes beyond ASCII in the tunnel', EARLY, connect('a:443', '', '\0\xff\r\n\r\n\0')),
	declined('refused by the host', METHOD, 'refused.example:443', 403),
	declined('refused, with bytes that did not wait', EARLY, 'refused.example:443', 403, 'early'),
	declined('refused, with a request that did not wait', EARLY, 'refused.example:443', 403, SMUGGLED),
	declined('refused for want of a login, with a request that did not wait', EARLY, 'login.example:443', 407, SMUGGLED),
	declined('sent elsewhere, with a request that did not wait', EARLY, 'moved.example:443', 302, SMUGGLED),
	refuses('not allowed, with a request that did not wait', EARLY, connect('a:443', '', SMUGGLED), 404, {
		variant: 'plain',
	}),
	tunnels('a length in what agrees does not count', LENGTH, connect('length.example:443'), {
		target: 'length.example:443',
	}),
	tunnels('chunks in what agrees do not count', LENGTH, connect('chunks.example:443'), {
		target: 'chunks.example:443',
	}),
	tunnels('204 agrees', METHOD, connect('empty.example:443'), { target: 'empty.example:443', answers: [204] }),
	tunnels('206 agrees', METHOD, connect('partial.example:443'), { target: 'partial.example:443', answers: [206] }),
	tunnels('103 before what agrees', 'RFC 8297', connect('early.example:443'), {
		target: 'early.example:443',
		answers: [103, 200],
	}),
	passes('101 does not answer it', UPGRADE, connect('switching.example:443'), 'CONNECT switching.example:443', {
		variant: 'connect',
		answers: [502],
		after: 'closed',
	}),

	tunnels(
		'CONNECT with Upgrade is CONNECT',
		UPGRADE,
		connect('a:443', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'),
		{
			hasNot: ['upgrade', 'connection'],
		},
	),
	refuses('GET with Upgrade: connect', UPGRADE, get('Connection: Upgrade\r\nUpgrade: connect\r\n'), 403, {
		after: 'open',
	}),
	refuses(
		'POST with Upgrade: CONNECT',
		UPGRADE,
		'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: CONNECT\r\nContent-Length: 0\r\n\r\n',
		403,
		{ after: 'open' },
	),
	refuses(
		'GET with Upgrade: connect where tunnels end',
		UPGRADE,
		get('Connection: Upgrade\r\nUpgrade: connect\r\n'),
		403,
		{
			variant: 'terminate',
			after: 'open',
		},
	),
	refuses('a pseudo-header in HTTP/1.1', EXTENDED, connect('a:443', ':protocol: websocket\r\n')),
	refuses('a pseudo-header on GET', EXTENDED, get(':protocol: websocket\r\n')),
	tunnels('a field named protocol is a field', EXTENDED, connect('a:443', 'Protocol: websocket\r\n'), {
		has: ['protocol: websocket'],
	}),

	ends('ended here', METHOD, connect('a:443'), []),
	ends('ended here, with a request in the tunnel', METHOD, connect('a:443', '', SMUGGLED), ['GET /smuggled']),
	ends('ended here, a CONNECT in the tunnel', METHOD, connect('a:443', '', connect('b:443')), ['CONNECT b:443']),
	refuses('ended here, with a length', METHOD, connect('a:443', 'Content-Length: 35\r\n', SMUGGLED), 400, {
		variant: 'terminate',
	}),
	refuses('ended here, with chunks', METHOD, connect('a:443', 'Transfer-Encoding: chunked\r\n', SMUGGLED), 400, {
		variant: 'terminate',
	}),
	refuses('ended here, HTTP/1.0', 'RFC 9112 §2.3', connect('a:443', '', SMUGGLED).replace('1.1', '1.0'), 505, {
		variant: 'terminate',
	}),
	waits('a head that is not complete', METHOD, 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n', { variant: 'connect' }),
];
