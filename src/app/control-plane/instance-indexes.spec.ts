import { expect, test } from 'bun:test';
import { MemoryStore } from '../../store/memory-store.ts';
import { INSTANCE_INDEX_MAX } from '../instance-addresses.ts';
import { InstanceIndexes } from './instance-indexes.ts';

function setUp() {
	const store = new MemoryStore();
	const connected = new Set<string>();
	const alive = new Set<string>();
	const inUse = new Set<number>();
	const open = (first = 1) =>
		InstanceIndexes.open(
			store,
			(instance) => connected.has(instance),
			(stamp) => alive.has(stamp),
			{ first: () => first, inUse: () => inUse },
		);
	return { connected, alive, inUse, open };
}

test('indexes are given one after the other, and one of the dead is not given at once again', async () => {
	const { alive, open } = setUp();
	const indexes = await open();
	for (const stamp of ['a', 'b', 'c']) alive.add(stamp);
	expect(await indexes.take('one', 'a')).toBe(1);
	expect(await indexes.take('two', 'b')).toBe(2);
	alive.delete('b');
	expect(await indexes.take('three', 'c')).toBe(3);
});

test('two that ask at the same time get different ones', async () => {
	const { alive, open } = setUp();
	const indexes = await open();
	alive.add('a');
	const all = await Promise.all(Array.from({ length: 20 }, (_, i) => indexes.take(`i${i}`, 'a')));
	expect(new Set(all).size).toBe(20);
});

test('after a restart, what lives has what it had, and asks for it again', async () => {
	const { alive, open } = setUp();
	alive.add('a');
	await (await open()).take('one', 'a');
	const restarted = await open();
	expect(restarted.has('one')).toBe(true);
	await restarted.retake(1, 'one', 'a');
	expect(await restarted.take('two', 'a')).toBe(2);
	await expect(restarted.retake(1, 'other', 'a')).rejects.toMatchObject({ code: 'conflict' });
});

test('an instance whose process cannot be seen has its index while it is connected', async () => {
	const { connected, open } = setUp();
	const indexes = await open();
	await indexes.take('one', '');
	connected.add('one');
	expect(indexes.has('one')).toBe(true);
	connected.delete('one');
	expect(indexes.has('one')).toBe(false);
	await indexes.retake(1, 'other', '');
});

test('when all are taken that is said; the first that is free is found behind the end', async () => {
	const { alive, open } = setUp();
	const indexes = await open();
	alive.add('kept');
	for (let i = 1; i <= INSTANCE_INDEX_MAX; i++) {
		const stamp = i === 5 ? 'five' : 'kept';
		alive.add(stamp);
		await indexes.take(`i${i}`, stamp);
	}
	await expect(indexes.take('more', 'kept')).rejects.toMatchObject({ code: 'no_index_left' });
	alive.delete('five');
	expect(await indexes.take('more', 'kept')).toBe(5);
});

test('what an instance joined as is known by its name, also after a restart, until another has its index', async () => {
	const { alive, open } = setUp();
	alive.add('a');
	const joined = {
		namespace: 'shop',
		serviceAccount: 'reviews',
		service: 'reviews',
		version: 'v1',
		workload: 'reviews-v1',
		ports: [{ port: 9080, protocol: 'http' as const }],
	};
	await (await open()).take('one', 'a', joined);
	const restarted = await open();
	expect(restarted.find('shop', 'one')).toEqual({ ...joined, address: '127.128.8.0' });
	expect(restarted.find('default', 'one')).toBeNull();
	alive.delete('a');
	await restarted.retake(1, 'two', '', { ...joined, service: 'ratings' });
	expect(restarted.find('shop', 'one')).toBeNull();
	expect(restarted.find('shop', 'two')?.service).toBe('ratings');
});

test('a name that lives on one index cannot be had on another', async () => {
	const { alive, open } = setUp();
	alive.add('a');
	const indexes = await open();
	await indexes.take('one', 'a');
	await expect(indexes.retake(7, 'one', 'a')).rejects.toMatchObject({ code: 'conflict' });
});

test('addresses on which something listens, such as the sidecars of another mesh, are passed over', async () => {
	const { alive, inUse, open } = setUp();
	for (const index of [5, 6]) inUse.add(index);
	alive.add('a');
	const indexes = await open(5);
	expect(await indexes.take('one', 'a')).toBe(7);
});

test('a mesh that has given none begins where it is told, and goes on where it was', async () => {
	const { alive, open } = setUp();
	alive.add('a');
	expect(await (await open(INSTANCE_INDEX_MAX)).take('one', 'a')).toBe(INSTANCE_INDEX_MAX);
	expect(await (await open(700)).take('two', 'a')).toBe(1);
});
