import { afterEach, beforeEach, expect, test } from 'bun:test';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockData } from './data-lock.ts';
import { apiToken, writeKubeconfig } from './kubeconfig.ts';

let directory: string;
beforeEach(() => {
	directory = mkdtempSync(join(tmpdir(), 'weft-data-'));
});
afterEach(() => {
	rmSync(directory, { recursive: true, force: true });
});

test('a data directory has one holder at a time, who is named', () => {
	const file = join(directory, 'data', 'lock');
	const lock = lockData(file);
	expect(statSync(join(directory, 'data')).mode & 0o777).toBe(0o700);
	expect(() => lockData(file)).toThrow(
		`a control plane runs on ${join(directory, 'data')} already (process ${process.pid})`,
	);
	lock.release();
	lockData(file).release();
});

test('a directory that cannot be made is one clear line', () => {
	writeFileSync(join(directory, 'file'), '');
	expect(() => lockData(join(directory, 'file', 'data', 'lock'))).toThrow('cannot be used');
});

test('a directory of others, as /tmp, is refused and stays open to them', () => {
	const shared = join(directory, 'shared');
	mkdirSync(shared);
	chmodSync(shared, 0o1777);
	expect(() => lockData(join(shared, 'lock'))).toThrow(/open to other users/);
	const home = join(directory, 'home');
	mkdirSync(home, { mode: 0o755 });
	writeFileSync(join(home, '.profile'), '');
	expect(() => lockData(join(home, 'lock'))).toThrow(/open to other users/);
	expect(statSync(shared).mode & 0o7777).toBe(0o1777);
	expect(statSync(home).mode & 0o777).toBe(0o755);
});

test('an empty directory that one made for it is closed to others', () => {
	const empty = join(directory, 'empty');
	mkdirSync(empty, { mode: 0o755 });
	lockData(join(empty, 'lock')).release();
	expect(statSync(empty).mode & 0o777).toBe(0o700);
});

test.skipIf(process.geteuid?.() !== 0)(
	'a directory that another user owns is refused: its owner could change it',
	() => {
		const foreign = join(directory, 'foreign');
		mkdirSync(foreign, { mode: 0o700 });
		chownSync(foreign, 65534, 65534);
		expect(() => lockData(join(foreign, 'lock'))).toThrow(/belongs to the user with id 65534/);
	},
);

test('the token is made once, for its owner only', () => {
	const file = join(directory, 'token');
	const token = apiToken(file);
	expect(token).toMatch(/^[\w-]{43}$/);
	expect(statSync(file).mode & 0o777).toBe(0o600);
	expect(apiToken(file)).toBe(token);
	chmodSync(file, 0o644);
	expect(() => apiToken(file)).toThrow('may be read by others');
});

test('the kubeconfig says where, whom to trust and the token, for its owner only', () => {
	const file = join(directory, 'kubeconfig');
	writeKubeconfig(file, { server: 'https://127.0.0.1:15443', rootsPem: 'ROOTS', token: 'TOKEN' });
	expect(statSync(file).mode & 0o777).toBe(0o600);
	const parsed = JSON.parse(readFileSync(file, 'utf8'));
	expect(parsed.clusters[0].cluster.server).toBe('https://127.0.0.1:15443');
	expect(atob(parsed.clusters[0].cluster['certificate-authority-data'])).toBe('ROOTS');
	expect(parsed.users[0].user.token).toBe('TOKEN');
});
