// A fault of our own: an assertion or an exception that nobody foresaw. Whoever catches one at a
// boundary ends what it was thrown in (a connection, an exchange, one run of a timer), tells here, and
// the process goes on. Logged with its context and stack, and counted by place.

import { type LogFields, Logger } from './log.ts';

/**
 * `connection`: a callback of a socket, of either side. `exchange`: what an upstream's answer led to. `timer`: a
 * timer that belongs to no connection. `resolver`: an answer of DNS. `process`: nobody caught it.
 */
export const FAULT_PLACES = ['connection', 'exchange', 'timer', 'resolver', 'process'] as const;
export type FaultPlace = (typeof FAULT_PLACES)[number];

const log = new Logger('fault');

/** Where faults are counted; one for the process, as its log. */
export const faultSink: { count: (place: FaultPlace) => void } = { count: () => {} };

/** `context`: the listener, the peer, the route. Never throws. */
export function reportFault(place: FaultPlace, message: string, error: unknown, context: LogFields = {}): void {
	try {
		faultSink.count(place);
		log.error(message, {
			...context,
			error: error instanceof Error ? error.message : String(error),
			stack: error instanceof Error ? error.stack : undefined,
		});
	} catch {
		// A log that cannot be written to, or an error that cannot be printed: there is nowhere left to tell.
	}
}
