// The text form of gRPC-Web:
//
//  - decode(encode(x)) = x, for any bytes in any pieces, whether they are messages or not;
//  - decode(any split) = decode(whole);
//  - a text that is taken is the one way to write what it stands for, group by group.

import { GrpcWebTextDecoder, GrpcWebTextEncoder } from '../../src/grpc/web-text.ts';
import { latin1, text } from '../../src/http1/testing.ts';
import type { Random } from '../../src/std/random.ts';
import { cutAtRandom, type FuzzTarget, fail, grow, same } from './fuzz.ts';

const SPICE: readonly string[] = ['=', '==', '===', 'AA==', 'AAA=', 'AB==', '-', '_', '\r\n', ' ', '\0', '\xff', 'A'];

export const grpcWebText: FuzzTarget = {
	name: 'grpc-web-text',
	run(random: Random): void {
		const bytes = randomMessages(random);
		const encoder = new GrpcWebTextEncoder();
		let encoded = '';
		for (const part of cutAtRandom(random, latin1(bytes))) encoded += text(encoder.encode(part, false));
		encoded += text(encoder.encode(new Uint8Array(0), true));
		same(decode([latin1(encoded)]), bytes, 'not the same', bytes);

		const input = grow(random, [encoded, 'AAAAAAA=', 'gAAAAA8='], SPICE, 2);
		const whole = decode([latin1(input)]);
		same(decode(cutAtRandom(random, latin1(input))), whole, 'the split matters', input);
		if (whole === null) return;
		if (input.length % 4 !== 0) fail('a group that is cut was taken', input);
		let again = '';
		for (let i = 0; i < input.length; i += 4) {
			again += Buffer.from(input.slice(i, i + 4), 'base64').toString('base64');
		}
		same(again, input, 'a text that stands for what another one stands for', input);
	},
};

/** Null: refused. */
function decode(parts: readonly Uint8Array[]): string | null {
	const decoder = new GrpcWebTextDecoder();
	let out = '';
	for (const part of parts) {
		const bytes = decoder.decode(part);
		if (bytes === null) return null;
		out += text(bytes);
	}
	return decoder.complete ? out : null;
}

/** Messages and, now and then, bytes that are none. */
function randomMessages(random: Random): string {
	let bytes = '';
	for (let i = random.below(5); i > 0; i--) {
		let body = '';
		for (let j = random.below(30); j > 0; j--) body += String.fromCharCode(random.below(256));
		bytes += random.below(5) === 0 ? body : `\0\0\0\0${String.fromCharCode(body.length)}${body}`;
	}
	return bytes;
}
