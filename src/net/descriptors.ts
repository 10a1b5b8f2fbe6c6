// How close the process is to its limit of open descriptors. The kernel gives the lowest number that is
// free, so the number of a new socket says how many are in use, for nothing. At the limit itself accept
// fails and the event loop spins on it until something closes; so connections are turned away before.
//
//   0 ───────── in use ─────────▶ acceptMax ─── reserve: upstream, files ───▶ connectMax ──▶ limit

import { readFileSync } from 'node:fs';

export interface DescriptorBudget {
	/** Descriptors that the process may have open; Infinity: unknown. */
	readonly limit: number;
	/** An accepted socket with this number or a higher one is one too many. */
	readonly acceptMax: number;
	/** The same for sockets that we connect. */
	readonly connectMax: number;
}

/** A quarter of the limit is kept for upstream connections and files, but no more than this. */
const RESERVE_MAX = 4096;
/** Of the reserve, so many are for nobody: a burst of connects is under way before the first has its number. */
const LAST_PART = 8;

export function descriptorBudget(limit: number): DescriptorBudget {
	if (!Number.isFinite(limit)) return { limit, acceptMax: limit, connectMax: limit };
	const reserve = Math.min(RESERVE_MAX, Math.ceil(limit / 4));
	return { limit, acceptMax: limit - reserve, connectMax: limit - Math.ceil(reserve / LAST_PART) };
}

/** The soft limit now; Bun raises it to the hard one when it starts. Infinity where it cannot be read. */
export function descriptorLimit(): number {
	try {
		const found = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
		return found === null ? Number.POSITIVE_INFINITY : Number(found[1]);
	} catch {
		return Number.POSITIVE_INFINITY;
	}
}
