// What the pools of both protocols share: the requests that wait, the circuit breakers, and the
// numbers. A pool adds which of its connections take a request, and when.
//
//   requestStream ──a connection takes it────────────────────▶ onReady
//        │ none                                                   ▲
//        ▼                                                        │
//     pending (bounded) ──connection came up or takes again───────┘
//        │ connect failed: all that wait fail, so that they are retried elsewhere
//        └──────────────────────────────────────────────────▶ onFailure

import type { ResponseListener } from '../../http/stream.ts';
import type { ClientTlsOptions, Connection, ConnectionHandler, TlsInfo } from '../../net/network.ts';
import { WeftError } from '../../std/errors.ts';
import type { PendingStream, UpstreamStreamEvents } from '../upstream.ts';
import type { ConnectionPool, PoolContext } from './connection-pool.ts';
import { PooledStream, type PooledStreamOwner } from './pooled-stream.ts';
import type { UpstreamHost } from './upstream-host.ts';

interface PendingRequest extends PendingStream {
	readonly listener: ResponseListener;
	readonly events: UpstreamStreamEvents;
}

/** What a pool needs of its connections, whatever they speak. */
export interface PooledConnection extends ConnectionHandler, PooledStreamOwner {
	readonly state: string;
	/** Requests that were assigned to it so far. */
	readonly served: number;
	readonly tls: TlsInfo | null;
	attach(socket: Connection): void;
	assign(stream: PooledStream): void;
	/** No more requests; closes when those that are under way have ended. */
	drain(): void;
	closeNow(): void;
}

/** Opened ahead because of one request (Envoy). */
const PRECONNECTS_MAX = 3;
const NOTHING_PENDING: PendingStream = { cancel: () => {} };

export abstract class HttpPool<C extends PooledConnection> implements ConnectionPool {
	protected readonly connections = new Set<C>();
	/** In order of arrival. */
	protected readonly pending = new Set<PendingRequest>();
	protected connectingCount = 0;
	protected draining = false;
	/** Requests on its connections. */
	private activeCount = 0;
	/** `tlsMade` is `tlsFrom` with `alpn`: the same object for each handshake, since its context is cached by it. */
	private tlsFrom: ClientTlsOptions | null = null;
	private tlsMade: ClientTlsOptions | null = null;

	constructor(
		protected readonly host: UpstreamHost,
		protected readonly context: PoolContext,
	) {}

	/** Takes a connection that can be given a request now out of those that are kept for it. */
	protected abstract take(): C | null;
	/** `take` gave it, and the request was refused. */
	protected abstract giveBack(connection: C): void;
	/** It is not to be taken any more. */
	protected abstract forget(connection: C): void;
	/** A request was assigned to it, and hears of it next. */
	protected abstract assigned(connection: C): void;
	/** Waiting requests for which one connection is opened. */
	protected abstract readonly requestsPerConnection: number;
	/** Requests that the connections which are there could take now, besides those they have. */
	protected abstract readonly room: number;
	/** Offered where the TLS context names no protocols, as Envoy does. */
	protected abstract readonly alpn: readonly string[];
	/** Not connected yet; counted by its protocol. */
	protected abstract makeConnection(): C;

	requestStream(listener: ResponseListener, events: UpstreamStreamEvents): PendingStream {
		const connection = this.take();
		if (connection !== null) {
			if (!this.assign(connection, listener, events)) this.giveBack(connection);
			else if (this.context.settings.preconnectRatio > 1) this.preconnect();
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
		const connections = [...this.connections];
		for (const connection of connections) this.forget(connection);
		for (const connection of connections) {
			// One that is being opened is for requests that wait, and drains after serving them.
			if (connection.state !== 'connecting' || this.pending.size === 0) connection.drain();
		}
	}

	close(): void {
		this.draining = true;
		const connections = [...this.connections];
		for (const connection of connections) this.forget(connection);
		this.failPending(
			new WeftError('pool_closed', `cluster ${this.context.clusterName} is closing`, { retrySafe: true }),
		);
		for (const connection of [...this.connections]) connection.closeNow();
	}

	// --- from connections

	/** A request that was assigned to one has ended. */
	onStreamOver(): void {
		const { breakers, stats } = this.context;
		this.host.activeRequests--;
		this.activeCount--;
		breakers.requests.release();
		stats.gauges.upstream_rq_active.dec();
	}

	onClosed(connection: C, wasConnecting: boolean, error: WeftError | null): void {
		this.connections.delete(connection);
		this.forget(connection);
		const { breakers, stats } = this.context;
		breakers.connections.release();
		stats.gauges.upstream_cx_active.dec();
		this.host.counts.connectionsActive--;
		if (wasConnecting) {
			this.connectingCount--;
			if (error !== null) {
				stats.counters.upstream_cx_connect_fail.inc();
				stats.connectFailed(error);
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

	/** False: refused by the circuit breaker, `events` told, the connection as it was. */
	protected assign(connection: C, listener: ResponseListener, events: UpstreamStreamEvents): boolean {
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
		this.activeCount++;
		const stream = new PooledStream(listener, connection.served > 0, connection, stats.counters.upstream_rq_tx_reset);
		connection.assign(stream);
		this.assigned(connection);
		events.onReady(stream, this.host, connection.tls);
		return true;
	}

	protected openConnections(): void {
		while (this.connectingCount * this.requestsPerConnection < this.pending.size && this.mayOpen()) this.openOne();
		if (this.context.settings.preconnectRatio > 1) this.preconnect();
	}

	/** Envoy `per_upstream_preconnect_ratio`: connections for the requests that there are, times the ratio. */
	private preconnect(): void {
		if (this.draining || !this.host.healthy) return;
		// The rule of Envoy, and its bound on how many are opened because of one request.
		const wanted = (this.pending.size + this.activeCount) * this.context.settings.preconnectRatio;
		for (let opened = 0; opened < PRECONNECTS_MAX; opened++) {
			const capacity = this.connectingCount * this.requestsPerConnection + this.room + this.activeCount;
			if (wanted <= capacity || !this.mayOpen()) return;
			this.openOne();
		}
	}

	/** At the limit, a host without any connection still gets one, so that what waits is served at last (as Envoy). */
	private mayOpen(): boolean {
		if (!this.context.breakers.connections.full || this.connections.size === 0) return true;
		this.context.stats.counters.upstream_cx_overflow.inc();
		return false;
	}

	private openOne(): void {
		const { breakers, network, settings, stats, clusterName } = this.context;
		const options = this.host.tls === null ? undefined : this.host.tls.current();
		if (options === null) {
			stats.counters.client_ssl_socket_factory_upstream_context_secrets_not_ready.inc();
			// With nobody waiting, no connection is wanted either.
			this.failPending(secretMissing(clusterName));
			return;
		}
		const connection = this.makeConnection();
		this.connections.add(connection);
		this.connectingCount++;
		breakers.connections.take();
		stats.counters.upstream_cx_total.inc();
		stats.gauges.upstream_cx_active.inc();
		this.host.counts.connections++;
		this.host.counts.connectionsActive++;
		const timeoutMs = settings.connectTimeoutMs;
		const tls = options === undefined ? undefined : this.withAlpn(options);
		const socket = network.connect({ address: this.host.address, timeoutMs, tls }, connection);
		if (settings.bufferLimitBytes !== null) socket.highWatermarkBytes = settings.bufferLimitBytes;
		connection.attach(socket);
	}

	private withAlpn(options: ClientTlsOptions): ClientTlsOptions {
		if (options.alpn !== undefined && options.alpn.length > 0) return options;
		if (this.tlsFrom !== options || this.tlsMade === null) {
			this.tlsFrom = options;
			this.tlsMade = { ...options, alpn: this.alpn };
		}
		return this.tlsMade;
	}

	private failPending(error: WeftError): void {
		for (const request of [...this.pending]) {
			if (this.removePending(request)) request.events.onFailure(error, this.host);
		}
	}

	protected removePending(request: PendingRequest): boolean {
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
