// HTTP/1.1 connections to one host. A request takes the idle connection that was used last (so that
// surplus ones time out); else it waits, and a connection is opened for it unless one that is being
// opened is still without a request.
//
//   requestStream ──idle connection──────────────────────────▶ onReady
//        │ none                                                   ▲
//        ▼                                                        │
//     pending (bounded) ──connection came up or became free───────┘
//        │ connect failed: all that wait fail, so that they are retried elsewhere
//        └──────────────────────────────────────────────────▶ onFailure

import type { ResponseListener } from '../../http/stream.ts';
import { WeftError } from '../../std/errors.ts';
import type { PendingStream, UpstreamStreamEvents } from '../upstream.ts';
import type { ConnectionPool, PoolContext } from './connection-pool.ts';
import { Http1Connection, type Http1ConnectionOwner } from './http1-connection.ts';
import { PooledStream } from './pooled-stream.ts';
import type { UpstreamHost } from './upstream-host.ts';

interface PendingRequest extends PendingStream {
	readonly listener: ResponseListener;
	readonly events: UpstreamStreamEvents;
}

const NOTHING_PENDING: PendingStream = { cancel: () => {} };

export class Http1Pool implements ConnectionPool, Http1ConnectionOwner {
	private readonly connections = new Set<Http1Connection>();
	/** The last is the one used last. */
	private readonly idle: Http1Connection[] = [];
	/** In order of arrival. */
	private readonly pending = new Set<PendingRequest>();
	private connectingCount = 0;
	private draining = false;

	constructor(
		private readonly host: UpstreamHost,
		private readonly context: PoolContext,
	) {}

	requestStream(listener: ResponseListener, events: UpstreamStreamEvents): PendingStream {
		const connection = this.takeIdle();
		if (connection !== undefined) {
			if (!this.assign(connection, listener, events)) this.idle.push(connection);
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
		this.idle.length = 0;
		for (const connection of [...this.connections]) {
			// One that is being opened is for a request that waits, and drains after serving it.
			if (connection.state !== 'connecting' || this.pending.size === 0) connection.drain();
		}
	}

	close(): void {
		this.draining = true;
		this.idle.length = 0;
		this.failPending(
			new WeftError('pool_closed', `cluster ${this.context.clusterName} is closing`, { retrySafe: true }),
		);
		for (const connection of [...this.connections]) connection.closeNow();
	}

	// --- from connections

	onReady(connection: Http1Connection): void {
		if (connection.served === 0) this.connectingCount--;
		for (const request of this.pending) {
			this.removePending(request);
			if (this.assign(connection, request.listener, request.events)) return;
		}
		if (this.draining) connection.drain();
		else this.idle.push(connection);
	}

	onStreamOver(): void {
		const { breakers, stats } = this.context;
		this.host.activeRequests--;
		breakers.requests.release();
		stats.gauges.upstream_rq_active.dec();
	}

	onUnusable(connection: Http1Connection): void {
		const index = this.idle.indexOf(connection);
		if (index >= 0) this.idle.splice(index, 1);
	}

	onClosed(connection: Http1Connection, wasConnecting: boolean, error: WeftError | null): void {
		this.connections.delete(connection);
		this.onUnusable(connection);
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

	private takeIdle(): Http1Connection | undefined {
		for (;;) {
			const connection = this.idle.pop();
			if (connection === undefined || connection.codec!.available) return connection;
			connection.drain();
		}
	}

	/** False: refused by the circuit breaker, `events` told, the connection as it was. */
	private assign(connection: Http1Connection, listener: ResponseListener, events: UpstreamStreamEvents): boolean {
		const { breakers, stats, clusterName } = this.context;
		if (!breakers.requests.tryTake()) {
			stats.counters.upstream_rq_pending_overflow.inc();
			events.onFailure(poolOverflow('max_requests', clusterName), this.host);
			return false;
		}
		stats.counters.upstream_rq_total.inc();
		stats.gauges.upstream_rq_active.inc();
		this.host.counts.requests++;
		this.host.activeRequests++;
		const stream = new PooledStream(listener, connection.served > 0, connection, stats.counters.upstream_rq_tx_reset);
		connection.assign(stream);
		if (this.draining) connection.drain();
		events.onReady(stream, this.host, connection.tls);
		return true;
	}

	private openConnections(): void {
		while (this.connectingCount < this.pending.size && this.mayOpen()) this.open();
	}

	/** At the limit, a host without any connection still gets one, so that what waits is served at last (as Envoy). */
	private mayOpen(): boolean {
		if (!this.context.breakers.connections.full || this.connections.size === 0) return true;
		this.context.stats.counters.upstream_cx_overflow.inc();
		return false;
	}

	private open(): void {
		const { breakers, network, settings, stats, clusterName } = this.context;
		const tls = this.host.tls === null ? undefined : this.host.tls.current();
		if (tls === null) {
			stats.counters.client_ssl_socket_factory_upstream_context_secrets_not_ready.inc();
			this.failPending(secretMissing(clusterName));
			return;
		}
		const connection = new Http1Connection(this.context, this);
		this.connections.add(connection);
		this.connectingCount++;
		breakers.connections.take();
		stats.counters.upstream_cx_total.inc();
		stats.counters.upstream_cx_http1_total.inc();
		stats.gauges.upstream_cx_active.inc();
		this.host.counts.connections++;
		this.host.counts.connectionsActive++;
		const timeoutMs = settings.connectTimeoutMs;
		const socket = network.connect({ address: this.host.address, timeoutMs, tls }, connection);
		if (settings.bufferLimitBytes !== null) socket.highWatermarkBytes = settings.bufferLimitBytes;
		connection.attach(socket);
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

/** Answered 503 with `x-envoy-overloaded` by the router. */
export function poolOverflow(limit: string, clusterName: string): WeftError {
	return new WeftError('pool_overflow', `circuit breaker ${limit} of cluster ${clusterName} is open`, {
		origin: 'local',
		retrySafe: true,
	});
}

export function secretMissing(clusterName: string): WeftError {
	return new WeftError('tls_secret_missing', `a TLS secret of cluster ${clusterName} is not there yet`, {
		origin: 'local',
		retrySafe: true,
	});
}
