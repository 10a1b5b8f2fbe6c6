import { describe, expect, test } from 'bun:test';
import { GrpcFrameCounter } from './frame-counter.ts';
import { GrpcWebTextDecoder, GrpcWebTextEncoder } from './web-text.ts';

function frame(message: string): Buffer {
	const head = Buffer.alloc(5);
	head.writeUInt32BE(message.length, 1);
	return Buffer.concat([head, Buffer.from(message)]);
}

/** `bytes` cut at `size`. */
function pieces(bytes: Uint8Array, size: number): Uint8Array[] {
	const parts: Uint8Array[] = [];
	for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size));
	return parts;
}

function decode(text: string, size: number): string | null {
	const decoder = new GrpcWebTextDecoder();
	let out = '';
	for (const part of pieces(Buffer.from(text), size)) {
		const bytes = decoder.decode(part);
		if (bytes === null) return null;
		out += Buffer.from(bytes).toString('latin1');
	}
	return decoder.complete ? out : null;
}

describe('GrpcFrameCounter', () => {
	test('counts messages however they are cut', () => {
		const bytes = Buffer.concat([frame('abc'), frame(''), frame('x'.repeat(300)), frame('')]);
		for (let size = 1; size <= bytes.length; size++) {
			const counter = new GrpcFrameCounter();
			let count = 0;
			for (const part of pieces(bytes, size)) count += counter.count(part);
			expect([size, count, counter.pending]).toEqual([size, 4, 0]);
		}
	});
});

describe('GrpcWebTextDecoder', () => {
	test('reads base64, alone or joined with its padding, however it is cut', () => {
		const texts = ['a', 'ab', 'abc', 'abcd', '\u0000\u00ff'];
		const joined = texts.map((text) => Buffer.from(text, 'latin1').toString('base64')).join('');
		for (let size = 1; size <= joined.length; size++) expect(decode(joined, size)).toBe(texts.join(''));
	});

	test('refuses what is none', () => {
		for (const text of [
			'A',
			'AB',
			'ABC',
			'A===',
			'=AAA',
			'A=AA',
			'AA=A',
			'AAB=',
			'AB==',
			'AA A',
			'AA-_',
			'AA\u00e4A',
			'====',
		]) {
			for (const size of [1, 100]) expect([text, decode(text, size)]).toEqual([text, null]);
		}
	});
});

describe('GrpcWebTextEncoder', () => {
	test('encodes each message by itself, however it is cut', () => {
		const frames = [frame('abc'), frame(''), frame('x'.repeat(200)), frame('12')];
		const expected = frames.map((one) => one.toString('base64')).join('');
		const bytes = Buffer.concat(frames);
		for (let size = 1; size <= bytes.length; size++) {
			const encoder = new GrpcWebTextEncoder();
			let text = '';
			for (const part of pieces(bytes, size)) text += Buffer.from(encoder.encode(part, false)).toString('latin1');
			expect(text).toBe(expected);
		}
	});

	test('what is left at the end is not lost', () => {
		const encoder = new GrpcWebTextEncoder();
		const cut = frame('abc').subarray(0, 7);
		const text = [encoder.encode(cut, false), encoder.encode(new Uint8Array(0), true)];
		expect(Buffer.concat(text).toString('latin1')).toBe(cut.toString('base64'));
	});
});
