import { expect, test } from 'bun:test';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockData } from '../../../src/app/control-plane/data-lock.ts';
import { removeEarlierDemo } from './mesh.ts';

test('--data names a directory to use, not one to delete', () => {
	const home = mkdtempSync(join(tmpdir(), 'weft-demo-spec-'));
	const thesis = join(home, 'thesis.txt');
	writeFileSync(thesis, 'years of work');
	expect(() => removeEarlierDemo(home)).toThrow(/not an earlier demo's/);
	symlinkSync(home, join(home, 'link'));
	expect(() => removeEarlierDemo(join(home, 'link'))).toThrow(/not an earlier demo's/);
	expect(existsSync(thesis)).toBe(true);
	const earlier = join(home, 'earlier');
	mkdirSync(join(earlier, 'logs'), { recursive: true });
	writeFileSync(join(earlier, 'weft-demo'), '');
	removeEarlierDemo(earlier);
	expect(existsSync(earlier)).toBe(false);
	removeEarlierDemo(join(home, 'not-there'));
	// Of a mesh that is in use: its root key is in it.
	const mesh = join(home, 'mesh');
	mkdirSync(mesh, { mode: 0o700 });
	lockData(join(mesh, 'lock')).release();
	expect(() => removeEarlierDemo(mesh)).toThrow(/not an earlier demo's/);
	expect(existsSync(mesh)).toBe(true);
	rmSync(home, { recursive: true });
});

test('a demo that runs is left alone', () => {
	const home = mkdtempSync(join(tmpdir(), 'weft-demo-spec-'));
	writeFileSync(join(home, 'weft-demo'), '');
	const running = lockData(join(home, 'lock'));
	expect(() => removeEarlierDemo(home)).toThrow(/a control plane runs on .* already/);
	expect(existsSync(join(home, 'weft-demo'))).toBe(true);
	running.release();
	removeEarlierDemo(home);
	expect(existsSync(home)).toBe(false);
});
