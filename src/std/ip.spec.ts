import { expect, test } from 'bun:test';
import { PrefixTable, parseIp } from './ip.ts';

const hex = (text: string): string | null => {
	const bytes = parseIp(text);
	return bytes === null ? null : Buffer.from(bytes).toString('hex');
};

test('addresses of both families become bytes', () => {
	expect(hex('127.0.0.1')).toBe('7f000001');
	expect(hex('::')).toBe('00'.repeat(16));
	expect(hex('::1')).toBe(`${'00'.repeat(15)}01`);
	expect(hex('2001:db8::ff00:42:8329')).toBe('20010db8000000000000ff0000428329');
	expect(hex('1:2:3:4:5:6:7:8')).toBe('00010002000300040005000600070008');
	expect(hex('::ffff:10.1.2.3')).toBe('00000000000000000000ffff0a010203');
	expect(hex('fe80::1%eth0')).toBe(`fe80${'00'.repeat(13)}01`);
	for (const text of ['', 'localhost', '1.2.3', '1.2.3.256', ':::', '12345::']) expect(hex(text)).toBeNull();
});

test('the longest prefix that holds an address wins', () => {
	const table = new PrefixTable<string>();
	const set = (prefix: string, length: number): void => table.set(parseIp(prefix)!, length, `${prefix}/${length}`);
	set('10.0.0.0', 8);
	set('10.1.0.0', 16);
	set('10.1.2.3', 32);
	set('10.1.2.128', 25);
	set('2001:db8::', 33);
	const find = (address: string): string | undefined => table.find(parseIp(address)!);
	expect(find('10.9.9.9')).toBe('10.0.0.0/8');
	expect(find('10.1.2.4')).toBe('10.1.0.0/16');
	expect(find('10.1.2.3')).toBe('10.1.2.3/32');
	expect(find('10.1.2.200')).toBe('10.1.2.128/25');
	expect(find('11.0.0.1')).toBeUndefined();
	expect(find('2001:db8:7fff::1')).toBe('2001:db8::/33');
	expect(find('2001:db8:8000::1')).toBeUndefined();
	set('0.0.0.0', 0);
	expect(find('11.0.0.1')).toBe('0.0.0.0/0');
	expect(find('::1')).toBeUndefined();
});
