// HTTP/2 connections to one host, as few as needed. A request takes a stream on the first connection
// that has room; else it waits, and a connection is opened, one for as many waiting requests as a
// connection is expected to serve at once.
//
//   requestStream ──room on a connection─────────────────────▶ onReady
//        │ none                                                   ▲
//        ▼                                                        │
//     pending (bounded) ──connection came up or has room again────┘
//        │ connect failed: all that wait fail, so that they are retried elsewhere
//        └──────────────────────────────────────────────────▶ onFailure

import type { ResponseListener } from '../../http/stream.ts';
import { HTTP2_LIMITS_DEFAULT } from '../../http2/limits.ts';
import type { ClientTlsOptions } from '../../net/network.ts';
import { WeftError } from '../../std/errors.ts';
import type { PendingStream, UpstreamStreamEvents } from '../upstream.ts';
import type { ConnectionPool, PoolContext } from './connection-pool.ts';
import { poolOverflow, secretMissing } from './http1-pool.ts';
import { type Http2ConnectionOwner, PooledHttp2Connection } from './http2-connection.ts';
import { PooledStream } from './pooled-stream.ts';
import type { UpstreamHost } from './upstream-host.ts';

interface PendingRequest extends PendingStream {
	readonly listener: ResponseListener;
	readonly events: UpstreamStreamEvents;
}

const NOTHING_PENDING: PendingStream = { cancel: () => {} };

export class Http2Pool implements ConnectionPool, Http2ConnectionOwner {
	private readonly connections = new Set<PooledHttp2Connection>();
	/** Those that may have room, oldest first. */
	private readonly open: PooledHttp2Connection[] = [];
	/** In order of arrival. */
	private readonly pending = new Set<PendingRequest>();
	private connectingCount = 0;
	private draining = false;
	/** Streams that one connection serves at once, as the host last said. */
	private expectedStreams: number;

	constructor(
		private readonly host: UpstreamHost,
		private readonly context: PoolContext,
	) {
		this.expectedStreams =
			context.settings.http2.limits.concurrentStreamsMax ?? HTTP2_LIMITS_DEFAULT.concurrentStreamsMax;
	}

	requestStream(listener: ResponseListener, events: UpstreamStreamEvents): PendingStream {
		const connection = this.withRoom();
		if (connection !== null) {
			this.assign(connection, listener, events);
			return NOTHING_PENDING;
		}
		const { breakers, stats } = this.context;
		if (this.host.tls !== null && this.host.tls.current() === null) {
			stats.counters.client_ssl_socket_factory_upstream_context_secrets_not_ready.inc();
			events.onFailure(secretMissing(this.context.clusterName), this.host);
			return NOTHING_PENDING;
		}
		if (!breakers.pendingRequests.tryTake()) {
			stats.counters.upstream_rq_pending_overflow.inc();
			events.onFailure(poolOverflow('max_pending_requests', this.context.clusterName), this.host);
			return NOTHING_PENDING;
		}
		const request: PendingRequest = {
			listener,
			events,
			cancel: () => {
				if (this.removePending(request)) stats.counters.upstream_rq_cancelled.inc();
			},
		};
		this.pending.add(request);
		stats.counters.upstream_rq_pending_total.inc();
		stats.gauges.upstream_rq_pending_active.inc();
		this.openConnections();
		return request;
	}

	drain(): void {
		this.draining = true;
		for (const connection of [...this.connections]) {
			// One that is being opened is for requests that wait, and drains after serving them.
			if (connection.state !== 'connecting' || this.pending.size === 0) this.retire(connection);
		}
	}

	close(): void {
		this.draining = true;
		this.open.length = 0;
		this.failPending(
			new WeftError('pool_closed', `cluster ${this.context.clusterName} is closing`, { retrySafe: true }),
		);
		for (const connection of [...this.connections]) connection.closeNow();
	}

	// --- from connections

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
		if (this.draining) this.retire(connection);
		else if (this.pending.size > 0) this.openConnections();
	}

	onStreamOver(): void {
		const { breakers, stats } = this.context;
		this.host.activeRequests--;
		breakers.requests.release();
		stats.gauges.upstream_rq_active.dec();
	}

	onUnusable(connection: PooledHttp2Connection): void {
		const index = this.open.indexOf(connection);
		if (index >= 0) this.open.splice(index, 1);
		this.openConnections();
	}

	onClosed(connection: PooledHttp2Connection, wasConnecting: boolean, error: WeftError | null): void {
		this.connections.delete(connection);
		const index = this.open.indexOf(connection);
		if (index >= 0) this.open.splice(index, 1);
		const { breakers, stats } = this.context;
		breakers.connections.release();
		stats.gauges.upstream_cx_active.dec();
		this.host.counts.connectionsActive--;
		if (wasConnecting) {
			this.connectingCount--;
			if (error !== null) {
				stats.counters.upstream_cx_connect_fail.inc();
				if (error.code === 'connect_timeout') stats.counters.upstream_cx_connect_timeout.inc();
				this.host.counts.connectFailures++;
				stats.counters.upstream_rq_pending_failure_eject.inc(this.pending.size);
				this.failPending(error);
				return;
			}
		}
		this.openConnections();
	}

	// --- inside

	private withRoom(): PooledHttp2Connection | null {
		const { open } = this;
		for (let i = 0; i < open.length; i++) if (open[i]!.available) return open[i]!;
		return null;
	}

	private assign(connection: PooledHttp2Connection, listener: ResponseListener, events: UpstreamStreamEvents): void {
		const { breakers, stats, clusterName } = this.context;
		if (!breakers.requests.tryTake()) {
			stats.counters.upstream_rq_pending_overflow.inc();
			events.onFailure(poolOverflow('max_requests', clusterName), this.host);
			return;
		}
		stats.counters.upstream_rq_total.inc();
		stats.gauges.upstream_rq_active.inc();
		this.host.counts.requests++;
		this.host.activeRequests++;
		const { codec } = connection;
		if (codec!.settingsSeen) this.expectedStreams = Math.max(1, codec!.streamsMax);
		const stream = new PooledStream(listener, connection.served > 0, connection, stats.counters.upstream_rq_tx_reset);
		connection.assign(stream);
		events.onReady(stream, this.host, connection.tls);
	}

	private retire(connection: PooledHttp2Connection): void {
		const index = this.open.indexOf(connection);
		if (index >= 0) this.open.splice(index, 1);
		connection.drain();
	}

	private openConnections(): void {
		while (this.connectingCount * this.expectedStreams < this.pending.size && this.mayOpen()) {
			if (!this.openOne()) return;
		}
	}

	/** At the limit, a host without any connection still gets one, so that what waits is served at last (as Envoy). */
	private mayOpen(): boolean {
		if (!this.context.breakers.connections.full || this.connections.size === 0) return true;
		this.context.stats.counters.upstream_cx_overflow.inc();
		return false;
	}

	private openOne(): boolean {
		const { breakers, network, settings, stats, clusterName } = this.context;
		const tls = this.host.tls === null ? undefined : this.host.tls.current();
		if (tls === null) {
			stats.counters.client_ssl_socket_factory_upstream_context_secrets_not_ready.inc();
			this.failPending(secretMissing(clusterName));
			return false;
		}
		const connection = new PooledHttp2Connection(this.context, this, this.expectedStreams);
		this.connections.add(connection);
		this.connectingCount++;
		breakers.connections.take();
		stats.counters.upstream_cx_total.inc();
		stats.counters.upstream_cx_http2_total.inc();
		stats.gauges.upstream_cx_active.inc();
		this.host.counts.connections++;
		this.host.counts.connectionsActive++;
		const timeoutMs = settings.connectTimeoutMs;
		const options = tls === undefined ? undefined : withAlpn(tls);
		const socket = network.connect({ address: this.host.address, timeoutMs, tls: options }, connection);
		if (settings.bufferLimitBytes !== null) socket.highWatermarkBytes = settings.bufferLimitBytes;
		connection.attach(socket);
		return true;
	}

	private failPending(error: WeftError): void {
		for (const request of [...this.pending]) {
			if (this.removePending(request)) request.events.onFailure(error, this.host);
		}
	}

	private removePending(request: PendingRequest): boolean {
		if (!this.pending.delete(request)) return false;
		this.context.breakers.pendingRequests.release();
		this.context.stats.gauges.upstream_rq_pending_active.dec();
		return true;
	}
}

const ALPN = ['h2'];

/** As Envoy: where the TLS context names no protocols, the one that is spoken is offered. */
function withAlpn(tls: ClientTlsOptions): ClientTlsOptions {
	return tls.alpn === undefined || tls.alpn.length === 0 ? { ...tls, alpn: ALPN } : tls;
}
