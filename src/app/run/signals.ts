// The signals that `weft run` gets, passed on to the program. One comes twice by itself: what the
// terminal sends (Ctrl-C, Ctrl-\, a new size) goes to all of the foreground group, so the program
// has it already, and a second one would mean something else to it.

import { statFields } from '../process-stamp.ts';

const PASSED: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'];
const STOPPING: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'];
const FROM_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGWINCH']);

export interface SignalListener {
	/** To the program, at once. */
	onPass(signal: NodeJS.Signals): void;
	/** The end is asked for; the program is yet to be told. */
	onStop(signal: NodeJS.Signals): void;
}

/** Returns what ends the listening. */
export function listenForSignals(listener: SignalListener): () => void {
	const handlers = new Map<NodeJS.Signals, () => void>();
	for (const signal of PASSED) {
		handlers.set(signal, () => {
			if (!cameFromTerminal(signal)) listener.onPass(signal);
		});
	}
	for (const signal of STOPPING) {
		handlers.set(signal, () => {
			if (!cameFromTerminal(signal)) listener.onStop(signal);
		});
	}
	for (const [signal, handler] of handlers) process.on(signal, handler);
	return () => {
		for (const [signal, handler] of handlers) process.off(signal, handler);
	};
}

/** A guess, since the sender of a signal cannot be asked: we are in the foreground of a terminal. */
function cameFromTerminal(signal: NodeJS.Signals): boolean {
	if (!FROM_TERMINAL.has(signal)) return false;
	const stat = statFields(process.pid);
	return stat !== null && stat.foregroundGroup > 0 && stat.foregroundGroup === stat.processGroup;
}
