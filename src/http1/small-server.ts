// A small HTTP server on a Network, for the process's own doors (admin, join): requests and
// responses whole in memory, both bounded. Not on the path of proxied traffic.

import type { CodecTransport, ServerCodecEvents } from '../http/codec.ts';
import type { RequestListener, ServerStream } from '../http/stream.ts';
import type { Address, Connection, ConnectionHandler, Listener, Network } from '../net/network.ts';
import type { Timer } from '../std/clock.ts';
import type { WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { Http1ServerCodec } from './server-codec.ts';
import { PendingRequest, type SmallHandler, type SmallService } from './small-request.ts';

export type { SmallHandler, SmallRequest, SmallResponse } from './small-request.ts';

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
		pauseAccepting: () => listener.pauseAccepting(),
		resumeAccepting: () => listener.resumeAccepting(),
		close: () => {
			listener.close();
			server.drain();
		},
	};
}

class SmallServer implements SmallService {
	readonly log: Logger;
	readonly bodyBytesMax: number;
	private readonly connections = new Set<SmallConnection>();
	private readonly connectionsMax: number;

	constructor(
		readonly network: Network,
		readonly handler: SmallHandler,
		readonly options: SmallServerOptions,
	) {
		this.log = new Logger(options.name ?? 'small-server');
		this.bodyBytesMax = options.bodyBytesMax ?? 1024 * 1024;
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
	/** Of the last response, when its timer was set. */
	private leftBytes = 0;

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
		this.waitForRest(LINGER_MS);
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
		this.waitForRest(this.headersTimeoutMs);
	}

	/** `otherwiseMs`: with nothing that waits. */
	private waitForRest(otherwiseMs: number): void {
		this.leftBytes = this.connection.bufferedBytes;
		this.timer.restart(this.leftBytes > 0 ? this.writeTimeoutMs : otherwiseMs);
	}

	private onTimeout(): void {
		const left = this.connection.bufferedBytes;
		// Slow, but it takes something.
		if (left > 0 && left < this.leftBytes) this.waitForRest(LINGER_MS);
		else if (!this.lingering && this.request?.readingBody === true)
			this.request.answer({ status: 408, body: 'request timeout\n' });
		// In order: the client may still take the last response from the kernel.
		else if (!this.lingering && left === 0) this.close('flush');
		else this.connection.reset();
	}
}

const IGNORE_ALL: ConnectionHandler = {
	onConnect() {},
	onData() {},
	onDrain() {},
	onEnd() {},
	onClose() {},
};
