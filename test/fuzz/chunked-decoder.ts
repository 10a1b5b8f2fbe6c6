// Chunked bodies:
//
//  - decode(encode(x)) = x, for what our own writer makes of any body in any pieces;
//  - decode(any split) = decode(whole);
//  - a body that is taken is one that the strict reader takes, with that content, and as long; one that can
//    come to no end is refused, and not waited for.

import { BodyReader } from '../../src/http1/body-reader.ts';
import { HTTP1_LIMITS_DEFAULT } from '../../src/http1/limits.ts';
import { MessageWriter } from '../../src/http1/message-writer.ts';
import { latin1, RecordingTransport, text } from '../../src/http1/testing.ts';
import type { Random } from '../../src/std/random.ts';
import { readRequest } from '../support/strict-reader.ts';
import { cutAtRandom, type FuzzTarget, fail, grow, same } from './fuzz.ts';

const HEAD = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';

const SPICE: readonly string[] = [
	...['\r', '\n', '\r\n', '\r\r\n', ' ', '\t', ';', '"', '=', '\0', '\x0b', '\x7f', '\x80', '\xff', 'x', 'X-T: 1\r\n'],
	...['0', '00', '1', 'a', 'A', 'g', '0x', '+1', '-1', '_', '.', ';a=b', ';a="b\\""', ' ;a', '0\r\n\r\n', '1\r\nx\r\n'],
	...['fffffffffffff', '10000000000000000', 'Content-Length: 1\r\n', 'X : 1\r\n', ' folded\r\n'],
];

export const chunkedDecoder: FuzzTarget = {
	name: 'chunked-decoder',
	run(random: Random): void {
		const body = randomBody(random);
		const encoded = encode(random, body);
		same(decode([latin1(encoded)]), { body, trailers: [], taken: encoded.length, error: '' }, 'not the same', encoded);

		const input = grow(random, [encoded, '5\r\nhello\r\n0\r\n\r\n', '0\r\nX-T: 1\r\n\r\n'], SPICE, 2);
		const whole = latin1(input);
		const one = decode([whole]);
		const cut = decode(cutAtRandom(random, whole));
		same(cut, one, 'the split matters', input);

		const reference = readRequest(HEAD + input);
		if (one.taken === -1) {
			if (one.error === '' && reference.kind === 'message') fail('the strict reader finds an end', input);
			if (one.error === '' && reference.kind === 'invalid') fail(`it waits in vain: ${reference.why}`, input);
			return;
		}
		if (reference.kind !== 'message') fail(`the strict reader finds no end: ${JSON.stringify(reference)}`, input);
		same(one.body, reference.message.body, 'the strict reader reads another body', input);
		same(one.taken, reference.length - HEAD.length, 'the strict reader ends elsewhere', input);
		const sent = new Set(reference.message.trailers.map(([name, value]) => `${name}: ${value}`));
		for (const trailer of one.trailers) if (!sent.has(trailer)) fail(`nobody sent the trailer ${trailer}`, input);
	},
};

interface Decoded {
	readonly body: string;
	/** `name: value`. */
	readonly trailers: readonly string[];
	/** Bytes up to the end of the body; -1: it has not ended. */
	readonly taken: number;
	readonly error: string;
}

function decode(parts: readonly Uint8Array[]): Decoded {
	let body = '';
	let ends = 0;
	const trailers: string[] = [];
	const reader = new BodyReader(
		{
			onBody(bytes, end) {
				body += text(bytes);
				if (end) ends++;
			},
			onBodyTrailers(list) {
				for (let i = 0; i < list.length; i += 2) trailers.push(`${list[i]}: ${list[i + 1]}`);
				ends++;
			},
		},
		HTTP1_LIMITS_DEFAULT,
		'downstream',
	);
	reader.startChunked();
	let taken = 0;
	for (const part of parts) {
		if (reader.done || reader.error !== null) break;
		taken += reader.read(part, 0);
	}
	if (ends > 1) throw new Error(`the body ended ${ends} times`);
	if ((ends === 1) !== reader.done) throw new Error('done, but no end was told, or the other way round');
	// How much of a body was told before what was wrong in it depends on the read, and ends up nowhere.
	return { body, trailers, taken: reader.done ? taken : -1, error: reader.error?.code ?? '' };
}

function randomBody(random: Random): string {
	let body = '';
	for (let i = random.below(60); i > 0; i--) body += String.fromCharCode(random.below(256));
	return random.below(300) === 0 ? body.repeat(400) : body;
}

function encode(random: Random, body: string): string {
	const transport = new RecordingTransport();
	const writer = new MessageWriter(transport);
	writer.begin(new Uint8Array(0), 'chunked', 0, false);
	for (const part of cutAtRandom(random, latin1(body))) writer.writeData(part, false);
	writer.writeData(new Uint8Array(0), true);
	return transport.written;
}
