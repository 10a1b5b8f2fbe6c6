// A store that forgets when the process ends: for tests, and for a control plane that only tries
// something out.

import { WeftError } from '../std/errors.ts';
import {
	checkWatchStart,
	checkWrite,
	conflictOf,
	HISTORY_CHARACTERS_MAX,
	HISTORY_EVENTS_MAX,
	revisionOf,
	WatchHub,
	weightOf,
} from './history.ts';
import type { Expectation, Store, StoredEntry, StoreEvent, Watch } from './store.ts';

export interface MemoryStoreOptions {
	/** Default `HISTORY_EVENTS_MAX`. */
	readonly historyEventsMax?: number;
}

export class MemoryStore implements Store {
	private readonly entries = new Map<string, StoredEntry>();
	private readonly hub = new WatchHub();
	private readonly historyEventsMax: number;
	private history: StoreEvent[] = [];
	private historyCharacters = 0;
	/** Watches may begin after this revision or a later one. */
	private oldestRevision = 0;
	private revision = 0;
	private closed = false;

	constructor(options: MemoryStoreOptions = {}) {
		this.historyEventsMax = options.historyEventsMax ?? HISTORY_EVENTS_MAX;
	}

	async get(key: string): Promise<StoredEntry | null> {
		this.checkOpen();
		return this.entries.get(key) ?? null;
	}

	async list(prefix: string): Promise<{ entries: readonly StoredEntry[]; revision: number }> {
		this.checkOpen();
		const entries = [...this.entries.values()].filter((entry) => entry.key.startsWith(prefix));
		entries.sort((a, b) => (a.key < b.key ? -1 : 1));
		return { entries, revision: this.revision };
	}

	async put(key: string, value: string, expect: Expectation): Promise<StoredEntry> {
		this.checkOpen();
		checkWrite(key, value);
		const previous = this.entries.get(key) ?? null;
		const conflict = conflictOf(key, previous, expect);
		if (conflict !== null) throw conflict;
		const revision = ++this.revision;
		const entry = { key, value, revision, createdRevision: previous?.createdRevision ?? revision };
		this.entries.set(key, entry);
		this.committed({ type: 'put', entry, previous });
		return entry;
	}

	async remove(key: string, expect: Expectation): Promise<StoredEntry | null> {
		this.checkOpen();
		const previous = this.entries.get(key) ?? null;
		const conflict = conflictOf(key, previous, expect);
		if (conflict !== null) throw conflict;
		if (previous === null) return null;
		this.entries.delete(key);
		this.committed({ type: 'remove', previous, revision: ++this.revision });
		return previous;
	}

	watch(prefix: string, afterRevision: number, onEvents: (events: readonly StoreEvent[]) => void): Watch {
		this.checkOpen();
		checkWatchStart(afterRevision, this.oldestRevision, this.revision);
		const backlog = this.history.filter((event) => revisionOf(event) > afterRevision);
		return this.hub.watch(prefix, backlog, onEvents);
	}

	async currentRevision(): Promise<number> {
		this.checkOpen();
		return this.revision;
	}

	async close(): Promise<void> {
		this.closed = true;
		this.hub.close();
	}

	private committed(event: StoreEvent): void {
		this.history.push(event);
		this.historyCharacters += weightOf(event);
		let dropped = 0;
		while (
			this.history.length - dropped > this.historyEventsMax ||
			(this.historyCharacters > HISTORY_CHARACTERS_MAX && dropped < this.history.length)
		) {
			const oldest = this.history[dropped];
			if (oldest === undefined) break;
			this.historyCharacters -= weightOf(oldest);
			this.oldestRevision = revisionOf(oldest);
			dropped++;
		}
		if (dropped > 0) this.history.splice(0, dropped);
		this.hub.publish([event]);
	}

	private checkOpen(): void {
		if (this.closed) throw new WeftError('store_closed', 'the store is closed');
	}
}
