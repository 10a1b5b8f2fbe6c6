// One HTTP request and its answer on their way through the filters and the router. Data is in
// StreamInfo; here is the route that was chosen, the filters' own slots, and what a filter may do.
// The HTTP connection manager implements it (network-filters/http-exchange.ts).

import type { HeaderList } from '../../http/headers.ts';
import type { RequestHead, ResponseHead } from '../../http/stream.ts';
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
	 * `grpcStatus`: what a gRPC client is told; null: what gRPC says for `status`.
	 */
	abstract sendLocalReply(
		status: number,
		body: string,
		flags: number,
		details: string,
		extraHeaders?: HeaderList | null,
		grpcStatus?: number | null,
	): void;

	/** For local replies: false when a filter made a gRPC request of another one; null: as its head says. */
	cameAsGrpc: boolean | null = null;

	/**
	 * Within `onResponseHead` (not at the end of a response) only: the head stays with this filter until it calls
	 * `releaseResponseHead`. Meanwhile it lets no data go on: its `onResponseData` returns nothing.
	 */
	abstract holdResponseHead(): void;
	/** The head that was held goes on to the filters after this one, and down. */
	abstract releaseResponseHead(): void;
	/** Within `onResponseTrailers` only: `bytes` that the filter had kept go on before the trailers. */
	abstract sendBeforeTrailers(bytes: Uint8Array): void;
	/** Within `onResponseTrailers` only: `bytes` end the response in place of the trailers. */
	abstract endResponseWith(bytes: Uint8Array): void;

	/** The response is ours, made by `sendLocalReply`. */
	localReply = false;
	/** The head of the request was handed to an upstream connection: its program may have acted on it. */
	upstreamMayHaveSeen = false;

	/** Goes on after a request hook returned `pause`. Nothing happens when the exchange is over. */
	abstract resumeRequest(): void;

	/**
	 * Calls back once unless the exchange is over before; on time to within some 10 ms. For filters that
	 * pause, which one at a time does: another call replaces the one that waits.
	 */
	abstract after(delayMs: number, callback: () => void): void;

	// What follows is for the router, which ends the chain.

	/** A final or (status below 200, save 101) informational head goes down, through the response hooks. */
	abstract sendResponseHead(head: ResponseHead, end: boolean): void;
	/** False: stop until the router's `onDownstreamDrain`. */
	abstract sendResponseData(bytes: Uint8Array, end: boolean): boolean;
	abstract sendResponseTrailers(trailers: HeaderList): void;
	/** The response cannot be completed: the client's stream is reset. */
	abstract resetDownstream(flags: number, details: string): void;
	/** Holds the request's body back, for one of the reasons in `PauseReason`. */
	abstract holdRequest(reason: number): void;
	abstract releaseRequest(reason: number): void;
	/** When `checkDeadlines` of the router wants to be asked next. */
	abstract wakeAt(dueMs: number): void;
	/** Bytes of a request that may be kept for a retry. */
	abstract readonly bufferLimitBytes: number;
}

/** Why a request's body is held back; bits, since several may hold at once. */
export const PauseReason = {
	filter: 1,
	/** No upstream stream takes it yet. */
	upstreamPending: 2,
	/** The upstream takes it too slowly. */
	upstreamFull: 4,
} as const;

/** The end of a filter chain, one object per exchange: takes the request, answers through the exchange. */
export interface RequestSink {
	/** Headers are in `exchange.requestHead`. */
	onHead(end: boolean): void;
	/** `bytes` are valid during the call only. */
	onData(bytes: Uint8Array, end: boolean): void;
	onTrailers(trailers: HeaderList): void;
	/** The client takes bytes again after `sendResponseData` returned false. */
	onDownstreamDrain(): void;
	/** Nothing more is wanted: the exchange was answered otherwise, or the client is gone. */
	abandon(): void;
	/** Acts on what is due; returns when to ask again (`Clock.nowMs`), Infinity for never. */
	checkDeadlines(nowMs: number): number;
}
