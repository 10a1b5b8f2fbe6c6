// Files (and standard streams) that access logs write to: one open file per path, whole lines,
// gathered for a moment and written with one call.

import { closeSync, openSync, writeSync } from 'node:fs';
import type { Clock, Timer } from '../../std/clock.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';

const log = new Logger('access-log');
/** Envoy `--file-flush-interval-msec` is 10000; a second is easier to live with. */
const FLUSH_INTERVAL_MS = 1000;
const FLUSH_BYTES = 64 * 1024;
/** Lines that cannot be written (disk full, reader gone) are dropped beyond this. */
const BUFFER_BYTES_MAX = 1024 * 1024;

export interface LogSink {
	/** A whole line with its end. */
	write(line: string): void;
}

class OpenFile implements LogSink {
	private buffered = '';
	private readonly timer: Timer;
	private failed = false;

	constructor(
		private readonly descriptor: number,
		readonly path: string,
		clock: Clock,
	) {
		this.timer = clock.after(FLUSH_INTERVAL_MS, () => this.flush());
		this.timer.cancel();
	}

	write(line: string): void {
		if (this.buffered.length + line.length > BUFFER_BYTES_MAX) return;
		if (this.buffered === '') this.timer.restart(FLUSH_INTERVAL_MS);
		this.buffered += line;
		if (this.buffered.length >= FLUSH_BYTES) this.flush();
	}

	flush(): void {
		if (this.buffered === '') return;
		try {
			writeAll(this.descriptor, Buffer.from(this.buffered));
			this.failed = false;
		} catch (error) {
			if (!this.failed) log.error('an access log cannot be written', { path: this.path, error: errorMessage(error) });
			this.failed = true;
		}
		this.buffered = '';
	}

	close(): void {
		this.flush();
		this.timer.cancel();
		if (this.descriptor > 2) closeSync(this.descriptor);
	}
}

export class LogFiles {
	private readonly open = new Map<string, OpenFile>();

	constructor(private readonly clock: Clock) {}

	/** @throws ConfigError when it cannot be opened for appending */
	file(path: string, object: string, field: string): LogSink {
		if (path === '/dev/stdout') return this.standard(1, path);
		if (path === '/dev/stderr') return this.standard(2, path);
		const found = this.open.get(path);
		if (found !== undefined) return found;
		let descriptor: number;
		try {
			descriptor = openSync(path, 'a', 0o644);
		} catch (error) {
			const expected = `a file that can be opened for appending (${errorMessage(error)})`;
			throw new ConfigError({ object, field, found: path, expected });
		}
		const file = new OpenFile(descriptor, path, this.clock);
		this.open.set(path, file);
		return file;
	}

	standard(descriptor: 1 | 2, path = descriptor === 1 ? '/dev/stdout' : '/dev/stderr'): LogSink {
		let found = this.open.get(path);
		if (found === undefined) {
			found = new OpenFile(descriptor, path, this.clock);
			this.open.set(path, found);
		}
		return found;
	}

	flush(): void {
		for (const file of this.open.values()) file.flush();
	}

	close(): void {
		for (const file of this.open.values()) file.close();
		this.open.clear();
	}
}

function writeAll(descriptor: number, bytes: Buffer): void {
	let written = 0;
	while (written < bytes.byteLength) written += writeSync(descriptor, bytes, written);
}
