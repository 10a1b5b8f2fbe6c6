// HTTP/1.1 connections to one host. A request takes the idle connection that was used last (so that
// surplus ones time out); else it waits, and a connection is opened for it unless one that is being
// opened is still without a request.

import { HttpPool } from './http-pool.ts';
import { Http1Connection, type Http1ConnectionOwner } from './http1-connection.ts';

export class Http1Pool extends HttpPool<Http1Connection> implements Http1ConnectionOwner {
	/** The last is the one used last. */
	private readonly idle: Http1Connection[] = [];
	protected readonly requestsPerConnection = 1;
	protected readonly alpn = ALPN;

	protected get room(): number {
		return this.idle.length;
	}

	onReady(connection: Http1Connection): void {
		if (connection.served === 0) this.connectingCount--;
		for (const request of this.pending) {
			this.removePending(request);
			if (this.assign(connection, request.listener, request.events)) return;
		}
		if (this.draining) connection.drain();
		else this.idle.push(connection);
	}

	onUnusable(connection: Http1Connection): void {
		this.forget(connection);
	}

	protected take(): Http1Connection | null {
		for (;;) {
			const connection = this.idle.pop();
			if (connection === undefined) return null;
			if (connection.codec!.available) return connection;
			connection.drain();
		}
	}

	protected giveBack(connection: Http1Connection): void {
		this.idle.push(connection);
	}

	protected forget(connection: Http1Connection): void {
		const index = this.idle.indexOf(connection);
		if (index >= 0) this.idle.splice(index, 1);
	}

	protected assigned(connection: Http1Connection): void {
		if (this.draining) connection.drain();
	}

	protected makeConnection(): Http1Connection {
		this.context.stats.counters.upstream_cx_http1_total.inc();
		return new Http1Connection(this.context, this);
	}
}

const ALPN = ['http/1.1'];
