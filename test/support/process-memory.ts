// Memory and descriptors of another process, from /proc.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

export function residentBytes(pid: number): number {
	return statusBytes(pid, 'VmRSS');
}

/** The most that was resident since the process began, or since `forgetPeak`. */
export function peakResidentBytes(pid: number): number {
	return statusBytes(pid, 'VmHWM');
}

/** The peak is what is resident now. */
export function forgetPeak(pid: number): void {
	writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

export function descriptorsOf(pid: number): number {
	return readdirSync(`/proc/${pid}/fd`).length;
}

function statusBytes(pid: number, field: string): number {
	const found = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
	if (found === null) throw new Error(`/proc/${pid}/status has no ${field}`);
	return Number(found[1]) * 1024;
}
