// The embedded store: one SQLite file. Writes of one turn of the event loop are committed by one
// transaction (one fsync), and acknowledged after it. History lives in the file too, so watches
// resume after a restart. The file is locked for as long as it is open: one control plane only.
//
//   put, remove ──▶ queue ──(setImmediate)──▶ BEGIN … COMMIT ──▶ promises, events
//   get, list   ──▶ commit what is queued, then read: reads see every write that was called before

import { Database, type SQLQueryBindings } from 'bun:sqlite';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorMessage, WeftError } from '../std/errors.ts';
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

/** In `PRAGMA user_version`; a file of a newer version is refused. */
export const SQLITE_SCHEMA_VERSION = 1;
/** `weft` in ASCII, in `PRAGMA application_id`. */
const APPLICATION_ID = 0x77656674;
/** History is cut to its bounds each time it has grown by this many events beyond them. */
const HISTORY_SLACK = 256;

const SCHEMA = `
CREATE TABLE entries (
	key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL, created_revision INTEGER NOT NULL
) WITHOUT ROWID;
-- One row for each write. value NULL: removed. previous_* NULL: there was nothing before.
CREATE TABLE history (
	revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value TEXT, created_revision INTEGER,
	previous_value TEXT, previous_revision INTEGER, previous_created_revision INTEGER, weight INTEGER NOT NULL
);
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, oldest_revision INTEGER NOT NULL);
INSERT INTO state VALUES (1, 0, 0);
`;

export interface SqliteStoreOptions {
	/** Default `HISTORY_EVENTS_MAX`. */
	readonly historyEventsMax?: number;
}

interface EntryRow {
	key: string;
	value: string;
	revision: number;
	created_revision: number;
}

interface HistoryRow {
	revision: number;
	key: string;
	value: string | null;
	created_revision: number | null;
	previous_value: string | null;
	previous_revision: number | null;
	previous_created_revision: number | null;
}

interface Write {
	readonly key: string;
	/** Null: remove. */
	readonly value: string | null;
	readonly expect: Expectation;
	readonly resolve: (entry: StoredEntry | null) => void;
	readonly reject: (error: unknown) => void;
}

export class SqliteStore implements Store {
	private readonly hub = new WatchHub();
	private readonly historyEventsMax: number;
	private readonly statements: ReturnType<typeof prepare>;
	private queue: Write[] = [];
	private revision: number;
	private oldestRevision: number;
	private historyCount: number;
	private historyCharacters: number;
	private closed = false;

	private constructor(
		private readonly database: Database,
		options: SqliteStoreOptions,
	) {
		this.historyEventsMax = options.historyEventsMax ?? HISTORY_EVENTS_MAX;
		this.statements = prepare(database);
		const state = this.statements.state.get();
		const size = this.statements.historySize.get();
		this.revision = state?.revision ?? 0;
		this.oldestRevision = state?.oldest_revision ?? 0;
		this.historyCount = size?.count ?? 0;
		this.historyCharacters = size?.weight ?? 0;
	}

	/**
	 * Makes the file (mode 0600) and its folder (0700) where they are missing.
	 * @throws WeftError `store_locked` (another control plane has it), `store_version`, `store_failed`
	 */
	static open(path: string, options: SqliteStoreOptions = {}): SqliteStore {
		let database: Database | null = null;
		try {
			mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
			makeFile(path);
			database = new Database(path, { readwrite: true, strict: true });
			prepareFile(database, path);
			return new SqliteStore(database, options);
		} catch (error) {
			database?.close();
			throw error instanceof WeftError ? error : translated(error, path);
		}
	}

	async get(key: string): Promise<StoredEntry | null> {
		this.checkOpen();
		this.commit();
		return this.read(key);
	}

	async list(prefix: string): Promise<{ entries: readonly StoredEntry[]; revision: number }> {
		this.checkOpen();
		this.commit();
		const rows = this.statements.list.all(prefix, prefixEnd(prefix));
		return { entries: rows.map(toEntry), revision: this.revision };
	}

	async put(key: string, value: string, expect: Expectation): Promise<StoredEntry> {
		checkWrite(key, value);
		const entry = await this.enqueue(key, value, expect);
		if (entry === null) throw new WeftError('store_failed', `${key}: a write gave no entry`);
		return entry;
	}

	remove(key: string, expect: Expectation): Promise<StoredEntry | null> {
		return this.enqueue(key, null, expect);
	}

	watch(prefix: string, afterRevision: number, onEvents: (events: readonly StoreEvent[]) => void): Watch {
		this.checkOpen();
		this.commit();
		checkWatchStart(afterRevision, this.oldestRevision, this.revision);
		const backlog = afterRevision < this.revision ? this.statements.history.all(afterRevision).map(toEvent) : [];
		return this.hub.watch(prefix, backlog, onEvents);
	}

	async currentRevision(): Promise<number> {
		this.checkOpen();
		this.commit();
		return this.revision;
	}

	async close(): Promise<void> {
		if (this.closed) return;
		this.commit();
		this.closed = true;
		this.hub.close();
		for (const statement of Object.values(this.statements)) statement.finalize();
		this.database.close();
	}

	private async enqueue(key: string, value: string | null, expect: Expectation): Promise<StoredEntry | null> {
		this.checkOpen();
		return await new Promise((resolve, reject) => {
			this.queue.push({ key, value, expect, resolve, reject });
			if (this.queue.length === 1) setImmediate(() => this.commit());
		});
	}

	/** Writes what is queued; nothing is acknowledged or told to a watch before it is on disk. */
	private commit(): void {
		if (this.queue.length === 0 || this.closed) return;
		const writes = this.queue;
		this.queue = [];
		const before = { revision: this.revision, count: this.historyCount, characters: this.historyCharacters };
		const oldestBefore = this.oldestRevision;
		const events: StoreEvent[] = [];
		const acknowledge: (() => void)[] = [];
		try {
			this.database.run('BEGIN IMMEDIATE');
			for (const write of writes) acknowledge.push(this.apply(write, events));
			this.trimHistory();
			this.statements.saveState.run(this.revision, this.oldestRevision);
			this.database.run('COMMIT');
		} catch (error) {
			if (this.database.inTransaction) this.database.run('ROLLBACK');
			this.revision = before.revision;
			this.oldestRevision = oldestBefore;
			this.historyCount = before.count;
			this.historyCharacters = before.characters;
			const failure = translated(error, this.database.filename);
			for (const write of writes) write.reject(failure);
			return;
		}
		for (const tell of acknowledge) tell();
		this.hub.publish(events);
	}

	/** Inside the transaction. Returns how to answer once it is committed. */
	private apply(write: Write, events: StoreEvent[]): () => void {
		const previous = this.read(write.key);
		const conflict = conflictOf(write.key, previous, write.expect);
		if (conflict !== null) return () => write.reject(conflict);
		if (write.value === null) {
			if (previous === null) return () => write.resolve(null);
			this.statements.remove.run(write.key);
			this.record({ type: 'remove', previous, revision: ++this.revision }, events);
			return () => write.resolve(previous);
		}
		const revision = ++this.revision;
		const createdRevision = previous?.createdRevision ?? revision;
		const entry = { key: write.key, value: write.value, revision, createdRevision };
		this.statements.put.run(entry.key, entry.value, revision, createdRevision);
		this.record({ type: 'put', entry, previous }, events);
		return () => write.resolve(entry);
	}

	private record(event: StoreEvent, events: StoreEvent[]): void {
		const { previous } = event;
		const entry = event.type === 'put' ? event.entry : null;
		const weight = weightOf(event);
		this.statements.record.run(
			revisionOf(event),
			(entry ?? previous)?.key ?? '',
			entry?.value ?? null,
			entry?.createdRevision ?? null,
			previous?.value ?? null,
			previous?.revision ?? null,
			previous?.createdRevision ?? null,
			weight,
		);
		this.historyCount++;
		this.historyCharacters += weight;
		events.push(event);
	}

	private trimHistory(): void {
		const tooMany = this.historyCount > this.historyEventsMax + Math.min(HISTORY_SLACK, this.historyEventsMax);
		if (!tooMany && this.historyCharacters <= HISTORY_CHARACTERS_MAX) return;
		const rows = this.statements.historyWeights.all();
		for (const { revision, weight } of rows) {
			if (this.historyCount <= this.historyEventsMax && this.historyCharacters <= HISTORY_CHARACTERS_MAX) break;
			this.historyCount--;
			this.historyCharacters -= weight;
			this.oldestRevision = revision;
		}
		this.statements.forget.run(this.oldestRevision);
	}

	private read(key: string): StoredEntry | null {
		const row = this.statements.get.get(key);
		return row === null ? null : toEntry(row);
	}

	private checkOpen(): void {
		if (this.closed) throw new WeftError('store_closed', 'the store is closed');
	}
}

/**
 * SQLite gives its -wal file the mode of the main file, so that is made first. Never opens a file that is
 * there: closing it again would drop the POSIX locks that this process may hold on it.
 */
function makeFile(path: string): void {
	if (existsSync(path)) chmodSync(path, 0o600);
	else closeSync(openSync(path, 'ax', 0o600));
}

function prepare(database: Database) {
	const query = <Row, Parameters extends SQLQueryBindings[]>(sql: string) => database.prepare<Row, Parameters>(sql);
	return {
		get: query<EntryRow, [string]>('SELECT * FROM entries WHERE key = ?'),
		list: query<EntryRow, [string, string]>('SELECT * FROM entries WHERE key >= ? AND key < ? ORDER BY key'),
		put: query<null, [string, string, number, number]>('INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)'),
		remove: query<null, [string]>('DELETE FROM entries WHERE key = ?'),
		record: query<null, SQLQueryBindings[]>('INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)'),
		history: query<HistoryRow, [number]>('SELECT * FROM history WHERE revision > ? ORDER BY revision'),
		historySize: query<{ count: number; weight: number }, []>(
			'SELECT count(*) AS count, coalesce(sum(weight), 0) AS weight FROM history',
		),
		historyWeights: query<{ revision: number; weight: number }, []>(
			'SELECT revision, weight FROM history ORDER BY revision',
		),
		forget: query<null, [number]>('DELETE FROM history WHERE revision <= ?'),
		state: query<{ revision: number; oldest_revision: number }, []>('SELECT * FROM state'),
		saveState: query<null, [number, number]>('UPDATE state SET revision = ?, oldest_revision = ?'),
	};
}

/** Takes the lock, checks whose file it is, makes the tables of a new one. */
function prepareFile(database: Database, path: string): void {
	// Exclusive before WAL: the lock is then held until the file is closed, and there is no -shm file.
	database.run('PRAGMA locking_mode = EXCLUSIVE');
	database.run('PRAGMA journal_mode = WAL');
	database.run('PRAGMA synchronous = FULL');
	database.run('BEGIN IMMEDIATE');
	const version = pragma(database, 'user_version');
	const application = pragma(database, 'application_id');
	const tables = database.query<{ count: number }, []>('SELECT count(*) AS count FROM sqlite_schema').get();
	const isNew = version === 0 && application === 0 && tables?.count === 0;
	if (isNew) {
		database.run(SCHEMA);
		database.run(`PRAGMA application_id = ${APPLICATION_ID}`);
		database.run(`PRAGMA user_version = ${SQLITE_SCHEMA_VERSION}`);
	}
	database.run('COMMIT');
	if (!isNew && application !== APPLICATION_ID) throw new WeftError('store_version', `${path} is not a store of weft`);
	if (!isNew && version !== SQLITE_SCHEMA_VERSION) {
		throw new WeftError(
			'store_version',
			`${path} has schema version ${version}, this weft knows ${SQLITE_SCHEMA_VERSION}: use the weft that wrote it`,
		);
	}
}

function pragma(database: Database, name: 'user_version' | 'application_id'): number {
	const row = database.query<Record<string, number>, []>(`PRAGMA ${name}`).get();
	return row?.[name] ?? 0;
}

function translated(error: unknown, path: string): WeftError {
	const message = errorMessage(error);
	if (/database is locked|SQLITE_BUSY/.test(message)) {
		return new WeftError('store_locked', `${path} is in use by another control plane: stop it, or use another --data`, {
			cause: error,
		});
	}
	return new WeftError('store_failed', `${path}: ${message}`, { cause: error });
}

function toEntry(row: EntryRow): StoredEntry {
	return { key: row.key, value: row.value, revision: row.revision, createdRevision: row.created_revision };
}

function toEvent(row: HistoryRow): StoreEvent {
	const previous =
		row.previous_value === null
			? null
			: {
					key: row.key,
					value: row.previous_value,
					revision: row.previous_revision ?? 0,
					createdRevision: row.previous_created_revision ?? 0,
				};
	if (row.value !== null) {
		const entry = {
			key: row.key,
			value: row.value,
			revision: row.revision,
			createdRevision: row.created_revision ?? row.revision,
		};
		return { type: 'put', entry, previous };
	}
	if (previous === null) throw new WeftError('store_failed', `history at revision ${row.revision} is damaged`);
	return { type: 'remove', previous, revision: row.revision };
}

/** The first key after all that begin with `prefix`; keys are below U+FFFF. */
function prefixEnd(prefix: string): string {
	return `${prefix}\uffff`;
}
