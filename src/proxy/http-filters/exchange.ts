// One HTTP request and its answer on their way through the filters and the router. Data is in
// StreamInfo; here is the route that was chosen, the filters' own slots, and what a filter may do.
// The HTTP connection manager implements it (network-filters/http-exchange.ts).

import type { HeaderList } from '../../http/headers.ts';
import type { RequestHead } from '../../http/stream.ts';
import type { Clock } from '../../std/clock.ts';
import type { Random } from '../../std/random.ts';
import type { Route } from '../route/route.ts';
import { StreamInfo } from '../stream-info.ts';

export abstract class Exchange extends StreamInfo {
	declare requestHead: RequestHead;
	/** Fixed before the first filter runs; null: nothing matched. */
	route: Route | null = null;
	abstract readonly clock: Clock;
	abstract readonly random: Random;
	/** One slot for each filter of the chain (`FilterContext.slot`), for what it keeps per request. */
	readonly filterState: unknown[] = [];
	/** The request has ended (its last byte was received). */
	requestEnded = false;
	/** The final response head went down: nothing may be sent again from here on. */
	responseStarted = false;
	/** Both directions are over; no hook is called any more. */
	complete = false;

	/**
	 * Answers the request from here: response hooks run on it, the upstream is given up. After the head went
	 * down, or after an earlier local reply, the stream is reset instead.
	 * `flags` are bits of `ResponseFlag`, `details` is `%RESPONSE_CODE_DETAILS%`. `extraHeaders` is not kept.
	 */
	abstract sendLocalReply(
		status: number,
		body: string,
		flags: number,
		details: string,
		extraHeaders?: HeaderList | null,
	): void;

	/** Goes on after a request hook returned `pause`. Nothing happens when the exchange is over. */
	abstract resumeRequest(): void;
}
