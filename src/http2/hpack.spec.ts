import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../std/random.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import { huffmanDecode, huffmanEncode, huffmanLength } from './huffman.ts';

type Pairs = readonly (readonly [string, string])[];

function hex(text: string): Uint8Array {
	return Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
}

function decode(decoder: HpackDecoder, block: Uint8Array): Pairs | null {
	if (!decoder.decode(block, 0, block.length)) return null;
	const { names, values, count } = decoder.fields;
	return names.slice(0, count).map((name, i) => [name, values[i]!] as const);
}

function encode(encoder: HpackEncoder, fields: Pairs): Uint8Array | null {
	encoder.begin(
		fields.reduce((sum, [name, value]) => sum + name.length + value.length, 0),
		fields.length,
	);
	for (const [name, value] of fields) encoder.field(name, value);
	return encoder.finish()?.slice() ?? null;
}

const newDecoder = (tableBytes = 4096) => new HpackDecoder(tableBytes, 64 * 1024, 100);

const GET_HTTP: Pairs = [
	[':method', 'GET'],
	[':scheme', 'http'],
	[':path', '/'],
	[':authority', 'www.example.com'],
];
const GET_HTTPS: Pairs = [
	[':method', 'GET'],
	[':scheme', 'https'],
	[':path', '/index.html'],
	[':authority', 'www.example.com'],
	['custom-key', 'custom-value'],
];
const DATE_21: readonly [string, string] = ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'];
const DATE_22: readonly [string, string] = ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'];
const LOCATION: readonly [string, string] = ['location', 'https://www.example.com'];
const RESPONSES: readonly Pairs[] = [
	[[':status', '302'], ['cache-control', 'private'], DATE_21, LOCATION],
	[[':status', '307'], ['cache-control', 'private'], DATE_21, LOCATION],
	[
		[':status', '200'],
		['cache-control', 'private'],
		DATE_22,
		LOCATION,
		['content-encoding', 'gzip'],
		['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
	],
];

describe('RFC 7541 appendix C', () => {
	test.each([
		['C.2.1', '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', ['custom-key', 'custom-header']],
		['C.2.2', '040c 2f73 616d 706c 652f 7061 7468', [':path', '/sample/path']],
		['C.2.3', '1008 7061 7373 776f 7264 0673 6563 7265 74', ['password', 'secret']],
		['C.2.4', '82', [':method', 'GET']],
	] as const)('%s, a single field', (_, block, field) => {
		expect(decode(newDecoder(), hex(block))).toEqual([field]);
	});

	const requests: readonly Pairs[] = [GET_HTTP, [...GET_HTTP, ['cache-control', 'no-cache']], GET_HTTPS];
	test.each([
		[
			'C.3, requests as they are',
			4096,
			requests,
			[
				'8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
				'8286 84be 5808 6e6f 2d63 6163 6865',
				'8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
			],
		],
		[
			'C.4, requests in Huffman code',
			4096,
			requests,
			[
				'8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
				'8286 84be 5886 a8eb 1064 9cbf',
				'8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
			],
		],
		[
			'C.5, responses as they are, and what a table of 256 bytes forgets',
			256,
			RESPONSES,
			[
				`4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
				474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
				'4803 3330 37c1 c0bf',
				`88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738
				666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33
				3630 303b 2076 6572 7369 6f6e 3d31`,
			],
		],
		[
			'C.6, responses in Huffman code',
			256,
			RESPONSES,
			[
				`4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
				63c7 8f0b 97c8 e9ae 82ae 43d3`,
				'4883 640e ffc1 c0bf',
				`88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7
				b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
			],
		],
	] as const)('%s', (_, tableBytes, messages, blocks) => {
		const decoder = newDecoder(tableBytes);
		for (const [i, block] of blocks.entries()) {
			expect(decode(decoder, hex(block.replace(/\s+/g, '')))).toEqual(messages[i]!);
		}
	});
});

describe('decoder', () => {
	test.each([
		['index 0', '80'],
		['an index beyond both tables', 'be'],
		['a name beyond both tables', '7e 0161'],
		['a string cut short', '400a 6375'],
		['an integer cut short', 'ff80'],
		['an integer without end', 'ff80 8080 8080 8080 8080 01'],
		['a table larger than we offered', '3fe2 1f'],
		['a size update after a field', '8220'],
		['Huffman padding of zeros', '4101 6181 00'],
		['Huffman padding of eight bits', '0001 6182 1fff'],
		['the end of string within Huffman code', '0001 6184 ffff ffff'],
	])('refuses %s', (_, block) => {
		expect(decode(newDecoder(), hex(block.replace(/\s+/g, '')))).toBeNull();
	});

	test('forgets all when the table is made empty, and fills it again', () => {
		const decoder = newDecoder();
		decode(decoder, hex('4001610162'));
		expect(decode(decoder, hex('be'))).toEqual([['a', 'b']]);
		expect(decode(decoder, hex('20'))).toEqual([]);
		expect(decode(decoder, hex('be'))).toBeNull();
		expect(decode(decoder, hex('3f00 4001610163'.replaceAll(' ', '')))).toEqual([['a', 'c']]);
	});

	test('a list over the bounds is told as too large, and the table stays in step', () => {
		const decoder = new HpackDecoder(4096, 200, 3);
		decode(decoder, hex('4001610162 4001630164'.replaceAll(' ', '')));
		expect(decoder.fields.tooLarge).toBe(false);
		decoder.decode(hex('bebebebe4001650166'), 0, 9);
		expect(decoder.fields.tooLarge).toBe(true);
		expect(decoder.fields.count).toBe(3);
		expect(decode(decoder, hex('be'))).toEqual([['e', 'f']]);
	});

	test('a bomb of references costs what it counts, and keeps nothing', () => {
		const decoder = new HpackDecoder(4096, 60 * 1024, 100);
		const big = new Uint8Array(3 + 1 + 3 + 4000);
		big.set([0x40, 1, 0x61, 0x7f, 0x80 | ((4000 - 127) % 128), (4000 - 127) >> 7], 0);
		big.fill(0x78, 6, 4006);
		expect(decoder.decode(big, 0, 4006)).toBe(true);
		const references = new Uint8Array(16_000).fill(0xbe);
		expect(decoder.decode(references, 0, references.length)).toBe(true);
		expect(decoder.fields.listBytes).toBe(16_000 * (4001 + 32));
		expect(decoder.fields.tooLarge).toBe(true);
		expect(decoder.fields.count).toBeLessThanOrEqual(15);
	});
});

describe('encoder', () => {
	test('the second time a field is one byte', () => {
		const encoder = new HpackEncoder();
		const first = encode(encoder, GET_HTTPS)!;
		const second = encode(encoder, GET_HTTPS)!;
		expect(second.length).toBe(GET_HTTPS.length);
		const decoder = newDecoder();
		expect(decode(decoder, first)).toEqual(GET_HTTPS);
		expect(decode(decoder, second)).toEqual(GET_HTTPS);
	});

	test.each([
		['authorization', 'Bearer secret-that-is-long-enough'],
		['proxy-authorization', 'Basic abc'],
		['set-cookie', 'session=0123456789abcdef0123456789'],
		['cookie', 'short=1'],
	])('%s is never indexed', (name, value) => {
		const encoder = new HpackEncoder();
		for (let i = 0; i < 3; i++) {
			const block = encode(encoder, [[name, value]])!;
			expect(block[0]! & 0xf0).toBe(0x10);
			expect(decode(newDecoder(), block)).toEqual([[name, value]]);
		}
	});

	test('a name whose value always changes is not put into the table any more', () => {
		const encoder = new HpackEncoder();
		for (let i = 0; i < 20; i++) encode(encoder, [['x-serial', `number-${i}`]]);
		expect(encode(encoder, [['x-serial', 'number-20']])![0]! & 0xf0).toBe(0x00);
	});

	test('tells the smallest table size since and the last, at the beginning of a block', () => {
		const encoder = new HpackEncoder();
		encode(encoder, GET_HTTPS);
		encoder.setPeerTableSize(0);
		encoder.setPeerTableSize(1000);
		const block = encode(encoder, GET_HTTPS)!;
		expect(Array.from(block.subarray(0, 4))).toEqual([0x20, 0x3f, 0xc9, 0x07]);
		expect(decode(newDecoder(), block)).toEqual(GET_HTTPS);
	});

	test.each([
		['a line end', 'x', 'a\r\nb: c'],
		['NUL', 'x', 'a\0'],
		['NUL in a name', 'x\0', 'a'],
		['a character beyond Latin-1', 'x', 'ł'],
		['upper case', 'X', 'a'],
		['a space in a name', 'x y', 'a'],
	])('refuses %s', (_, name, value) => {
		expect(encode(new HpackEncoder(), [[name, value]])).toBeNull();
	});

	test('space around a value is not sent', () => {
		expect(decode(newDecoder(), encode(new HpackEncoder(), [['x', ' a\t']])!)).toEqual([['x', 'a']]);
	});
});

test('Huffman code: what is coded is decoded', () => {
	const random = new SeededRandom(1);
	for (let round = 0; round < 300; round++) {
		const text = String.fromCharCode(...Array.from({ length: random.below(60) }, () => random.below(256)));
		const coded = new Uint8Array(huffmanLength(text));
		expect(huffmanEncode(text, coded, 0)).toBe(coded.length);
		const decoded = new Uint8Array(coded.length * 2 + 1);
		const length = huffmanDecode(coded, 0, coded.length, decoded);
		expect(Buffer.from(decoded.subarray(0, length)).toString('latin1')).toBe(text);
	}
});

test('what is encoded is decoded, whatever the table sizes do in between', () => {
	const random = new SeededRandom(2);
	const names = [
		'a',
		'x-b',
		'cookie',
		'authorization',
		'content-type',
		':path',
		'via',
		'date',
		'x-long-name-of-a-field',
	];
	for (let connection = 0; connection < 30; connection++) {
		const encoder = new HpackEncoder();
		const decoder = newDecoder();
		for (let message = 0; message < 40; message++) {
			if (random.below(8) === 0) encoder.setPeerTableSize(random.below(4097));
			const fields = Array.from({ length: random.below(12) }, () => {
				const value = 'v'.repeat(random.below(4) === 0 ? random.below(900) : random.below(8)) + random.below(5);
				return [names[random.below(names.length)]!, value] as const;
			});
			expect(decode(decoder, encode(encoder, fields)!)).toEqual(fields);
		}
	}
});
