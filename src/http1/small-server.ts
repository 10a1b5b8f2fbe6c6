// A small HTTP server on a Network, for the process's own doors (admin, join): requests and
// responses whole in memory, both bounded. Not on the path of proxied traffic.

import type { CodecTransport, ServerCodecEvents } from '../http/codec.ts';
import { getHeader, type HeaderList, hasHeader, setHeader } from '../http/headers.ts';
import type { RequestHead, RequestListener, ServerStream } from '../http/stream.ts';
import type { Address, Connection, ConnectionHandler, Listener, Network } from '../net/network.ts';
import type { Timer } from '../std/clock.ts';
import { errorMessage, type WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { Http1ServerCodec } from './server-codec.ts';

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

export interface SmallServerOptions {
	/** For log lines: `admin`, `join`. Default `small-server`. */
	readonly name?: string;
	/** Larger request bodies are answered 413. Default 1 MiB. */
	readonly bodyBytesMax?: number;
	/** From accept, or the end of the last response, until a head is complete. Default 10 s. */
	readonly headersTimeoutMs?: number;
	/** From the head until the body is complete. Default 30 s; answered 408. */
	readonly bodyTimeoutMs?: number;
	/** How long the peer may take to take a response. Default 30 s. */
	readonly writeTimeoutMs?: number;
	/** At once; further ones are closed unanswered. Default 256. */
	readonly connectionsMax?: number;
	/** Mode of a unix socket's file. Default 0o600. */
	readonly mode?: number;
	readonly reusePort?: boolean;
}

/**
 * Serves `handler` on `address`. `close` of the result stops accepting, closes idle connections at once and the
 * others after the response they are at.
 * @throws WeftError as `Network.listen`.
 */
export function startSmallServer(
	network: Network,
	address: Address,
	handler: SmallHandler,
	options: SmallServerOptions = {},
): Listener {
	const server = new SmallServer(network, handler, options);
	const listener = network.listen({ address, mode: options.mode, reusePort: options.reusePort }, (connection) =>
		server.accept(connection),
	);
	return {
		address: listener.address,
		close: () => {
			listener.close();
			server.drain();
		},
	};
}

class SmallServer {
	readonly log: Logger;
	private readonly connections = new Set<SmallConnection>();
	private readonly connectionsMax: number;

	constructor(
		readonly network: Network,
		readonly handler: SmallHandler,
		readonly options: SmallServerOptions,
	) {
		this.log = new Logger(options.name ?? 'small-server');
		this.connectionsMax = options.connectionsMax ?? 256;
	}

	accept(connection: Connection): void {
		if (this.connections.size >= this.connectionsMax) {
			connection.handler = IGNORE_ALL;
			connection.reset();
			return;
		}
		this.connections.add(new SmallConnection(this, connection));
	}

	forget(connection: SmallConnection): void {
		this.connections.delete(connection);
	}

	drain(): void {
		for (const connection of [...this.connections]) connection.codec.startDrain();
	}
}

/** After a response that closes: how long what the peer still sends is read, so that the response is not lost to a RST. */
const LINGER_MS = 1000;

class SmallConnection implements ConnectionHandler, CodecTransport, ServerCodecEvents {
	readonly codec: Http1ServerCodec;
	private readonly timer: Timer;
	private request: PendingRequest | null = null;
	/** The last response is written; what comes is read and dropped. */
	private lingering = false;

	constructor(
		private readonly server: SmallServer,
		private readonly connection: Connection,
	) {
		connection.handler = this;
		this.codec = new Http1ServerCodec(this, this, {
			allowHalfClose: true,
			acceptHttp10: true,
			defaultHostForHttp10: 'localhost',
		});
		this.timer = server.network.clock.after(this.headersTimeoutMs, () => this.onTimeout());
	}

	private get headersTimeoutMs(): number {
		return this.server.options.headersTimeoutMs ?? 10_000;
	}

	private get writeTimeoutMs(): number {
		return this.server.options.writeTimeoutMs ?? 30_000;
	}

	// Connection → codec.

	onConnect(): void {}

	onData(_connection: Connection, bytes: Uint8Array): void {
		this.codec.receive(bytes);
	}

	onDrain(): void {
		if (this.lingering) this.timer.restart(LINGER_MS);
		else if (this.request === null) this.timer.restart(this.headersTimeoutMs);
		this.codec.transportDrained();
	}

	onEnd(): void {
		this.codec.receiveEnd();
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		this.timer.cancel();
		this.server.forget(this);
		this.codec.transportClosed(error);
	}

	// Codec → connection.

	write(bytes: Uint8Array): boolean {
		return this.connection.write(bytes);
	}

	pauseReading(): void {
		this.connection.pause();
	}

	resumeReading(): void {
		this.connection.resume();
	}

	close(how: 'flush' | 'reset'): void {
		if (how === 'reset') {
			this.connection.reset();
			return;
		}
		this.lingering = true;
		this.connection.end();
		this.timer.restart(this.connection.bufferedBytes > 0 ? this.writeTimeoutMs : LINGER_MS);
	}

	onStream(stream: ServerStream): RequestListener {
		this.timer.restart(this.server.options.bodyTimeoutMs ?? 30_000);
		this.request = new PendingRequest(this.server, this.connection, stream, this.timer);
		return this.request;
	}

	onProtocolError(error: WeftError): void {
		if (this.server.log.enabled('debug')) this.server.log.debug('bad request', { code: error.code });
	}

	onIdle(): void {
		this.request = null;
		if (this.lingering) return;
		this.timer.restart(this.connection.bufferedBytes > 0 ? this.writeTimeoutMs : this.headersTimeoutMs);
	}

	private onTimeout(): void {
		if (!this.lingering && this.request?.readingBody === true)
			this.request.answer({ status: 408, body: 'request timeout\n' });
		else this.connection.reset();
	}
}

class PendingRequest implements RequestListener {
	readingBody = true;
	private head: RequestHead | null = null;
	private parts: Uint8Array[] = [];
	private bodyBytes = 0;
	private over = false;

	constructor(
		private readonly server: SmallServer,
		private readonly connection: Connection,
		private readonly stream: ServerStream,
		private readonly timer: Timer,
	) {}

	onHead(head: RequestHead, end: boolean): void {
		this.head = head;
		const declared = Number(getHeader(head.headers, 'content-length') ?? 0);
		if (head.upgrade !== '' || head.method === 'CONNECT') this.answer({ status: 501, body: 'not implemented\n' });
		else if (declared > this.bodyBytesMax) this.tooLarge();
		else if (end) this.dispatch();
		else if (getHeader(head.headers, 'expect')?.toLowerCase() === '100-continue') {
			this.stream.writeHead({ status: 100, headers: [] }, false);
		}
	}

	onData(bytes: Uint8Array, end: boolean): void {
		if (this.over) return;
		this.bodyBytes += bytes.length;
		if (this.bodyBytes > this.bodyBytesMax) {
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

	private get bodyBytesMax(): number {
		return this.server.options.bodyBytesMax ?? 1024 * 1024;
	}

	private tooLarge(): void {
		this.answer({ status: 413, body: `request body of more than ${this.bodyBytesMax} bytes\n` });
	}

	private dispatch(): void {
		this.readingBody = false;
		// The handler takes what time it needs; its owner bounds it.
		this.timer.cancel();
		const request = this.smallRequest();
		let result: SmallResponse | Promise<SmallResponse>;
		try {
			result = this.server.handler(request);
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
		this.server.log.error('handler failed', { method: request.method, path: request.path, error: errorMessage(error) });
		this.answer({ status: 500, body: 'internal error\n' });
	}
}

const IGNORE_ALL: ConnectionHandler = {
	onConnect() {},
	onData() {},
	onDrain() {},
	onEnd() {},
	onClose() {},
};
