// What one codec writes, the other reads as the same: parse(serialize(x)) = x.

import { expect, test } from 'bun:test';
import type { HeaderList } from '../http/headers.ts';
import type { RequestHead, ResponseHead } from '../http/stream.ts';
import { type Random, SeededRandom } from '../std/random.ts';
import { ClientPeer, getRequest, Heard, latin1, ServerPeer, text } from './testing.ts';

const seed = Number(process.env.WEFT_TEST_SEED ?? Date.now() % 1_000_000);
const ROUNDS = 300;

function pick<T>(random: Random, values: readonly T[]): T {
	return values[random.below(values.length)]!;
}

function headersOf(random: Random): HeaderList {
	const headers: HeaderList = [];
	for (let i = random.below(8); i > 0; i--) {
		const name = pick(random, [
			'x-a',
			'accept',
			'cookie',
			'user-agent',
			'x-request-id',
			"!#$%&'*+-.^_`|~",
			'x-envoy-y',
			'etag',
		]);
		headers.push(name, pick(random, ['', 'a', 'a b\tc', '\xe9\xff', ', ,', '"q"', 'x'.repeat(random.below(2000))]));
	}
	return headers;
}

function bodyOf(random: Random): Uint8Array {
	const length = pick(random, [0, 1, 15, 16, 255, 4096, 8192, 8193, 70_000]);
	return new Uint8Array(length).map(() => random.below(256));
}

/** Writes the body in parts and ends it, one way or another. */
function writeBody(
	random: Random,
	stream: { writeData(b: Uint8Array, end: boolean): boolean; writeTrailers(t: HeaderList): void },
	body: Uint8Array,
	trailers: HeaderList,
): void {
	let at = 0;
	while (at < body.length) {
		const to = Math.min(body.length, at + 1 + random.below(body.length));
		const last = to === body.length && trailers.length === 0 && random.below(2) === 0;
		stream.writeData(body.subarray(at, to), last);
		if (last) return;
		at = to;
	}
	if (trailers.length > 0) stream.writeTrailers(trailers);
	else stream.writeData(new Uint8Array(0), true);
}

test(`requests, seed ${seed}`, () => {
	const random = new SeededRandom(seed);
	for (let round = 0; round < ROUNDS; round++) {
		const body = bodyOf(random);
		const declared = random.below(2) === 0;
		const trailers = declared || random.below(2) === 0 ? [] : ['x-t', 'a b'];
		const headers = headersOf(random);
		if (declared) headers.push('content-length', String(body.length));
		const head: RequestHead = {
			method: pick(random, ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'M-SEARCH']),
			scheme: 'http',
			authority: pick(random, ['a', 'a.b:80', '[::1]:8080', '127.0.0.1']),
			path: pick(random, ['/', '/a?b=c', '/%20', '//x', '/..;/']),
			headers,
			upgrade: '',
		};
		const expected = structuredClone(head);
		const client = new ClientPeer();
		const stream = client.codec.newStream(new Heard());
		stream.writeHead(head, false);
		writeBody(random, stream, body, trailers);

		const server = new ServerPeer();
		server.receive(client.transport.written);
		expect(server.error).toBeNull();
		expect(server.requests).toHaveLength(1);
		const [heard] = server.requests;
		expect(heard!.head).toEqual(expected);
		expect(heard!.body).toBe(text(body));
		expect(heard!.trailers ?? []).toEqual(trailers);
		expect(heard!.ended).toBe(true);
	}
});

test(`responses, seed ${seed}`, () => {
	const random = new SeededRandom(seed);
	for (let round = 0; round < ROUNDS; round++) {
		const body = bodyOf(random);
		const declared = random.below(2) === 0;
		const trailers = declared || random.below(2) === 0 ? [] : ['x-t', 'a b'];
		const headers = headersOf(random);
		if (declared) headers.push('content-length', String(body.length));
		const head: ResponseHead = { status: pick(random, [200, 201, 404, 500, 599]), headers };
		const expected = structuredClone(head);
		const server = new ServerPeer();
		server.receive('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
		server.streams[0]!.writeHead(head, false);
		writeBody(random, server.streams[0]!, body, trailers);

		const client = new ClientPeer();
		const heard = new Heard();
		client.codec.newStream(heard).writeHead(getRequest(), true);
		client.receive(latin1(server.transport.written));
		expect(heard.error).toBeNull();
		expect(heard.head).toEqual(expected);
		expect(heard.body).toBe(text(body));
		expect(heard.trailers ?? []).toEqual(trailers);
		expect(heard.ended).toBe(true);
		expect(client.codec.available).toBe(true);
	}
});
