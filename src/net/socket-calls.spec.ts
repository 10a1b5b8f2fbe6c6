import { expect, test } from 'bun:test';
import { decodeSockaddr, encodeSockaddr, SOCKADDR_BYTES_MAX, systemError } from './socket-calls.ts';

const addresses: readonly [given: string, read: string][] = [
	['127.0.0.1', '127.0.0.1'],
	['255.1.0.9', '255.1.0.9'],
	['::1', '::1'],
	['2001:db8::7:0:1', '2001:db8::7:0:1'],
	['::ffff:10.0.0.1', '10.0.0.1'],
];

test.each(addresses)('the kernel’s form of %s is read as %s', (given, read) => {
	for (const port of [0, 80, 65_535]) {
		const bytes = encodeSockaddr({ host: given, port })!;
		expect(bytes.length).toBeLessThanOrEqual(SOCKADDR_BYTES_MAX);
		expect(decodeSockaddr(bytes)).toEqual({ host: read, port });
	}
});

test.each(['fe80::1%lo', 'localhost', ''])('%p has no such form', (host) => {
	expect(encodeSockaddr({ host, port: 80 })).toBeNull();
});

test('errors have the name of their number', () => {
	expect(systemError('bind', 98)).toMatchObject({ code: 'EADDRINUSE', message: 'bind failed: EADDRINUSE' });
	expect(systemError('bind', 99_999).message).toContain('99999');
});
