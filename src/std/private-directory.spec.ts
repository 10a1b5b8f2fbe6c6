import { afterAll, expect, test } from 'bun:test';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { preparePrivateDirectory } from './private-directory.ts';

const parent = mkdtempSync(join(tmpdir(), 'weft-private-'));
afterAll(() => rmSync(parent, { recursive: true, force: true }));

test('is made for its user only, with what is missing above it', () => {
	const path = join(parent, 'a/b');
	preparePrivateDirectory(path);
	expect(statSync(path).mode & 0o777).toBe(0o700);
});

test('one that is there keeps its mode, so that nobody else is locked out of it', () => {
	const path = join(parent, 'readable');
	mkdirSync(path);
	chmodSync(path, 0o755);
	preparePrivateDirectory(path);
	expect(statSync(path).mode & 0o777).toBe(0o755);
});

test.each([0o1777, 0o777, 0o775])('one that others may write into is refused: %o', (mode) => {
	const path = join(parent, `mode-${mode}`);
	mkdirSync(path);
	chmodSync(path, mode);
	expect(() => preparePrivateDirectory(path)).toThrow(/others may write into it/);
});

test('what is no directory is refused', () => {
	const path = join(parent, 'file');
	writeFileSync(path, '');
	expect(() => preparePrivateDirectory(path)).toThrow(/cannot be used/);
});

test.skipIf(process.geteuid?.() !== 0)('one of another user is refused', () => {
	const path = join(parent, 'foreign');
	mkdirSync(path, { mode: 0o700 });
	chownSync(path, 65534, 65534);
	expect(() => preparePrivateDirectory(path)).toThrow(/belongs to the user with id 65534/);
});
