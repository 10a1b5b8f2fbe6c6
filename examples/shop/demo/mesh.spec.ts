import { expect, test } from 'bun:test';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
	rmSync(home, { recursive: true });
});
