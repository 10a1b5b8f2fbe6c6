// Which process a process id stands for, across its reuse: the id with the time at which the process
// started. `PID:START`, where START is Linux's clock ticks since boot (proc(5), field 22 of `stat`).

import { readFileSync } from 'node:fs';

/** Null: there is no such process, or it cannot be seen. */
export function processStamp(pid: number): string | null {
	const fields = statFields(pid);
	return fields === null ? null : `${pid}:${fields.startTicks}`;
}

export function stampIsAlive(stamp: string): boolean {
	const pid = Number(stamp.split(':')[0]);
	return Number.isInteger(pid) && pid > 0 && processStamp(pid) === stamp;
}

export interface ProcessStat {
	readonly processGroup: number;
	/** Process group in the foreground of the controlling terminal; -1 without a terminal. */
	readonly foregroundGroup: number;
	readonly startTicks: string;
}

export function statFields(pid: number): ProcessStat | null {
	let text: string;
	try {
		text = readFileSync(`/proc/${pid}/stat`, 'utf8');
	} catch {
		return null;
	}
	// The name, in parentheses, may hold anything; what follows the last one is plain. It begins with field 3.
	const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
	if (fields[0] === 'Z' || fields[0] === 'X') return null;
	return {
		processGroup: Number(fields[2]),
		foregroundGroup: Number(fields[5]),
		startTicks: fields[19] ?? '',
	};
}
