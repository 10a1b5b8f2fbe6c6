import { describe, expect, test } from 'bun:test';
import { type ClientHello, readClientHello } from './client-hello.ts';
import { type TestHello, testClientHello } from './testing-client-hello.ts';

const FULL: TestHello = {
	serverName: 'Shop.Example',
	alpn: ['h2', 'http/1.1'],
	signatureAlgorithms: [0x0403, 0x0804],
	groups: [0x11ec, 29, 23],
	versions: [0x0304, 0x0303],
};

describe('what a ClientHello says', () => {
	test('name, protocols and curves', () => {
		expect(readClientHello(testClientHello(FULL))).toEqual({
			serverName: 'shop.example',
			alpn: ['h2', 'http/1.1'],
			ecdsaCurves: ['P-256'],
		});
	});

	test('before TLS 1.3 the groups say which curves, if a suite is for ECDSA', () => {
		const { ecdsaCurves } = readClientHello(
			testClientHello({ groups: [24, 23], signatureAlgorithms: [0x0403], suites: [0xc02b] }),
		) as ClientHello;
		expect(ecdsaCurves).toEqual(['P-384', 'P-256']);
		expect(readClientHello(testClientHello({ groups: [23], suites: [0xc02f] }))).toMatchObject({ ecdsaCurves: [] });
	});

	test('without extensions there is nothing', () => {
		expect(readClientHello(testClientHello({}))).toEqual({ serverName: '', alpn: [], ecdsaCurves: [] });
	});
});

describe('what it is read from', () => {
	const whole = testClientHello(FULL);

	test('every part of it is incomplete', () => {
		for (let length = 0; length < whole.length; length++) {
			expect(readClientHello(whole.subarray(0, length)), `${length} bytes`).toBe('incomplete');
		}
	});

	test('bytes after it change nothing', () => {
		expect(readClientHello(Buffer.concat([whole, Buffer.from('more')]))).toEqual(readClientHello(whole));
	});

	test('it may be spread over records', () => {
		for (const size of [4, 5, 50, 100]) {
			const message = whole.subarray(5);
			const records: Uint8Array[] = [];
			for (let at = 0; at < message.length; at += size) {
				const part = message.subarray(at, at + size);
				records.push(Uint8Array.of(22, 3, 1, part.length >> 8, part.length & 255), part);
			}
			const split = Buffer.concat(records);
			expect(readClientHello(split)).toEqual(readClientHello(whole));
			expect(readClientHello(split.subarray(0, split.length - 1))).toBe('incomplete');
		}
	});

	test.each([
		['HTTP', 'GET / HTTP/1.1\r\n'],
		['another record', '\x17\x03\x03\x00\x05hello'],
		['another message', '\x16\x03\x01\x00\x04\x02\x00\x00\x01'],
		['an empty record', '\x16\x03\x01\x00\x00'],
		['a record that is too long', '\x16\x03\x01\x7f\xff\x01'],
		['a message that is too long', '\x16\x03\x01\x00\x04\x01\xff\xff\xff'],
		['SSL 2', '\x80\x2e\x01\x03\x01'],
	])('%s is not TLS', (_, text) => {
		expect(readClientHello(Buffer.from(text, 'latin1'))).toBe('not_tls');
	});

	test.each([
		['empty', ''],
		['longer than a host can have', `${'a.'.repeat(127)}aa`],
		['with a NUL', 'shop.example\0.evil.test'],
	])('a server name that is %s is none of TLS, as for BoringSSL', (_, serverName) => {
		expect(readClientHello(testClientHello({ ...FULL, serverName }))).toBe('not_tls');
		expect(readClientHello(testClientHello({ ...FULL, serverName: `${'a.'.repeat(127)}a` }))).toMatchObject({
			alpn: FULL.alpn,
		});
	});

	test('a length that points beyond its end is not TLS', () => {
		const bad = Buffer.from(whole);
		// Of the session identifier.
		bad[5 + 4 + 34] = 255;
		expect(readClientHello(bad)).toBe('not_tls');
	});
});
