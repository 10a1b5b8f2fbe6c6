import { afterEach, beforeEach, expect, test } from 'bun:test';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
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
