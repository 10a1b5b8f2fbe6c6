// The workers of one proxy: as many as were asked for, each replaced when it dies, with pauses that grow
// when they die young.

import { encodeGroup, type SocketGroup } from '../../net/handed-sockets.ts';
import { duplicateDescriptors } from '../../net/socket-passing.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import type { Counter } from '../../telemetry/registry.ts';
import type { ToWorker, WorkerReport, WorkerStart } from './messages.ts';
import { type GroupWorker, type WorkerListener, WorkerProcess } from './worker-process.ts';

const log = new Logger('workers');
/** One that lived so long did not die of its start. */
const GOOD_LIFE_MS = 10_000;
const BACKOFF_FIRST_MS = 200;
const BACKOFF_MAX_MS = 10_000;
/** Beyond what it was given to end, before it is killed. */
const END_GRACE_MS = 5_000;

export interface WorkerGroupOptions {
	readonly count: number;
	readonly clock: Clock;
	readonly restarts: Counter;
	/** What a worker that starts now is told first. */
	readonly start: (index: number) => WorkerStart;
	/** What is listened on now. */
	readonly sockets: () => readonly SocketGroup[];
	/** A worker is gone; what it reported last. */
	readonly onGone: (last: WorkerReport) => void;
	/** Default: a process. */
	readonly launch?: (index: number, clock: Clock, listener: WorkerListener) => GroupWorker;
}

interface Slot {
	readonly index: number;
	worker: GroupWorker | null;
	startedMs: number;
	/** Workers in a row that died young. */
	failures: number;
	timer: Timer | null;
}

export class WorkerGroup implements WorkerListener {
	/** All are ready for the first time. */
	readonly ready: Promise<void>;
	private resolveReady: () => void = () => {};
	private readonly slots: Slot[];
	/** Replaced already, and ending. */
	private readonly former = new Set<GroupWorker>();
	private stopping = false;

	constructor(private readonly options: WorkerGroupOptions) {
		this.ready = new Promise((resolve) => {
			this.resolveReady = resolve;
		});
		this.slots = Array.from({ length: options.count }, (_, index) => ({
			index,
			worker: null,
			startedMs: 0,
			failures: 0,
			timer: null,
		}));
	}

	/** @throws what keeps the first ones from being started */
	start(): void {
		for (const slot of this.slots) this.spawn(slot);
	}

	get allReady(): boolean {
		return this.slots.every(({ worker }) => worker?.isReady === true);
	}

	get pids(): number[] {
		return this.slots.flatMap(({ worker }) => (worker === null ? [] : [worker.pid]));
	}

	/**
	 * The sockets of a group go to the workers in turn; where there are fewer than workers, these share.
	 * @throws WeftError when they cannot be copied: then no worker has any
	 */
	share(group: SocketGroup): void {
		this.give(
			this.slots.flatMap(({ worker }) => worker ?? []),
			group,
		);
	}

	tell(message: ToWorker): void {
		for (const { worker } of this.slots) worker?.send(message);
	}

	/** Of those that answer in time; of the others, what they said last. */
	async reports(): Promise<WorkerReport[]> {
		const workers = [...this.slots.flatMap(({ worker }) => worker ?? []), ...this.former];
		const reports = await Promise.all(workers.map(async (worker) => (await worker.report()) ?? worker.lastReport));
		// One that died meanwhile has been counted by `onGone`.
		return reports.filter((report, i): report is WorkerReport => report !== null && this.has(workers[i]!));
	}

	async admin(path: string, query: string): Promise<void> {
		await Promise.all(this.slots.map(({ worker }) => worker?.admin(path, query)));
	}

	async leave(deadlineMs: number): Promise<void> {
		await Promise.all(this.slots.map(({ worker }) => worker?.leave(deadlineMs)));
	}

	/** Resolves when all have ended; those that take too long are killed. */
	async stop(deadlineMs: number, retire: boolean): Promise<void> {
		this.stopping = true;
		const workers = [...this.former];
		for (const slot of this.slots) {
			slot.timer?.cancel();
			if (slot.worker !== null) workers.push(slot.worker);
		}
		for (const worker of workers) worker.stop(deadlineMs, retire);
		const timer = this.options.clock.after(deadlineMs + END_GRACE_MS, () => {
			for (const worker of workers) worker.kill();
		});
		await Promise.all(workers.map((worker) => worker.exited));
		timer.cancel();
	}

	// WorkerListener

	onReady(worker: GroupWorker): void {
		log.info('worker ready', { worker: worker.index, pid: worker.pid });
		if (this.allReady) this.resolveReady();
	}

	onLeaving(worker: GroupWorker): void {
		const slot = this.slots[worker.index]!;
		if (slot.worker !== worker || this.stopping) return;
		this.former.add(worker);
		slot.worker = null;
		this.replace(slot);
	}

	onExit(worker: GroupWorker, how: string): void {
		if (worker.lastReport !== null) this.options.onGone(worker.lastReport);
		if (this.former.delete(worker)) return;
		const slot = this.slots[worker.index]!;
		if (slot.worker !== worker) return;
		slot.worker = null;
		if (this.stopping) return;
		this.options.restarts.inc();
		const livedMs = this.options.clock.nowMs() - slot.startedMs;
		if (livedMs >= GOOD_LIFE_MS) slot.failures = 0;
		const inMs = this.replaceLater(slot);
		log.error('a worker ended, another takes its place', {
			worker: worker.index,
			pid: worker.pid,
			ended: how,
			livedMs: Math.round(livedMs),
			inMs,
		});
	}

	/** Returns in how long. */
	private replaceLater(slot: Slot): number {
		slot.failures += 1;
		const waitMs = slot.failures === 1 ? 0 : Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (slot.failures - 2));
		slot.timer = this.options.clock.after(waitMs, () => this.replace(slot));
		return waitMs;
	}

	/** The machine may be short of processes or descriptors for a moment. */
	private replace(slot: Slot): void {
		try {
			this.spawn(slot);
		} catch (error) {
			const inMs = this.replaceLater(slot);
			log.error('a worker cannot be started', { worker: slot.index, reason: errorMessage(error), inMs });
		}
	}

	private has(worker: GroupWorker): boolean {
		return this.former.has(worker) || this.slots[worker.index]!.worker === worker;
	}

	private spawn(slot: Slot): void {
		slot.timer = null;
		slot.startedMs = this.options.clock.nowMs();
		const { launch, clock } = this.options;
		const worker = launch?.(slot.index, clock, this) ?? new WorkerProcess(slot.index, clock, this);
		try {
			for (const group of this.options.sockets()) this.give([worker], group);
			worker.send(this.options.start(slot.index));
		} catch (error) {
			worker.kill();
			throw error;
		}
		slot.worker = worker;
	}

	/** To all or, when it throws, to none. */
	private give(workers: readonly GroupWorker[], group: SocketGroup): void {
		const parts = workers.map((worker) => encodeGroup(this.partOf(group, worker.index)));
		const copies = duplicateDescriptors(parts.flatMap(({ fds }) => fds));
		for (const [i, { bytes, fds }] of parts.entries()) {
			workers[i]!.sendSockets({ bytes, fds: copies.splice(0, fds.length) });
		}
	}

	private partOf(group: SocketGroup, index: number): SocketGroup {
		const { fds } = group;
		const own = fds.filter((_fd, i) => i % this.options.count === index);
		return { ...group, fds: own.length > 0 ? own : [fds[index % fds.length]!] };
	}
}
