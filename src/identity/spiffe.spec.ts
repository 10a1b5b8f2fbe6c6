import { describe, expect, test } from 'bun:test';
import { formatSpiffeId, parseSpiffeId, parseWorkloadSpiffeId, workloadSpiffeId } from './spiffe.ts';

describe('parseSpiffeId', () => {
	test('reads trust domain and path, and formats them back', () => {
		for (const text of [
			'spiffe://cluster.local',
			'spiffe://cluster.local/ns/default/sa/reviews',
			'spiffe://a-b_c.1/X/y.z/_',
		]) {
			expect(formatSpiffeId(parseSpiffeId(text))).toBe(text);
		}
		expect(parseSpiffeId('spiffe://td/a/b')).toEqual({ trustDomain: 'td', path: '/a/b' });
	});

	test.each([
		['', 'begin with'],
		['https://td/a', 'begin with'],
		['SPIFFE://td/a', 'begin with'],
		['spiffe://', 'empty'],
		['spiffe:///a', 'empty'],
		['spiffe://TD/a', 'lower-case'],
		['spiffe://td:8443/a', 'lower-case'],
		['spiffe://user@td/a', 'lower-case'],
		['spiffe://td/', 'segment is empty'],
		['spiffe://td/a/', 'segment is empty'],
		['spiffe://td/a//b', 'segment is empty'],
		['spiffe://td/a/../b', 'relative'],
		['spiffe://td/./a', 'relative'],
		['spiffe://td/a?x=1', 'segment may have only'],
		['spiffe://td/a#x', 'segment may have only'],
		['spiffe://td/a%20b', 'segment may have only'],
		['spiffe://td/ä', 'segment may have only'],
		[`spiffe://${'a'.repeat(256)}/a`, 'longer than 255'],
		[`spiffe://td/${'a'.repeat(2048)}`, 'longer than 2048'],
	])('refuses %p', (text, reason) => {
		expect(() => parseSpiffeId(text)).toThrow(reason);
	});
});

describe('workload SPIFFE IDs', () => {
	test('go from names to the ID and back', () => {
		const workload = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'reviews.v2' };
		expect(workloadSpiffeId(workload)).toBe('spiffe://cluster.local/ns/shop/sa/reviews.v2');
		expect(parseWorkloadSpiffeId(workloadSpiffeId(workload))).toEqual(workload);
	});

	test('a name that would change the path is refused', () => {
		const good = { trustDomain: 'td', namespace: 'n', serviceAccount: 's' };
		expect(() => workloadSpiffeId({ ...good, namespace: 'n/sa/other' })).toThrow('namespace');
		expect(() => workloadSpiffeId({ ...good, serviceAccount: '../x' })).toThrow('service account');
		expect(() => workloadSpiffeId({ ...good, trustDomain: 'a/b' })).toThrow('trust domain');
	});

	test('another form of path is no workload', () => {
		expect(parseWorkloadSpiffeId('spiffe://td/a/b')).toBeNull();
		expect(parseWorkloadSpiffeId('spiffe://td/ns/a/sa/b/c')).toBeNull();
		expect(parseWorkloadSpiffeId('spiffe://td/ns/A/sa/b')).toBeNull();
	});
});
