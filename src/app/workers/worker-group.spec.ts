// What a group does when its workers cannot be started or die; processes: test/integration/workers.test.ts.

import { afterEach, beforeEach, expect, test } from 'bun:test';
import type { SocketGroup } from '../../net/handed-sockets.ts';
import { VirtualClock } from '../../std/clock.ts';
import { logSink } from '../../std/log.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import type { ToWorker, WorkerStart } from './messages.ts';
import { WorkerGroup } from './worker-group.ts';
import type { GroupWorker, WorkerListener } from './worker-process.ts';

const { write } = logSink;
beforeEach(() => {
	logSink.write = () => {};
});
afterEach(() => {
	logSink.write = write;
});

class FakeWorker implements GroupWorker {
	readonly pid = 1;
	isReady = false;
	isLeaving = false;
	lastReport = null;
	readonly exited: Promise<void>;
	readonly told: ToWorker[] = [];
	killed = false;
	private resolveExited: () => void = () => {};

	constructor(
		readonly index: number,
		private readonly listener: WorkerListener,
		private readonly sends: () => void,
	) {
		this.exited = new Promise((resolve) => {
			this.resolveExited = resolve;
		});
	}

	send(message: ToWorker): void {
		this.told.push(message);
	}

	sendSockets(): void {
		this.sends();
	}

	report(): Promise<null> {
		return Promise.resolve(null);
	}

	async admin(): Promise<void> {}

	async leave(): Promise<void> {}

	stop(): void {
		this.exit();
	}

	kill(): void {
		this.killed = true;
	}

	exit(): void {
		this.listener.onExit(this, 'code 1');
		this.resolveExited();
	}
}

const START = { kind: 'start' } as WorkerStart;
const SOCKETS: SocketGroup = {
	asked: { kind: 'pipe', path: 'a' },
	bound: { kind: 'pipe', path: 'a' },
	fds: [3],
};

/** `fails` says of each launch, and each handing over of sockets, whether it fails. */
function group(fails: (what: 'launch' | 'sockets') => boolean) {
	const clock = new VirtualClock();
	const launched: FakeWorker[] = [];
	const failWhen = (what: 'launch' | 'sockets'): void => {
		if (fails(what)) throw new Error('too many open files');
	};
	const workers = new WorkerGroup({
		count: 1,
		clock,
		restarts: new MetricRegistry().counter('restarts', '').with(),
		start: () => START,
		sockets: () => [SOCKETS],
		onGone: () => {},
		launch: (index, _clock, listener) => {
			failWhen('launch');
			const worker = new FakeWorker(index, listener, () => failWhen('sockets'));
			launched.push(worker);
			return worker;
		},
	});
	workers.start();
	return { clock, launched, workers };
}

test.each(['launch', 'sockets'] as const)('a worker that cannot be started (%s) is tried again', (failing) => {
	let isShort = false;
	const { clock, launched, workers } = group((what) => isShort && what === failing);
	isShort = true;
	launched[0]!.exit();
	clock.advance(10_000);
	expect(workers.pids).toEqual([]);
	expect(launched.slice(1).every(({ killed, told }) => killed && told.length === 0)).toBe(true);
	// The end of one that never came into its place is no end of the one that has it.
	isShort = false;
	clock.advance(10_000);
	expect(workers.pids).toHaveLength(1);
	expect(launched.at(-1)!.told).toEqual([START]);
	for (const one of launched.filter(({ killed }) => killed)) one.exit();
	expect(workers.pids).toHaveLength(1);
});

test('one that leaves by itself and cannot be replaced at once is replaced later', () => {
	let isShort = false;
	const { clock, launched, workers } = group(() => isShort);
	isShort = true;
	workers.onLeaving(launched[0]!);
	isShort = false;
	clock.advance(1000);
	expect(workers.pids).toHaveLength(1);
	expect(launched).toHaveLength(2);
});
