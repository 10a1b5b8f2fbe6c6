// What every engine must do. Each engine's spec runs this on stores that it makes.

import { expect, test } from 'bun:test';
import { WeftError } from '../std/errors.ts';
import type { Store, StoreEvent } from './store.ts';

const ANY = { kind: 'any' } as const;
const ABSENT = { kind: 'absent' } as const;

async function codeOf(action: () => unknown): Promise<string> {
	try {
		await action();
	} catch (error) {
		if (error instanceof WeftError) return error.code;
		throw error;
	}
	return 'none';
}

/** A watch whose batches can be awaited: `seen(n)` resolves when n events have come. */
function collector() {
	const events: StoreEvent[] = [];
	const batches: number[] = [];
	let waiting: { count: number; resolve: () => void } | null = null;
	return {
		events,
		batches,
		onEvents: (batch: readonly StoreEvent[]) => {
			events.push(...batch);
			batches.push(batch.length);
			if (waiting !== null && events.length >= waiting.count) waiting.resolve();
		},
		seen: (count: number) =>
			new Promise<void>((resolve) => {
				if (events.length >= count) resolve();
				else waiting = { count, resolve };
			}),
	};
}

function summary(events: readonly StoreEvent[]): string[] {
	return events.map((event) =>
		event.type === 'put'
			? `${event.entry.revision} put ${event.entry.key}=${event.entry.value} was ${event.previous?.value ?? 'nothing'}`
			: `${event.revision} remove ${event.previous.key} was ${event.previous.value}`,
	);
}

export function storeContract(open: (options: { historyEventsMax?: number }) => Store): void {
	test('gives back what was put, with revisions that grow', async () => {
		const store = open({});
		expect(await store.currentRevision()).toBe(0);
		const first = await store.put('/a/1', 'one', ABSENT);
		const second = await store.put('/a/1', 'two', ANY);
		expect(first).toEqual({ key: '/a/1', value: 'one', revision: 1, createdRevision: 1 });
		expect(second).toEqual({ key: '/a/1', value: 'two', revision: 2, createdRevision: 1 });
		expect(await store.get('/a/1')).toEqual(second);
		expect(await store.get('/a/2')).toBeNull();
		await store.close();
	});

	test('compares and swaps: of two writers from the same revision one wins', async () => {
		const store = open({});
		const { revision } = await store.put('/k', 'v', ANY);
		const expectation = { kind: 'revision', revision } as const;
		const both = await Promise.allSettled([store.put('/k', 'a', expectation), store.put('/k', 'b', expectation)]);
		expect(both.map((one) => one.status)).toEqual(['fulfilled', 'rejected']);
		expect((await store.get('/k'))?.value).toBe('a');
		expect(await codeOf(() => store.put('/k', 'c', ABSENT))).toBe('conflict');
		expect(await codeOf(() => store.put('/new', 'c', expectation))).toBe('conflict');
		expect(await codeOf(() => store.remove('/k', expectation))).toBe('conflict');
		expect(await store.currentRevision()).toBe(2);
		await store.close();
	});

	test('removes, and says what was there', async () => {
		const store = open({});
		const put = await store.put('/k', 'v', ANY);
		expect(await store.remove('/k', { kind: 'revision', revision: put.revision })).toEqual(put);
		expect(await store.remove('/k', ANY)).toBeNull();
		expect(await store.get('/k')).toBeNull();
		const again = await store.put('/k', 'w', ABSENT);
		expect(again).toEqual({ key: '/k', value: 'w', revision: 3, createdRevision: 3 });
		await store.close();
	});

	test('lists by prefix, by key, with the revision', async () => {
		const store = open({});
		for (const key of ['/b/1', '/a/2', '/a/10', '/ab/1', '/a/ü']) await store.put(key, key, ANY);
		const { entries, revision } = await store.list('/a/');
		expect(entries.map((entry) => entry.key)).toEqual(['/a/10', '/a/2', '/a/ü']);
		expect(revision).toBe(5);
		expect((await store.list('')).entries).toHaveLength(5);
		expect((await store.list('/c/')).entries).toEqual([]);
		await store.close();
	});

	test('a watch from a past revision misses nothing and repeats nothing', async () => {
		const store = open({});
		await store.put('/w/a', '1', ANY);
		await store.put('/w/b', '2', ANY);
		await store.put('/other', 'x', ANY);
		await store.remove('/w/a', ANY);
		const watched = collector();
		const watch = store.watch('/w/', 1, watched.onEvents);
		expect(watched.events).toEqual([]);
		await store.put('/w/b', '3', ANY);
		await watched.seen(3);
		expect(summary(watched.events)).toEqual(['2 put /w/b=2 was nothing', '4 remove /w/a was 1', '5 put /w/b=3 was 2']);
		watch.close();
		await store.put('/w/b', '4', ANY);
		const after = collector();
		store.watch('/w/', 5, after.onEvents);
		await after.seen(1);
		expect(watched.events).toHaveLength(3);
		await store.close();
	});

	test('history is bounded: a watch from before it says compacted', async () => {
		const store = open({ historyEventsMax: 3 });
		for (let index = 0; index < 12; index++) await store.put('/k', String(index), ANY);
		expect(await codeOf(() => store.watch('/', 0, () => {}))).toBe('compacted');
		expect(await codeOf(() => store.watch('/', 13, () => {}))).toBe('compacted');
		const watched = collector();
		store.watch('/', 9, watched.onEvents);
		await watched.seen(3);
		expect(watched.events.map((event) => (event.type === 'put' ? event.entry.value : ''))).toEqual(['9', '10', '11']);
		await store.close();
	});

	test('a watcher that throws harms nobody else', async () => {
		const store = open({});
		store.watch('/', 0, () => {
			throw new Error('mine');
		});
		const watched = collector();
		store.watch('/', 0, watched.onEvents);
		await store.put('/k', 'v', ANY);
		await watched.seen(1);
		expect(watched.events).toHaveLength(1);
		await store.close();
	});

	test('refuses keys and values without bounds, and any use after close', async () => {
		const store = open({});
		expect(await codeOf(() => store.put('', 'v', ANY))).toBe('too_large');
		expect(await codeOf(() => store.put('/k', 'v'.repeat((4 << 20) + 1), ANY))).toBe('too_large');
		await store.close();
		await store.close();
		expect(await codeOf(() => store.get('/k'))).toBe('store_closed');
		expect(await codeOf(() => store.put('/k', 'v', ANY))).toBe('store_closed');
	});
}
