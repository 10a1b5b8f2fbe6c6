import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { constants, mkdtempSync, openSync, readFileSync, readSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '../../std/clock.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import { LogFiles } from './log-files.ts';

describe('LogFiles', () => {
	let directory: string;
	let files: LogFiles;
	let dropped: () => number;
	let clock: VirtualClock;

	beforeEach(() => {
		directory = mkdtempSync(join(tmpdir(), 'weft-log-'));
		const registry = new MetricRegistry();
		clock = new VirtualClock();
		files = new LogFiles(clock, registry);
		dropped = () => registry.counter('weft_access_log_dropped_total', '').with().value;
	});

	afterEach(async () => {
		await files.close();
		rmSync(directory, { recursive: true, force: true });
	});

	test('one file for all who write to a path, with all lines at its end', async () => {
		const path = join(directory, 'log');
		files.file(path, 'o', 'f').write('one\n');
		files.file(path, 'o', 'f').write('two\n');
		await files.close();
		expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n');
	});

	test('a file that was moved away is begun anew, and what was said before is in the old one', async () => {
		const path = join(directory, 'log');
		const sink = files.file(path, 'o', 'f');
		sink.write('old\n');
		renameSync(path, `${path}.1`);
		files.reopen();
		sink.write('new\n');
		await files.close();
		expect(readFileSync(`${path}.1`, 'utf8')).toBe('old\n');
		expect(readFileSync(path, 'utf8')).toBe('new\n');
	});

	test('a reader who stands still costs lines, counted, and no time', () => {
		const path = join(directory, 'pipe');
		Bun.spawnSync(['mkfifo', path]);
		const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		const sink = files.file(path, 'o', 'f');
		const line = `${'x'.repeat(999)}\n`;
		for (let i = 0; i < 3000; i++) sink.write(line);
		expect(dropped()).toBeGreaterThan(1500);
		let bytes = 0;
		const buffer = Buffer.alloc(64 * 1024);
		for (let round = 0; round < 100; round++) {
			try {
				bytes += readSync(reader, buffer);
			} catch {
				// Nothing is in it now.
			}
			files.flush();
		}
		expect(bytes).toBe((3000 - dropped()) * 1000);
	});

	test('a reader who is behind for a moment costs no lines: it is tried again soon', () => {
		const path = join(directory, 'pipe');
		Bun.spawnSync(['mkfifo', path]);
		const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		const sink = files.file(path, 'o', 'f');
		const line = `${'x'.repeat(999)}\n`;
		const buffer = Buffer.alloc(256 * 1024);
		let bytes = 0;
		// 2 MB each second, read 50 ms late: more than a pipe holds.
		for (let round = 0; round < 100; round++) {
			for (let i = 0; i < 100; i++) sink.write(line);
			clock.advance(50);
			for (let reads = 0; reads < 3; reads++) {
				try {
					bytes += readSync(reader, buffer);
				} catch {
					// Nothing is in it now.
				}
				clock.advance(20);
			}
		}
		expect(dropped()).toBe(0);
		expect(bytes).toBeGreaterThan(9_000_000);
	});

	test('a pipe that is opened again is the same pipe: no line is cut, none waits', () => {
		const path = join(directory, 'pipe');
		Bun.spawnSync(['mkfifo', path]);
		const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		const sink = files.file(path, 'o', 'f');
		const line = `${'x'.repeat(998)}\n`;
		for (let i = 0; i < 300; i++) sink.write(line);
		files.reopen();
		sink.write('last\n');
		let read = '';
		const buffer = Buffer.alloc(64 * 1024);
		for (let round = 0; round < 100; round++) {
			try {
				read += buffer.toString('utf8', 0, readSync(reader, buffer));
			} catch {
				// Nothing is in it now.
			}
			clock.advance(20);
		}
		expect(dropped()).toBe(0);
		expect(read).toBe(`${line.repeat(300)}last\n`);
	});

	test('a full pipe that gave its name to a file: the file has whole lines, and at once', async () => {
		const path = join(directory, 'pipe');
		Bun.spawnSync(['mkfifo', path]);
		const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		const sink = files.file(path, 'o', 'f');
		const line = `${'x'.repeat(998)}\n`;
		for (let i = 0; i < 300; i++) sink.write(line);
		renameSync(path, `${path}.1`);
		files.reopen();
		sink.write('last\n');
		await files.close();
		const text = readFileSync(path, 'utf8');
		const lines = text.slice(0, -'last\n'.length);
		expect(text.endsWith('\nlast\n')).toBe(true);
		expect(lines).toBe(line.repeat(lines.length / line.length));
		// What did not fit the pipe, without the line that was cut.
		expect(lines.length).toBeGreaterThan(100 * line.length);
		expect(dropped()).toBe(1);
		expect(reader).toBeGreaterThan(2);
	});

	test('a file that gave its name to a pipe while it is written: each line once', async () => {
		const path = join(directory, 'log');
		const sink = files.file(path, 'o', 'f');
		const line = `${'x'.repeat(998)}\n`;
		for (let i = 0; i < 100; i++) sink.write(line);
		renameSync(path, `${path}.1`);
		Bun.spawnSync(['mkfifo', path]);
		const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		files.reopen();
		sink.write('last\n');
		await files.close();
		const buffer = Buffer.alloc(256 * 1024);
		const read = buffer.toString('utf8', 0, readSync(reader, buffer));
		expect(readFileSync(`${path}.1`, 'utf8') + read).toBe(`${line.repeat(100)}last\n`);
		expect(read.endsWith('last\n')).toBe(true);
	});

	test('a file that has its name again before the one between was begun goes on', async () => {
		const path = join(directory, 'log');
		const sink = files.file(path, 'o', 'f');
		sink.write('first\n');
		renameSync(path, `${path}.1`);
		files.reopen();
		renameSync(`${path}.1`, path);
		files.reopen();
		sink.write('last\n');
		await files.close();
		expect(readFileSync(path, 'utf8')).toBe('first\nlast\n');
	});

	test('a path that cannot be opened is an error of the configuration', () => {
		expect(() => files.file(join(directory, 'none', 'log'), 'listener', 'path')).toThrow('opened for appending');
	});
});
