import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MachineResolvers, parseResolvConf, programResolvConf } from './resolv-conf.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-resolv-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const TEXT = `# a comment
nameserver 192.0.2.1 ; another
nameserver fe80::1%eth0
nameserver 2001:db8::53
search lan example.com
options ndots:2 trust-ad
nameserver not-an-address
`;

test('reads what libc reads', () => {
	expect(parseResolvConf(TEXT)).toEqual({
		nameservers: ['192.0.2.1', '2001:db8::53'],
		search: ['lan', 'example.com'],
		options: ['ndots:2', 'trust-ad'],
	});
	const four = [1, 2, 3, 4].map((n) => `nameserver 192.0.2.${n}`).join('\n');
	expect(parseResolvConf(four).nameservers).toHaveLength(3);
});

test('the program looks below its namespace first, and asks the relay', () => {
	expect(programResolvConf(parseResolvConf(TEXT), 'shop')).toBe(
		'nameserver 127.0.0.53\nsearch shop.svc.cluster.local svc.cluster.local cluster.local lan example.com\noptions ndots:2\n',
	);
});

test('a file that changes is read again; without one, this machine is asked', () => {
	const path = join(directory, 'resolv.conf');
	const resolvers = new MachineResolvers(path);
	const hosts = () => resolvers.current().map(({ host, port }) => `${host}:${port}`);
	expect(hosts()).toEqual(['127.0.0.1:53']);
	writeFileSync(path, 'nameserver 192.0.2.1\n');
	expect(hosts()).toEqual(['192.0.2.1:53']);
	writeFileSync(path, 'nameserver 192.0.2.20\n');
	expect(hosts()).toEqual(['192.0.2.20:53']);
});
