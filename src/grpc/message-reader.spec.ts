import { describe, expect, test } from 'bun:test';
import { frameMessage, MessageReader } from './message-reader.ts';
import { GrpcStatus } from './status.ts';

function texts(...messages: string[]): Uint8Array {
	return new Uint8Array(Buffer.concat(messages.map((text) => frameMessage(new TextEncoder().encode(text)))));
}

function reader(bytesMax = 100): { readonly got: string[]; readonly reader: MessageReader } {
	const got: string[] = [];
	return { got, reader: new MessageReader(bytesMax, (bytes) => got.push(new TextDecoder().decode(bytes))) };
}

describe('length-prefixed messages', () => {
	test('come out whole, however they were cut, the empty one too', () => {
		const input = texts('one', '', 'three', 'x'.repeat(100));
		for (let size = 1; size <= input.length; size++) {
			const { got, reader: one } = reader();
			for (let at = 0; at < input.length; at += size) {
				// The buffer of a read is used again.
				const part = input.slice(at, at + size);
				expect(one.push(part)).toBeNull();
				part.fill(0xff);
			}
			expect(got).toEqual(['one', '', 'three', 'x'.repeat(100)]);
			expect(one.isAtBoundary).toBe(true);
		}
	});

	test('a prefix or a message that is cut off is no boundary', () => {
		for (const length of [1, 4, 5, 7]) {
			const { reader: one } = reader();
			one.push(texts('abc').slice(0, length));
			expect(one.isAtBoundary).toBe(false);
		}
	});

	test('one larger than the limit is refused by its prefix', () => {
		const { got, reader: one } = reader(4);
		expect(one.push(texts('1234'))).toBeNull();
		const fault = { code: GrpcStatus.resourceExhausted, message: 'a message of 5 bytes is larger than 4' };
		expect(one.push(Uint8Array.from([0, 0, 0, 0, 5]))).toEqual(fault);
		expect(one.push(texts('x'))).toEqual(fault);
		expect(got).toEqual(['1234']);
	});

	test('no memory is taken for a length that is only announced', () => {
		const { reader: one } = reader(1 << 30);
		const before = process.memoryUsage().arrayBuffers;
		expect(one.push(Uint8Array.from([0, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3]))).toBeNull();
		expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
	});

	test('a compressed one, which was not offered, and a flag that means nothing', () => {
		const { reader: one } = reader();
		one.encoding = 'gzip';
		expect(one.push(Uint8Array.from([1, 0, 0, 0, 1, 1]))).toMatchObject({
			code: GrpcStatus.internal,
			message: 'a message is compressed (grpc-encoding: gzip), which was not offered',
		});
		expect(reader().reader.push(Uint8Array.from([7, 0, 0, 0, 1, 1]))).toMatchObject({ code: GrpcStatus.internal });
	});

	test('paused by its receiver, it holds what came of this read', () => {
		const got: string[] = [];
		const one = new MessageReader(100, (bytes) => {
			got.push(new TextDecoder().decode(bytes));
			one.pause();
		});
		one.push(texts('a', 'b', 'c'));
		expect(got).toEqual(['a']);
		one.push(texts('d').slice(0, 3));
		one.push(texts('d').slice(3));
		expect(one.isHolding).toBe(true);
		for (let i = 0; i < 3; i++) one.resume();
		expect(got).toEqual(['a', 'b', 'c', 'd']);
		expect([one.isHolding, one.isAtBoundary]).toEqual([false, true]);
	});

	test('stopped within a message, it gives out no more', () => {
		const got: string[] = [];
		const one = new MessageReader(100, (bytes) => {
			got.push(new TextDecoder().decode(bytes));
			one.stop();
		});
		one.push(texts('a', 'b'));
		one.push(texts('c'));
		expect(got).toEqual(['a']);
	});
});
