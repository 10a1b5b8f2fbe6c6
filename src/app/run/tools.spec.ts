import { afterAll, expect, test } from 'bun:test';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findCommand, shellQuoted } from './tools.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-tools-'));
const first = join(directory, 'first');
const second = join(directory, 'second');
for (const path of [first, second]) mkdirSync(path);
writeFileSync(join(first, 'tool'), '');
writeFileSync(join(second, 'tool'), '');
chmodSync(join(second, 'tool'), 0o755);
mkdirSync(join(second, 'folder'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('a command is found as execvp finds it: the first on PATH that may be run', () => {
	expect(findCommand('tool', `${first}:${second}`)).toEqual({ kind: 'found', file: join(second, 'tool') });
	expect(findCommand('tool', first)).toEqual({ kind: 'not executable', file: join(first, 'tool') });
	expect(findCommand('tool', directory)).toEqual({ kind: 'not found' });
	expect(findCommand('folder', second)).toEqual({ kind: 'not found' });
});

test('a name with a slash is a path', () => {
	expect(findCommand(join(second, 'tool'), '')).toEqual({ kind: 'found', file: join(second, 'tool') });
	expect(findCommand(join(first, 'tool'), second)).toEqual({ kind: 'not executable', file: join(first, 'tool') });
	expect(findCommand(second, '')).toEqual({ kind: 'not executable', file: second });
	expect(findCommand('./nonesuch', second)).toEqual({ kind: 'not found' });
	expect(findCommand(`${join(first, 'tool')}/below`, second)).toEqual({ kind: 'not found' });
});

test('any text is one word for the shell', () => {
	const text = `it's "a" $(test) \\ \n;`;
	const { stdout } = Bun.spawnSync(['/bin/sh', '-c', `printf %s ${shellQuoted(text)}`]);
	expect(stdout.toString()).toBe(text);
});
