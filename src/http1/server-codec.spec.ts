import { describe, expect, test } from 'bun:test';
import type { ServerStream } from '../http/stream.ts';
import { latin1, ServerPeer } from './testing.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';

function answerOk(stream: ServerStream): void {
	stream.writeHead({ status: 200, headers: [] }, true);
}

describe('a response', () => {
	test('without a body says content-length 0', () => {
		const peer = new ServerPeer({}, answerOk);
		peer.receive(GET);
		expect(peer.transport.take()).toBe(OK);
		expect(peer.transport.writes).toBe(1);
		expect(peer.transport.closed).toBeNull();
		expect(peer.idles).toBe(1);
	});

	test('of declared length is sent as it is', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.streams[0]!.writeHead({ status: 200, headers: ['content-length', '5', 'x', 'y'] }, false);
		peer.streams[0]!.writeData(latin1('he'), false);
		peer.streams[0]!.writeData(latin1('llo'), true);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello');
		expect(peer.codec.activeStreams).toBe(0);
	});

	test('of unknown length is chunked, with trailers', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		const [stream] = peer.streams;
		stream!.writeHead({ status: 200, headers: [] }, false);
		stream!.writeData(latin1('hello'), false);
		stream!.writeData(latin1(''), false);
		stream!.writeData(latin1('x'.repeat(20_000)), false);
		stream!.writeTrailers(['x-sum', '1', 'content-length', '9', 'host', 'b']);
		expect(peer.transport.take()).toBe(
			`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n4e20\r\n${'x'.repeat(20_000)}\r\n0\r\nx-sum: 1\r\n\r\n`,
		);
	});

	test('to HEAD keeps its content-length and drops its body', () => {
		const peer = new ServerPeer();
		peer.receive(`HEAD / HTTP/1.1\r\nHost: a\r\n\r\n${GET}`);
		peer.streams[0]!.writeHead({ status: 200, headers: ['content-length', '5'] }, false);
		peer.streams[0]!.writeData(latin1('hello'), true);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n');
		expect(peer.requests).toHaveLength(2);
	});

	test.each([204, 304])('%d has no body', (status) => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.streams[0]!.writeHead({ status, headers: ['etag', '"a"'] }, false);
		peer.streams[0]!.writeData(latin1('hello'), true);
		expect(peer.transport.take()).toMatch(/^HTTP\/1\.1 \d+ [\w ]+\r\netag: "a"\r\n\r\n$/);
	});

	test('may follow informational ones', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.streams[0]!.writeHead({ status: 100, headers: [] }, false);
		peer.streams[0]!.writeHead({ status: 103, headers: ['link', '</a>'] }, false);
		peer.streams[0]!.writeHead({ status: 200, headers: [] }, true);
		expect(peer.transport.take()).toBe(
			`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n${OK}`,
		);
	});

	test('carries no hop-by-hop field that it was given', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		const headers = [
			'connection',
			'x',
			'keep-alive',
			'1',
			'transfer-encoding',
			'gzip',
			'upgrade',
			'h2c',
			'te',
			'x',
			'a',
			'b',
		];
		peer.streams[0]!.writeHead({ status: 200, headers }, true);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 0\r\n\r\n');
	});

	test('gets a Date only when asked for', () => {
		const peer = new ServerPeer({ date: () => 'now' });
		peer.receive(GET + GET);
		peer.streams[0]!.writeHead({ status: 200, headers: [] }, true);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: now\r\n\r\n');
		peer.streams[1]!.writeHead({ status: 200, headers: ['date', 'then'] }, true);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\ndate: then\r\ncontent-length: 0\r\n\r\n');
	});

	test.each([
		['CR LF in a value', ['x', 'a\r\nset-cookie: b']],
		['LF in a value', ['x', 'a\nb']],
		['NUL in a value', ['x', 'a\0b']],
		['a character whose low byte is LF', ['x', 'a\u010ab']],
		['a space in a name', ['x y', 'a']],
		['a colon in a name', [':status', '200']],
		['an empty name', ['', 'a']],
		['two lengths', ['content-length', '1', 'content-length', '2']],
	])('with %s is refused: response splitting', (_, headers) => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.streams[0]!.writeHead({ status: 200, headers }, true);
		expect(peer.transport.take()).toBe(
			'HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
		);
		expect(peer.transport.closed).toBe('flush');
		expect(peer.requests[0]!.reset).toBe('local');
	});

	test.each([
		['longer', 'hello', false],
		['shorter', 'h', true],
	])('%s than its content-length closes the connection', (_, body, end) => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.streams[0]!.writeHead({ status: 200, headers: ['content-length', '3'] }, false);
		peer.streams[0]!.writeData(latin1(body), end);
		expect(peer.transport.closed).toBe('reset');
		expect(peer.transport.written).not.toContain('hello');
		expect(peer.requests[0]!.error?.code).toBe('http1_body_length_mismatch');
	});

	test('reports backpressure, and the drain', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.streams[0]!.writeHead({ status: 200, headers: [] }, false);
		peer.transport.room = false;
		expect(peer.streams[0]!.writeData(latin1('a'), false)).toBe(false);
		peer.codec.transportDrained();
		expect(peer.requests[0]!.drains).toBe(1);
	});
});

describe('a connection', () => {
	test('answers pipelined requests in order and holds the transport back meanwhile', () => {
		const peer = new ServerPeer();
		peer.receive('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT');
		expect(peer.requests).toHaveLength(1);
		expect(peer.transport.paused).toBe(true);
		peer.receive('TP/1.1\r\nHost: a\r\n\r\n');
		expect(peer.requests).toHaveLength(1);
		answerOk(peer.streams[0]!);
		expect(peer.requests.map((request) => request.request.path)).toEqual(['/1', '/2']);
		expect(peer.transport.paused).toBe(true);
		answerOk(peer.streams[1]!);
		expect(peer.requests.map((request) => request.request.path)).toEqual(['/1', '/2', '/3']);
		expect(peer.transport.paused).toBe(false);
		answerOk(peer.streams[2]!);
		expect(peer.transport.take()).toBe(OK.repeat(3));
	});

	test('answers pipelined requests at once when each is answered at once', () => {
		const peer = new ServerPeer({}, answerOk);
		peer.receive(GET.repeat(500));
		expect(peer.transport.take()).toBe(OK.repeat(500));
		expect(peer.idles).toBe(500);
	});

	test('bounds what it holds of later requests', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		for (let i = 0; i < 5; i++) peer.receive('x'.repeat(600_000));
		expect(peer.error?.code).toBe('http1_read_ahead_too_large');
		expect(peer.requests[0]!.reset).toBe('protocol_error');
	});

	test('closes when the client says so', () => {
		const peer = new ServerPeer({}, answerOk);
		peer.receive(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${GET}`);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
		expect(peer.transport.closed).toBe('flush');
		expect(peer.requests).toHaveLength(1);
	});

	test('closes after its last request', () => {
		const peer = new ServerPeer({ requestsMax: 2 }, answerOk);
		peer.receive(GET);
		expect(peer.transport.take()).toBe(OK);
		peer.receive(GET);
		expect(peer.transport.take()).toContain('connection: close');
		expect(peer.transport.closed).toBe('flush');
	});

	test('speaks HTTP/1.0 with those who do', () => {
		const peer = new ServerPeer({ acceptHttp10: true });
		peer.receive('GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n');
		peer.streams[0]!.writeHead({ status: 100, headers: [] }, false);
		peer.streams[0]!.writeHead({ status: 200, headers: ['content-length', '1'] }, false);
		peer.streams[0]!.writeData(latin1('a'), true);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\na');
		peer.receive('GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n');
		peer.streams[1]!.writeHead({ status: 200, headers: [] }, false);
		peer.streams[1]!.writeData(latin1('a'), true);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\na');
		expect(peer.transport.closed).toBe('flush');
	});

	test('drains: at once when idle', () => {
		const peer = new ServerPeer({}, answerOk);
		peer.receive(GET);
		peer.codec.startDrain();
		expect(peer.transport.closed).toBe('flush');
	});

	test('drains: after the response that is owed, which says close', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.codec.startDrain();
		expect(peer.transport.closed).toBeNull();
		answerOk(peer.streams[0]!);
		expect(peer.transport.take()).toContain('connection: close\r\n');
		expect(peer.transport.closed).toBe('flush');
	});

	test('closes after a response that came before the end of its request', () => {
		const peer = new ServerPeer();
		peer.receive('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
		peer.streams[0]!.writeHead({ status: 413, headers: [] }, true);
		expect(peer.transport.take()).toContain('connection: close\r\n');
		expect(peer.transport.closed).toBe('flush');
		peer.receive('defghij');
		expect(peer.requests[0]!.body).toBe('abc');
	});

	test('answers 400 when a body breaks its framing before the response', () => {
		const peer = new ServerPeer();
		peer.receive('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX');
		expect(peer.transport.take()).toStartWith('HTTP/1.1 400 ');
		expect(peer.requests[0]!.reset).toBe('protocol_error');
		expect(peer.requests[0]!.error?.code).toBe('http1_bad_chunk_end');
	});

	test('is reset when a body breaks its framing after the response began', () => {
		const peer = new ServerPeer();
		peer.receive('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na');
		peer.streams[0]!.writeHead({ status: 200, headers: [] }, false);
		peer.transport.take();
		peer.receive('X');
		expect(peer.transport.take()).toBe('');
		expect(peer.transport.closed).toBe('reset');
	});

	test('pauses and resumes reading for its stream', () => {
		const peer = new ServerPeer();
		peer.receive('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n');
		peer.streams[0]!.pause();
		expect(peer.transport.paused).toBe(true);
		peer.streams[0]!.resume();
		expect(peer.transport.paused).toBe(false);
	});

	test('closed by the client in a request: the request is lost', () => {
		const peer = new ServerPeer();
		peer.receive('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
		peer.codec.receiveEnd();
		expect(peer.requests[0]!.reset).toBe('connection_lost');
		expect(peer.requests[0]!.error?.code).toBe('http1_premature_close');
		expect(peer.transport.closed).toBe('flush');
	});

	test('closed by the client that waits: its request is lost, unless half-close is allowed', () => {
		const strict = new ServerPeer();
		strict.receive(GET);
		strict.codec.receiveEnd();
		expect(strict.requests[0]!.reset).toBe('connection_lost');

		const lenient = new ServerPeer({ allowHalfClose: true });
		lenient.receive(GET + GET);
		lenient.codec.receiveEnd();
		answerOk(lenient.streams[0]!);
		expect(lenient.transport.closed).toBeNull();
		answerOk(lenient.streams[1]!);
		expect(lenient.transport.take()).toBe(OK + OK);
		expect(lenient.transport.closed).toBe('flush');
	});

	test('gone: the stream hears it once, and later calls have no effect', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.codec.transportClosed(null);
		expect(peer.requests[0]!.reset).toBe('connection_lost');
		answerOk(peer.streams[0]!);
		expect(peer.transport.written).toBe('');
	});

	test('ends with a stream that is reset', () => {
		const peer = new ServerPeer();
		peer.receive(GET);
		peer.streams[0]!.reset('cancelled');
		expect(peer.transport.closed).toBe('reset');
		expect(peer.requests[0]!.reset).toBeNull();
		expect(peer.idles).toBe(1);
	});

	test.each([
		['what was written of a framed response goes out first', '1.1', true, 'flush'],
		['not if the peer takes nothing', '1.1', false, 'reset'],
		['nor where the end of the connection would be that of the body', '1.0', true, 'reset'],
	] as const)('reset within a response: %s', (_, version, room, closed) => {
		const peer = new ServerPeer({ acceptHttp10: true });
		peer.transport.room = room;
		peer.receive(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
		peer.streams[0]!.writeHead({ status: 200, headers: [] }, false);
		peer.streams[0]!.writeData(latin1('part'), false);
		peer.streams[0]!.reset('cancelled');
		expect(peer.transport.written).toContain('part');
		expect(peer.transport.written).not.toContain('0\r\n\r\n');
		expect(peer.transport.closed).toBe(closed);
	});
});

describe('an upgrade', () => {
	const UPGRADE =
		'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n';

	test('accepted turns both directions raw, until each ends', () => {
		const peer = new ServerPeer();
		peer.receive(`${UPGRADE}early`);
		const [heard] = peer.requests;
		const [stream] = peer.streams;
		expect(heard!.request.upgrade).toBe('websocket');
		expect(heard!.request.headers).toEqual(['sec-websocket-key', 'k']);
		expect(heard!.ended).toBe(false);
		expect(heard!.body).toBe('');
		stream!.writeHead({ status: 101, headers: ['sec-websocket-accept', 'x'] }, false);
		expect(peer.transport.take()).toBe(
			'HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
		);
		expect(heard!.body).toBe('early');
		expect(peer.transport.paused).toBe(false);
		peer.receive(' late');
		expect(heard!.body).toBe('early late');
		stream!.writeData(latin1('\x81\x00'), false);
		expect(peer.transport.take()).toBe('\x81\x00');
		peer.codec.receiveEnd();
		expect(heard!.ended).toBe(true);
		expect(peer.transport.closed).toBeNull();
		stream!.writeData(latin1('bye'), true);
		expect(peer.transport.take()).toBe('bye');
		expect(peer.transport.closed).toBe('flush');
		expect(peer.codec.activeStreams).toBe(0);
	});

	test('refused is an ordinary exchange, and the connection goes on', () => {
		const peer = new ServerPeer();
		peer.receive(`${UPGRADE}${GET}`);
		expect(peer.requests).toHaveLength(1);
		peer.streams[0]!.writeHead({ status: 403, headers: [] }, true);
		expect(peer.requests[0]!.ended).toBe(true);
		expect(peer.requests).toHaveLength(2);
		answerOk(peer.streams[1]!);
		expect(peer.transport.closed).toBeNull();
		expect(peer.transport.take()).toBe(`HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n${OK}`);
	});

	test('with content is taken as a plain request', () => {
		const peer = new ServerPeer();
		peer.receive('POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\na');
		expect(peer.requests[0]!.request.upgrade).toBe('');
		expect(peer.requests[0]!.ended).toBe(true);
	});

	test('to h2c is not offered', () => {
		const peer = new ServerPeer();
		peer.receive(
			'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n',
		);
		expect(peer.requests[0]!.request.upgrade).toBe('');
		expect(peer.requests[0]!.request.headers).toEqual([]);
	});

	test('CONNECT is a tunnel after 2xx', () => {
		const peer = new ServerPeer();
		peer.receive('CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n');
		expect(peer.requests[0]!.request).toMatchObject({ authority: 'b:443', path: '' });
		peer.streams[0]!.writeHead({ status: 200, headers: ['content-length', '0'] }, false);
		expect(peer.transport.take()).toBe('HTTP/1.1 200 OK\r\n\r\n');
		peer.receive('abc');
		expect(peer.requests[0]!.body).toBe('abc');
	});
});
