// One request and its response on an HTTP/2 connection, whichever side we are: windows, what waits
// to be sent, what waits to be taken. The connection does the work; this is the state.
//
//   on the wire:  open ──END_STREAM sent──▶ half-closed ──END_STREAM received──▶ closed (and the other way round)
//                   └───────────────── RST_STREAM, either way ─────────────────────▶ closed
//   `over`: nothing is heard and nothing can be said. A stream that is closed on the wire may still
//   hold data for a listener that has it paused.

import type { HeaderList } from '../http/headers.ts';
import type { RequestListener, ResetReason } from '../http/stream.ts';
import type { WeftError } from '../std/errors.ts';
import { DataQueue } from './data-queue.ts';

/** What both kinds of listeners have. */
export type BodyListener = Omit<RequestListener, 'onHead'>;

/** The connection, as its streams see it. */
export interface StreamOwner {
	sendData(stream: Http2Stream, bytes: Uint8Array, end: boolean): boolean;
	sendTrailers(stream: Http2Stream, trailers: HeaderList): void;
	resetByUs(stream: Http2Stream, reason: ResetReason): void;
	/** The listener took so many bytes: the peer may send as many more. */
	credit(stream: Http2Stream | null, bytes: number): void;
}

const EMPTY = new Uint8Array(0);

export abstract class Http2Stream {
	/** 0: none yet. */
	id = 0;
	/** Bytes that the peer takes. */
	sendWindow = 0;
	/** Bytes that the peer may send. */
	receiveWindow = 0;
	/** Taken since the last WINDOW_UPDATE. */
	creditOwed = 0;
	/** What is missing of the content-length, in each direction; -1: none was declared. */
	outBytesLeft = -1;
	inBytesLeft = -1;
	/** The (final) head is written. */
	headWritten = false;
	/** The end was written; it may still wait. */
	localEnded = false;
	/** END_STREAM is out. */
	endSent = false;
	/** END_STREAM came in. */
	remoteEnded = false;
	over = false;

	/** Waits for windows or for the transport; null: nothing does. */
	queue: DataQueue | null = null;
	trailersQueued: HeaderList | null = null;
	/** It is in the connection's round of streams with something to send. */
	scheduled = false;
	/** A write returned false. */
	drainWanted = false;
	sentSinceCheck = 0;

	private paused = false;
	private delivering = false;
	private held: DataQueue | null = null;
	private heldBytes = 0;
	private heldEnd = false;
	private heldTrailers: HeaderList | null = null;

	abstract readonly listener: BodyListener;

	constructor(protected readonly owner: StreamOwner) {}

	writeData(bytes: Uint8Array, end: boolean): boolean {
		return this.over || this.localEnded ? true : this.owner.sendData(this, bytes, end);
	}

	writeTrailers(trailers: HeaderList): void {
		if (!this.over && !this.localEnded) this.owner.sendTrailers(this, trailers);
	}

	reset(reason: ResetReason): void {
		if (this.over) return;
		this.over = true;
		this.dropHeld();
		this.owner.resetByUs(this, reason);
	}

	pause(): void {
		this.paused = true;
	}

	resume(): void {
		if (!this.paused) return;
		this.paused = false;
		if (!this.over && !this.delivering) this.deliverHeld();
	}

	/** Data in order; `bytes` are valid during the call only. `end`: the request or response ends with it. */
	receiveData(bytes: Uint8Array, end: boolean): void {
		if (this.paused || this.held !== null) {
			this.held ??= new DataQueue();
			if (bytes.length > 0) {
				this.held.append(bytes);
				this.heldBytes += bytes.length;
			}
			if (end) this.heldEnd = true;
			return;
		}
		if (bytes.length > 0) this.owner.credit(this, bytes.length);
		if (end) this.endHeard();
		this.listener.onData(bytes, end);
	}

	receiveTrailers(trailers: HeaderList): void {
		if (this.paused || this.held !== null) {
			this.held ??= new DataQueue();
			this.heldTrailers = trailers;
			return;
		}
		this.endHeard();
		this.listener.onTrailers(trailers);
	}

	/** Reset by the peer, or lost. */
	lose(reason: ResetReason, error: WeftError | null): void {
		if (this.over) return;
		this.over = true;
		this.dropHeld();
		this.queue = null;
		this.listener.onReset(reason, error);
	}

	dropHeld(): void {
		const bytes = this.heldBytes;
		// While it is being delivered, the listener has a part of it.
		if (!this.delivering) this.held?.clear();
		this.held = null;
		this.heldBytes = 0;
		this.heldTrailers = null;
		if (bytes > 0) this.owner.credit(null, bytes);
	}

	/** The listener hears the end; with our own end written, nothing more can happen. */
	private endHeard(): void {
		if (this.endSent) this.over = true;
	}

	private deliverHeld(): void {
		const { held } = this;
		if (held === null) return;
		this.delivering = true;
		while (held.length > 0 && !this.paused && !this.over) {
			const bytes = held.peek();
			const end = this.heldEnd && bytes.length === held.length;
			this.heldBytes -= bytes.length;
			this.owner.credit(this, bytes.length);
			if (end) this.endHeard();
			this.listener.onData(bytes, end);
			held.consume(bytes.length);
			if (end) this.heldEnd = false;
		}
		this.delivering = false;
		if (this.held === null) held.clear();
		if (this.held === null || this.over || held.length > 0) return;
		if (this.paused) {
			if (!this.heldEnd && this.heldTrailers === null) this.held = null;
			return;
		}
		this.held = null;
		const trailers = this.heldTrailers;
		this.heldTrailers = null;
		if (trailers !== null) {
			this.endHeard();
			this.listener.onTrailers(trailers);
		} else if (this.heldEnd) {
			this.heldEnd = false;
			this.endHeard();
			this.listener.onData(EMPTY, true);
		}
	}
}
