// Where objects live. One interface; each engine (memory, SQLite, later etcd and the Kubernetes
// API) keeps the same promises: a revision that only grows, compare-and-swap on it, and a watch
// that misses nothing from a revision on. What `put` and `remove` have returned survives a crash.

/** `group/kind` is the store's business only as a prefix: `/GROUP/KIND/NAMESPACE/NAME`. */
export interface StoredEntry {
	readonly key: string;
	/** JSON text. */
	readonly value: string;
	/** The store's revision when this entry was written last. */
	readonly revision: number;
	/** The store's revision when this entry was made. */
	readonly createdRevision: number;
}

export type StoreEvent =
	| { readonly type: 'put'; readonly entry: StoredEntry; readonly previous: StoredEntry | null }
	| { readonly type: 'remove'; readonly previous: StoredEntry; readonly revision: number };

export type Expectation =
	/** Whatever is there. */
	| { readonly kind: 'any' }
	/** Nothing is there. */
	| { readonly kind: 'absent' }
	/** The entry is at exactly this revision. */
	| { readonly kind: 'revision'; readonly revision: number };

export interface Watch {
	/** Idempotent. No event follows. */
	close(): void;
}

export interface Store {
	get(key: string): Promise<StoredEntry | null>;
	/** All entries whose key starts with `prefix`, by key, with the revision at which that was true. */
	list(prefix: string): Promise<{ readonly entries: readonly StoredEntry[]; readonly revision: number }>;
	/** @throws WeftError `conflict` (message says what was found) */
	put(key: string, value: string, expect: Expectation): Promise<StoredEntry>;
	/** Returns what was removed, null when nothing was there. @throws WeftError `conflict` */
	remove(key: string, expect: Expectation): Promise<StoredEntry | null>;
	/**
	 * Every event under `prefix` with a revision above `afterRevision`, in order, each once, in batches of
	 * what happened together. @throws WeftError `compacted` when that history is gone: list again.
	 */
	watch(prefix: string, afterRevision: number, onEvents: (events: readonly StoreEvent[]) => void): Watch;
	currentRevision(): Promise<number>;
	close(): Promise<void>;
}
