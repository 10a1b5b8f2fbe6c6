// One worker as the main process has it: started with a private channel, given sockets and messages in
// order, its death heard of.
//
//   spawned ──▶ started ──▶ ready ──▶ stopping ──▶ exited
//                  └───────────┴──────────────────▶ exited (a crash)

import { closeDescriptor, dropDescriptors, makeSocketPair, type Parcel, sendParcel } from '../../net/socket-passing.ts';
import type { Clock } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import { selfCommand } from '../self-command.ts';
import { type FromWorker, LAST_REPORT_ID, type ToWorker, type WorkerReport } from './messages.ts';

const log = new Logger('workers');
/** A worker that is busy may take its sockets a little later. */
const SOCKETS_RETRY_MS = 5;
/** So long an answer of a worker is waited for. */
const ANSWER_TIMEOUT_MS = 5_000;

/** As its group has it. */
export type GroupWorker = Pick<WorkerProcess, keyof WorkerProcess>;

export interface WorkerListener {
	onReady(worker: GroupWorker): void;
	/** It ends by itself and wants to be replaced. */
	onLeaving(worker: GroupWorker): void;
	/** `how`: `code 1`, `signal SIGSEGV`. */
	onExit(worker: GroupWorker, how: string): void;
}

type Outgoing =
	| { readonly kind: 'sockets'; readonly parcel: Parcel }
	| { readonly kind: 'message'; readonly message: ToWorker };

type Answer = (report: WorkerReport | null) => void;

export class WorkerProcess {
	isReady = false;
	isLeaving = false;
	/** What it said last; its counters are kept when it dies. */
	lastReport: WorkerReport | null = null;
	readonly exited: Promise<void>;
	private readonly child: ReturnType<typeof Bun.spawn>;
	private readonly outgoing: Outgoing[] = [];
	private readonly waiting = new Map<number, Answer>();
	private lastId = 0;
	private isOver = false;
	private isRetrying = false;
	/** It could not be given what it needs, and is killed. */
	private isGivenUp = false;

	/** Our end of the socket by which it is given others. */
	private readonly socket: number;

	constructor(
		readonly index: number,
		private readonly clock: Clock,
		private readonly listener: WorkerListener,
	) {
		const [near, far] = makeSocketPair();
		this.socket = near;
		let resolveExited = (): void => {};
		this.exited = new Promise((resolve) => {
			resolveExited = resolve;
		});
		try {
			this.child = Bun.spawn([...selfCommand(), 'proxy', '--worker'], {
				stdio: ['ignore', 'inherit', 'inherit', far],
				serialization: 'advanced',
				ipc: (message) => this.onMessage(message as FromWorker),
				onExit: (_child, code, signal) => {
					this.onExit(signal === null ? `code ${code}` : `signal ${signal}`);
					resolveExited();
				},
			});
		} catch (error) {
			closeDescriptor(near);
			throw error;
		} finally {
			closeDescriptor(far);
		}
	}

	get pid(): number {
		return this.child.pid;
	}

	send(message: ToWorker): void {
		if (this.isOver) return;
		if (this.outgoing.length > 0) this.outgoing.push({ kind: 'message', message });
		else this.post(message);
	}

	/** The descriptors are this one's to close from now on. */
	sendSockets(parcel: Parcel): void {
		if (this.isOver || this.isGivenUp) {
			dropDescriptors(parcel);
			return;
		}
		this.outgoing.push({ kind: 'sockets', parcel });
		this.flush();
	}

	/** Null: it is gone, or does not answer. */
	report(): Promise<WorkerReport | null> {
		return this.ask((id) => ({ kind: 'report', id }));
	}

	/** Resolves when it is done, or cannot be. */
	async admin(path: string, query: string): Promise<void> {
		await this.ask((id) => ({ kind: 'admin', id, path, query }));
	}

	async leave(deadlineMs: number): Promise<void> {
		await this.ask((id) => ({ kind: 'leave', id, deadlineMs }), deadlineMs + ANSWER_TIMEOUT_MS);
	}

	stop(deadlineMs: number, retire: boolean): void {
		this.isLeaving = true;
		this.send({ kind: 'stop', deadlineMs, retire });
	}

	kill(): void {
		if (!this.isOver) this.child.kill('SIGKILL');
	}

	private ask(make: (id: number) => ToWorker, timeoutMs = ANSWER_TIMEOUT_MS): Promise<WorkerReport | null> {
		if (this.isOver) return Promise.resolve(null);
		const id = ++this.lastId;
		return new Promise((resolve) => {
			const answer: Answer = (report) => {
				timer.cancel();
				this.waiting.delete(id);
				resolve(report);
			};
			const timer = this.clock.after(timeoutMs, () => answer(null));
			this.waiting.set(id, answer);
			this.send(make(id));
		});
	}

	private onMessage(message: FromWorker): void {
		switch (message.kind) {
			case 'started':
				break;
			case 'ready':
				this.isReady = true;
				this.listener.onReady(this);
				break;
			case 'report':
				this.lastReport = message.report;
				// Its last word: it waits for us to have heard it.
				if (message.id === LAST_REPORT_ID) this.child.disconnect();
				this.waiting.get(message.id)?.(message.report);
				break;
			case 'done':
				this.waiting.get(message.id)?.(null);
				break;
			case 'refused':
				log.error('a worker refuses what the main process accepted', {
					worker: this.index,
					type: message.typeUrl,
					reason: message.reason,
				});
				break;
			case 'leaving':
				this.isReady = false;
				this.isLeaving = true;
				this.listener.onLeaving(this);
				break;
		}
	}

	private onExit(how: string): void {
		this.isOver = true;
		this.isReady = false;
		closeDescriptor(this.socket);
		for (const one of this.outgoing.splice(0)) if (one.kind === 'sockets') dropDescriptors(one.parcel);
		for (const answer of [...this.waiting.values()]) answer(null);
		this.listener.onExit(this, how);
	}

	private flush(): void {
		while (this.outgoing.length > 0 && !this.isOver && !this.isGivenUp) {
			const next = this.outgoing[0]!;
			if (next.kind === 'sockets' && !this.sendSome(next.parcel)) return;
			if (next.kind === 'message') this.post(next.message);
			this.outgoing.shift();
		}
	}

	/** False: the worker has not taken what it was sent before. */
	private sendSome(parcel: Parcel): boolean {
		try {
			if (sendParcel(this.socket, parcel)) return true;
			this.retrySoon();
			return false;
		} catch (error) {
			dropDescriptors(parcel);
			log.warning('a worker cannot be given its sockets and is ended', {
				worker: this.index,
				reason: errorMessage(error),
			});
			// If it is not dying anyway: it would serve nobody, and another may.
			this.isGivenUp = true;
			this.kill();
			return true;
		}
	}

	private retrySoon(): void {
		if (this.isRetrying) return;
		this.isRetrying = true;
		// So that it looks at what it has been sent.
		this.post({ kind: 'updates', updates: [] });
		this.clock.after(SOCKETS_RETRY_MS, () => {
			this.isRetrying = false;
			this.flush();
		});
	}

	private post(message: ToWorker): void {
		try {
			this.child.send(message);
		} catch (error) {
			log.debug('a worker cannot be told', { worker: this.index, reason: errorMessage(error) });
		}
	}
}
