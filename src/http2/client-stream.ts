// One request and its response on a client's HTTP/2 connection.

import type { ClientStream, RequestHead, ResponseListener } from '../http/stream.ts';
import { Http2Stream, type StreamOwner } from './stream.ts';

/** The codec, as its streams see it. */
export interface ClientStreamOwner extends StreamOwner {
	writeHead(stream: Http2ClientStream, head: RequestHead, end: boolean): void;
}

export class Http2ClientStream extends Http2Stream implements ClientStream {
	method = '';
	/** Asked for by extended CONNECT, and not answered yet. */
	upgrade = '';
	webSocketKey = '';
	/** The final head has come. */
	responseBegun = false;
	informational = 0;

	constructor(
		private readonly codec: ClientStreamOwner,
		readonly listener: ResponseListener,
	) {
		super(codec);
	}

	writeHead(head: RequestHead, end: boolean): void {
		if (!this.over) this.codec.writeHead(this, head, end);
	}
}
