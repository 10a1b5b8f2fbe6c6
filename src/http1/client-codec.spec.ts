import { describe, expect, test } from 'bun:test';
import type { RequestHead } from '../http/stream.ts';
import { ClientPeer, getRequest, Heard, latin1 } from './testing.ts';

function post(headers: string[] = []): RequestHead {
	return { ...getRequest('/', headers), method: 'POST' };
}

function begin(head = getRequest(), end = true, options = {}) {
	const peer = new ClientPeer(options);
	const heard = new Heard();
	const stream = peer.codec.newStream(heard);
	stream.writeHead(head, end);
	return { peer, heard, stream };
}

describe('a request', () => {
	test('is written anew, in one write', () => {
		const { peer } = begin(getRequest('/a?b', ['x', 'y', 'te', 'trailers', 'connection', 'close', 'host', 'evil']));
		expect(peer.transport.written).toBe(
			'GET /a?b HTTP/1.1\r\nhost: example.com\r\nx: y\r\nte: trailers\r\nconnection: te\r\n\r\n',
		);
		expect(peer.transport.writes).toBe(1);
		expect(peer.codec.available).toBe(false);
	});

	test('without content says so where content is usual', () => {
		expect(begin(post()).peer.transport.written).toContain('content-length: 0\r\n');
		expect(begin(getRequest()).peer.transport.written).not.toContain('content-length');
	});

	test('of declared length', () => {
		const { peer, stream } = begin(post(['content-length', '5']), false);
		stream.writeData(latin1('hello'), true);
		expect(peer.transport.written).toEndWith('\r\ncontent-length: 5\r\n\r\nhello');
	});

	test('of unknown length is chunked, with trailers', () => {
		const { peer, stream } = begin(post(), false);
		stream.writeData(latin1('hello'), false);
		stream.writeTrailers(['x', '1']);
		expect(peer.transport.written).toEndWith('transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\r\n\r\n');
	});

	test.each([
		['a space in the path', { path: '/a b' }],
		['CR LF in the path', { path: '/a\r\nx: y' }],
		['a path that is none', { path: 'a' }],
		['* without OPTIONS', { path: '*' }],
		['CR LF in the authority', { authority: 'a\r\nx: y' }],
		['no authority', { authority: '' }],
		['a space in the method', { method: 'GET /' }],
		['CR LF in a value', { headers: ['x', 'a\r\nb: c'] }],
		['a character beyond Latin-1', { headers: ['x', '\u0d0a'] }],
		['more declared than written', { headers: ['content-length', '1'] }],
	])('with %s is refused, and the connection stays good', (_, change) => {
		const { peer, heard } = begin({ ...getRequest(), ...change });
		expect(peer.transport.written).toBe('');
		expect(heard.reset).toBe('local');
		expect(peer.codec.available).toBe(true);
		expect(peer.availables).toBe(1);
	});

	test('longer than it declared closes the connection', () => {
		const { peer, heard, stream } = begin(post(['content-length', '1']), false);
		stream.writeData(latin1('ab'), false);
		expect(peer.transport.closed).toBe('reset');
		expect(heard.error?.code).toBe('http1_body_length_mismatch');
		expect(peer.transport.written).not.toContain('ab');
	});

	test('reset before it was written leaves the connection as it was', () => {
		const peer = new ClientPeer();
		peer.codec.newStream(new Heard()).reset('cancelled');
		expect(peer.codec.available).toBe(true);
		expect(peer.transport.closed).toBeNull();
	});

	test('reset after it was written ends the connection', () => {
		const { peer, heard, stream } = begin();
		stream.reset('cancelled');
		expect(peer.transport.closed).toBe('reset');
		expect(peer.unavailable).toBe(true);
		peer.receive('HTTP/1.1 200 OK\r\n\r\n');
		expect(heard.head).toBeNull();
		expect(heard.reset).toBeNull();
	});
});

describe('a response', () => {
	test.each([
		['RFC 9112 §6.2 Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc', 'abc'],
		['RFC 9112 §7.1 chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n', 'abc'],
		['RFC 9112 §6.3 204 has none, whatever it says', 'HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n', ''],
		['RFC 9112 §6.3 304 has none', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n', ''],
		['RFC 9112 §4 empty reason', 'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n', ''],
		['RFC 9112 §4 no space before the empty reason', 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', ''],
		['RFC 9112 §4 obs-text in the reason', 'HTTP/1.1 200 \xe9t\xe9\r\nContent-Length: 0\r\n\r\n', ''],
	])('%s', (_, raw, body) => {
		const { peer, heard } = begin();
		peer.receive(raw);
		expect(heard.ended).toBe(true);
		expect(heard.body).toBe(body);
		expect(peer.codec.available).toBe(true);
		expect(peer.availables).toBe(1);
	});

	test('to HEAD has no body', () => {
		const { peer, heard } = begin({ ...getRequest(), method: 'HEAD' });
		peer.receive('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n');
		expect(heard.ended).toBe(true);
		expect(heard.response.headers).toEqual(['content-length', '3']);
		expect(peer.codec.available).toBe(true);
	});

	test('may come after informational ones', () => {
		const { peer, heard } = begin();
		peer.receive('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 x\r\n\r\n');
		expect(heard.informational.map(({ status }) => status)).toEqual([100, 103]);
		expect(heard.response.status).toBe(204);
	});

	test('lasts until the close when it says no length', () => {
		const { peer, heard } = begin();
		peer.receive('HTTP/1.1 200 OK\r\n\r\nabc');
		peer.receive('def');
		expect(heard.ended).toBe(false);
		peer.codec.receiveEnd();
		expect(heard.ended).toBe(true);
		expect(heard.body).toBe('abcdef');
		expect(peer.transport.closed).toBe('flush');
		expect(peer.codec.available).toBe(false);
	});

	test.each([
		['Connection: close', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'],
		['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
	])('with %s ends the connection', (_, raw) => {
		const { peer, heard } = begin();
		peer.receive(raw);
		expect(heard.ended).toBe(true);
		expect(peer.codec.available).toBe(false);
		expect(peer.transport.closed).toBe('flush');
		expect(peer.unavailable).toBe(true);
	});

	test.each([
		['in the same read', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n', ''],
		['later', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 'H'],
	])('followed by bytes that nobody asked for, %s, makes the connection unusable', (_, raw, later) => {
		const { peer, heard } = begin();
		peer.receive(raw);
		peer.receive(later);
		expect(heard.ended).toBe(true);
		expect(peer.codec.available).toBe(false);
		expect(peer.error?.code).toBe('http1_unexpected_data');
		expect(peer.transport.closed).toBe('reset');
	});

	test.each([
		['RFC 9112 §4 not a status line', 'HTTP 200\r\n\r\n', 'http1_bad_status_line'],
		['RFC 9112 §4 two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'http1_bad_status_line'],
		['RFC 9112 §4 four digits', 'HTTP/1.1 2000 OK\r\n\r\n', 'http1_bad_status_line'],
		['RFC 9110 §15 out of range', 'HTTP/1.1 600 OK\r\n\r\n', 'http1_bad_status_line'],
		['RFC 9112 §2.3 another version', 'HTTP/2.0 200 OK\r\n\r\n', 'http1_unsupported_version'],
		['RFC 9112 §2.2 empty line first', '\r\nHTTP/1.1 200 OK\r\n\r\n', 'http1_bad_status_line'],
		['RFC 9112 §2.2 bare LF', 'HTTP/1.1 200 OK\n\r\n', 'http1_bad_line_end'],
		['RFC 9112 §5.2 folding', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n', 'http1_obsolete_folding'],
		[
			'RFC 9112 §6.3 length and chunks',
			'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
			'http1_ambiguous_framing',
		],
		[
			'RFC 9110 §8.6 two lengths',
			'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
			'http1_bad_content_length',
		],
		[
			'RFC 9112 §6.1 another coding',
			'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n',
			'http1_unsupported_transfer_encoding',
		],
		[
			'RFC 9112 §6.1 coding in HTTP/1.0',
			'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
			'http1_ambiguous_framing',
		],
		[
			'RFC 9110 §15.2.2 101 not asked for',
			'HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
			'http1_unexpected_upgrade',
		],
		['1xx without end', 'HTTP/1.1 100 x\r\n\r\n'.repeat(40), 'http1_too_many_informational'],
		['RFC 9112 §7.1 bad chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz', 'http1_bad_chunk_size'],
	])('that breaks the protocol is an error: %s', (_, raw, code) => {
		const { peer, heard } = begin();
		peer.receive(raw);
		expect(heard.reset).toBe('protocol_error');
		expect(heard.error?.code).toBe(code);
		expect(heard.error?.origin).toBe('upstream');
		expect(peer.transport.closed).toBe('reset');
		expect(peer.codec.available).toBe(false);
	});

	test.each([
		['before a byte of it', '', 'http1_closed_before_response', 'connection_lost'],
		['in its head', 'HTTP/1.1 200', 'http1_premature_close', 'protocol_error'],
		['in its body', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na', 'http1_premature_close', 'connection_lost'],
		[
			'in its chunks',
			'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n',
			'http1_premature_close',
			'connection_lost',
		],
	])('closed too early is an error: %s', (_, raw, code, reason) => {
		const { peer, heard } = begin();
		peer.receive(raw);
		peer.codec.receiveEnd();
		expect(heard.ended).toBe(false);
		expect(heard.reset).toBe(reason as typeof heard.reset);
		expect(heard.error?.code).toBe(code);
		expect(peer.unavailable).toBe(true);
	});

	test('before the end of its request: the connection waits for that end', () => {
		const { peer, heard, stream } = begin(post(), false);
		peer.receive('HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n');
		expect(heard.ended).toBe(true);
		expect(peer.codec.available).toBe(false);
		stream.writeData(latin1('a'), true);
		expect(peer.codec.available).toBe(true);
	});

	test('that closes before the end of its request stops it', () => {
		const { peer, stream } = begin(post(), false);
		peer.receive('HTTP/1.1 413 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
		expect(peer.transport.closed).toBe('reset');
		peer.transport.take();
		stream.writeData(latin1('a'), true);
		expect(peer.transport.take()).toBe('');
	});
});

describe('a connection', () => {
	test('takes one request after another, up to its bound', () => {
		const peer = new ClientPeer({ requestsMax: 2 });
		for (let i = 0; i < 2; i++) {
			peer.codec.newStream(new Heard()).writeHead(getRequest(), true);
			peer.receive('HTTP/1.1 204 x\r\n\r\n');
		}
		expect(peer.codec.available).toBe(false);
		expect(peer.transport.closed).toBe('flush');
	});

	test('may get its next request from within the end of the last', () => {
		const peer = new ClientPeer();
		const heard = new Heard();
		let offeredEarly = false;
		heard.onEnded = () => {
			offeredEarly = peer.codec.available;
		};
		peer.codec.newStream(heard).writeHead(getRequest(), true);
		peer.receive('HTTP/1.1 204 x\r\n\r\n');
		expect(offeredEarly).toBe(false);
		expect(peer.availables).toBe(1);
	});

	test('idle, closed by the peer', () => {
		const peer = new ClientPeer();
		peer.codec.receiveEnd();
		expect(peer.unavailable).toBe(true);
		expect(peer.error).toBeNull();
		expect(peer.transport.closed).toBe('flush');
	});

	test('lost before the request was written: it is safe to send elsewhere', () => {
		const peer = new ClientPeer();
		const heard = new Heard();
		peer.codec.newStream(heard);
		peer.codec.receiveEnd();
		expect(heard.reset).toBe('refused');
		expect(heard.error?.retrySafe).toBe(true);
	});

	test('drains after its stream', () => {
		const { peer } = begin();
		peer.codec.startDrain();
		expect(peer.transport.closed).toBeNull();
		peer.receive('HTTP/1.1 204 x\r\n\r\n');
		expect(peer.transport.closed).toBe('flush');
	});

	test('pauses for its stream, and is not left paused', () => {
		const { peer, stream } = begin();
		peer.receive('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n');
		stream.pause();
		expect(peer.transport.paused).toBe(true);
		peer.receive('abc');
		expect(peer.transport.paused).toBe(false);
		expect(peer.codec.available).toBe(true);
	});
});

describe('an upgrade', () => {
	const head: RequestHead = { ...getRequest('/ws', ['sec-websocket-key', 'k']), upgrade: 'websocket' };
	const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n';

	test('agreed turns both directions raw, until each ends', () => {
		const { peer, heard, stream } = begin(head, false);
		expect(peer.transport.take()).toBe(
			'GET /ws HTTP/1.1\r\nhost: example.com\r\nsec-websocket-key: k\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
		);
		expect(stream.writeData(latin1('early'), false)).toBe(false);
		expect(peer.transport.take()).toBe('');
		peer.receive(`${SWITCH}hello`);
		expect(heard.response.status).toBe(101);
		expect(heard.body).toBe('hello');
		expect(peer.transport.take()).toBe('early');
		expect(heard.drains).toBe(1);
		stream.writeData(latin1(' late'), true);
		expect(peer.transport.take()).toBe(' late');
		expect(peer.transport.closed).toBe('flush');
		peer.receive('x');
		peer.codec.receiveEnd();
		expect(heard.body).toBe('hellox');
		expect(heard.ended).toBe(true);
		expect(peer.codec.activeStreams).toBe(0);
		expect(peer.codec.available).toBe(false);
	});

	test('refused leaves the connection clean', () => {
		const { peer, heard, stream } = begin(head, false);
		stream.writeData(latin1('early'), false);
		peer.transport.take();
		peer.receive('HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno');
		expect(heard.body).toBe('no');
		expect(heard.ended).toBe(true);
		expect(peer.codec.available).toBe(true);
		stream.writeData(latin1('late'), true);
		expect(peer.transport.take()).toBe('');
	});

	test('to another protocol is an error', () => {
		const { peer, heard } = begin(head, false);
		peer.receive('HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n');
		expect(heard.error?.code).toBe('http1_unexpected_upgrade');
	});

	test('CONNECT, which has no length', () => {
		const headers = ['content-length', '0'];
		const { peer, heard } = begin({ ...getRequest(''), method: 'CONNECT', authority: 'b:443', headers }, false);
		expect(peer.transport.take()).toBe('CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n');
		peer.receive('HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc');
		expect(heard.body).toBe('abc');
		expect(heard.response.headers).toEqual([]);
	});
});
