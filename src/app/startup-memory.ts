// Memory that only the start needed. Reading the configuration takes several times what is kept of it,
// and the code that ran once for it (modules, parsers, compiled functions) is a third of an idle sidecar.
// What is needed again is made again, or mapped again, on first use.

import { dlopen, FFIType } from 'bun:ffi';
import { readFileSync, readlinkSync } from 'node:fs';
import type { Clock, Timer } from '../std/clock.ts';
import { errorMessage } from '../std/errors.ts';
import { Logger } from '../std/log.ts';

const log = new Logger('memory');
const MADV_DONTNEED = 4;

/** Until what a start leaves to later (streams that come up, first reports) has been done once. */
const SETTLED_MS = 5_000;

/**
 * Gives it back to the system now, which takes some 30 ms and is for the moment before there is traffic, and once
 * more, without the code, when things have settled. Cancel the timer to be rid of that.
 */
export function releaseStartupMemory(clock: Clock): Timer {
	// The collection before makes the code of what is gone collectable, the one after returns the pages.
	Bun.gc(true);
	Bun.shrink();
	releasePages();
	return clock.after(SETTLED_MS, releasePages);
}

/** For the overload action `shrink_heap`: gives back what the heap does not need. Takes some 30 ms and more. */
export function shrinkHeap(): void {
	Bun.gc(true);
	Bun.shrink();
}

function releasePages(): void {
	Bun.gc(true);
	try {
		unmapProgramText();
	} catch (error) {
		log.debug('the pages of the program could not be given back', { reason: errorMessage(error) });
	}
}

/**
 * The machine code of the runtime: file pages that the kernel keeps in its cache, shared with every other weft
 * process, and maps again at the next use. Only mappings that nobody can have written to.
 */
function unmapProgramText(): void {
	const executable = readlinkSync('/proc/self/exe');
	const libc = dlopen('libc.so.6', {
		madvise: { args: [FFIType.u64, FFIType.u64, FFIType.i32], returns: FFIType.i32 },
	});
	for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
		const match = /^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \S+ +(.*)$/.exec(line);
		if (match === null || match[3] !== executable) continue;
		const start = Number.parseInt(match[1]!, 16);
		libc.symbols.madvise(start, Number.parseInt(match[2]!, 16) - start, MADV_DONTNEED);
	}
	libc.close();
}
