// One request and its response on a client's HTTP/1.1 connection: the state that belongs to this
// exchange alone. What is written goes to the codec, which knows the connection.

import type { HeaderList } from '../http/headers.ts';
import type { ClientStream, RequestHead, ResetReason, ResponseListener } from '../http/stream.ts';
import type { WeftError } from '../std/errors.ts';

const EMPTY = new Uint8Array(0);

/** The codec, as its stream sees it. Called for streams that are not over. */
export interface ClientStreamOwner {
	writeHead(stream: Http1ClientStream, head: RequestHead, end: boolean): void;
	writeData(stream: Http1ClientStream, bytes: Uint8Array, end: boolean): boolean;
	writeTrailers(stream: Http1ClientStream, trailers: HeaderList): void;
	/** A request that is not written leaves the connection as it was; any other ends it. */
	resetStream(stream: Http1ClientStream): void;
	/** `readingPaused` changed. */
	updateReading(stream: Http1ClientStream): void;
	/** Nobody holds the stream any more. */
	forget(stream: Http1ClientStream): void;
}

export class Http1ClientStream implements ClientStream {
	method = '';
	upgrade = '';
	/** Of an upgrade or CONNECT that is not answered yet. */
	awaitsSwitch = false;
	endsAfterSwitch = false;
	/** Data that came before the switch was agreed. */
	held: Uint8Array | null = null;
	headWritten = false;
	/** The final head has come. */
	responseBegun = false;
	responseEnded = false;
	untilClose = false;
	raw = false;
	keepAlive = false;
	informational = 0;
	readingPaused = false;
	/** Ended or reset: no call has an effect. */
	over = false;

	constructor(
		private readonly codec: ClientStreamOwner,
		readonly listener: ResponseListener,
	) {}

	writeHead(head: RequestHead, end: boolean): void {
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
		this.codec.resetStream(this);
	}

	pause(): void {
		if (this.over || this.readingPaused) return;
		this.readingPaused = true;
		this.codec.updateReading(this);
	}

	resume(): void {
		if (this.over || !this.readingPaused) return;
		this.readingPaused = false;
		this.codec.updateReading(this);
	}

	/** Keeps what is written before the switch; the caller was told to stop. */
	hold(bytes: Uint8Array, end: boolean): void {
		if (end) this.endsAfterSwitch = true;
		if (bytes.length === 0) return;
		const before = this.held ?? EMPTY;
		const both = new Uint8Array(before.length + bytes.length);
		both.set(before);
		both.set(bytes, before.length);
		this.held = both;
	}

	lose(reason: ResetReason, error: WeftError | null): void {
		if (this.over) return;
		this.over = true;
		this.codec.forget(this);
		this.listener.onReset(reason, error);
	}
}
