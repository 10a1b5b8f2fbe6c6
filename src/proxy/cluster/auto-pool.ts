// Connections to one host that chooses by ALPN what is spoken (Envoy's `auto_config`). Each connection is
// asked anew, so that a host may change its mind; what the last one chose says how many connections
// requests that wait need.
//
//   connecting ──ALPN h2────────────▶ HTTP/2 connection, many requests at once
//       └───────another, or none────▶ HTTP/1.1 connection, one at a time

import type { Connection, ConnectionHandler, TlsInfo } from '../../net/network.ts';
import { assert } from '../../std/assert.ts';
import type { WeftError } from '../../std/errors.ts';
import { HttpPool, type PooledConnection } from './http-pool.ts';
import { Http1Connection, type Http1ConnectionOwner } from './http1-connection.ts';
import { type Http2ConnectionOwner, PooledHttp2Connection } from './http2-connection.ts';
import { streamsExpected, streamsSaid } from './http2-pool.ts';

const ALPN = ['h2', 'http/1.1'];

type AutoConnection = NegotiatingConnection | Http1Connection | PooledHttp2Connection;

export class AutoPool extends HttpPool<AutoConnection> implements Http1ConnectionOwner, Http2ConnectionOwner {
	/** HTTP/1.1; the last is the one used last. */
	private readonly idle: Http1Connection[] = [];
	/** HTTP/2; those that may have room, oldest first. */
	private readonly open: PooledHttp2Connection[] = [];
	/** What the last connection speaks. HTTP/2 is hoped for, so that a burst of first requests is not one of connections. */
	private spoken: 'http1' | 'http2' = 'http2';
	/** Streams that an HTTP/2 connection serves at once, as the host last said. */
	private streamsPerConnection = streamsExpected(this.context);
	protected readonly alpn = ALPN;

	protected get requestsPerConnection(): number {
		if (this.spoken === 'http1') return 1;
		this.streamsPerConnection = streamsSaid(this.open, this.streamsPerConnection);
		return this.streamsPerConnection;
	}

	protected get room(): number {
		let room = this.idle.length;
		for (const connection of this.open) room += connection.room;
		return room;
	}

	// --- from connections

	onNegotiated(negotiating: NegotiatingConnection, socket: Connection): void {
		const { counters } = this.context.stats;
		this.connections.delete(negotiating);
		this.connectingCount--;
		const { startedMs } = negotiating;
		let connection: Http1Connection | PooledHttp2Connection;
		if (socket.tls?.alpn === 'h2') {
			counters.upstream_cx_http2_total.inc();
			this.spoken = 'http2';
			connection = new PooledHttp2Connection(this.context, this, this.streamsPerConnection, startedMs);
			this.open.push(connection);
		} else {
			counters.upstream_cx_http1_total.inc();
			this.spoken = 'http1';
			connection = new Http1Connection(this.context, this, startedMs);
		}
		this.connections.add(connection);
		connection.attach(socket);
		socket.handler = connection;
		connection.onConnect(socket);
	}

	onReady(connection: Http1Connection | PooledHttp2Connection): void {
		if (connection instanceof Http1Connection) this.onIdle(connection);
		else this.onRoom(connection);
		if (this.pending.size > 0 && !this.draining) this.openConnections();
	}

	onUnusable(connection: Http1Connection | PooledHttp2Connection): void {
		this.forget(connection);
		this.openConnections();
	}

	private onIdle(connection: Http1Connection): void {
		for (const request of this.pending) {
			this.removePending(request);
			if (this.assign(connection, request.listener, request.events)) return;
		}
		if (this.draining) connection.drain();
		else this.idle.push(connection);
	}

	private onRoom(connection: PooledHttp2Connection): void {
		for (const request of this.pending) {
			if (!connection.available) break;
			this.removePending(request);
			this.assign(connection, request.listener, request.events);
		}
		if (!this.draining) return;
		this.forget(connection);
		connection.drain();
	}

	// --- HttpPool

	protected take(): AutoConnection | null {
		const { open, idle } = this;
		for (let i = 0; i < open.length; i++) if (open[i]!.available) return open[i]!;
		for (;;) {
			const connection = idle.pop();
			if (connection === undefined) return null;
			if (connection.codec!.available) return connection;
			connection.drain();
		}
	}

	protected giveBack(connection: AutoConnection): void {
		if (connection instanceof Http1Connection) this.idle.push(connection);
	}

	protected forget(connection: AutoConnection): void {
		const list: AutoConnection[] = connection instanceof Http1Connection ? this.idle : this.open;
		const index = list.indexOf(connection);
		if (index >= 0) list.splice(index, 1);
	}

	protected assigned(connection: AutoConnection): void {
		if (connection instanceof Http1Connection && this.draining) connection.drain();
	}

	protected makeConnection(): NegotiatingConnection {
		return new NegotiatingConnection(this, this.context.network.clock.nowMs());
	}
}

/** Being made; what it will be, the host has yet to say. Then its socket is given to one that speaks that. */
class NegotiatingConnection implements PooledConnection, ConnectionHandler {
	state: 'connecting' | 'closed' = 'connecting';
	readonly served = 0;
	readonly tls: TlsInfo | null = null;
	private socket: Connection | null = null;

	constructor(
		private readonly pool: AutoPool,
		readonly startedMs: number,
	) {}

	attach(socket: Connection): void {
		this.socket = socket;
	}

	assign(): void {
		assert(false, 'a request is given to a connection that came up');
	}

	streamOver(): void {}

	drain(): void {
		this.closeNow();
	}

	closeNow(): void {
		this.socket?.reset();
	}

	onConnect(connection: Connection): void {
		this.pool.onNegotiated(this, connection);
	}

	onData(): void {}

	onDrain(): void {}

	onEnd(): void {}

	onClose(_connection: Connection, error: WeftError | null): void {
		this.state = 'closed';
		this.pool.onClosed(this, true, error);
	}
}
