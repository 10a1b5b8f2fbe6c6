// What it costs to write heads and bodies.
// scripts/bun bench/http1/serializer.bench.ts

import type { RequestHead } from '../../src/http/stream.ts';
import { encodeRequestHead, encodeResponseHead } from '../../src/http1/head-writer.ts';
import { MessageWriter } from '../../src/http1/message-writer.ts';
import { measure } from '../measure.ts';

const request: RequestHead = {
	method: 'GET',
	scheme: 'http',
	authority: 'shop.example.com',
	path: '/api/products/17/reviews?page=2',
	headers: [
		...[
			'user-agent',
			'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36',
		],
		...['accept', 'application/json, text/plain, */*'],
		...['accept-encoding', 'gzip, deflate, br'],
		...['cookie', 'session=0123456789abcdef0123456789abcdef; theme=dark'],
		...['x-request-id', '4bf92f35-77b3-4da6-a3ce-929d0e0e4736'],
		...['x-forwarded-proto', 'http'],
		...['x-envoy-expected-rq-timeout-ms', '15000'],
		...['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
	],
	upgrade: '',
};
const response = {
	status: 200,
	headers: [
		...['content-type', 'application/json'],
		...['date', 'Mon, 01 Jan 2026 00:00:00 GMT'],
		...['content-length', '64'],
		...['x-envoy-upstream-service-time', '1'],
		...['server', 'weft'],
	],
};

const writer = new MessageWriter({ write: () => true, pauseReading() {}, resumeReading() {}, close() {} });
const head = new Uint8Array(1);
const small = new Uint8Array(512);
const large = new Uint8Array(64 * 1024);

measure('request head, 8 fields', () => encodeRequestHead(request, 'none', ''));
measure('response head, 5 fields', () => encodeResponseHead(response, 'length', '', '', ''));
measure('chunk of 512 bytes', () => {
	writer.begin(head, 'chunked', 0, false);
	writer.writeData(small, true);
});
measure('chunk of 64 KiB', () => {
	writer.begin(head, 'chunked', 0, false);
	writer.writeData(large, true);
});
