// What a message means does not depend on how the network cut it: parse(any split) = parse(whole).

import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../std/random.ts';
import { ClientPeer, getRequest, Heard, latin1, ServerPeer } from './testing.ts';

const seed = Number(process.env.WEFT_TEST_SEED ?? Date.now() % 1_000_000);

const REQUESTS = [
	'\r\nGET /a HTTP/1.1\r\nHost: a\r\nX:  b \t\r\n\r\nPOST / HTTP/1.1\r\nHost: b:80\r\nContent-Length: 5\r\n\r\nhello',
	'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\nHost: c\r\n\r\n',
	'GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n',
	`GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(400)}\r\n\r\n`,
	`GET /${'z'.repeat(200)} HTTP/1.1\r\nHost: a\r\n\r\n`,
	'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n',
	'GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n\r\n',
];

const RESPONSES = [
	'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
	'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n',
	'HTTP/1.1 200 OK\r\n\r\nall of it',
	'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc',
	'HTTP/1.1 200 OK\r\nX : y\r\n\r\n',
];

function parseRequests(parts: readonly Uint8Array[]): string {
	const options = { headerBytesMax: 300, requestLineBytesMax: 150, headersMax: 6 };
	const peer = new ServerPeer(options, (stream) => stream.writeHead({ status: 200, headers: [] }, true));
	for (const part of parts) peer.receive(part);
	return [...peer.requests.map((request) => request.summary()), peer.error?.code, peer.transport.written].join('\n');
}

function parseResponse(parts: readonly Uint8Array[]): string {
	const peer = new ClientPeer();
	const heard = new Heard();
	peer.codec.newStream(heard).writeHead(getRequest(), true);
	for (const part of parts) peer.receive(part);
	peer.codec.receiveEnd();
	return [heard.summary(), peer.error?.code, peer.transport.closed].join('\n');
}

function split(input: Uint8Array, random: SeededRandom): Uint8Array[] {
	const parts: Uint8Array[] = [];
	const partBytesMax = 1 + random.below(40);
	for (let at = 0; at < input.length; ) {
		const to = Math.min(input.length, at + 1 + random.below(partBytesMax));
		parts.push(input.slice(at, to));
		at = to;
	}
	return parts;
}

describe.each([
	['requests', REQUESTS, parseRequests],
	['responses', RESPONSES, parseResponse],
] as const)('%s', (_, inputs, parse) => {
	test('cut byte by byte', () => {
		for (const input of inputs) {
			const bytes = latin1(input);
			expect(parse(Array.from(bytes, (byte) => new Uint8Array([byte])))).toBe(parse([bytes]));
		}
	});

	test('cut in two anywhere', () => {
		for (const input of inputs) {
			const bytes = latin1(input);
			const whole = parse([bytes]);
			for (let at = 1; at < bytes.length; at++) expect(parse([bytes.slice(0, at), bytes.slice(at)])).toBe(whole);
		}
	});

	test(`cut by chance, seed ${seed}`, () => {
		const random = new SeededRandom(seed);
		for (const input of inputs) {
			const bytes = latin1(input);
			const whole = parse([bytes]);
			for (let round = 0; round < 50; round++) expect(parse(split(bytes, random))).toBe(whole);
		}
	});
});
