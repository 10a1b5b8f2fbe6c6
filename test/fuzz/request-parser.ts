// Requests into the server's codec:
//
//  - no input makes it throw;
//  - parse(any split) = parse(whole);
//  - what comes out is what a strict reader, written quite differently, reads: never a request more,
//    and each with its method, target, authority and body;
//  - parse(serialize(x)) = x: written anew, it is read again as exactly that one request.

import type { HeaderList } from '../../src/http/headers.ts';
import { ClientPeer, Heard, latin1, ServerPeer } from '../../src/http1/testing.ts';
import type { Random } from '../../src/std/random.ts';
import { type ReadRequest, readRequests, values } from '../support/strict-reader.ts';
import { cutAtRandom, type FuzzTarget, fail, grow, ROOMIER, same } from './fuzz.ts';
import { REQUEST_INPUTS, SPICE } from './http1-inputs.ts';

const DEFAULT_HOST = 'old.example';

export const requestParser: FuzzTarget = {
	name: 'request-parser',
	run(random: Random): void {
		const input = grow(random, REQUEST_INPUTS, SPICE, 3);
		const acceptHttp10 = random.below(2) === 0;
		const whole = latin1(input);
		const server = serve([whole], acceptHttp10);
		same(describe(serve(cutAtRandom(random, whole), acceptHttp10)), describe(server), 'the split matters', input);

		const complete = server.requests.filter((request) => request.ended && request.reset === null);
		const reference = readRequests(input);
		if (complete.length > reference.requests.length) {
			fail(
				`${complete.length} requests; the strict reader reads ${reference.requests.length} (${reference.why})`,
				input,
			);
		}
		complete.forEach((request, i) => {
			same(meaning(request), meaningOfRead(reference.requests[i]!), 'the strict reader reads it otherwise', input);
			writtenAnew(request, input);
		});
	},
};

function serve(parts: readonly Uint8Array[], acceptHttp10: boolean): ServerPeer {
	const peer = new ServerPeer({ acceptHttp10, defaultHostForHttp10: DEFAULT_HOST }, (stream) =>
		stream.writeHead({ status: 200, headers: [] }, true),
	);
	for (const part of parts) peer.receive(part);
	return peer;
}

function describe(peer: ServerPeer): string[] {
	return [...peer.requests.map((request) => request.summary()), peer.error?.code ?? '', peer.transport.written];
}

function meaning(heard: Heard): string[] {
	const { method, path, authority } = heard.request;
	return [method, path, authority, heard.body];
}

function meaningOfRead(request: ReadRequest): string[] {
	const { method, target, body } = request;
	const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(target);
	if (method === 'CONNECT') return [method, '', target, body];
	if (absolute === null) return [method, target, values(request.fields, 'host')[0] ?? DEFAULT_HOST, body];
	const [, authority = '', rest = ''] = absolute;
	const path = rest === '' ? (method === 'OPTIONS' ? '*' : '/') : rest.startsWith('?') ? `/${rest}` : rest;
	return [method, path, authority, body];
}

function writtenAnew(request: Heard, input: string): void {
	const head = request.request;
	if (head.upgrade !== '' || head.method === 'CONNECT') return;
	const client = new ClientPeer();
	const stream = client.codec.newStream(new Heard());
	const trailers = request.trailers ?? [];
	const ends = request.body === '' && trailers.length === 0;
	// A length that was announced for a body that came is kept; for none, it is 0 already.
	stream.writeHead(structuredClone(head), ends);
	if (!ends) {
		stream.writeData(latin1(request.body), trailers.length === 0);
		if (trailers.length > 0) stream.writeTrailers(trailers);
	}
	const { written } = client.transport;
	const read = readRequests(written);
	if (read.requests.length !== 1 || read.rest !== 'nothing')
		fail(`written anew it is ${JSON.stringify(written)}`, input);
	const server = new ServerPeer({ ...ROOMIER, scheme: head.scheme === 'https' ? 'https' : 'http' });
	server.receive(written);
	if (server.error !== null) fail(`written anew it is refused: ${server.error.code}`, input);
	same(server.requests.length, 1, 'requests, written anew', input);
	const again = server.requests[0]!;
	same(meaning(again), meaning(request), 'written anew it means something else', input);
	same(fields(again.request.headers), fields(head.headers), 'written anew its fields differ', input);
	same(again.trailers ?? [], trailers, 'written anew its trailers differ', input);
}

/** POST and its like say content-length 0 when they are written without content; `te` moves to the end. */
function fields(headers: HeaderList): string[] {
	return headers
		.filter((_, i) => i % 2 === 0)
		.map((name, i) => `${name}: ${headers[i * 2 + 1]}`)
		.filter((field) => field !== 'content-length: 0' && field !== 'te: trailers');
}
