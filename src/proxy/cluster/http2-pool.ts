// HTTP/2 connections to one host, as few as needed. A request takes a stream on the first connection
// that has room; else it waits, and a connection is opened, one for as many waiting requests as a
// connection is expected to serve at once.

import { HTTP2_LIMITS_DEFAULT } from '../../http2/limits.ts';
import type { PoolContext } from './connection-pool.ts';
import { HttpPool } from './http-pool.ts';
import { type Http2ConnectionOwner, PooledHttp2Connection } from './http2-connection.ts';
import type { UpstreamHost } from './upstream-host.ts';

export class Http2Pool extends HttpPool<PooledHttp2Connection> implements Http2ConnectionOwner {
	/** Those that may have room, oldest first. */
	private readonly open: PooledHttp2Connection[] = [];
	private streamsPerConnection: number;
	protected readonly alpn = ALPN;

	constructor(host: UpstreamHost, context: PoolContext) {
		super(host, context);
		this.streamsPerConnection = streamsExpected(context);
	}

	protected get requestsPerConnection(): number {
		this.streamsPerConnection = streamsSaid(this.open, this.streamsPerConnection);
		return this.streamsPerConnection;
	}

	protected get room(): number {
		let room = 0;
		for (const connection of this.open) room += connection.room;
		return room;
	}

	onReady(connection: PooledHttp2Connection): void {
		if (!this.open.includes(connection)) {
			this.connectingCount--;
			this.open.push(connection);
		}
		for (const request of this.pending) {
			if (!connection.available) break;
			this.removePending(request);
			this.assign(connection, request.listener, request.events);
		}
		if (this.draining) {
			this.forget(connection);
			connection.drain();
		} else if (this.pending.size > 0) this.openConnections();
	}

	onUnusable(connection: PooledHttp2Connection): void {
		this.forget(connection);
		this.openConnections();
	}

	protected take(): PooledHttp2Connection | null {
		const { open } = this;
		for (let i = 0; i < open.length; i++) if (open[i]!.available) return open[i]!;
		return null;
	}

	/** It stays among the open ones while it is used. */
	protected giveBack(): void {}

	protected forget(connection: PooledHttp2Connection): void {
		const index = this.open.indexOf(connection);
		if (index >= 0) this.open.splice(index, 1);
	}

	protected assigned(): void {}

	protected makeConnection(): PooledHttp2Connection {
		this.context.stats.counters.upstream_cx_http2_total.inc();
		return new PooledHttp2Connection(this.context, this, this.requestsPerConnection);
	}
}

/** Streams that a connection serves at once, as the host last said on one of these; `known`: said before. */
export function streamsSaid(connections: readonly PooledHttp2Connection[], known: number): number {
	let said = known;
	for (const { codec } of connections) if (codec?.settingsSeen) said = Math.max(1, codec.streamsMax);
	return said;
}

/** Streams that a connection serves at once, as long as its host has not said. */
export function streamsExpected(context: PoolContext): number {
	return context.settings.http2.limits.concurrentStreamsMax ?? HTTP2_LIMITS_DEFAULT.concurrentStreamsMax;
}

const ALPN = ['h2'];
