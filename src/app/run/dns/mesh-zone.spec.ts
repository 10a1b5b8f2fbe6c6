import { expect, test } from 'bun:test';
import { MeshZone } from './mesh-zone.ts';

const A = 1;
const AAAA = 28;

function zone(): MeshZone {
	const made = new MeshZone('shop');
	made.set([
		{ name: 'ratings', namespace: 'shop', address: '127.96.0.1' },
		{ name: 'ledger', namespace: 'bank', address: '127.96.0.2' },
	]);
	return made;
}

test('a service has the names of the program’s hosts file, in letters of any case', () => {
	const names = zone();
	for (const name of ['ratings', 'ratings.shop', 'Ratings.shop.SVC', 'ratings.shop.svc.cluster.local']) {
		expect(names.lookUp(name, A)).toEqual({ kind: 'address', address: '127.96.0.1' });
	}
	expect(names.lookUp('ledger.bank', A)).toEqual({ kind: 'address', address: '127.96.0.2' });
	expect(names.lookUp('ledger', A)).toEqual({ kind: 'elsewhere' });
});

test('what has no IPv6 address, or only names below it, is there without data', () => {
	const names = zone();
	for (const name of ['ratings', 'bank.svc.cluster.local', 'svc.cluster.local', 'cluster.local']) {
		expect(names.lookUp(name, AAAA)).toEqual({ kind: 'no data' });
	}
});

test('below cluster.local nobody else is asked; elsewhere the mesh says nothing', () => {
	const names = zone();
	expect(names.lookUp('example.com.shop.svc.cluster.local', A)).toEqual({ kind: 'no such name' });
	expect(names.lookUp('example.com', A)).toEqual({ kind: 'elsewhere' });
	expect(names.lookUp('notcluster.local', A)).toEqual({ kind: 'elsewhere' });
});

test('a service that is gone has no name any more', () => {
	const names = zone();
	names.set([]);
	expect(names.lookUp('ratings.shop.svc.cluster.local', A)).toEqual({ kind: 'no such name' });
	expect(names.lookUp('ratings', A)).toEqual({ kind: 'elsewhere' });
});
