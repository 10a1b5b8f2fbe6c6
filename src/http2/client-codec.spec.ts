// The client's role against a server that is scripted, and misbehaves.

import { describe, expect, test } from 'bun:test';
import { Heard } from '../http1/testing.ts';
import { ErrorCode, Flag, FrameType, Setting } from './frames.ts';
import { CONNECTION_QUEUE_HIGH_BYTES } from './limits.ts';
import {
	ClientPeer,
	concat,
	data,
	endingsOf,
	frame,
	getRequest,
	headers,
	Joined,
	rstStream,
	settings,
	uint32Bytes,
	windowUpdate,
} from './testing.ts';

const OK: readonly (readonly [string, string])[] = [[':status', '200']];

function goaway(lastStreamId: number, code: number = ErrorCode.noError): Uint8Array {
	return frame(FrameType.goaway, 0, 0, uint32Bytes(lastStreamId, code));
}

const endings = (peer: ClientPeer): string[] => endingsOf(peer.transport.take());

test('says the preface, refuses push, opens its windows, and asks at once', () => {
	const peer = new ClientPeer({ streamWindowBytes: 1_000_000, connectionWindowBytes: 2_000_000 });
	const opening = peer.transport.takeBytes();
	expect(Buffer.from(opening.subarray(0, 24)).toString()).toBe('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
	expect(Array.from(opening.subarray(33, 39))).toEqual([0, Setting.enablePush, 0, 0, 0, 0]);
	peer.request();
	expect(peer.transport.take().map(({ type }) => type)).toEqual([FrameType.headers]);
});

describe('streams', () => {
	test('as many as the server allows; one that ends makes room', () => {
		const peer = new ClientPeer().open([Setting.maxConcurrentStreams, 2]);
		peer.request();
		peer.request();
		expect(peer.codec.available).toBe(false);
		peer.receive(headers(1, OK));
		expect([peer.codec.available, peer.availables]).toEqual([true, 1]);
	});

	test('as many as we allow ourselves', () => {
		const peer = new ClientPeer({ concurrentStreamsMax: 1 }).open();
		peer.request();
		expect(peer.codec.available).toBe(false);
	});

	test('as many as one connection is to serve', () => {
		const peer = new ClientPeer({ requestsMax: 2 }).open();
		peer.request();
		peer.request();
		expect([peer.codec.available, peer.unavailable]).toEqual([false, true]);
		peer.receive(headers(1, OK), headers(3, OK));
		expect(endings(peer)).toEqual(['GOAWAY NO_ERROR']);
		expect(peer.transport.closed).toBe('flush');
	});

	test('one that was never written leaves nothing', () => {
		const peer = new ClientPeer().open([Setting.maxConcurrentStreams, 1]);
		const stream = peer.codec.newStream(new Heard());
		expect(peer.codec.available).toBe(false);
		stream.reset('cancelled');
		expect(peer.codec.available).toBe(true);
		expect(peer.transport.take()).toEqual([]);
	});
});

describe('responses', () => {
	test('informational ones, head, data, trailers', () => {
		const peer = new ClientPeer().open();
		const { heard } = peer.request();
		peer.receive(
			headers(
				1,
				[
					[':status', '103'],
					['link', '</a>'],
				],
				false,
			),
			headers(
				1,
				[
					[':status', '200'],
					['x', 'y'],
				],
				false,
			),
			data(1, 'body'),
			headers(1, [['grpc-status', '0']]),
		);
		expect(heard.informational.map(({ status }) => status)).toEqual([103]);
		expect(heard.response).toEqual({ status: 200, headers: ['x', 'y'] });
		expect([heard.body, heard.trailers]).toEqual(['body', ['grpc-status', '0']]);
		expect(peer.codec.activeStreams).toBe(0);
	});

	test('one that is complete while the request is not: the rest can be given up', () => {
		const peer = new ClientPeer().open();
		const { stream, heard } = peer.request(getRequest('/', { method: 'POST' }), false);
		peer.receive(headers(1, OK), rstStream(1, ErrorCode.noError));
		expect([heard.ended, heard.reset]).toEqual([true, null]);
		expect(peer.codec.activeStreams).toBe(0);
		expect(stream.writeData(new Uint8Array(10), true)).toBe(true);
		expect(endings(peer)).toEqual([]);
	});

	test('one that was held for a slow listener is whole although its connection is lost', () => {
		const peer = new ClientPeer().open();
		const { stream, heard } = peer.request();
		peer.receive(headers(1, OK, false));
		stream.pause();
		peer.receive(data(1, 'all of it', true));
		peer.codec.transportClosed(null);
		expect(heard.ended).toBe(false);
		stream.resume();
		expect([heard.body, heard.ended, heard.reset]).toEqual(['all of it', true, null]);
	});

	test.each([
		['no status', headers(1, [['x', 'y']])],
		[
			'two statuses',
			headers(1, [
				[':status', '200'],
				[':status', '204'],
			]),
		],
		['a status that is no number', headers(1, [[':status', '2x0']])],
		['status 101', headers(1, [[':status', '101']], false)],
		['an informational response that ends', headers(1, [[':status', '100']])],
		[
			'a pseudo-header of requests',
			headers(1, [
				[':status', '200'],
				[':path', '/'],
			]),
		],
		[
			'upper case',
			headers(1, [
				[':status', '200'],
				['X', 'y'],
			]),
		],
		[
			'transfer-encoding',
			headers(1, [
				[':status', '200'],
				['transfer-encoding', 'chunked'],
			]),
		],
		[
			'CR LF in a value',
			headers(1, [
				[':status', '200'],
				['x', 'a\r\nb: c'],
			]),
		],
		['data before the head', data(1, 'x')],
		[
			'less than its length',
			concat(
				headers(
					1,
					[
						[':status', '200'],
						['content-length', '9'],
					],
					false,
				),
				data(1, 'x', true),
			),
		],
		[
			'more than its length',
			concat(
				headers(
					1,
					[
						[':status', '200'],
						['content-length', '1'],
					],
					false,
				),
				data(1, 'xyz'),
			),
		],
		['content in a 204', concat(headers(1, [[':status', '204']], false), data(1, 'xyz'))],
		['two final heads', concat(headers(1, OK, false), headers(1, OK, false))],
	])('malformed: %s', (_, bytes) => {
		const peer = new ClientPeer().open();
		const { heard } = peer.request();
		peer.receive(bytes);
		expect(endings(peer)).toEqual(['RST_STREAM 1 PROTOCOL_ERROR']);
		expect(heard.reset).toBe('protocol_error');
		expect(peer.codec.available).toBe(true);
	});

	test.each([
		['push', frame(FrameType.pushPromise, Flag.endHeaders, 1, new Uint8Array(4)), 'PROTOCOL_ERROR'],
		['a stream of its own', headers(2, OK), 'PROTOCOL_ERROR'],
		['a stream that we did not open', headers(9, OK), 'PROTOCOL_ERROR'],
		['ENABLE_PUSH', settings([Setting.enablePush, 1]), 'PROTOCOL_ERROR'],
		['a frame that is too large', frame(FrameType.data, 0, 1, new Uint8Array(16_385)), 'FRAME_SIZE_ERROR'],
		['what is no HPACK', frame(FrameType.headers, Flag.endHeaders, 1, Uint8Array.from([0x80])), 'COMPRESSION_ERROR'],
		['a window that is too large', windowUpdate(0, 0x7fffffff), 'FLOW_CONTROL_ERROR'],
		['a head on a closed stream', concat(headers(1, OK), headers(1, OK)), 'STREAM_CLOSED'],
	])('the connection fails: %s', (_, bytes, code) => {
		const peer = new ClientPeer().open();
		const { heard } = peer.request();
		peer.receive(bytes);
		expect(endings(peer).at(-1)).toBe(`GOAWAY ${code}`);
		expect(heard.ended || heard.reset === 'protocol_error').toBe(true);
		expect([peer.codec.available, peer.unavailable, peer.transport.closed]).toEqual([false, true, 'flush']);
	});

	test('a server that is no HTTP/2 server', () => {
		const peer = new ClientPeer();
		const { heard } = peer.request();
		peer.receive(new TextEncoder().encode('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n'));
		expect(heard.reset).toBe('protocol_error');
		expect(peer.transport.closed).toBe('flush');
	});
});

describe('GOAWAY', () => {
	test('streams above the last are refused, safe to send elsewhere; the others go on', () => {
		const peer = new ClientPeer().open();
		const [first, second] = [peer.request(), peer.request()];
		const third = new Heard();
		const unwritten = peer.codec.newStream(third);
		peer.receive(goaway(1));
		expect([second!.heard.reset, second!.heard.error?.retrySafe]).toEqual(['refused', true]);
		expect([third.reset, third.error?.retrySafe]).toEqual(['refused', true]);
		unwritten.writeHead(getRequest(), true);
		expect(peer.codec.available).toBe(false);
		expect(peer.transport.closed).toBeNull();
		peer.receive(headers(1, OK));
		expect(first!.heard.ended).toBe(true);
		expect(peer.transport.closed).toBe('flush');
	});

	test('a notice of leaving ends nothing', () => {
		const peer = new ClientPeer().open();
		const { heard } = peer.request();
		peer.receive(goaway(0x7fffffff));
		expect([heard.reset, peer.unavailable, peer.error]).toEqual([null, true, null]);
	});

	test('with an error the owner is told', () => {
		const peer = new ClientPeer().open();
		peer.receive(goaway(0, ErrorCode.enhanceYourCalm));
		expect(peer.error?.message).toContain('ENHANCE_YOUR_CALM');
	});
});

describe('resets', () => {
	test.each([
		[ErrorCode.refusedStream, 'refused', true],
		[ErrorCode.cancel, 'cancelled', false],
		[ErrorCode.internalError, 'cancelled', false],
		[ErrorCode.protocolError, 'protocol_error', false],
	] as const)('RST_STREAM %p', (code, reason, retrySafe) => {
		const peer = new ClientPeer().open();
		const { heard } = peer.request();
		peer.receive(rstStream(1, code));
		expect([heard.reset, heard.error?.retrySafe]).toEqual([reason, retrySafe]);
	});

	test('what comes for a stream that we reset is ignored, and the header table stays in step', () => {
		const joined = new Joined();
		const first = joined.client.request();
		joined.run();
		joined.server.streams[0]!.writeHead({ status: 200, headers: ['x-indexed', 'value'] }, false);
		joined.server.streams[0]!.writeData(new Uint8Array(100), true);
		first.stream.reset('cancelled');
		joined.run();
		const second = joined.client.request();
		joined.run();
		joined.server.streams[1]!.writeHead({ status: 200, headers: ['x-indexed', 'value'] }, true);
		joined.run();
		expect(second.heard.response.headers).toEqual(['x-indexed', 'value']);
		expect(first.heard.head).toBeNull();
	});
});

describe('keep-alive', () => {
	const keepAlive = { intervalMs: 1000, timeoutMs: 500, jitterPercent: 0, idleIntervalMs: 0 };

	test('a PING in each interval; without an answer the connection is lost', () => {
		const peer = new ClientPeer({ keepAlive }).open();
		const { heard } = peer.request();
		peer.transport.take();
		peer.clock.advance(1010);
		const [ping] = peer.transport.take();
		expect(ping!.type).toBe(FrameType.ping);
		peer.receive(frame(FrameType.ping, Flag.ack, 0, ping!.payload));
		peer.clock.advance(1010);
		expect(peer.transport.take()).toHaveLength(1);
		peer.clock.advance(510);
		expect(heard.reset).toBe('connection_lost');
		expect(peer.error?.code).toBe('http2_keepalive_timeout');
	});

	test('a stream after a long silence is accompanied by one', () => {
		const peer = new ClientPeer({ keepAlive: { ...keepAlive, intervalMs: 0, idleIntervalMs: 5000 } }).open();
		peer.request();
		expect(peer.transport.take().map(({ type }) => type)).toEqual([FrameType.headers]);
		peer.clock.advance(6000);
		peer.request();
		expect(peer.transport.take().map(({ type }) => type)).toContain(FrameType.ping);
	});
});

describe('upgrades', () => {
	const upgrade = getRequest('/ws', { upgrade: 'websocket', headers: ['sec-websocket-key', 'a'] });

	test('wait for the SETTINGS of the server, and are refused by one that has no extended CONNECT', () => {
		const peer = new ClientPeer();
		peer.transport.take();
		const { heard } = peer.request(upgrade, false);
		expect(peer.transport.take()).toEqual([]);
		peer.receive(settings());
		expect(heard.error?.code).toBe('http2_no_extended_connect');
		expect(peer.codec.activeStreams).toBe(0);
	});

	test('that are refused leave nothing of what had been written to them', () => {
		const peer = new ClientPeer();
		const { stream } = peer.request(upgrade, false);
		stream.writeData(new Uint8Array(CONNECTION_QUEUE_HIGH_BYTES), false);
		peer.receive(settings([Setting.initialWindowSize, 0]));
		const other = peer.request(getRequest('/', { method: 'POST' }), false);
		expect(other.stream.writeData(new Uint8Array(10), false)).toBe(true);
	});

	test('that are not granted bring an ordinary response', () => {
		const peer = new ClientPeer().open([Setting.enableConnectProtocol, 1]);
		const { heard } = peer.request(upgrade, false);
		peer.receive(headers(1, [[':status', '404']]));
		expect([heard.response.status, heard.ended]).toEqual([404, true]);
	});

	test('data written before the SETTINGS follows the head', () => {
		const client = new ClientPeer();
		client.transport.take();
		const { stream } = client.request(upgrade, false);
		expect(stream.writeData(new TextEncoder().encode('early'), false)).toBe(false);
		client.receive(settings([Setting.enableConnectProtocol, 1]));
		expect(client.transport.take().map(({ type }) => type)).toEqual([
			FrameType.settings,
			FrameType.headers,
			FrameType.data,
		]);
	});
});
