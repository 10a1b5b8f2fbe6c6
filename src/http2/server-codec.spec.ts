import { describe, expect, test } from 'bun:test';
import { ErrorCode, Flag, FrameType, Setting } from './frames.ts';
import { STREAM_QUEUE_HIGH_BYTES, STREAM_QUEUE_LOW_BYTES } from './limits.ts';
import {
	concat,
	data,
	frame,
	GET_FIELDS,
	getRequest,
	headers,
	Joined,
	POST_FIELDS,
	parseFrames,
	rawBlock,
	ServerPeer,
	windowUpdate,
} from './testing.ts';

const encoder = new TextEncoder();
const OK = { status: 200, headers: [] };

function fields(...more: (readonly [string, string])[]): readonly (readonly [string, string])[] {
	return [...GET_FIELDS, ...more];
}

describe('requests', () => {
	test('a request is heard and answered', () => {
		const joined = new Joined({}, (stream, request) => {
			stream.writeHead({ status: 200, headers: ['content-type', 'text/plain', 'x-path', request.request.path] }, false);
			stream.writeData(encoder.encode(`got ${request.body}`), true);
		});
		const { stream, heard } = joined.client.request(getRequest('/a?b', { method: 'POST', headers: ['x', 'y'] }), false);
		stream.writeData(encoder.encode('hello'), true);
		joined.run();
		expect(joined.server.requests[0]!.request).toEqual({
			method: 'POST',
			scheme: 'http',
			authority: 'example.com',
			path: '/a?b',
			headers: ['x', 'y'],
			upgrade: '',
		});
		expect(heard.response).toEqual({ status: 200, headers: ['content-type', 'text/plain', 'x-path', '/a?b'] });
		expect(heard.body).toBe('got hello');
		expect(heard.ended).toBe(true);
		expect(joined.server.codec.activeStreams).toBe(0);
		expect(joined.client.codec.activeStreams).toBe(0);
		expect(joined.server.idles).toBe(1);
	});

	test('many at once, answered in another order', () => {
		const joined = new Joined();
		const all = Array.from({ length: 50 }, (_, i) => joined.client.request(getRequest(`/${i}`)));
		joined.run();
		for (let i = 49; i >= 0; i--) {
			const { stream, path } = { stream: joined.server.streams[i]!, path: joined.server.requests[i]!.request.path };
			stream.writeHead({ status: 200, headers: ['x-path', path] }, true);
		}
		joined.run();
		expect(all.map(({ heard }) => heard.response.headers[1])).toEqual(all.map((_, i) => `/${i}`));
	});

	test('heads that are changed by whoever gets them do not change the next of the same bytes', () => {
		const peer = new ServerPeer().open();
		for (const id of [1, 3, 5]) {
			peer.receive(headers(id, fields(['x', 'y'])));
			const head = peer.requests.at(-1)!.request;
			expect(head.headers).toEqual(['x', 'y']);
			head.headers.push('changed', 'by a filter');
			head.path = '/changed';
		}
	});

	test('trailers both ways; those that say how to read a message are left out', () => {
		const joined = new Joined({}, (stream) => {
			stream.writeHead(OK, false);
			stream.writeData(encoder.encode('body'), false);
			stream.writeTrailers(['grpc-status', '0', 'content-length', '7']);
		});
		const { stream, heard } = joined.client.request(getRequest('/', { method: 'POST' }), false);
		stream.writeData(encoder.encode('abc'), false);
		stream.writeTrailers(['x-checksum', '1']);
		joined.run();
		expect(joined.server.requests[0]!.trailers).toEqual(['x-checksum', '1']);
		expect(heard.trailers).toEqual(['grpc-status', '0']);
		expect(heard.body).toBe('body');
	});

	test('crumbs of a cookie are one field again', () => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, fields(['cookie', 'a=1'], ['x', 'y'], ['cookie', 'b=2'])));
		expect(peer.requests[0]!.request.headers).toEqual(['cookie', 'a=1; b=2', 'x', 'y']);
	});

	test('Host stands in for a missing authority, and is dropped where there is one', () => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, fields(['host', 'other'])));
		peer.receive(headers(3, [...GET_FIELDS.filter(([name]) => name !== ':authority'), ['host', 'only.example']]));
		expect(peer.requests.map((request) => request.request.authority)).toEqual(['example.com', 'only.example']);
		expect(peer.requests[0]!.request.headers).toEqual([]);
	});

	test('without any authority: 400', () => {
		const peer = new ServerPeer().open();
		peer.receive(
			headers(
				1,
				GET_FIELDS.filter(([name]) => name !== ':authority'),
			),
		);
		expect(peer.fieldsOf(peer.transport.take()[0]!)[0]).toEqual([':status', '400']);
		expect(peer.requests).toHaveLength(0);
	});

	const without = (name: string) => GET_FIELDS.filter(([one]) => one !== name);
	test.each([
		['upper case', fields(['X', 'y'])],
		['connection', fields(['connection', 'close'])],
		['transfer-encoding', fields(['transfer-encoding', 'chunked'])],
		['upgrade', fields(['upgrade', 'h2c'])],
		['keep-alive', fields(['keep-alive', '1'])],
		['proxy-connection', fields(['proxy-connection', 'close'])],
		['te other than trailers', fields(['te', 'gzip'])],
		['CR LF in a value', fields(['x', 'a\r\nhost: evil'])],
		['NUL in a value', fields(['x', 'a\0b'])],
		['NUL in a name', fields(['x\0y', 'a'])],
		['space before a value', fields(['x', ' a'])],
		['space after a value', fields(['x', 'a '])],
		['a space in a name', fields(['x y', 'a'])],
		['a colon in a name', fields(['x:y', 'a'])],
		['an empty name', fields(['', 'a'])],
		['an unknown pseudo-header', [...GET_FIELDS, [':x', 'y']]],
		['a pseudo-header of responses', [...GET_FIELDS, [':status', '200']]],
		['a pseudo-header after others', [['x', 'y'], ...GET_FIELDS]],
		['a pseudo-header twice', [...GET_FIELDS, [':path', '/b']]],
		['no method', without(':method')],
		['no path', without(':path')],
		['no scheme', without(':scheme')],
		['an empty path', [...without(':path'), [':path', '']]],
		['a path without slash', [...without(':path'), [':path', 'a']]],
		['a path with a space', [...without(':path'), [':path', '/a HTTP/1.1']]],
		['a path with a fragment', [...without(':path'), [':path', '/a#b']]],
		['a strange scheme', [...without(':scheme'), [':scheme', 'ftp']]],
		['a method that is no token', [...without(':method'), [':method', 'GET /']]],
		['user information', [...without(':authority'), [':authority', 'user@example.com']]],
		['two hosts', fields(['host', 'a'], ['host', 'b'])],
		['two lengths', [...POST_FIELDS, ['content-length', '1'], ['content-length', '2']]],
		['a length that is no number', fields(['content-length', '+1'])],
		['a length and no content', fields(['content-length', '1'])],
		[
			'CONNECT with a path',
			[
				[':method', 'CONNECT'],
				[':authority', 'a:1'],
				[':path', '/'],
			],
		],
		[
			'CONNECT without a port',
			[
				[':method', 'CONNECT'],
				[':authority', 'a'],
			],
		],
		[
			'CONNECT with content',
			[
				[':method', 'CONNECT'],
				[':authority', 'a:1'],
				['content-length', '5'],
			],
		],
		['a protocol without CONNECT', [...GET_FIELDS, [':protocol', 'websocket']]],
		[
			'extended CONNECT that was not offered',
			[[':method', 'CONNECT'], [':protocol', 'websocket'], ...without(':method')],
		],
	] as [string, (readonly [string, string])[]][])('malformed and heard by nobody: %s', (_, list) => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, list));
		expect(peer.endings()).toEqual(['RST_STREAM 1 PROTOCOL_ERROR']);
		expect(peer.requests).toHaveLength(0);
		peer.receive(headers(3, GET_FIELDS));
		expect(peer.requests).toHaveLength(1);
	});

	test.each([
		['more', [data(1, 'abcdef')]],
		['less', [data(1, 'abc', true)]],
		['less, with trailers', [data(1, 'abc'), headers(1, [['x', 'y']])]],
	])('content-length and %s data', (_, frames) => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, [...POST_FIELDS, ['content-length', '5']], false), ...frames);
		expect(peer.endings()).toEqual(['RST_STREAM 1 PROTOCOL_ERROR']);
		expect(peer.requests[0]!.reset).toBe('protocol_error');
	});

	test.each([
		['with a pseudo-header', headers(1, [[':path', '/']])],
		['about a connection', headers(1, [['connection', 'close']])],
		['that do not end the stream', headers(1, [['x', 'y']], false)],
	])('trailers %s', (_, trailers) => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, POST_FIELDS, false), data(1, 'a'), trailers);
		expect(peer.endings()).toEqual(['RST_STREAM 1 PROTOCOL_ERROR']);
		expect(peer.requests[0]!.reset).toBe('protocol_error');
	});
});

describe('responses', () => {
	test('informational ones come first; nothing about a connection goes out; a date is added', () => {
		const peer = new ServerPeer({ date: () => 'now' }).open();
		peer.receive(headers(1, GET_FIELDS));
		const stream = peer.streams[0]!;
		stream.writeHead({ status: 103, headers: ['link', '</a>'] }, false);
		stream.writeHead({ status: 200, headers: ['connection', 'close', 'transfer-encoding', 'chunked', 'x', 'y'] }, true);
		const [early, final] = peer.transport.take();
		expect(peer.fieldsOf(early!)).toEqual([
			[':status', '103'],
			['link', '</a>'],
		]);
		expect(peer.fieldsOf(final!)).toEqual([
			[':status', '200'],
			['x', 'y'],
			['date', 'now'],
		]);
		expect(final!.flags & Flag.endStream).toBe(1);
	});

	test('one that is complete before the request is ends both, without an error', () => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, POST_FIELDS, false));
		peer.streams[0]!.writeHead(OK, true);
		expect(peer.endings()).toEqual(['RST_STREAM 1 NO_ERROR']);
		peer.receive(data(1, 'too late'), headers(1, [['x', 'y']]));
		expect(peer.transport.closed).toBeNull();
		expect(peer.requests[0]!.reset).toBeNull();
	});

	test.each([
		['longer', ['content-length', '3'], 'abcd'],
		['shorter', ['content-length', '5'], 'abcd'],
	])('a body %s than was declared is reset, not sent as if it were whole', (_, list, body) => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, GET_FIELDS));
		peer.streams[0]!.writeHead({ status: 200, headers: list }, false);
		peer.streams[0]!.writeData(encoder.encode(body), true);
		expect(peer.endings()).toEqual(['RST_STREAM 1 INTERNAL_ERROR']);
		expect(peer.requests[0]!.reset).toBe('local');
	});

	test('a header that cannot be sent resets its stream, and the table stays in step', () => {
		const joined = new Joined();
		const first = joined.client.request();
		const second = joined.client.request();
		joined.run();
		joined.server.streams[0]!.writeHead({ status: 200, headers: ['x-new', 'value', 'bad', 'a\nb'] }, true);
		joined.server.streams[1]!.writeHead({ status: 200, headers: ['x-new', 'value'] }, true);
		joined.run();
		expect(first.heard.reset).toBe('cancelled');
		expect(second.heard.response.headers).toEqual(['x-new', 'value']);
	});

	test('to HEAD: the length without the content', () => {
		const joined = new Joined({}, (stream) => {
			stream.writeHead({ status: 200, headers: ['content-length', '5'] }, false);
			stream.writeData(encoder.encode('hello'), true);
		});
		const { heard } = joined.client.request(getRequest('/', { method: 'HEAD' }));
		joined.run();
		expect([heard.response.headers, heard.body, heard.ended]).toEqual([['content-length', '5'], '', true]);
	});
});

describe('flow control', () => {
	test('what a window does not take waits, and goes on with the window', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 1000]);
		peer.receive(headers(1, GET_FIELDS));
		const stream = peer.streams[0]!;
		stream.writeHead(OK, false);
		expect(stream.writeData(new Uint8Array(2500), false)).toBe(true);
		const sizes = () => peer.transport.take().map(({ payload }) => payload.length);
		expect(sizes().slice(1)).toEqual([1000]);
		peer.receive(windowUpdate(1, 1000));
		expect(sizes()).toEqual([1000]);
		peer.receive(windowUpdate(1, 1000));
		expect(sizes()).toEqual([500]);
		expect(peer.requests[0]!.drains).toBe(0);
		expect(stream.writeData(new Uint8Array(10), true)).toBe(true);
	});

	test('a writer is told to stop when much waits for a window, and to go on when little does', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 0]);
		peer.receive(headers(1, GET_FIELDS));
		const stream = peer.streams[0]!;
		stream.writeHead(OK, false);
		const sent: number[] = [];
		const piece = (index: number) => new Uint8Array(1000).fill(index);
		let written = 0;
		while (stream.writeData(piece(written), false)) written++;
		written++;
		expect(written).toBe(Math.ceil(STREAM_QUEUE_HIGH_BYTES / 1000));
		peer.transport.take();
		const take = () => {
			for (const { payload } of peer.transport.take()) sent.push(...payload);
		};
		while (peer.requests[0]!.drains === 0) {
			peer.receive(windowUpdate(1, 999));
			take();
		}
		expect(written * 1000 - sent.length).toBeLessThanOrEqual(STREAM_QUEUE_LOW_BYTES);
		expect(written * 1000 - sent.length).toBeGreaterThan(STREAM_QUEUE_LOW_BYTES - 1000);
		stream.writeData(piece(written++), true);
		peer.receive(Buffer.concat([windowUpdate(1, 100_000), windowUpdate(0, 100_000)]));
		take();
		expect(sent).toEqual(Array.from({ length: written }, (_, index) => [...piece(index)]).flat());
	});

	test('what one read makes leaves in one write, before the transport is closed', () => {
		const peer = new ServerPeer().open();
		peer.transport.take();
		const before = peer.transport.writes;
		const ping = frame(FrameType.ping, 0, 0, new Uint8Array(8));
		peer.receive(Buffer.concat([ping, headers(1, GET_FIELDS), ping, frame(FrameType.data, 0, 0, new Uint8Array(1))]));
		expect(peer.transport.writes - before).toBe(1);
		expect(peer.transport.take().map(({ type }) => type)).toEqual([FrameType.ping, FrameType.ping, FrameType.goaway]);
	});

	test('both windows that come in one read are used by one write', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 0]);
		peer.receive(headers(1, GET_FIELDS));
		const stream = peer.streams[0]!;
		stream.writeHead(OK, false);
		stream.writeData(new Uint8Array(60_000), false);
		peer.transport.take();
		const before = peer.transport.writes;
		peer.receive(Buffer.concat([windowUpdate(1, 10_000), windowUpdate(0, 1000), windowUpdate(1, 40_000)]));
		expect(peer.transport.writes - before).toBe(1);
		expect(peer.transport.take().map(({ payload }) => payload.length)).toEqual([16_384, 16_384, 16_384, 848]);
	});

	test('a connection that turns out to be gone when what was gathered leaves has nothing more to send', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 0]);
		peer.receive(headers(1, GET_FIELDS));
		peer.streams[0]!.writeHead(OK, false);
		peer.streams[0]!.writeData(new Uint8Array(1000), false);
		peer.transport.write = () => {
			peer.codec.transportClosed(null);
			return true;
		};
		peer.receive(Buffer.concat([frame(FrameType.ping, 0, 0, new Uint8Array(8)), windowUpdate(1, 1000)]));
		expect(peer.requests[0]!.reset).toBe('connection_lost');
	});

	test('trailers wait for the data before them', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 10]);
		peer.receive(headers(1, GET_FIELDS));
		const stream = peer.streams[0]!;
		stream.writeHead(OK, false);
		stream.writeData(new Uint8Array(20), false);
		stream.writeTrailers(['x', 'y']);
		peer.transport.take();
		peer.receive(windowUpdate(1, 100));
		expect(peer.transport.take().map(({ type, flags }) => [type, flags & Flag.endStream])).toEqual([
			[FrameType.data, 0],
			[FrameType.headers, 1],
		]);
		expect(peer.codec.activeStreams).toBe(0);
	});

	test('a stream whose consumer stands still holds up no other', () => {
		const joined = new Joined({ streamWindowBytes: 100_000 });
		const slow = joined.client.request(getRequest('/slow', { method: 'POST' }), false);
		const fast = joined.client.request(getRequest('/fast', { method: 'POST' }), false);
		joined.run();
		joined.server.streams[0]!.pause();
		let sent = 0;
		for (let round = 0; round < 100; round++) {
			slow.stream.writeData(new Uint8Array(20_000), false);
			fast.stream.writeData(new Uint8Array(20_000), false);
			sent += 20_000;
			joined.run();
		}
		expect(joined.server.requests[0]!.body.length).toBe(0);
		expect(joined.server.requests[1]!.body.length).toBe(sent);
		joined.server.streams[0]!.resume();
		joined.run();
		expect(joined.server.requests[0]!.body.length).toBe(sent);
	});

	test('data that was held comes in order, with its end, at resume', () => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, POST_FIELDS, false));
		const [request] = peer.requests;
		peer.streams[0]!.pause();
		peer.receive(data(1, 'a'), data(1, 'b'), headers(1, [['x', 'y']]));
		expect([request!.body, request!.ended]).toEqual(['', false]);
		peer.streams[0]!.resume();
		expect([request!.body, request!.trailers, request!.ended]).toEqual(['ab', ['x', 'y'], true]);
	});

	test('streams take turns while the transport is slow', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 1_000_000]);
		peer.receive(windowUpdate(0, 10_000_000), headers(1, GET_FIELDS), headers(3, GET_FIELDS), headers(5, GET_FIELDS));
		peer.transport.room = false;
		for (const stream of peer.streams) {
			stream.writeHead(OK, false);
			stream.writeData(new Uint8Array(100_000), true);
		}
		peer.transport.take();
		const order: number[] = [];
		for (let i = 0; i < 6; i++) {
			peer.codec.transportDrained();
			order.push(...peer.transport.take().map(({ streamId }) => streamId));
		}
		expect(order).toEqual([1, 3, 5, 1, 3, 5]);
	});

	test('windows are given back in large parts', () => {
		const peer = new ServerPeer({ streamWindowBytes: 100_000 }).open();
		peer.receive(headers(1, POST_FIELDS, false));
		for (let i = 0; i < 10; i++) peer.receive(data(1, 'x'.repeat(10_000)));
		const updates = peer.transport
			.take()
			.filter(({ type, streamId }) => type === FrameType.windowUpdate && streamId === 1);
		expect(updates.map(({ payload }) => new DataView(payload.buffer).getUint32(0))).toEqual([50_000, 50_000]);
	});

	test('frames of one large write are few writes', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 1_000_000]);
		peer.receive(windowUpdate(0, 10_000_000), headers(1, GET_FIELDS));
		peer.streams[0]!.writeHead(OK, false);
		const before = peer.transport.writes;
		peer.streams[0]!.writeData(new Uint8Array(500_000), true);
		expect(peer.transport.writes - before).toBeLessThanOrEqual(11);
	});
});

describe('resets', () => {
	test.each([
		[ErrorCode.cancel, 'cancelled'],
		[ErrorCode.refusedStream, 'refused'],
		[ErrorCode.internalError, 'cancelled'],
	] as const)('RST_STREAM %p is heard as %s', (code, reason) => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, POST_FIELDS, false), frame(FrameType.rstStream, 0, 1, Uint8Array.from([0, 0, 0, code])));
		expect(peer.requests[0]!.reset).toBe(reason);
		expect(peer.codec.activeStreams).toBe(0);
	});

	test.each([
		['cancelled', 'CANCEL'],
		['refused', 'REFUSED_STREAM'],
		['protocol_error', 'PROTOCOL_ERROR'],
		['local', 'INTERNAL_ERROR'],
		['connection_lost', 'INTERNAL_ERROR'],
	] as const)('reset by %s says %s', (reason, name) => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, GET_FIELDS));
		peer.streams[0]!.reset(reason);
		expect(peer.endings()).toEqual([`RST_STREAM 1 ${name}`]);
		expect(peer.requests[0]!.reset).toBeNull();
	});

	test('the loss of the connection is heard by all', () => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, GET_FIELDS), headers(3, GET_FIELDS));
		peer.codec.transportClosed(null);
		expect(peer.requests.map((request) => request.reset)).toEqual(['connection_lost', 'connection_lost']);
	});
});

describe('drain', () => {
	test('says GOAWAY twice: streams on their way are still taken', () => {
		const peer = new ServerPeer({}, (stream) => stream.writeHead(OK, true)).open();
		peer.codec.startDrain();
		const [notice, ping] = peer.transport.take();
		expect(new DataView(notice!.payload.buffer).getUint32(0)).toBe(0x7fffffff);
		peer.receive(headers(1, GET_FIELDS));
		expect(peer.requests).toHaveLength(1);
		peer.receive(frame(FrameType.ping, Flag.ack, 0, ping!.payload));
		const goaway = peer.transport.take().at(-1)!;
		expect(goaway.type).toBe(FrameType.goaway);
		expect(new DataView(goaway.payload.buffer).getUint32(0)).toBe(1);
		expect(peer.transport.closed).toBe('flush');
	});

	test('waits for streams that are open, and refuses later ones', () => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, GET_FIELDS));
		peer.codec.startDrain();
		peer.clock.advance(1001);
		peer.receive(headers(3, GET_FIELDS));
		expect(peer.endings()).toEqual(['GOAWAY NO_ERROR', 'GOAWAY NO_ERROR', 'RST_STREAM 3 REFUSED_STREAM']);
		expect(peer.transport.closed).toBeNull();
		peer.streams[0]!.writeHead(OK, true);
		expect(peer.transport.closed).toBe('flush');
	});
});

describe('WebSocket (RFC 8441)', () => {
	const connect: readonly (readonly [string, string])[] = [
		[':method', 'CONNECT'],
		[':protocol', 'websocket'],
		...GET_FIELDS.slice(1),
		['sec-websocket-version', '13'],
	];

	test('is heard as an upgrade with a key, and 101 is answered by 200', () => {
		const peer = new ServerPeer({ allowConnect: true }).open();
		peer.receive(headers(1, connect, false));
		const { request } = peer.requests[0]!;
		expect([request.method, request.upgrade, request.path]).toEqual(['GET', 'websocket', '/']);
		expect(request.headers.slice(0, 3)).toEqual(['sec-websocket-version', '13', 'sec-websocket-key']);
		peer.streams[0]!.writeHead(
			{ status: 101, headers: ['sec-websocket-accept', 'x', 'sec-websocket-protocol', 'p'] },
			false,
		);
		expect(peer.fieldsOf(peer.transport.take()[0]!)).toEqual([
			[':status', '200'],
			['sec-websocket-protocol', 'p'],
		]);
		peer.receive(data(1, 'up'));
		peer.streams[0]!.writeData(encoder.encode('down'), false);
		expect(peer.requests[0]!.body).toBe('up');
		expect(peer.transport.take()[0]!.payload).toEqual(encoder.encode('down'));
	});

	test('between two of ours the key of the program at the end is answered', () => {
		const joined = new Joined({ allowConnect: true });
		const head = getRequest('/ws', {
			upgrade: 'websocket',
			headers: ['sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ=='],
		});
		const { heard } = joined.client.request(head, false);
		joined.run();
		joined.server.streams[0]!.writeHead({ status: 101, headers: [] }, false);
		joined.run();
		expect(heard.response).toEqual({
			status: 101,
			headers: ['sec-websocket-accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='],
		});
	});
});

test.each([
	[200, ['content-length', '1', 'x', 'y']],
	[204, ['x', 'y']],
] as const)('a tunnel by CONNECT has no length, whatever either side says: %p', (status, fields) => {
	const joined = new Joined();
	const head = getRequest('', { method: 'CONNECT', authority: 'b:443', headers: ['content-length', '0'] });
	const { heard, stream } = joined.client.request(head, false);
	joined.run();
	const request = joined.server.requests[0]!;
	expect([request.request.method, request.request.authority, request.request.headers]).toEqual([
		'CONNECT',
		'b:443',
		[],
	]);
	stream.writeData(encoder.encode('up'), false);
	joined.server.streams[0]!.writeHead({ status, headers: [...fields] }, false);
	joined.server.streams[0]!.writeData(encoder.encode('down'), false);
	joined.run();
	expect(heard.response).toEqual({ status, headers: ['x', 'y'] });
	expect([request.body, heard.body]).toEqual(['up', 'down']);
});

test('the meaning does not depend on how the bytes were cut', () => {
	const input = concat(
		headers(1, [...POST_FIELDS, ['content-length', '8']], false),
		frame(FrameType.data, Flag.padded, 1, Uint8Array.from([3, 97, 98, 99, 100, 0, 0, 0])),
		data(1, 'efgh', true),
		frame(
			FrameType.headers,
			Flag.endStream | Flag.padded | Flag.priority,
			3,
			concat(Uint8Array.from([2, 0, 0, 0, 0, 9]), rawBlock(GET_FIELDS).slice(0, 9), new Uint8Array(2)),
		),
		frame(FrameType.continuation, Flag.endHeaders, 3, rawBlock(GET_FIELDS).slice(9)),
		frame(FrameType.ping, 0, 0, new Uint8Array(8)),
	);
	const run = (size: number): string => {
		const peer = new ServerPeer({}, (stream) => stream.writeHead(OK, true)).open();
		for (let at = 0; at < input.length; at += size) peer.codec.receive(input.subarray(at, at + size));
		const frames = parseFrames(peer.transport.takeBytes()).map(({ type, flags, streamId }) => [type, flags, streamId]);
		return JSON.stringify([peer.requests.map((request) => request.summary()), frames]);
	};
	const whole = run(input.length);
	expect(JSON.parse(whole)[0]).toHaveLength(2);
	for (let size = 1; size < 40; size++) expect(run(size)).toBe(whole);
});
