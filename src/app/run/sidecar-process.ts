// The sidecar as `weft run` sees it: a child in a session of its own (what the terminal sends to the
// program does not reach it), started again with backoff when it dies before its time.
//
//              ready                  died
//   starting ────────▶ up ──────────────────────▶ backing off ──▶ starting
//       │ first time,   │ leave()                     │
//       │ and died      ▼             exited          │ leave(), stop()
//       ▼            leaving ───────────────────▶ gone ◀┘
//     failed            └─ stop(): SIGTERM, then SIGKILL after the time to drain

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { Clock, Timer } from '../../std/clock.ts';
import type { Random } from '../../std/random.ts';
import { type FromSidecar, type ToSidecar, WordReader } from './supervision-line.ts';

export interface SidecarProcessOptions {
	/** File and arguments. */
	readonly command: readonly string[];
	readonly env: Readonly<Record<string, string | undefined>>;
	/** File that its output is added to; null: our standard error. */
	readonly logFile: string | null;
	readonly drainTimeMs: number;
	/** A token for this start; null: there is none to be had, start from what is on disk. */
	readonly joinToken: () => Promise<string | null>;
	/** One line for the user. */
	readonly say: (line: string) => void;
	readonly clock: Clock;
	readonly random: Random;
}

type State =
	| { readonly kind: 'idle' }
	| { readonly kind: 'starting'; readonly child: ChildProcess | null }
	| { readonly kind: 'up'; readonly child: ChildProcess }
	| { readonly kind: 'backing off'; readonly timer: Timer }
	| { readonly kind: 'leaving'; readonly child: ChildProcess }
	| { readonly kind: 'gone' };

const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 10_000;
/** Up for so long: the next death counts as the first. */
const STEADY_MS = 30_000;
/** What ending in order may take on top of the time to drain. */
const STOP_GRACE_MS = 2000;

export class SidecarProcess {
	private state: State = { kind: 'idle' };
	private deaths = 0;
	private everReady = false;
	private onFirstReady: ((died: Error | null) => void) | null = null;
	private onDrained: (() => void) | null = null;
	private onGone: (() => void) | null = null;

	constructor(private readonly options: SidecarProcessOptions) {}

	/** Resolves when the sidecar is ready. Rejects when it dies before. */
	start(joinToken: string): Promise<void> {
		return new Promise((resolve, reject) => {
			this.onFirstReady = (died) => (died === null ? resolve() : reject(died));
			this.spawn(joinToken);
		});
	}

	/** Tells it to leave the mesh; resolves when it has drained, or is not there. Its outbound side goes on. */
	leave(): Promise<void> {
		if (this.state.kind !== 'up') {
			// One that came up now would call for requests to a program that is about to end.
			if (this.everReady && (this.state.kind === 'backing off' || this.state.kind === 'starting')) this.kill();
			return Promise.resolve();
		}
		const { child } = this.state;
		this.setState({ kind: 'leaving', child });
		return new Promise((resolve) => {
			const limit = this.options.clock.after(this.options.drainTimeMs + STOP_GRACE_MS, resolve);
			this.onDrained = () => {
				limit.cancel();
				resolve();
			};
			send(child, 'leave');
		});
	}

	/** Ends it; resolves when its process is gone. */
	stop(): Promise<void> {
		const { state } = this;
		const child = 'child' in state ? state.child : null;
		if (child === null || hasExited(child)) {
			this.setState({ kind: 'gone' });
			return Promise.resolve();
		}
		return new Promise((resolve) => {
			const limit = this.options.clock.after(this.options.drainTimeMs + STOP_GRACE_MS, () => child.kill('SIGKILL'));
			this.onGone = () => {
				limit.cancel();
				resolve();
			};
			this.setState({ kind: 'leaving', child });
			child.kill('SIGTERM');
		});
	}

	/** At once. */
	private kill(): void {
		const { state } = this;
		if ('child' in state) state.child?.kill('SIGKILL');
		this.setState({ kind: 'gone' });
	}

	private spawn(joinToken: string | null): void {
		const { command, env, logFile } = this.options;
		const [file, ...words] = command;
		const log = logFile === null ? 2 : openSync(logFile, 'a', 0o600);
		let child: ChildProcess;
		try {
			child = spawn(file!, words, {
				stdio: ['pipe', log, log, 'pipe'],
				env: { ...env, WEFT_JOIN_TOKEN: joinToken ?? undefined },
				detached: true,
			});
		} finally {
			if (logFile !== null) closeSync(log);
		}
		this.setState({ kind: 'starting', child });
		let ended = false;
		const onEnd = (why: string) => {
			if (ended) return;
			ended = true;
			this.onExit(child, why);
		};
		child.once('error', (error) => onEnd(error.message));
		child.once('exit', (code, signal) => onEnd(signal === null ? `exit code ${code}` : `${signal}`));
		child.stdin?.on('error', () => {});
		const reports = child.stdio[3] as Readable;
		const reader = new WordReader((word) => this.onWord(child, word as FromSidecar));
		reports.on('data', (bytes: Buffer) => reader.push(bytes));
		reports.on('error', () => {});
	}

	private onWord(child: ChildProcess, word: FromSidecar): void {
		if (word === 'drained') this.onDrained?.();
		if (word !== 'ready' || this.state.kind !== 'starting') return;
		const again = this.everReady;
		this.everReady = true;
		this.setState({ kind: 'up', child });
		if (again) this.options.say('the sidecar is up again');
		this.onFirstReady?.(null);
		this.onFirstReady = null;
		this.options.clock.after(STEADY_MS, () => {
			if (this.state.kind === 'up' && this.state.child === child) this.deaths = 0;
		});
	}

	private onExit(child: ChildProcess, why: string): void {
		child.stdin?.destroy();
		this.onDrained?.();
		const { state } = this;
		if (state.kind === 'leaving' || state.kind === 'gone') {
			this.setState({ kind: 'gone' });
			this.onGone?.();
			return;
		}
		if (!this.everReady) {
			this.setState({ kind: 'gone' });
			this.onFirstReady?.(new Error(`the sidecar ended before it was ready (${why})`));
			return;
		}
		const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.deaths++, 16));
		const delayMs = ceilingMs * (0.5 + 0.5 * this.options.random.next());
		this.options.say(`the sidecar ended (${why}); it is started again in ${Math.round(delayMs)} ms`);
		this.setState({ kind: 'backing off', timer: this.options.clock.after(delayMs, () => void this.restart()) });
	}

	private async restart(): Promise<void> {
		this.setState({ kind: 'starting', child: null });
		const token = await this.options.joinToken().catch(() => null);
		// It may have been told to end meanwhile.
		if (this.state.kind === 'starting') this.spawn(token);
	}

	private setState(next: State): void {
		if (this.state.kind === 'backing off') this.state.timer.cancel();
		this.state = next;
	}
}

function send(child: ChildProcess, word: ToSidecar): void {
	child.stdin?.write(`${word}\n`);
}

function hasExited(child: ChildProcess): boolean {
	return child.exitCode !== null || child.signalCode !== null;
}
