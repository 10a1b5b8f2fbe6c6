// The program, from the moment its surroundings are made until it ends. It is spawned as a script
// that prepares and waits (capture-script.ts), so that the sidecar can be up before the program
// takes its first step, and so that the program is our direct child: its signals and its exit code
// are its own.
//
//   preparing ──ready──▶ held ──start()──▶ running ──▶ ended
//       └── fails: CaptureError ──────────────────────────┘

import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import { assert } from '../../std/assert.ts';
import { type CaptureScript, captureCommand } from './capture-script.ts';

export interface ProgramExit {
	/** Its own, or 128 and the number of the signal that ended it. */
	readonly exitCode: number;
}

/** The surroundings could not be made; the message says why, in the words of the tool that failed. */
export class CaptureError extends Error {
	override name = 'CaptureError';
}

export interface HeldProgramOptions {
	readonly script: CaptureScript;
	/** The program and its arguments. */
	readonly command: readonly string[];
	readonly env: Readonly<Record<string, string | undefined>>;
}

const REPORT_BYTES_MAX = 4096;

export class HeldProgram {
	readonly exited: Promise<ProgramExit>;
	private started = false;
	private ended = false;

	private constructor(
		private readonly child: ChildProcess,
		private readonly control: Duplex,
	) {
		this.exited = new Promise((resolve) => {
			child.once('exit', (code, signal) => {
				this.ended = true;
				control.destroy();
				resolve({ exitCode: signal === null ? (code ?? 1) : 128 + constants.signals[signal] });
			});
		});
	}

	/** Resolves when the surroundings are there and the program waits. @throws CaptureError */
	static prepare(options: HeldProgramOptions): Promise<HeldProgram> {
		const [file, ...words] = [...captureCommand(options.script), ...options.command];
		const child = spawn(file!, words, { stdio: ['inherit', 'inherit', 'inherit', 'pipe'], env: { ...options.env } });
		return new Promise((resolve, reject) => {
			let report = '';
			child.once('error', (error) => reject(new CaptureError(error.message, { cause: error })));
			const control = child.stdio[3] as Duplex;
			const onExit = (code: number | null) => {
				reject(new CaptureError(report.trim().replaceAll('\n', '; ') || `the set-up exited with ${code}`));
			};
			child.once('exit', onExit);
			// The far end is closed by exec or by death; either way its loss is not news.
			control.on('error', () => {});
			control.on('data', (bytes: Buffer) => {
				report = (report + bytes.toString()).slice(-REPORT_BYTES_MAX);
				if (!report.endsWith('ready\n')) return;
				child.off('exit', onExit);
				control.removeAllListeners('data');
				resolve(new HeldProgram(child, control));
			});
		});
	}

	get pid(): number {
		assert(this.child.pid !== undefined, 'a program that was prepared has a process');
		return this.child.pid;
	}

	/** Lets the program run. */
	start(): void {
		assert(!this.started, 'a program is started once');
		this.started = true;
		this.control.write('go\n');
	}

	/** No effect when it has ended. */
	signal(signal: NodeJS.Signals): void {
		if (!this.ended) this.child.kill(signal);
	}
}
