import { describe, expect, test } from 'bun:test';
import { readProxyHeader } from './proxy-protocol-header.ts';

const SIGNATURE = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10];
const V4 = [192, 0, 2, 7, 10, 1, 2, 3, 0x0f, 0xa0, 0, 80];
const ENDPOINTS = { sourceHost: '192.0.2.7', sourcePort: 4000, destinationHost: '10.1.2.3', destinationPort: 80 };

function v2(body: readonly number[], commandByte = 0x21, familyByte = 0x11, length = body.length): Uint8Array {
	return Uint8Array.from([...SIGNATURE, commandByte, familyByte, length >> 8, length & 255, ...body]);
}

const v1 = (line: string): Uint8Array => Buffer.from(`${line}\r\n`, 'latin1');
const read = (bytes: Uint8Array) => readProxyHeader(bytes);

describe('version 1', () => {
	test('addresses of both families, and a client that speaks for itself', () => {
		const line = v1('PROXY TCP4 192.0.2.7 10.1.2.3 4000 80');
		expect(read(line)).toEqual({ version: 1, byteLength: line.length, endpoints: ENDPOINTS });
		expect(read(v1('PROXY TCP6 2001:db8::1 ::1 1 65535'))).toMatchObject({
			endpoints: { sourceHost: '2001:db8::1', destinationHost: '::1', sourcePort: 1, destinationPort: 65535 },
		});
		expect(read(v1('PROXY UNKNOWN'))).toMatchObject({ endpoints: null });
		expect(read(v1('PROXY UNKNOWN anything at all'))).toMatchObject({ endpoints: null });
	});

	test.each([
		'PROXY TCP4 192.0.2.7 10.1.2.3 4000',
		'PROXY TCP4 192.0.2.7 10.1.2.3 4000 80 ',
		'PROXY  TCP4 192.0.2.7 10.1.2.3 4000 80',
		'PROXY TCP4 192.0.2.7 10.1.2.300 4000 80',
		'PROXY TCP4 192.0.2.7 10.1.2.3 04000 80',
		'PROXY TCP4 192.0.2.7 10.1.2.3 4000 65536',
		'PROXY TCP4 2001:db8::1 ::1 4000 80',
		'PROXY TCP6 192.0.2.7 10.1.2.3 4000 80',
		'PROXY TCP6 fe80::1%eth0 ::1 4000 80',
		'PROXY TCP4 224.0.0.1 10.1.2.3 4000 80',
		'PROXY TCP4 0.0.0.0 10.1.2.3 4000 80',
		'PROXY TCP6 ff02::1 ::1 4000 80',
		'PROXY UDP4 192.0.2.7 10.1.2.3 4000 80',
		'PROXY ',
		`PROXY UNKNOWN ${'x'.repeat(100)}`,
	])('%p is refused', (line) => {
		expect(read(v1(line))).toMatchObject({ version: 1, error: expect.any(String) });
	});

	test('a line feed without its CR ends no line', () => {
		expect(read(Buffer.from('PROXY UNKNOWN\n'))).toMatchObject({ error: expect.any(String) });
	});
});

describe('version 2', () => {
	test('addresses of both families, extensions, and a client that speaks for itself', () => {
		expect(read(v2(V4))).toEqual({ version: 2, byteLength: 28, endpoints: ENDPOINTS });
		expect(read(v2([...V4, 4, 0, 2, 1, 2, 0xea, 0, 0]))).toMatchObject({ byteLength: 36, endpoints: ENDPOINTS });
		const v6 = [0x20, 1, 0x0d, 0xb8, ...new Array(11).fill(0), 1, ...new Array(15).fill(0), 1, 0x0f, 0xa0, 0, 80];
		expect(read(v2(v6, 0x21, 0x21))).toMatchObject({
			endpoints: { sourceHost: '2001:db8::1', destinationHost: '::1', sourcePort: 4000, destinationPort: 80 },
		});
		expect(read(v2([1, 2, 3], 0x20, 0))).toEqual({ version: 2, byteLength: 19, endpoints: null });
	});

	test.each([
		['another version', v2(V4, 0x11)],
		['another command', v2(V4, 0x22)],
		['a unix address', v2(new Array(216).fill(1), 0x21, 0x31)],
		['a datagram', v2(V4, 0x21, 0x12)],
		['too few addresses', v2(V4.slice(0, 11))],
		['an extension that is cut', v2([...V4, 4, 0])],
		['an extension beyond the end', v2([...V4, 4, 0, 9, 1])],
		['a multicast address', v2([239, 0, 0, 1, ...V4.slice(4)])],
	])('%s is refused', (_, bytes) => {
		expect(read(bytes)).toMatchObject({ version: 2, error: expect.any(String) });
	});
});

test('every part of a header is incomplete, and what follows it changes nothing', () => {
	for (const whole of [v1('PROXY TCP4 192.0.2.7 10.1.2.3 4000 80'), v2([...V4, 4, 0, 1, 9]), v2([1, 2], 0x20, 0)]) {
		for (let length = 0; length < whole.length; length++) expect(read(whole.subarray(0, length))).toBe('incomplete');
		expect(read(Buffer.concat([whole, Buffer.from('GET / HTTP/1.1\r\n')]))).toEqual(read(whole));
	}
});

test('what begins otherwise has none', () => {
	for (const text of ['GET / HTTP/1.1', 'PROXZ', '\r\n\r\nx', 'proxy ']) expect(read(Buffer.from(text))).toBe('absent');
});
