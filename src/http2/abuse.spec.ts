// Each limit on what a peer may make us do for nothing, with the attack that it is for.

import { describe, expect, test } from 'bun:test';
import { VirtualClock } from '../std/clock.ts';
import { ErrorCode, Flag, FrameType, Setting } from './frames.ts';
import { QUEUED_BYTES_MAX } from './limits.ts';
import {
	data,
	frame,
	GET_FIELDS,
	headers,
	POST_FIELDS,
	rawBlock,
	rstStream,
	ServerPeer,
	settings,
	uint32Bytes,
	windowUpdate,
} from './testing.ts';

const CALM = 'GOAWAY ENHANCE_YOUR_CALM';
const OK = { status: 200, headers: [] };

/** Repeats the attack until the connection is closed; gives how many times that took. */
function attack(peer: ServerPeer, most: number, once: (i: number) => void): number {
	for (let i = 0; i < most; i++) {
		once(i);
		if (peer.transport.closed !== null) return i + 1;
	}
	throw new Error(`${most} times, and the connection is still open`);
}

function expectCalm(peer: ServerPeer, code: string): void {
	expect(peer.error?.code).toBe(code);
	expect(peer.endings().at(-1)).toBe(CALM);
	expect(peer.transport.closed).toBe('flush');
	expect(peer.codec.activeStreams).toBe(0);
}

describe('resets', () => {
	test('rapid reset (CVE-2023-44487): streams opened and cancelled at once', () => {
		const peer = new ServerPeer().open();
		const times = attack(peer, 5000, (i) => peer.receive(headers(1 + 2 * i, GET_FIELDS), rstStream(1 + 2 * i)));
		expect(times).toBe(1001);
		expectCalm(peer, 'http2_reset_flood');
	});

	test.each([
		['WINDOW_UPDATE of 0', (id: number) => [windowUpdate(id, 0)]],
		['a window that is too large', (id: number) => [windowUpdate(id, 0x7fffffff)]],
		['data after the end', (id: number) => [data(id, 'x')]],
		['PRIORITY on itself', (id: number) => [frame(FrameType.priority, 0, id, new Uint8Array([...uint32Bytes(id), 1]))]],
		['a second head after the end', (id: number) => [headers(id, GET_FIELDS)]],
	])('made you reset (CVE-2025-8671): streams that we have to reset, by %s', (_, provoke) => {
		const peer = new ServerPeer().open();
		const times = attack(peer, 5000, (i) => peer.receive(headers(1 + 2 * i, GET_FIELDS), ...provoke(1 + 2 * i)));
		expect(times).toBeLessThan(1100);
		expectCalm(peer, 'http2_reset_flood');
	});

	test('malformed requests, which are reset before anybody hears of them', () => {
		const peer = new ServerPeer().open();
		attack(peer, 5000, (i) => peer.receive(headers(1 + 2 * i, [...GET_FIELDS, ['connection', 'close']])));
		expect(peer.requests).toHaveLength(0);
		expectCalm(peer, 'http2_reset_flood');
	});

	test('a client that cancels 30 requests each second is not an attacker', () => {
		const peer = new ServerPeer().open();
		for (let second = 0; second < 100; second++) {
			for (let i = 0; i < 30; i++) {
				const id = 1 + 2 * (second * 30 + i);
				peer.receive(headers(id, GET_FIELDS), rstStream(id));
			}
			peer.clock.advance(1000);
		}
		expect(peer.transport.closed).toBeNull();
	});

	test('streams that are answered first may be reset as often as one likes', () => {
		const peer = new ServerPeer({}, (stream) => stream.writeHead(OK, true)).open();
		for (let i = 0; i < 3000; i++) peer.receive(headers(1 + 2 * i, GET_FIELDS), rstStream(1 + 2 * i));
		expect(peer.transport.closed).toBeNull();
	});
});

describe('floods', () => {
	test('CONTINUATION frames without end (CVE-2024-27316)', () => {
		const peer = new ServerPeer().open();
		peer.receive(frame(FrameType.headers, Flag.endStream, 1, rawBlock(GET_FIELDS)));
		expect(attack(peer, 1000, () => peer.receive(frame(FrameType.continuation, 0, 1, rawBlock([['a', 'b']]))))).toBe(
			13,
		);
		expectCalm(peer, 'http2_continuation_flood');
	});

	test('CONTINUATION frames that are full', () => {
		const peer = new ServerPeer().open();
		peer.receive(frame(FrameType.headers, Flag.endStream, 1, rawBlock(GET_FIELDS)));
		const full = rawBlock([['x', 'y'.repeat(16_000)]]);
		expect(attack(peer, 1000, () => peer.receive(frame(FrameType.continuation, 0, 1, full)))).toBe(4);
		expectCalm(peer, 'http2_header_block_too_large');
	});

	test.each([
		['SETTINGS', 'http2_settings_flood', 101, () => settings()],
		[
			'one SETTINGS of very many',
			'http2_settings_flood',
			1,
			() => settings(...Array(40).fill([Setting.initialWindowSize, 9])),
		],
		['PING', 'http2_ping_flood', 1001, () => frame(FrameType.ping, 0, 0, new Uint8Array(8))],
		['answers to PINGs', 'http2_ping_flood', 1001, () => frame(FrameType.ping, Flag.ack, 0, new Uint8Array(8))],
		['PRIORITY', 'http2_priority_flood', 101, () => frame(FrameType.priority, 0, 3, new Uint8Array(5))],
		['WINDOW_UPDATE', 'http2_window_update_flood', 6, () => windowUpdate(0, 1)],
		['unknown types', 'http2_unknown_frame_flood', 1001, () => frame(0x77, 0, 0)],
	])('%s', (_, code, times, make) => {
		const peer = new ServerPeer().open();
		// The first SETTINGS was that of the preface.
		const before = code === 'http2_settings_flood' && times > 1 ? 1 : 0;
		expect(attack(peer, 5000, () => peer.receive(make())) + before).toBe(times);
		expectCalm(peer, code);
	});

	test('DATA without content', () => {
		const peer = new ServerPeer().open();
		peer.receive(headers(1, POST_FIELDS, false));
		expect(attack(peer, 100, () => peer.receive(frame(FrameType.data, 0, 1)))).toBe(2);
		expectCalm(peer, 'http2_empty_frame_flood');
	});

	test('the same frames in the course of work are none', () => {
		const peer = new ServerPeer({}, (stream) => {
			stream.writeHead(OK, false);
			stream.writeData(new Uint8Array(100), true);
		}).open();
		for (let i = 0; i < 2000; i++) {
			const id = 1 + 2 * i;
			peer.receive(frame(FrameType.priority, 0, id, new Uint8Array(5)), headers(id, GET_FIELDS), windowUpdate(0, 100));
			if (i % 10 === 0) peer.receive(frame(FrameType.ping, 0, 0, new Uint8Array(8)));
			peer.clock.advance(10);
		}
		expect(peer.transport.closed).toBeNull();
	});
});

describe('headers', () => {
	test('an HPACK bomb is answered 431, costs no memory, and the connection goes on', () => {
		const peer = new ServerPeer({}, (stream) => stream.writeHead(OK, true)).open();
		const name = 'x'.repeat(10);
		const value = 'a'.repeat(3900);
		const length = value.length - 127;
		const insert = new Uint8Array([
			...[0x40, name.length, ...Buffer.from(name)],
			...[0x7f, (length & 127) | 128, length >> 7, ...Buffer.from(value)],
		]);
		const block = new Uint8Array([...rawBlock(GET_FIELDS), ...insert, ...new Uint8Array(10_000).fill(0xbe)]);
		peer.receive(frame(FrameType.headers, Flag.endHeaders | Flag.endStream, 1, block));
		const [answer] = peer.transport.take();
		expect(peer.fieldsOf(answer!)[0]).toEqual([':status', '431']);
		peer.receive(headers(3, GET_FIELDS));
		expect(peer.requests).toHaveLength(1);
		expect(peer.transport.closed).toBeNull();
	});

	test.each([
		['many', Array.from({ length: 101 }, (_, i) => [`x-${i}`, 'y'] as const)],
		['large', [['x', 'y'.repeat(61_300)] as const]],
	])('too %s are answered 431', (_, more) => {
		const peer = new ServerPeer({ headerBytesMax: 60 * 1024 }).open();
		const block = rawBlock([...GET_FIELDS, ...more]);
		let from = 0;
		for (; from + 16_000 < block.length; from += 16_000) {
			const type = from === 0 ? FrameType.headers : FrameType.continuation;
			peer.receive(frame(type, from === 0 ? Flag.endStream : 0, 1, block.slice(from, from + 16_000)));
		}
		const type = from === 0 ? FrameType.headers : FrameType.continuation;
		peer.receive(frame(type, Flag.endHeaders | (from === 0 ? Flag.endStream : 0), 1, block.slice(from)));
		const [answer] = peer.transport.take();
		expect(peer.fieldsOf(answer!)[0]).toEqual([':status', '431']);
		expect(peer.requests).toHaveLength(0);
	});

	test('more streams than we allow are refused, and it is an attack to insist', () => {
		const peer = new ServerPeer({ concurrentStreamsMax: 10 }).open();
		for (let i = 0; i < 12; i++) peer.receive(headers(1 + 2 * i, GET_FIELDS));
		expect(peer.endings()).toEqual(['RST_STREAM 21 REFUSED_STREAM', 'RST_STREAM 23 REFUSED_STREAM']);
		expect(peer.codec.activeStreams).toBe(10);
		attack(peer, 2000, (i) => peer.receive(headers(25 + 2 * i, GET_FIELDS)));
		expectCalm(peer, 'http2_reset_flood');
	});
});

describe('a peer that does not read', () => {
	test('asks for answers all the time: the queue is bounded', () => {
		const peer = new ServerPeer({ outboundControlFramesMax: 500 }).open();
		peer.transport.room = false;
		expect(attack(peer, 5000, () => peer.receive(frame(FrameType.ping, 0, 0, new Uint8Array(8))))).toBeLessThan(510);
		expectCalm(peer, 'http2_outbound_queue_full');
	});

	test('opens streams all the time: the queue is bounded', () => {
		const peer = new ServerPeer({ outboundFramesMax: 500 }, (stream) => stream.writeHead(OK, true)).open();
		peer.transport.room = false;
		expect(attack(peer, 5000, (i) => peer.receive(headers(1 + 2 * i, GET_FIELDS)))).toBeLessThan(510);
		expectCalm(peer, 'http2_outbound_queue_full');
	});

	test('opens many streams at once, again and again: each answer counts', () => {
		const peer = new ServerPeer({ outboundFramesMax: 500 }, (stream) => stream.writeHead(OK, true)).open();
		peer.transport.room = false;
		const hundred = (first: number) => Array.from({ length: 100 }, (_, i) => headers(1 + 2 * (first + i), GET_FIELDS));
		expect(attack(peer, 5000, (i) => peer.receive(...hundred(100 * i)))).toBeLessThan(8);
		expectCalm(peer, 'http2_outbound_queue_full');
	});

	test('gives no window: what waits for it is bounded even when the writer does not heed', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 0]);
		peer.receive(headers(1, GET_FIELDS));
		peer.streams[0]!.writeHead(OK, false);
		const chunk = new Uint8Array(1024 * 1024);
		const times = attack(peer, 1000, () => peer.streams[0]!.writeData(chunk, false));
		expect(times).toBe(QUEUED_BYTES_MAX / chunk.length + 1);
		expectCalm(peer, 'http2_outbound_queue_full');
	});

	test('asks for a thousand large answers at once: one read of each may wait, which is no attack', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 0]);
		const count = 1000;
		const chunk = new Uint8Array(80_000);
		expect(count * chunk.length).toBeGreaterThan(QUEUED_BYTES_MAX);
		for (let i = 0; i < count; i++) {
			peer.receive(headers(1 + 2 * i, GET_FIELDS));
			peer.streams[i]!.writeHead(OK, false);
			expect(peer.streams[i]!.writeData(chunk, false)).toBe(false);
		}
		expect(peer.transport.closed).toBeNull();
		expect(peer.codec.activeStreams).toBe(count);
		peer.codec.transportClosed(null);
	});

	test('asks for large answers, and their writers do not heed: what waits is bounded over all of them', () => {
		const peer = new ServerPeer().open([Setting.initialWindowSize, 0]);
		const chunk = new Uint8Array(1024 * 1024);
		for (let i = 0; i < 200; i++) {
			peer.receive(headers(1 + 2 * i, GET_FIELDS));
			peer.streams[i]!.writeHead(OK, false);
			peer.streams[i]!.writeData(chunk, false);
		}
		expect(peer.transport.closed).toBeNull();
		expect(attack(peer, 1000, (i) => peer.streams[i]!.writeData(chunk, false))).toBe(57);
		expectCalm(peer, 'http2_outbound_queue_full');
	});

	test('holds a window of 0 open (slow read): the stream is reset in time, others are not', () => {
		const peer = new ServerPeer({ stallTimeoutMs: 10_000 }).open([Setting.initialWindowSize, 0]);
		peer.receive(headers(1, GET_FIELDS), headers(3, GET_FIELDS));
		for (const stream of peer.streams) {
			stream.writeHead(OK, false);
			stream.writeData(new Uint8Array(100_000), true);
		}
		for (let i = 0; i < 25; i++) {
			peer.clock.advance(1000);
			peer.receive(windowUpdate(3, 1000));
		}
		expect(peer.endings()).toEqual(['RST_STREAM 1 CANCEL']);
		expect(peer.requests.map((request) => request.reset)).toEqual(['local', null]);
	});

	test('gives windows of one byte, again and again', () => {
		const peer = new ServerPeer({ clock: new VirtualClock() }).open([Setting.initialWindowSize, 1]);
		peer.receive(headers(1, GET_FIELDS));
		peer.streams[0]!.writeHead(OK, false);
		peer.streams[0]!.writeData(new Uint8Array(100_000), true);
		attack(peer, 5000, () => peer.receive(windowUpdate(1, 1)));
		expectCalm(peer, 'http2_small_window_flood');
	});

	test('never answers our SETTINGS', () => {
		const peer = new ServerPeer();
		peer.clock.advance(10_001);
		expect(peer.error?.code).toBe('http2_settings_timeout');
		expect(peer.endings()).toEqual(['GOAWAY SETTINGS_TIMEOUT']);
	});

	test('more data than the window of a stream: the stream ends, and what it held is given back', () => {
		const peer = new ServerPeer({ streamWindowBytes: 65_535 }).open();
		peer.receive(headers(1, POST_FIELDS, false));
		peer.streams[0]!.pause();
		for (let i = 0; i < 5; i++) peer.receive(data(1, 'x'.repeat(16_000)));
		expect(peer.endings()).toEqual(['RST_STREAM 1 FLOW_CONTROL_ERROR']);
		expect(peer.requests[0]!.reset).toBe('protocol_error');
		expect(peer.transport.closed).toBeNull();
	});

	test('more data than the window of the connection: the connection ends', () => {
		const peer = new ServerPeer({ streamWindowBytes: 65_535, connectionWindowBytes: 100_000 }).open();
		peer.receive(headers(1, POST_FIELDS, false), headers(3, POST_FIELDS, false));
		for (const stream of peer.streams) stream.pause();
		for (let i = 0; i < 3; i++) peer.receive(data(1, 'x'.repeat(16_000)), data(3, 'x'.repeat(16_000)));
		expect(peer.transport.closed).toBeNull();
		peer.receive(data(1, 'x'.repeat(16_000)));
		expect(peer.error?.code).toBe('http2_flow_control');
		expect(peer.endings()).toEqual(['GOAWAY FLOW_CONTROL_ERROR']);
	});
});

test('GOAWAY names the error for the peer', () => {
	const peer = new ServerPeer().open();
	peer.receive(windowUpdate(0, 0));
	const [goaway] = peer.transport.take();
	expect(goaway!.type).toBe(FrameType.goaway);
	expect(new DataView(goaway!.payload.buffer).getUint32(4)).toBe(ErrorCode.protocolError);
});
