// What it costs to take an HTTP/2 request out of its bytes and to answer it: whole codec, one read each.
// scripts/bun bench/http2/codec.bench.ts

import type { CodecTransport } from '../../src/http/codec.ts';
import type { RequestListener, ResponseListener, ServerStream } from '../../src/http/stream.ts';
import { Http2ClientCodec } from '../../src/http2/client-codec.ts';
import { CLIENT_PREFACE, Flag, FrameType, Setting } from '../../src/http2/frames.ts';
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts';
import { Http2ServerCodec } from '../../src/http2/server-codec.ts';
import { concat, frame, settings, uint32Bytes } from '../../src/http2/testing.ts';
import { VirtualClock } from '../../src/std/clock.ts';
import { measure } from '../measure.ts';

const clock = new VirtualClock();
const transport: CodecTransport = { write: () => true, pauseReading() {}, resumeReading() {}, close() {} };

const FIELDS: readonly (readonly [string, string])[] = [
	[':method', 'GET'],
	[':scheme', 'http'],
	[':authority', 'shop.example.com'],
	[':path', '/api/products/17/reviews?page=2'],
	['user-agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36'],
	['accept', 'application/json, text/plain, */*'],
	['accept-encoding', 'gzip, deflate, br'],
	['accept-language', 'en-US,en;q=0.9'],
	['cookie', 'session=0123456789abcdef0123456789abcdef; theme=dark'],
	['x-custom-header', 'some value'],
];
const answerHead = {
	status: 200,
	headers: ['content-type', 'application/json', 'content-length', '64', 'server', 'x'],
};
const answerBody = new Uint8Array(64);

/** Requests as a client sends them, one after another; `vary` changes a field of each. */
class RequestBytes {
	private readonly encoder = new HpackEncoder();
	private streamId = -1;
	private serial = 0;

	constructor(private readonly vary: boolean) {}

	next(): Uint8Array {
		this.streamId += 2;
		this.encoder.begin(600, FIELDS.length + 1);
		for (const [name, value] of FIELDS) this.encoder.field(name, value);
		if (this.vary) this.encoder.field('x-request-id', `4bf92f35-77b3-4da6-a3ce-${this.serial++}`);
		const block = this.encoder.finish()!;
		return frame(FrameType.headers, Flag.endHeaders | Flag.endStream, this.streamId, block);
	}
}

function makeServer(): Http2ServerCodec {
	let stream: ServerStream;
	const listener: RequestListener = {
		onHead() {
			stream.writeHead(answerHead, false);
			stream.writeData(answerBody, true);
		},
		onData() {},
		onTrailers() {},
		onReset() {},
		onDrain() {},
	};
	const codec = new Http2ServerCodec(
		transport,
		{
			onStream(opened) {
				stream = opened;
				return listener;
			},
			onProtocolError(error) {
				throw error;
			},
			onIdle() {},
		},
		{ clock },
	);
	codec.receive(concat(CLIENT_PREFACE, settings(), frame(FrameType.settings, Flag.ack, 0)));
	codec.receive(frame(FrameType.windowUpdate, 0, 0, uint32Bytes(1 << 30)));
	return codec;
}

function measureRequests(name: string, vary: boolean): void {
	// Bytes are made beforehand, in rounds, so that only the server is measured.
	const requests = new RequestBytes(vary);
	const ROUND = 20_000;
	let codec = makeServer();
	let source = requests;
	let ready: Uint8Array[] = [];
	let at = 0;
	const fill = (): void => {
		codec = makeServer();
		source = new RequestBytes(vary);
		ready = Array.from({ length: ROUND }, () => source.next());
		at = 0;
	};
	fill();
	let spentNs = 0;
	let runs = 0;
	for (let round = 0; round < 12; round++) {
		const start = Bun.nanoseconds();
		while (at < ROUND) codec.receive(ready[at++]!);
		if (round > 2) {
			spentNs += Bun.nanoseconds() - start;
			runs += ROUND;
		}
		fill();
	}
	console.log(`${name.padEnd(64)} ${(spentNs / runs).toFixed(0).padStart(8)} ns`);
}

measureRequests('server: request of 10 fields, the same again, and its answer', false);
measureRequests('server: request of 10 fields and one that varies, its answer', true);

{
	const ignore: ResponseListener = { onHead() {}, onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
	const client = new Http2ClientCodec(transport, { onAvailable() {}, onUnavailable() {} }, { clock });
	client.receive(concat(settings(), frame(FrameType.settings, Flag.ack, 0)));
	const request = {
		method: 'GET',
		scheme: 'http',
		authority: 'shop.example.com',
		path: '/api/products/17',
		headers: FIELDS.slice(4).flat(),
		upgrade: '',
	};
	const encoder = new HpackEncoder();
	let streamId = -1;
	measure('client: request of 10 fields, answer of 4 (made by hand too)', () => {
		client.newStream(ignore).writeHead(request, true);
		streamId += 2;
		encoder.begin(200, 4);
		encoder.field(':status', '200');
		encoder.field('content-type', 'application/json');
		encoder.field('server', 'x');
		encoder.field('content-length', '0');
		client.receive(frame(FrameType.headers, Flag.endHeaders | Flag.endStream, streamId, encoder.finish()!));
	});
}

{
	const codec = makeServer();
	const post = new HpackEncoder();
	post.begin(200, 4);
	for (const [name, value] of [[':method', 'POST'], ...FIELDS.slice(1, 4)] as const) post.field(name, value);
	codec.receive(frame(FrameType.headers, Flag.endHeaders, 1, post.finish()!));
	const full = frame(FrameType.data, 0, 1, new Uint8Array(16 * 1024));
	measure('server: DATA frame of 16 KiB in', () => codec.receive(full));
}

// Messages that pass from one connection to another, as they came in one read.
for (const [count, bytes] of [
	[100, 37],
	[8, 16 * 1024],
] as const) {
	const slab = new Uint8Array(256 * 1024);
	let used = 0;
	const copying: CodecTransport = {
		...transport,
		write(written) {
			if (used + written.length > slab.length) used = 0;
			slab.set(written, used);
			used += written.length;
			return true;
		},
	};
	const ignore: ResponseListener = { onHead() {}, onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
	const client = new Http2ClientCodec(copying, { onAvailable() {}, onUnavailable() {} }, { clock });
	client.receive(concat(settings([Setting.initialWindowSize, 0x7fff_ffff]), frame(FrameType.settings, Flag.ack, 0)));
	client.receive(frame(FrameType.windowUpdate, 0, 0, uint32Bytes(0x7fff_0000)));
	const out = client.newStream(ignore);
	const head = { method: 'POST', scheme: 'http', authority: 'a', path: '/', headers: [], upgrade: '' };
	const listener: RequestListener = {
		onHead: () => out.writeHead(head, false),
		onData(part, end) {
			out.writeData(part, end);
		},
		onTrailers() {},
		onReset() {},
		onDrain() {},
	};
	const events = { onStream: () => listener, onProtocolError() {}, onIdle() {} };
	const server = new Http2ServerCodec(copying, events, { clock });
	server.receive(concat(CLIENT_PREFACE, settings(), frame(FrameType.settings, Flag.ack, 0)));
	const post = new HpackEncoder();
	post.begin(200, 4);
	for (const [name, value] of [[':method', 'POST'], ...FIELDS.slice(1, 4)] as const) post.field(name, value);
	server.receive(frame(FrameType.headers, Flag.endHeaders, 1, post.finish()!));
	const read = concat(...Array.from({ length: count }, () => frame(FrameType.data, 0, 1, new Uint8Array(bytes))));
	// The far side gives back what it took, long before its window is used up.
	const credit = concat(
		frame(FrameType.windowUpdate, 0, 0, uint32Bytes(count * bytes)),
		frame(FrameType.windowUpdate, 0, 1, uint32Bytes(count * bytes)),
	);
	measure(`server to client: ${count} DATA frames of ${bytes} bytes, one read`, () => {
		server.receive(read);
		client.receive(credit);
	});
}
