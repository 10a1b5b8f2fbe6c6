// Responses into the client's codec:
//
//  - no input makes it throw;
//  - parse(any split) = parse(whole), the end of the connection included;
//  - a response that is complete is one that a strict reader reads, with that status and body;
//  - parse(serialize(x)) = x: what the server's codec writes of it is read as the same response;
//  - a connection on which something else came than that response is not used again.

import type { HeaderList } from '../../src/http/headers.ts';
import type { Http1Limits } from '../../src/http1/limits.ts';
import { ClientPeer, getRequest, Heard, latin1, ServerPeer } from '../../src/http1/testing.ts';
import type { Random } from '../../src/std/random.ts';
import { readResponse } from '../support/strict-reader.ts';
import { cutAtRandom, type FuzzTarget, fail, grow, pick, ROOMIER, same } from './fuzz.ts';
import { RESPONSE_INPUTS, SPICE } from './http1-inputs.ts';

const RAWS = RESPONSE_INPUTS.map((one) => one.raw);

interface Received {
	readonly peer: ClientPeer;
	readonly heard: Heard;
	/** Before the end of the connection. */
	readonly reusable: boolean;
}

export const responseParser: FuzzTarget = {
	name: 'response-parser',
	run(random: Random): void {
		const input = grow(random, RAWS, SPICE, 2);
		const method = pick(random, ['GET', 'GET', 'GET', 'HEAD', 'POST']);
		const whole = latin1(input);
		const one = receive([whole], method);
		same(describe(receive(cutAtRandom(random, whole), method)), describe(one), 'the split matters', input);

		const { heard } = one;
		if (heard.informational.length > 32) fail(`${heard.informational.length} informational responses`, input);
		const reference = readFinal(input, method);
		if (heard.ended) {
			if (reference === null) fail('the strict reader reads no whole response', input);
			const { status, body } = reference;
			same([heard.response.status, heard.body], [status, body], 'the strict reader reads it otherwise', input);
			writtenAnew(heard, method, input);
		}
		if (one.reusable && (reference === null || reference.end !== input.length)) {
			fail('a connection that something else came on would be used again', input);
		}
	},
};

function receive(parts: readonly Uint8Array[], method: string, limits: Partial<Http1Limits> = {}): Received {
	const peer = new ClientPeer(limits);
	const heard = new Heard();
	peer.codec.newStream(heard).writeHead({ ...getRequest(), method }, true);
	for (const part of parts) peer.receive(part);
	const reusable = peer.codec.available;
	peer.codec.receiveEnd();
	return { peer, heard, reusable };
}

function describe(received: Received): unknown[] {
	return [received.heard.summary(), received.peer.error?.code ?? '', received.reusable];
}

function readFinal(input: string, method: string): { status: number; body: string; end: number } | null {
	let at = 0;
	for (;;) {
		const reading = readResponse(input.slice(at), method, true);
		if (reading.kind !== 'message') return null;
		at += reading.length;
		const { status, body } = reading.message;
		if (status >= 200) return { status, body, end: at };
	}
}

function writtenAnew(heard: Heard, method: string, input: string): void {
	const trailers = heard.trailers ?? [];
	const { status } = heard.response;
	const server = new ServerPeer({}, (stream) => {
		for (const head of heard.informational) stream.writeHead(structuredClone(head), false);
		const bodyless = method === 'HEAD' || status === 204 || status === 304;
		const ends = bodyless || (heard.body === '' && trailers.length === 0);
		stream.writeHead(structuredClone(heard.response), ends);
		if (ends) return;
		stream.writeData(latin1(heard.body), trailers.length === 0);
		if (trailers.length > 0) stream.writeTrailers(trailers);
	});
	server.receive(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
	const again = receive([latin1(server.transport.written)], method, ROOMIER);
	if (!again.reusable) fail(`written anew it is ${JSON.stringify(server.transport.written)}`, input);
	same([again.heard.response.status, again.heard.body], [status, heard.body], 'written anew it differs', input);
	same(again.heard.informational.length, heard.informational.length, 'informational responses, written anew', input);
	same(fields(again.heard.response.headers), fields(heard.response.headers), 'written anew its fields differ', input);
	same(again.heard.trailers ?? [], trailers, 'written anew its trailers differ', input);
}

/** The length is told in one way or another; it is held by the body. */
function fields(headers: HeaderList): string[] {
	return headers
		.filter((_, i) => i % 2 === 0)
		.map((name, i) => `${name}: ${headers[i * 2 + 1]}`)
		.filter((field) => !field.startsWith('content-length: ') && field !== 'te: trailers');
}
