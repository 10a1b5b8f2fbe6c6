import { expect, test } from 'bun:test';
import { erased } from '../../config/kinds.ts';
import { ObjectStore } from '../../config/object-store.ts';
import { SERVICE } from '../../config/service.ts';
import { VirtualClock } from '../../std/clock.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import type { Watch } from '../../store/store.ts';
import { watchResponse } from './watch-stream.ts';

/** Counts the watches that are open. */
class CountingStore extends MemoryStore {
	open = 0;

	override watch(...given: Parameters<MemoryStore['watch']>): Watch {
		const watch = super.watch(...given);
		this.open += 1;
		return {
			close: () => {
				this.open -= 1;
				watch.close();
			},
		};
	}
}

async function setUp() {
	const store = new CountingStore();
	const clock = new VirtualClock();
	const kind = erased(SERVICE);
	const request = {
		objects: await ObjectStore.open(store),
		clock,
		kind,
		namespace: undefined,
		selector: null,
		how: { form: 'object', kind, version: 'v1', include: 'Metadata', nowMs: 0 },
		afterRevision: null,
		markInitialEnd: false,
		bookmarks: true,
		timeoutSeconds: null,
	} as const;
	return { store, request };
}

test('a watch ends with its client', async () => {
	const { store, request } = await setUp();
	const client = new AbortController();
	const response = await watchResponse(request, client.signal);
	expect(store.open).toBe(1);
	client.abort();
	expect(store.open).toBe(0);
	expect((await response.text()).trim()).toBe('');
});

test('a client that goes while the list is read leaves no watch behind', async () => {
	const { store, request } = await setUp();
	const client = new AbortController();
	const response = watchResponse(request, client.signal);
	client.abort();
	expect((await (await response).text()).trim()).toBe('');
	expect(store.open).toBe(0);
});
