import { afterAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../std/errors.ts';
import { SqliteStore } from './sqlite-store.ts';
import { storeContract } from './store.contract.ts';
import type { StoreEvent } from './store.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-store-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function newPath(): string {
	return join(folder, `${++files}`, 'weft.db');
}

function codeOfOpening(path: string): string {
	try {
		SqliteStore.open(path);
	} catch (error) {
		return error instanceof WeftError ? error.code : String(error);
	}
	return 'none';
}

const ANY = { kind: 'any' } as const;

describe('SqliteStore', () => {
	storeContract((options) => SqliteStore.open(newPath(), options));

	test('keeps entries, revision and history over a restart', async () => {
		const path = newPath();
		const before = SqliteStore.open(path);
		await before.put('/a', '1', ANY);
		await before.put('/a', '2', ANY);
		await before.put('/b', '3', ANY);
		await before.remove('/b', ANY);
		await before.close();
		const store = SqliteStore.open(path);
		expect(await store.currentRevision()).toBe(4);
		expect(await store.get('/a')).toEqual({ key: '/a', value: '2', revision: 2, createdRevision: 1 });
		const events = await new Promise<readonly StoreEvent[]>((resolve) => store.watch('/', 1, resolve));
		expect(events.map((event) => event.type)).toEqual(['put', 'put', 'remove']);
		await store.close();
	});

	test('writes of one turn arrive as one batch', async () => {
		const store = SqliteStore.open(newPath());
		const batches: number[] = [];
		store.watch('/', 0, (events) => batches.push(events.length));
		await Promise.all(['/a', '/b', '/c'].map((key) => store.put(key, 'v', ANY)));
		await store.currentRevision();
		expect(batches).toEqual([3]);
		await store.close();
	});

	test('the file is for its owner only', async () => {
		const path = newPath();
		const store = SqliteStore.open(path);
		await store.put('/a', '1', ANY);
		expect(statSync(path).mode & 0o777).toBe(0o600);
		expect(statSync(`${path}-wal`).mode & 0o777).toBe(0o600);
		await store.close();
	});

	test('a second control plane on the same file is refused', async () => {
		const path = newPath();
		const store = SqliteStore.open(path);
		expect(codeOfOpening(path)).toBe('store_locked');
		const script = `import { SqliteStore } from ${JSON.stringify(join(import.meta.dir, 'sqlite-store.ts'))};
			try { SqliteStore.open(${JSON.stringify(path)}); console.log('opened'); } catch (error) { console.log(error.code); }`;
		const child = Bun.spawnSync([process.execPath, '-e', script]);
		expect(child.stdout.toString().trim()).toBe('store_locked');
		await store.put('/still', 'mine', ANY);
		await store.close();
		expect(codeOfOpening(path)).toBe('none');
	});

	test("refuses a file that is not weft's, or of a newer version", async () => {
		const other = newPath();
		const store = SqliteStore.open(other);
		await store.close();
		const { Database } = await import('bun:sqlite');
		const database = new Database(other);
		database.run('PRAGMA user_version = 99');
		database.close();
		expect(codeOfOpening(other)).toBe('store_version');
		const text = join(folder, 'text.db');
		writeFileSync(text, 'this is no database, but long enough to be read as one '.repeat(40));
		expect(codeOfOpening(text)).toBe('store_failed');
	});

	test('kill -9 loses nothing that was acknowledged', async () => {
		const path = newPath();
		const script = `import { SqliteStore } from ${JSON.stringify(join(import.meta.dir, 'sqlite-store.ts'))};
			const store = SqliteStore.open(${JSON.stringify(path)});
			for (let n = 0; ; n++) {
				await Promise.all([0, 1, 2].map((i) => store.put('/k/' + (n * 3 + i), 'value ' + (n * 3 + i), { kind: 'absent' })));
				require('node:fs').writeSync(1, n + '\\n');
			}`;
		const child = Bun.spawn([process.execPath, '-e', script], { stdout: 'pipe', stderr: 'inherit' });
		let output = '';
		const decoder = new TextDecoder();
		for await (const bytes of child.stdout) {
			output += decoder.decode(bytes, { stream: true });
			if (output.split('\n').length > 40 && !child.killed) child.kill('SIGKILL');
		}
		await child.exited;
		expect(child.signalCode).toBe('SIGKILL');
		const acknowledged = output.slice(0, output.lastIndexOf('\n')).split('\n').length;
		const store = SqliteStore.open(path);
		const found = new Map((await store.list('/k/')).entries.map((entry) => [entry.key, entry.value]));
		for (let index = 0; index < acknowledged * 3; index++) expect(found.get(`/k/${index}`)).toBe(`value ${index}`);
		expect(await store.currentRevision()).toBe(found.size);
		await store.close();
	});
});
