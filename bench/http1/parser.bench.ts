// What it costs to take a request, and a response, out of its bytes: whole codec, one read each.
// scripts/bun bench/http1/parser.bench.ts

import type { CodecTransport } from '../../src/http/codec.ts';
import type {
	ClientStream,
	RequestHead,
	RequestListener,
	ResponseListener,
	ServerStream,
} from '../../src/http/stream.ts';
import { Http1ClientCodec } from '../../src/http1/client-codec.ts';
import { Http1ServerCodec } from '../../src/http1/server-codec.ts';
import { measure } from '../measure.ts';

const transport: CodecTransport = { write: () => true, pauseReading() {}, resumeReading() {}, close() {} };

const small = bytes('GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\n\r\n');
const browser = bytes(
	`GET /api/products/17/reviews?page=2 HTTP/1.1\r\nHost: shop.example.com\r\nConnection: keep-alive\r\n` +
		`User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36\r\n` +
		`Accept: application/json, text/plain, */*\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n` +
		`Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nX-Request-Id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736\r\n` +
		`Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Custom-Header: some value\r\n\r\n`,
);
const upload = bytes(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n${'x'.repeat(1024)}`);
const chunked = bytes(
	`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${`400\r\n${'x'.repeat(1024)}\r\n`.repeat(4)}0\r\n\r\n`,
);
const response = bytes(
	'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Mon, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: 64\r\n' +
		`server: x\r\n\r\n${'y'.repeat(64)}`,
);

const answer = { status: 204, headers: [] };
let stream: ServerStream;
const listener: RequestListener = {
	onHead(_head, end) {
		if (end) stream.writeHead(answer, true);
	},
	onData(_bytes, end) {
		if (end) stream.writeHead(answer, true);
	},
	onTrailers() {},
	onReset() {},
	onDrain() {},
};
const server = new Http1ServerCodec(transport, {
	onStream(opened) {
		stream = opened;
		return listener;
	},
	onProtocolError(error) {
		throw error;
	},
	onIdle() {},
});

const ignore: ResponseListener = { onHead() {}, onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
const client = new Http1ClientCodec(transport, { onAvailable() {}, onUnavailable() {} });
const request: RequestHead = { method: 'GET', scheme: 'http', authority: 'a', path: '/', headers: [], upgrade: '' };

measure('request, 1 field, 47 bytes', () => server.receive(small));
measure(`request, 10 fields, ${browser.length} bytes`, () => server.receive(browser));
measure('request, Content-Length, 1 KiB body', () => server.receive(upload));
measure('request, 4 chunks of 1 KiB', () => server.receive(chunked));
measure('request, 10 fields, in two reads', () => {
	server.receive(browser.subarray(0, 200));
	server.receive(browser.subarray(200));
});
measure(`response, 4 fields, ${response.length} bytes (with its request written)`, () => {
	const opened: ClientStream = client.newStream(ignore);
	opened.writeHead(request, true);
	client.receive(response);
});

function bytes(text: string): Uint8Array {
	return new TextEncoder().encode(text);
}
