import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileWatch } from './file-watch.ts';

test('a file that was replaced after it was read, and before it was watched, is told of', async () => {
	const folder = mkdtempSync(join(tmpdir(), 'weft-watch-'));
	const file = join(folder, 'tls.crt');
	writeFileSync(file, 'read');
	writeFileSync(file, 'replaced');
	let watch: FileWatch | null = null;
	await new Promise<void>((resolve) => {
		watch = new FileWatch([file], '', resolve);
	});
	watch!.close();
	rmSync(folder, { recursive: true });
});

test('what is closed tells nothing more', async () => {
	let told = 0;
	const closed = new FileWatch([join(tmpdir(), 'weft-no-such-file')], '', () => told++);
	closed.close();
	await new Promise<void>((resolve) => {
		const other = new FileWatch([join(tmpdir(), 'weft-no-such-file')], '', () => {
			other.close();
			resolve();
		});
	});
	expect(told).toBe(0);
});
