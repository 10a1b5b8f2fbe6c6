// ClientHellos as they are read to choose a filter chain and a certificate:
//
//  - no input makes it throw;
//  - what a prefix says stays what the whole says: waiting for more bytes changes no answer;
//  - names are bounded by what was sent.

import { readClientHello } from '../../src/net/client-hello.ts';
import { testClientHello } from '../../src/net/testing-client-hello.ts';
import type { Random } from '../../src/std/random.ts';
import { type FuzzTarget, fail, grow, same } from './fuzz.ts';

const RAWS = [
	testClientHello({}),
	testClientHello({ serverName: 'a.example' }),
	testClientHello({
		serverName: 'shop.example',
		alpn: ['h2', 'http/1.1'],
		signatureAlgorithms: [0x0403, 0x0804],
		groups: [29, 23],
		versions: [0x0304],
	}),
	testClientHello({ groups: [23, 24], suites: [0xc02b, 0xc02f] }),
].map((bytes) => Buffer.from(bytes).toString('latin1'));
const SPICE = ['\x16\x03\x01', '\x16\x03\x03\x00\x04', '\x00\x00', '\xff\xff', '\x01\x00', 'GET / HTTP/1.1\r\n'];

export const clientHello: FuzzTarget = {
	name: 'client-hello',
	run(random: Random): void {
		const input = grow(random, RAWS, SPICE, 2);
		const whole = Buffer.from(input, 'latin1');
		const result = readClientHello(whole);
		for (let i = 0; i < 8; i++) {
			const prefix = readClientHello(whole.subarray(0, random.below(whole.length + 1)));
			if (prefix !== 'incomplete') same(prefix, result, 'more bytes change what was read', input);
		}
		if (typeof result === 'string') return;
		const said = result.serverName.length + result.alpn.reduce((sum, name) => sum + name.length, 0);
		if (said > whole.length) fail('more was read than was sent', input);
	},
};
