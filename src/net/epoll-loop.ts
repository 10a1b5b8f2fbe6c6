// An event loop of our own for plain TCP sockets, around that of Bun: it waits for both at once, and what is Bun's to
// do Bun does. Bun makes an array of each read and copies into it, asks the kernel more often than need be for each
// new connection, and accepts only on sockets that it made; here one buffer serves all reads, and a proxied byte costs
// what it costs in C, within a few per cent.
//
//   our epoll ── sockets of ours ──▶ recv, accept, send; at the turn's end: what was gathered leaves
//       └─────── Bun's epoll ──────▶ return to Bun: its sockets, files, timers, signals
//
// Bun calls a turn by `setImmediate`, looks at its own events without waiting, and calls the next one: the waiting is
// done here. What Bun would do by itself, at a time that we do not know (its timers, an immediate of somebody), waits
// with us, but not for long: the waiting begins with nothing after each sign of life from Bun and grows to WAIT_MS_MAX.
// Timers of the worker's wheel are on time: their alarm rings here. While no socket is ours, Bun waits.

import { type Pointer, ptr } from 'bun:ffi';
import { reportFault } from '../std/fault.ts';
import { epollInterest } from './linux.ts';
import {
	EINTR,
	EPOLL_CLOEXEC,
	EPOLL_CTL_ADD,
	EPOLL_CTL_DEL,
	EPOLL_CTL_MOD,
	EPOLLIN,
	type SocketCalls,
	socketCalls,
} from './socket-calls.ts';
import type { TimeSource } from './timer-wheel.ts';

/** How late what Bun does by itself may be in an idle process. */
const WAIT_MS_MAX = 100;
/** What is read in one turn, about: others wait so long. Among many sockets each gets less at a time. */
const TURN_BYTES = 4 * 1024 * 1024;
const READ_BYTES_MIN = 16 * 1024;
/** Turns after a sign of life from Bun that do not wait at all: an immediate that somebody set has its turn. */
const RESTLESS_TURNS = 1;
const EVENTS_MAX = 256;
/** What one read takes at most. */
const READ_BYTES_MAX = 1024 * 1024;
/** struct epoll_event in 32-bit words: packed on x86-64 alone. */
const EVENT_WORDS = process.arch === 'x64' ? 3 : 4;
const DATA_WORD = process.arch === 'x64' ? 1 : 2;

/** What is watched. */
export abstract class Watched {
	/** Of the loop: tells it from one that had the same descriptor before. */
	watchId = 0;
	/** Of the loop: what the kernel was asked for. */
	interest = 0;

	constructor(public fd: number) {}

	/** `events`: EPOLLIN and so on. What it throws is logged. */
	abstract ready(events: number): void;
}

interface Alarm {
	dueMs: number;
	wake: () => void;
}

class BunEvents extends Watched {
	override ready(): void {}
}

let shared: EpollLoop | null | undefined;

export class EpollLoop {
	/** For reads: what is in it is good until the next one. */
	readonly buffer = new Uint8Array(new ArrayBuffer(READ_BYTES_MAX));
	readonly bufferPointer: Pointer = ptr(this.buffer);
	/** What a read takes at most in this turn. */
	readBytes = READ_BYTES_MAX;
	/** How long a turn may wait when nothing is known of Bun. Tests that live on Bun's timers wait less. */
	waitMsMax = WAIT_MS_MAX;
	/** For tests: what was read is overwritten when its call is over, so that who keeps it is found out. */
	spoilsReads = false;
	private readonly watched: (Watched | undefined)[] = [];
	private readonly events = new Int32Array(new ArrayBuffer(EVENTS_MAX * EVENT_WORDS * 4));
	private readonly eventsPointer: Pointer = ptr(this.events);
	private readonly request = new Int32Array(new ArrayBuffer(16));
	private readonly requestPointer: Pointer = ptr(this.request);
	private nextId = 1;
	/** Sockets of ours. */
	private count = 0;
	private atEnd: (() => void)[] = [];
	private ending: (() => void)[] = [];
	private isTurning = false;
	private isScheduled = false;
	/** Bun's timer for the next alarm, while no socket is ours. */
	private bell: ReturnType<typeof setTimeout> | null = null;
	private quietTurns = 0;
	private readonly alarms = new Set<Alarm>();
	private readonly turn = () => this.run();

	private constructor(
		readonly calls: SocketCalls,
		private readonly fd: number,
		private readonly bun: BunEvents,
	) {
		this.control(EPOLL_CTL_ADD, bun, EPOLLIN);
		this.watched[bun.fd] = bun;
	}

	/** The one of this thread; null where there is no epoll, or Bun's cannot be found. */
	static shared(): EpollLoop | null {
		if (shared === undefined) shared = EpollLoop.open();
		return shared;
	}

	private static open(): EpollLoop | null {
		if (process.platform !== 'linux') return null;
		try {
			const bun = bunEpoll();
			if (bun === null) return null;
			const calls = socketCalls();
			const fd = calls.epoll_create1(EPOLL_CLOEXEC);
			return fd < 0 ? null : new EpollLoop(calls, fd, new BunEvents(bun));
		} catch {
			return null;
		}
	}

	/** A clock's: its alarm rings in a turn of this loop. */
	timeSource(): TimeSource {
		const alarm: Alarm = { dueMs: 0, wake: () => {} };
		return {
			nowMs: () => performance.now(),
			wallMs: () => Date.now(),
			setAlarm: (delayMs, wake) => {
				alarm.dueMs = performance.now() + delayMs;
				alarm.wake = wake;
				this.alarms.add(alarm);
				this.schedule();
			},
			clearAlarm: () => {
				this.alarms.delete(alarm);
				// A timer that is left would keep the process.
				if (this.bell !== null) this.schedule();
			},
		};
	}

	/** False: the kernel refused. */
	watch(one: Watched, interest: number): boolean {
		one.watchId = this.nextId;
		// 0 is Bun's.
		this.nextId = this.nextId === 0x7fffffff ? 1 : this.nextId + 1;
		if (!this.control(EPOLL_CTL_ADD, one, interest)) return false;
		this.watched[one.fd] = one;
		this.count++;
		this.schedule();
		return true;
	}

	change(one: Watched, interest: number): void {
		if (one.interest !== interest) this.control(EPOLL_CTL_MOD, one, interest);
	}

	/** The kernel forgets a descriptor that is closed by itself; `isKept`: it is not closed. */
	forget(one: Watched, isKept = false): void {
		if (this.watched[one.fd] !== one) return;
		if (isKept) this.control(EPOLL_CTL_DEL, one, 0);
		this.watched[one.fd] = undefined;
		this.count--;
	}

	/** `run` is called once, before the loop waits. It does not throw. */
	atTurnEnd(run: () => void): void {
		this.atEnd.push(run);
		this.schedule();
	}

	/** A turn follows. */
	private schedule(): void {
		if (this.isScheduled || this.isTurning) return;
		this.isScheduled = true;
		if (this.bell !== null) clearTimeout(this.bell);
		this.bell = null;
		setImmediate(this.turn);
	}

	/** After a turn. Without a socket of ours the waiting is Bun's. */
	private scheduleNext(): void {
		if (this.count > 0 || this.atEnd.length > 0) this.schedule();
		else if (this.alarms.size > 0) this.bell = setTimeout(this.turn, this.untilAlarmMs());
	}

	private run(): void {
		this.isScheduled = false;
		this.bell = null;
		this.isTurning = true;
		try {
			this.endTurn();
			const waitMs = this.count === 0 ? 0 : this.waitMs();
			const count = this.calls.epoll_wait(this.fd, this.eventsPointer, EVENTS_MAX, waitMs);
			if (count > 0) this.handle(count);
			else if (count < 0 && this.calls.errno() !== EINTR) throw new Error(`epoll_wait: errno ${this.calls.errno()}`);
			if (this.alarms.size > 0) this.ring();
			this.endTurn();
		} catch (error) {
			reportFault('process', 'the event loop', error);
		}
		this.isTurning = false;
		this.scheduleNext();
	}

	private waitMs(): number {
		if (this.atEnd.length > 0 || this.quietTurns < RESTLESS_TURNS) {
			this.quietTurns++;
			return 0;
		}
		const longest = this.quietTurns < 16 ? 1 << (this.quietTurns++ - RESTLESS_TURNS) : this.waitMsMax;
		return Math.min(longest, this.waitMsMax, this.untilAlarmMs());
	}

	/** Whole milliseconds, 0 when one is due; Infinity: there is none. */
	private untilAlarmMs(): number {
		if (this.alarms.size === 0) return Number.POSITIVE_INFINITY;
		let dueMs = Number.POSITIVE_INFINITY;
		for (const alarm of this.alarms) dueMs = Math.min(dueMs, alarm.dueMs);
		return Math.max(0, Math.ceil(dueMs - performance.now()));
	}

	private handle(count: number): void {
		const { events, watched } = this;
		this.readBytes = Math.min(READ_BYTES_MAX, Math.max(READ_BYTES_MIN, Math.floor(TURN_BYTES / count)));
		for (let index = 0; index < count; index++) {
			const at = index * EVENT_WORDS;
			const one = watched[events[at + DATA_WORD]!];
			// An earlier event of this turn may have closed it, and another may have its descriptor.
			if (one === undefined || one.watchId !== events[at + DATA_WORD + 1]) continue;
			if (one === this.bun) {
				this.quietTurns = 0;
				continue;
			}
			try {
				one.ready(events[at]!);
			} catch (error) {
				reportFault('process', 'a socket of the event loop', error);
			}
		}
	}

	private ring(): void {
		const nowMs = performance.now();
		for (const alarm of this.alarms) {
			if (nowMs < alarm.dueMs) continue;
			this.alarms.delete(alarm);
			// It may set itself again.
			alarm.wake();
		}
	}

	private endTurn(): void {
		// Those who are told that they may write again may write.
		for (let round = 0; this.atEnd.length > 0 && round < 4; round++) {
			const list = this.atEnd;
			this.atEnd = this.ending;
			this.ending = list;
			for (let index = 0; index < list.length; index++) list[index]!();
			list.length = 0;
		}
	}

	private control(operation: number, one: Watched, interest: number): boolean {
		this.request[0] = interest;
		this.request[DATA_WORD] = one.fd;
		this.request[DATA_WORD + 1] = one.watchId;
		if (this.calls.epoll_ctl(this.fd, operation, one.fd, this.requestPointer) !== 0) return false;
		one.interest = interest;
		return true;
	}
}

/** The descriptor of the event loop that this thread's sockets are in; null: not to be found. */
function bunEpoll(): number | null {
	const probe = Bun.listen({ unix: `\0weft-loop-${process.pid}-${crypto.randomUUID()}`, socket: { data() {} } });
	const { fd } = probe as unknown as { readonly fd: number };
	try {
		return epollInterest(fd)?.epollFd ?? null;
	} finally {
		probe.stop(true);
	}
}
