// Fuzz target of the HTTP/2 codecs: HPACK both ways, and whole connections grown from valid frames by
// mutation. What must hold for each:
//
//  - no input makes a codec throw, or leaves streams behind on a connection that has ended;
//  - meaning(any split) = meaning(whole);
//  - what is encoded is decoded, by us and (where Python's hpack is installed) by another;
//  - a request that comes out can be written as HTTP/1.1 and is read again as exactly one, and the same.

import { Heard, ClientPeer as Http1Client, ServerPeer as Http1Server, latin1 } from '../../src/http1/testing.ts';
import { CLIENT_PREFACE, Flag, FrameType } from '../../src/http2/frames.ts';
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts';
import {
	ClientPeer,
	concat,
	data,
	frame,
	GET_FIELDS,
	getRequest,
	headers,
	POST_FIELDS,
	rawBlock,
	rstStream,
	ServerPeer,
	settings,
	uint32Bytes,
	windowUpdate,
} from '../../src/http2/testing.ts';
import { type Random, SeededRandom } from '../../src/std/random.ts';
import { cutAtRandom, type FuzzTarget } from './fuzz.ts';

type Field = readonly [string, string];

const SPICE: readonly Field[] = [
	['content-length', '5'],
	['content-length', '0'],
	['transfer-encoding', 'chunked'],
	['connection', 'x-y'],
	['te', 'trailers'],
	['te', 'gzip'],
	['host', 'b'],
	['cookie', 'a=1'],
	['cookie', 'b=2'],
	['x', 'a\r\nb: c'],
	['x', 'a\0'],
	['x\r\n', 'a'],
	['X', 'a'],
	['x', ''],
	['', 'x'],
	[':path', '/b'],
	[':authority', 'a b'],
	[':protocol', 'websocket'],
	[':status', '200'],
	['x', '\xff\x80'],
	['expect', '100-continue'],
	['trailer', 'x'],
];
const PATHS = ['/', '/a?b', '*', '', '/a b', '/\r\nHost: c', 'http://x/', '/#f', '/%0d%0a'];
const METHODS = ['GET', 'POST', 'HEAD', 'OPTIONS', 'CONNECT', 'get', 'GET /', ''];

export const hpack: FuzzTarget = { name: 'hpack', run: checkHpack };
export const http2Server: FuzzTarget = { name: 'http2-server', run: checkServer };
export const http2Client: FuzzTarget = { name: 'http2-client', run: checkClient };

/** Field lists and their blocks, one connection's: for a comparison with another decoder. */
export function encodedLists(seed: number, count: number): { readonly fields: Field[]; readonly block: Uint8Array }[] {
	const random = new SeededRandom(seed);
	const encoder = new HpackEncoder();
	return Array.from({ length: count }, () => {
		const fields = randomFields(random);
		return { fields, block: encode(encoder, fields) };
	});
}

/** Good blocks with a few bytes changed, and what our decoder, new for each, makes of them; null: it is no HPACK. */
export function mutatedBlocks(
	seed: number,
	count: number,
): { readonly block: Uint8Array; readonly fields: Field[] | null }[] {
	const random = new SeededRandom(seed);
	return Array.from({ length: count }, () => {
		const block = encode(new HpackEncoder(), randomFields(random));
		mutate(block, random);
		const decoder = new HpackDecoder(4096, 1 << 20, 10_000);
		if (!decoder.decode(block, 0, block.length)) return { block, fields: null };
		const { names, values, count: kept } = decoder.fields;
		return { block, fields: names.slice(0, kept).map((name, i): Field => [name, values[i]!]) };
	});
}

function randomFields(random: Random): Field[] {
	const names = ['a', 'x-b', 'cookie', 'authorization', 'content-type', 'via', 'date', ':path', 'set-cookie', 'etag'];
	return Array.from({ length: random.below(10) }, (): Field => {
		const length = random.below(6) === 0 ? random.below(300) : random.below(12);
		const value = Array.from({ length }, () => String.fromCharCode(0x21 + random.below(0x5e))).join('');
		return [names[random.below(names.length)]!, value];
	});
}

function encode(encoder: HpackEncoder, fields: readonly Field[]): Uint8Array {
	encoder.begin(
		fields.reduce((sum, [name, value]) => sum + name.length + value.length, 0),
		fields.length,
	);
	for (const [name, value] of fields) encoder.field(name, value);
	const block = encoder.finish();
	if (block === null) throw new Error('refused to encode a good list');
	return block.slice();
}

function checkHpack(random: Random): void {
	const encoder = new HpackEncoder();
	const decoder = new HpackDecoder(4096, 1 << 16, 100);
	const mutant = new HpackDecoder(4096, 4096, 20);
	let broken = false;
	for (let message = 0; message < 4; message++) {
		const fields = randomFields(random);
		const block = encode(encoder, fields);
		if (!decoder.decode(block, 0, block.length)) throw new Error('does not decode what was encoded');
		const { names, values, count } = decoder.fields;
		const got = names.slice(0, count).map((name, i) => [name, values[i]!]);
		same(JSON.stringify(got), JSON.stringify(fields), 'decoded differently');
		if (broken) continue;
		mutate(block, random);
		broken = !mutant.decode(block, 0, block.length);
		if (mutant.fields.count > 20) throw new Error('more fields than allowed');
	}
}

function mutate(bytes: Uint8Array, random: Random): void {
	for (let i = random.below(4); i > 0 && bytes.length > 0; i--) bytes[random.below(bytes.length)] = random.below(256);
}

function requestFields(random: Random): Field[] {
	const fields: Field[] = [
		[':method', pick(METHODS, random, 3)],
		[':scheme', 'http'],
		[':authority', 'example.com'],
		[':path', pick(PATHS, random, 3)],
	];
	for (let i = random.below(4); i > 0; i--) {
		const at = random.below(8) === 0 ? random.below(fields.length + 1) : fields.length;
		fields.splice(at, 0, SPICE[random.below(SPICE.length)]!);
	}
	if (random.below(12) === 0) fields.splice(random.below(fields.length), 1);
	return fields;
}

/** The first of `list` mostly. */
function pick(list: readonly string[], random: Random, often: number): string {
	return random.below(often) > 0 ? list[0]! : list[random.below(list.length)]!;
}

function randomFrame(random: Random, fromClient: boolean): Uint8Array {
	const id = random.below(10) === 0 ? random.below(40) : 1 + 2 * random.below(8);
	switch (random.below(12)) {
		case 0:
		case 1:
		case 2: {
			const fields = fromClient
				? requestFields(random)
				: ([[':status', random.below(5) === 0 ? '100' : '200']] as Field[]);
			return headers(id, fields, random.below(2) === 0);
		}
		case 3:
			return headers(id, [SPICE[random.below(SPICE.length)]!], random.below(4) > 0);
		case 4:
		case 5:
			return data(id, 'hello'.slice(0, random.below(6)), random.below(2) === 0);
		case 6: {
			const padding = random.below(4);
			return frame(FrameType.data, Flag.padded | random.below(2), id, Uint8Array.from([padding, 65, 66, 0, 0]));
		}
		case 7:
			return windowUpdate(random.below(2) * id, random.below(20) === 0 ? 0 : random.below(100_000));
		case 8:
			return rstStream(id, random.below(14));
		case 9:
			return settings([random.below(9), random.below(3) === 0 ? random.below(2 ** 31) : random.below(70_000)]);
		case 10: {
			const block = rawBlock(fromClient ? GET_FIELDS : [[':status', '200']]);
			const cut = random.below(block.length);
			return concat(
				frame(FrameType.headers, random.below(2), id, block.slice(0, cut)),
				frame(FrameType.continuation, Flag.endHeaders, random.below(10) === 0 ? id + 2 : id, block.slice(cut)),
			);
		}
		default: {
			const payload = new Uint8Array(random.below(12)).map(() => random.below(256));
			return frame(random.below(12), random.below(256), random.below(3) === 0 ? 0 : id, payload);
		}
	}
}

function grow(random: Random, fromClient: boolean): Uint8Array {
	const parts: Uint8Array[] = fromClient ? [CLIENT_PREFACE] : [];
	parts.push(settings(), frame(FrameType.settings, Flag.ack, 0));
	// Streams in order, mostly, so that many are opened.
	for (let i = 0; i < 3 && fromClient; i++) {
		parts.push(headers(1 + 2 * i, random.below(2) === 0 ? requestFields(random) : POST_FIELDS, random.below(2) === 0));
	}
	for (let i = 2 + random.below(10); i > 0; i--) parts.push(randomFrame(random, fromClient));
	if (random.below(10) === 0) parts.push(frame(FrameType.goaway, 0, 0, uint32Bytes(random.below(9), random.below(14))));
	const input = concat(...parts);
	if (random.below(3) === 0) mutate(input.subarray(fromClient ? 24 : 0), random);
	return input;
}

function checkServer(random: Random): void {
	const input = grow(random, true);
	const whole = serve([input]);
	same(describe(serve(cutAtRandom(random, input))), describe(whole), 'requests depend on the split');
	whole.codec.transportClosed(null);
	if (whole.codec.activeStreams !== 0) throw new Error('streams of a connection that is gone');
	for (const request of whole.requests) {
		if (!request.ended && request.reset === null) throw new Error('a stream that heard neither its end nor its loss');
		if (request.ended && request.reset === null) checkAsHttp1(request);
	}
}

function serve(parts: readonly Uint8Array[]): ServerPeer {
	const peer = new ServerPeer({ allowConnect: true }, (stream, request) => {
		stream.writeHead({ status: request.request.upgrade === '' ? 200 : 101, headers: ['x', 'y'] }, false);
		stream.writeData(new TextEncoder().encode('answer'), true);
	});
	for (const part of parts) peer.codec.receive(part);
	return peer;
}

function describe(peer: ServerPeer): string {
	// The key that is made up for a WebSocket is by chance.
	const text = peer.requests.map((request) => request.summary().replace(/"[A-Za-z0-9+/]{22}=="/g, '"KEY"'));
	return [...text, peer.error?.code, peer.transport.totalBytes].join('\n');
}

function checkAsHttp1(request: Heard): void {
	const head = request.request;
	if (head.upgrade !== '' || head.method === 'CONNECT') return;
	const client = new Http1Client();
	const stream = client.codec.newStream(new Heard());
	const trailers = request.trailers ?? [];
	const empty = request.body === '' && trailers.length === 0;
	stream.writeHead(structuredClone(head), empty);
	if (!empty) {
		stream.writeData(latin1(request.body), trailers.length === 0);
		if (trailers.length > 0) stream.writeTrailers(trailers);
	}
	const server = new Http1Server();
	server.receive(client.transport.written);
	if (server.error !== null) throw new Error(`as HTTP/1.1 it is refused: ${server.error.code}`);
	same(String(server.requests.length), '1', 'as HTTP/1.1 it is not one request');
	const again = server.requests[0]!;
	same(again.request.method + again.request.path, head.method + head.path, 'as HTTP/1.1 it is another request');
	same(again.request.authority, head.authority, 'as HTTP/1.1 it is for another host');
	same(again.body, request.body, 'as HTTP/1.1 it has another body');
	if (!again.ended) throw new Error('as HTTP/1.1 it does not end');
}

function checkClient(random: Random): void {
	const input = grow(random, false);
	const whole = receive([input]);
	same(receive(cutAtRandom(random, input)), whole, 'responses depend on the split');
}

function receive(parts: readonly Uint8Array[]): string {
	const peer = new ClientPeer();
	const all = Array.from({ length: 4 }, (_, i) => {
		const { stream, heard } = peer.request(getRequest('/', { method: i === 1 ? 'HEAD' : 'POST' }), i < 2);
		if (i === 2) stream.writeData(new Uint8Array(100), true);
		return heard;
	});
	for (const part of parts) peer.codec.receive(part);
	peer.codec.transportClosed(null);
	if (peer.codec.activeStreams !== 0) throw new Error('streams of a connection that is gone');
	for (const heard of all) {
		if (!heard.ended && heard.reset === null) throw new Error('a stream that heard neither its end nor its loss');
	}
	return [...all.map((heard) => heard.summary()), peer.error?.code, peer.transport.totalBytes].join('\n');
}

function same(found: string, expected: string, what: string): void {
	if (found !== expected) throw new Error(`${what}:\n${found}\nand\n${expected}`);
}
