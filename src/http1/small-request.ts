// One request to the small server, gathered whole, and the answer that its handler gives.

import { getHeader, type HeaderList, hasHeader, setHeader } from '../http/headers.ts';
import type { RequestHead, RequestListener, ServerStream } from '../http/stream.ts';
import type { Connection } from '../net/network.ts';
import type { Timer } from '../std/clock.ts';
import { errorMessage } from '../std/errors.ts';
import type { Logger } from '../std/log.ts';

export interface SmallRequest {
	readonly method: string;
	/** Path without query, not decoded. */
	readonly path: string;
	readonly query: URLSearchParams;
	readonly authority: string;
	readonly headers: HeaderList;
	readonly body: Uint8Array;
	/** For addresses and peer credentials. */
	readonly connection: Connection;
}

export interface SmallResponse {
	readonly status: number;
	readonly contentType?: string;
	readonly headers?: HeaderList;
	readonly body: string | Uint8Array;
}

/** May reject: answered 500 with a plain line, and logged. */
export type SmallHandler = (request: SmallRequest) => SmallResponse | Promise<SmallResponse>;

/** What a request needs of its server. */
export interface SmallService {
	readonly handler: SmallHandler;
	readonly log: Logger;
	readonly bodyBytesMax: number;
}

export class PendingRequest implements RequestListener {
	readingBody = true;
	private head: RequestHead | null = null;
	private parts: Uint8Array[] = [];
	private bodyBytes = 0;
	private over = false;

	constructor(
		private readonly service: SmallService,
		private readonly connection: Connection,
		private readonly stream: ServerStream,
		private readonly timer: Timer,
	) {}

	onHead(head: RequestHead, end: boolean): void {
		this.head = head;
		const declared = Number(getHeader(head.headers, 'content-length') ?? 0);
		if (head.upgrade !== '' || head.method === 'CONNECT') this.answer({ status: 501, body: 'not implemented\n' });
		else if (declared > this.service.bodyBytesMax) this.tooLarge();
		else if (end) this.dispatch();
		else if (getHeader(head.headers, 'expect')?.toLowerCase() === '100-continue') {
			this.stream.writeHead({ status: 100, headers: [] }, false);
		}
	}

	onData(bytes: Uint8Array, end: boolean): void {
		if (this.over) return;
		this.bodyBytes += bytes.length;
		if (this.bodyBytes > this.service.bodyBytesMax) {
			this.tooLarge();
			return;
		}
		if (bytes.length > 0) this.parts.push(bytes.slice());
		if (end) this.dispatch();
	}

	onTrailers(): void {
		if (!this.over) this.dispatch();
	}

	onReset(): void {
		this.over = true;
		this.parts = [];
	}

	onDrain(): void {}

	/** Nothing more is taken of the request. */
	answer(response: SmallResponse): void {
		if (this.over) return;
		this.over = true;
		this.readingBody = false;
		this.parts = [];
		const body = typeof response.body === 'string' ? new TextEncoder().encode(response.body) : response.body;
		const headers: HeaderList = response.headers === undefined ? [] : [...response.headers];
		if (!hasHeader(headers, 'content-type'))
			headers.push('content-type', response.contentType ?? 'text/plain; charset=utf-8');
		const bodyless = response.status === 204 || response.status === 304;
		if (!bodyless) setHeader(headers, 'content-length', String(body.length));
		const end = bodyless || this.head?.method === 'HEAD' || body.length === 0;
		this.stream.writeHead({ status: response.status, headers }, end);
		if (!end) this.stream.writeData(body, true);
	}

	private tooLarge(): void {
		this.answer({ status: 413, body: `request body of more than ${this.service.bodyBytesMax} bytes\n` });
	}

	private dispatch(): void {
		this.readingBody = false;
		// The handler takes what time it needs; its owner bounds it.
		this.timer.cancel();
		const request = this.smallRequest();
		let result: SmallResponse | Promise<SmallResponse>;
		try {
			result = this.service.handler(request);
		} catch (error) {
			this.fail(error, request);
			return;
		}
		if (result instanceof Promise) {
			result.then(
				(response) => this.answer(response),
				(error: unknown) => this.fail(error, request),
			);
		} else this.answer(result);
	}

	private smallRequest(): SmallRequest {
		const head = this.head!;
		const question = head.path.indexOf('?');
		const body = new Uint8Array(this.bodyBytes);
		let at = 0;
		for (const part of this.parts) {
			body.set(part, at);
			at += part.length;
		}
		this.parts = [];
		return {
			method: head.method,
			path: question === -1 ? head.path : head.path.substring(0, question),
			query: new URLSearchParams(question === -1 ? '' : head.path.substring(question + 1)),
			authority: head.authority,
			headers: head.headers,
			body,
			connection: this.connection,
		};
	}

	private fail(error: unknown, request: SmallRequest): void {
		this.service.log.error('handler failed', {
			method: request.method,
			path: request.path,
			error: errorMessage(error),
		});
		this.answer({ status: 500, body: 'internal error\n' });
	}
}
