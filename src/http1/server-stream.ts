// One request and its response on a server's HTTP/1.1 connection: the state that belongs to this
// exchange alone. What is written goes to the codec, which knows the connection.

import type { HeaderList } from '../http/headers.ts';
import type { RequestListener, ResetReason, ResponseHead, ServerStream } from '../http/stream.ts';
import type { WeftError } from '../std/errors.ts';
import type { ParsedRequest } from './request-head.ts';

/** The codec, as its stream sees it. Called for streams that are not over. */
export interface ServerStreamOwner {
	writeHead(stream: Http1ServerStream, head: ResponseHead, end: boolean): void;
	writeData(stream: Http1ServerStream, bytes: Uint8Array, end: boolean): boolean;
	writeTrailers(stream: Http1ServerStream, trailers: HeaderList): void;
	/** HTTP/1.1 can only end a stream early by ending the connection. */
	resetConnection(): void;
	/** `readingPaused` changed. */
	updateReading(): void;
	/** Nobody holds the stream any more. */
	forget(stream: Http1ServerStream): void;
}

const NO_LISTENER: RequestListener = {
	onHead() {},
	onData() {},
	onTrailers() {},
	onReset() {},
	onDrain() {},
};

export class Http1ServerStream implements ServerStream {
	listener: RequestListener = NO_LISTENER;
	requestEnded: boolean;
	/** Of an upgrade or CONNECT that is not answered yet. */
	awaitsSwitch: boolean;
	/** The final head is written. */
	responseBegun = false;
	closeAfter = false;
	raw = false;
	readingPaused = false;
	/** Ended or reset: no call has an effect. */
	over = false;

	constructor(
		private readonly codec: ServerStreamOwner,
		readonly request: ParsedRequest,
	) {
		this.awaitsSwitch = request.head.upgrade !== '' || request.head.method === 'CONNECT';
		this.requestEnded = request.bodyBytes === 0 && !this.awaitsSwitch;
	}

	writeHead(head: ResponseHead, end: boolean): void {
		if (!this.over) this.codec.writeHead(this, head, end);
	}

	writeData(bytes: Uint8Array, end: boolean): boolean {
		return this.over ? true : this.codec.writeData(this, bytes, end);
	}

	writeTrailers(trailers: HeaderList): void {
		if (!this.over) this.codec.writeTrailers(this, trailers);
	}

	reset(_reason: ResetReason): void {
		if (this.over) return;
		this.over = true;
		this.codec.resetConnection();
	}

	pause(): void {
		if (this.over || this.readingPaused) return;
		this.readingPaused = true;
		this.codec.updateReading();
	}

	resume(): void {
		if (this.over || !this.readingPaused) return;
		this.readingPaused = false;
		this.codec.updateReading();
	}

	/** The connection or the message is lost. */
	lose(reason: ResetReason, error: WeftError | null): void {
		if (this.over) return;
		this.over = true;
		this.codec.forget(this);
		this.listener.onReset(reason, error);
	}
}
