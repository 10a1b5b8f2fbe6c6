// `weft` processes for tests: started, their lines waited for, and ended, all of them, whatever the
// test did.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const weft = join(import.meta.dir, '../../bin/weft');
const WAIT_LIMIT_MS = 60_000;

export class WeftProcess {
	/** Standard output and standard error, as they came. */
	output = '';
	readonly exited: Promise<number>;
	private readonly child: ChildProcess;
	private readonly watchers = new Set<() => void>();
	private over = false;

	/** `into`: words that start it elsewhere, such as `nsenter … --`. */
	constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}, into: readonly string[] = []) {
		const [file, ...words] = [...into, weft, ...args];
		this.child = spawn(file!, words, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
		for (const stream of [this.child.stdout!, this.child.stderr!]) {
			stream.on('data', (bytes: Buffer) => {
				this.output += bytes.toString();
				this.wake();
			});
		}
		this.exited = new Promise((resolve) => {
			this.child.once('close', (code, signal) => {
				this.over = true;
				this.wake();
				resolve(signal === null ? (code ?? -1) : -1);
			});
		});
	}

	get pid(): number {
		return this.child.pid!;
	}

	signal(signal: NodeJS.Signals): void {
		this.child.kill(signal);
	}

	/** Resolves when the output matches; rejects when the process has ended without, or it takes too long. */
	async says(pattern: RegExp): Promise<RegExpExecArray> {
		const deadline = Date.now() + WAIT_LIMIT_MS;
		for (;;) {
			const match = pattern.exec(this.output);
			if (match !== null) return match;
			if (this.over) throw new Error(`it ended without saying ${pattern}:\n${this.output}`);
			if (Date.now() > deadline) throw new Error(`it did not say ${pattern} in time:\n${this.output}`);
			await new Promise<void>((resolve) => {
				const timer = setTimeout(resolve, deadline - Date.now());
				this.watchers.add(() => {
					clearTimeout(timer);
					resolve();
				});
			});
		}
	}

	/** For cleaning up. */
	async kill(): Promise<void> {
		if (!this.over) this.child.kill('SIGKILL');
		await this.exited;
	}

	private wake(): void {
		for (const watcher of [...this.watchers]) watcher();
		this.watchers.clear();
	}
}

/** Runs `weft ARGS` to its end. */
export async function weftOutput(...args: readonly string[]): Promise<{ exitCode: number; output: string }> {
	const run = new WeftProcess(args);
	const exitCode = await run.exited;
	return { exitCode, output: run.output };
}

/** Process ids of the children of a process whose command line has `word`. */
export function childrenOf(pid: number, word: string): number[] {
	const ids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
	return ids.filter((id) => commandLine(id).includes(word));
}

function commandLine(pid: number): string {
	try {
		return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
	} catch {
		return '';
	}
}

/** Resolves when there is no such process any more (or only its remains, that nobody has looked at). */
export async function processGone(pid: number): Promise<void> {
	const deadline = Date.now() + WAIT_LIMIT_MS;
	for (;;) {
		let stat: string;
		try {
			stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
		} catch {
			return;
		}
		if (stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')) return;
		if (Date.now() > deadline) throw new Error(`process ${pid} is still there: ${commandLine(pid)}`);
		await Bun.sleep(10);
	}
}
