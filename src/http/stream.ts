// The vocabulary in which HTTP/1.1 and HTTP/2, downstream and upstream, all meet. A stream is one
// request and its response as seen from one side of one connection. A filter or the router never
// asks which protocol it is on.
//
//   who        writes (Stream)                       hears (StreamListener)
//   server     response: head, data, trailers        request:  head, data, trailers
//   client     request:  head, data, trailers        response: [1xx heads] head, data, trailers
//
// Each direction ends exactly once: by `end = true`, by trailers, or by reset (which ends both).
// After `reset` (either way) no call in either direction has an effect, and no event follows.

import type { WeftError } from '../std/errors.ts';
import type { HeaderList } from './headers.ts';

export interface RequestHead {
	method: string;
	/** `http` or `https`: the scheme of the connection, or of an absolute-form target. */
	scheme: string;
	/** Host and optional port, lower case is not enforced. Not repeated as `host` in `headers`. */
	authority: string;
	/** Path and query, starting with `/`; `*` for OPTIONS; empty for CONNECT. */
	path: string;
	/** Without pseudo-headers, host, and all that is about framing or the connection. */
	headers: HeaderList;
	/** The protocol asked for (`websocket`) by Upgrade or extended CONNECT; empty: none. */
	upgrade: string;
}

export interface ResponseHead {
	status: number;
	headers: HeaderList;
}

export type ResetReason =
	/** The peer, or the layer that calls `reset`, no longer wants it. */
	| 'cancelled'
	/** The peer broke the protocol, or a premature close. */
	| 'protocol_error'
	/** The connection went away. */
	| 'connection_lost'
	/** Nothing was processed: safe to send elsewhere (HTTP/2 REFUSED_STREAM, or never written). */
	| 'refused'
	/** A limit or timeout of ours. */
	| 'local';

export interface Stream {
	/** A server writes a ResponseHead (1xx ones any number of times before the final), a client a RequestHead. */
	writeHead(head: RequestHead | ResponseHead, end: boolean): void;
	/** Takes all of `bytes` (copied if kept). False: stop until `onDrain`. */
	writeData(bytes: Uint8Array, end: boolean): boolean;
	writeTrailers(trailers: HeaderList): void;
	reset(reason: ResetReason): void;
	/** No more `onData` until `resume`, save what the codec already holds of the current read. */
	pause(): void;
	resume(): void;
}

export interface RequestListener {
	onHead(head: RequestHead, end: boolean): void;
	/** `bytes` are only valid during the call. */
	onData(bytes: Uint8Array, end: boolean): void;
	onTrailers(trailers: HeaderList): void;
	/** `error` says more where there is more to say (connection loss, protocol error). */
	onReset(reason: ResetReason, error: WeftError | null): void;
	onDrain(): void;
	/** The rest of the request cannot be read: may be answered with `status` in this call; `onReset` follows else. */
	onBadRequest?(status: number): void;
}

export interface ResponseListener {
	/** 1xx heads (never 101) may come first, with `end` false. */
	onHead(head: ResponseHead, end: boolean): void;
	onData(bytes: Uint8Array, end: boolean): void;
	onTrailers(trailers: HeaderList): void;
	onReset(reason: ResetReason, error: WeftError | null): void;
	onDrain(): void;
}

export type ServerStream = Stream & { writeHead(head: ResponseHead, end: boolean): void };
export type ClientStream = Stream & { writeHead(head: RequestHead, end: boolean): void };
