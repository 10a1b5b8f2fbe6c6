import { describe, expect, test } from 'bun:test';
import { REQUEST_LINE_BYTES_MAX, readHttpVersion } from './http-inspector.ts';

const read = (text: string) => readHttpVersion(Buffer.from(text, 'latin1'));

describe('what a client speaks', () => {
	test.each([
		['GET / HTTP/1.1\r\nHost', 'http/1.1'],
		['WHATEVER /x HTTP/1.1\n', 'http/1.1'],
		['GET http://a/ HTTP/1.1\r\n', 'http/1.1'],
		['CONNECT a.example:443 HTTP/1.1\r\n', 'http/1.1'],
		['CONNECT [::1]:443 HTTP/1.1\r\n', 'http/1.1'],
		['OPTIONS * HTTP/1.0\r\n', 'http/1.0'],
		['GET /\r\n', 'http/1.0'],
		['GET / HTTP/2.0\r\n', 'http/1.0'],
		['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore', 'h2c'],
		['GET / http/1.1\r\n', 'not_http'],
		['GET\r\n', 'not_http'],
		['GET a HTTP/1.1\r\n', 'not_http'],
		['\nGET / HTTP/1.1\r\n', 'not_http'],
		[' GET', 'not_http'],
		['\x16\x03\x01', 'not_http'],
		['SSH-2.0-OpenSSH (x)', 'incomplete'],
		['HELLO(', 'not_http'],
		['GET', 'incomplete'],
		['GET /', 'incomplete'],
		['PRI * HTTP/2.0\r\n', 'incomplete'],
	] as const)('%p: %s', (text, version) => {
		expect(read(text)).toBe(version);
	});

	test('a line that does not end is never more than incomplete', () => {
		expect(read(`GET /${'x'.repeat(2 * REQUEST_LINE_BYTES_MAX)} HTTP/1.1\r\n`)).toBe('incomplete');
	});
});
