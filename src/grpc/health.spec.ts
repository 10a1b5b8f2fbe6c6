import { expect, test } from 'bun:test';
import { encodeHealthCheckRequest, readHealthCheckResponse, ServingStatus } from './health.ts';

test('a request names its service', () => {
	expect([...encodeHealthCheckRequest('')]).toEqual([]);
	expect([...encodeHealthCheckRequest('ab')]).toEqual([0x0a, 2, 0x61, 0x62]);
	const long = encodeHealthCheckRequest('x'.repeat(300));
	expect([...long.subarray(0, 3)]).toEqual([0x0a, 0xac, 0x02]);
	expect(long.length).toBe(303);
});

test('a response says its status, the last one, whatever stands beside it', () => {
	const read = (...bytes: number[]) => readHealthCheckResponse(Uint8Array.from(bytes));
	expect(read()).toBe(ServingStatus.unknown);
	expect(read(8, 1)).toBe(ServingStatus.serving);
	expect(read(8, 1, 8, 2)).toBe(ServingStatus.notServing);
	expect(read(0x12, 2, 9, 9, 8, 1, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4, 0x28, 0x80, 1)).toBe(1);
	expect(read(8, 0x80, 1)).toBe(128);
});

test('what is none is told from a status', () => {
	const read = (...bytes: number[]) => readHealthCheckResponse(Uint8Array.from(bytes));
	const wrong = [[8], [8, 0x80], [0x12], [0x12, 5, 1], [0x0b], [0, 1], [1], [0x25, 1], [8, ...Array(11).fill(0x80)]];
	for (const bytes of wrong) expect([bytes, read(...bytes)]).toEqual([bytes, -1]);
});
