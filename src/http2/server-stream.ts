// One request and its response on a server's HTTP/2 connection.

import type { RequestListener, ResponseHead, ServerStream } from '../http/stream.ts';
import { Http2Stream, type StreamOwner } from './stream.ts';

/** The codec, as its streams see it. */
export interface ServerStreamOwner extends StreamOwner {
	writeHead(stream: Http2ServerStream, head: ResponseHead, end: boolean): void;
}

const NO_LISTENER: RequestListener = { onHead() {}, onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
const EMPTY = new Uint8Array(0);

export class Http2ServerStream extends Http2Stream implements ServerStream {
	listener: RequestListener = NO_LISTENER;
	/** The response has no content (HEAD, 204, 304): what is written is dropped. */
	dropsContent = false;

	constructor(
		private readonly codec: ServerStreamOwner,
		readonly method: string,
		readonly extendedConnect: boolean,
		/** The WebSocket key is of our own making, and so its answer is for nobody. */
		readonly keyIsOurs: boolean,
	) {
		super(codec);
	}

	writeHead(head: ResponseHead, end: boolean): void {
		if (!this.over && !this.localEnded) this.codec.writeHead(this, head, end);
	}

	override writeData(bytes: Uint8Array, end: boolean): boolean {
		return super.writeData(this.dropsContent ? EMPTY : bytes, end);
	}
}
