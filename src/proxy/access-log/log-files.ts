// Files (and standard streams) that access logs write to: one open file per path, whole lines,
// gathered for a moment and written in one piece. Nothing here waits: files are written by a thread
// of the runtime, pipes and terminals without blocking; what cannot be written is bounded, and
// beyond that lines are dropped and counted.
//
//   lines ─▶ buffered ──a second, or 64 KiB──▶ in flight (one at a time) ──written──▶ next
//                                                 │ EAGAIN: again in a moment

import { close, constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import type { Clock, Timer } from '../../std/clock.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import type { Counter, MetricRegistry } from '../../telemetry/registry.ts';

const log = new Logger('access-log');
/** Envoy `--file-flush-interval-msec` is 10000; a second is easier to live with. */
const FLUSH_INTERVAL_MS = 1000;
const FLUSH_BYTES = 64 * 1024;
/** A pipe that is full: its reader is mostly just about to read. Longer, and a busy proxy would have dropped lines. */
const RETRY_MS = 20;
/** Lines that cannot be written yet (disk or reader too slow) are dropped beyond this. */
const BUFFER_BYTES_MAX = 1024 * 1024;
/** What is left when the process ends may take this long. */
const CLOSE_LIMIT_MS = 1000;
const MODE = 0o644;
const LINE_FEED = 10;

export interface LogSink {
	/** A whole line with its end. */
	write(line: string): void;
}

class OpenFile implements LogSink {
	private buffered = '';
	private inFlight: Buffer | null = null;
	private readonly timer: Timer;
	private failed = false;
	/** Not to be closed by us: a standard stream. */
	private readonly borrowed: boolean;
	/** Pipes, sockets and terminals: written at once or not at all, by this thread. */
	private direct: boolean;
	/** Of what is in flight: a part of its first line has been written before. */
	private isWithinLine = false;
	/** Written to once what is in flight is in the file before; null: none waits. */
	private next: number | null = null;
	private closed = false;
	private readonly idle: (() => void)[] = [];

	constructor(
		private descriptor: number,
		readonly path: string,
		clock: Clock,
		private readonly dropped: Counter,
	) {
		this.borrowed = descriptor <= 2;
		this.direct = !isRegularFile(descriptor);
		this.timer = clock.after(FLUSH_INTERVAL_MS, () => this.flush());
		this.timer.cancel();
	}

	write(line: string): void {
		if (this.closed) return;
		if (this.buffered.length + line.length > BUFFER_BYTES_MAX) {
			this.dropped.inc();
			return;
		}
		if (this.buffered === '' && this.inFlight === null) this.timer.restart(FLUSH_INTERVAL_MS);
		this.buffered += line;
		if (this.buffered.length >= FLUSH_BYTES && this.inFlight === null) this.flush();
	}

	flush(): void {
		if (this.inFlight === null) {
			if (this.buffered === '') return;
			this.inFlight = Buffer.from(this.buffered);
			this.buffered = '';
		} else if (!this.direct) return;
		if (this.direct) this.writeDirectly();
		else this.writeApart();
	}

	/** Resolves when nothing is left, or after the limit. */
	drained(clock: Clock): Promise<void> {
		this.flush();
		if (this.inFlight === null) return Promise.resolve();
		return new Promise((resolve) => {
			this.idle.push(resolve);
			clock.after(CLOSE_LIMIT_MS, resolve);
		});
	}

	/** What is written from now on goes to the file that has its name now; no line is in two files. */
	reopen(descriptor: number): void {
		// An earlier one that was not begun.
		if (this.next !== null) close(this.next, () => {});
		this.next = null;
		if (isSameFile(descriptor, this.descriptor)) {
			close(descriptor, () => {});
			return;
		}
		if (this.inFlight !== null && !this.direct) {
			// A thread has it in its hands.
			this.next = descriptor;
			return;
		}
		this.moveTo(descriptor);
		if (this.inFlight === null) return;
		// The reader of the pipe before stands still, and may do so for ever: what it had of a line is lost.
		this.buffered = this.linesInFlight() + this.buffered;
		this.inFlight = null;
		this.isWithinLine = false;
		this.flush();
	}

	get isStandard(): boolean {
		return this.borrowed;
	}

	close(): void {
		this.closed = true;
		this.timer.cancel();
		if (this.next !== null) close(this.next, () => {});
		if (!this.borrowed) close(this.descriptor, () => {});
	}

	private moveTo(descriptor: number): void {
		if (!this.borrowed) close(this.descriptor, () => {});
		this.descriptor = descriptor;
		this.direct = !isRegularFile(descriptor);
		this.next = null;
	}

	private linesInFlight(): string {
		const bytes = this.inFlight!;
		if (!this.isWithinLine) return bytes.toString();
		this.dropped.inc();
		return bytes.subarray(bytes.indexOf(LINE_FEED) + 1).toString();
	}

	private writeDirectly(): void {
		const bytes = this.inFlight!;
		let at = 0;
		try {
			while (at < bytes.length) at += writeSync(this.descriptor, bytes, at);
			this.written(null);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
				this.written(error);
				return;
			}
			if (at > 0) this.isWithinLine = bytes[at - 1] !== LINE_FEED;
			this.inFlight = bytes.subarray(at);
			this.timer.restart(RETRY_MS);
		}
	}

	private writeApart(): void {
		const bytes = this.inFlight!;
		write(this.descriptor, bytes, 0, bytes.length, null, (error, count) => {
			if (error !== null || count >= bytes.length) {
				this.written(error);
				return;
			}
			this.inFlight = bytes.subarray(count);
			this.writeApart();
		});
	}

	private written(error: unknown): void {
		this.inFlight = null;
		this.isWithinLine = false;
		if (this.next !== null) this.moveTo(this.next);
		if (error !== null && !this.failed) {
			log.error('an access log cannot be written', { path: this.path, error: errorMessage(error) });
		}
		if (error !== null) this.dropped.inc();
		this.failed = error !== null;
		const waiting = this.buffered.length > 0;
		if (waiting && (this.buffered.length >= FLUSH_BYTES || this.idle.length > 0) && error === null) this.flush();
		else if (waiting) this.timer.restart(FLUSH_INTERVAL_MS);
		if (this.inFlight !== null) return;
		for (const wake of this.idle.splice(0)) wake();
	}
}

export class LogFiles {
	private readonly open = new Map<string, OpenFile>();
	private readonly dropped: Counter;

	constructor(
		private readonly clock: Clock,
		registry: MetricRegistry,
	) {
		this.dropped = registry
			.counter('weft_access_log_dropped_total', 'Access log lines, or writes, that were dropped: the file is too slow')
			.with();
	}

	/** @throws ConfigError when it cannot be opened for appending */
	file(path: string, object: string, field: string): LogSink {
		if (path === '/dev/stdout') return this.standard(1, path);
		if (path === '/dev/stderr') return this.standard(2, path);
		const found = this.open.get(path);
		if (found !== undefined) return found;
		let descriptor: number;
		try {
			descriptor = openForAppending(path);
		} catch (error) {
			const expected = `a file that can be opened for appending (${errorMessage(error)})`;
			throw new ConfigError({ object, field, found: path, expected });
		}
		const file = new OpenFile(descriptor, path, this.clock, this.dropped);
		this.open.set(path, file);
		return file;
	}

	standard(descriptor: 1 | 2, path = descriptor === 1 ? '/dev/stdout' : '/dev/stderr'): LogSink {
		let found = this.open.get(path);
		if (found === undefined) {
			found = new OpenFile(ownStandard(descriptor), path, this.clock, this.dropped);
			this.open.set(path, found);
		}
		return found;
	}

	flush(): void {
		for (const file of this.open.values()) file.flush();
	}

	/** For whoever has moved the files away: what follows goes to new ones of the same names. */
	reopen(): void {
		for (const file of this.open.values()) {
			if (file.isStandard || file.path === '/dev/stdout' || file.path === '/dev/stderr') continue;
			file.flush();
			try {
				file.reopen(openForAppending(file.path));
			} catch (error) {
				log.error('an access log cannot be opened again; the old file is kept', {
					path: file.path,
					error: errorMessage(error),
				});
			}
		}
	}

	/** Writes what is left; files that do not take it hold nobody up. */
	async close(): Promise<void> {
		const files = [...this.open.values()];
		this.open.clear();
		await Promise.all(files.map((file) => file.drained(this.clock)));
		for (const file of files) file.close();
	}
}

/** A FIFO without a reader is an error rather than a wait. */
function openForAppending(path: string): number {
	const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY } = constants;
	return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, MODE);
}

/** The stream through a description of our own, so that not to block is a matter of ours alone. */
function ownStandard(descriptor: 1 | 2): number {
	try {
		return openSync(`/proc/self/fd/${descriptor}`, constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK);
	} catch {
		// A socket, or no /proc.
		return descriptor;
	}
}

function isSameFile(one: number, other: number): boolean {
	try {
		const [first, second] = [fstatSync(one), fstatSync(other)];
		return first.dev === second.dev && first.ino === second.ino;
	} catch {
		return false;
	}
}

function isRegularFile(descriptor: number): boolean {
	try {
		return fstatSync(descriptor).isFile();
	} catch {
		return false;
	}
}
