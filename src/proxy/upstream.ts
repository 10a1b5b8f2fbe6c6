// The seam between the two halves of the proxy. Downstream (listeners, filters, routes) asks for
// a cluster by name and gets streams or connections to its hosts; how hosts are found, picked,
// pooled and secured is the upstream half's business (cluster/, load-balancing/).
//
// Everything here is read on the hot path and replaced, never changed, by an update: a request
// keeps the Cluster that it started with.

import type { ClientStream, ResponseListener } from '../http/stream.ts';
import type { Address, Connection, ConnectionHandler, IpAddress, TlsInfo } from '../net/network.ts';
import type { WeftError } from '../std/errors.ts';

export interface Host {
	readonly address: Address;
	/** `formatAddress(address)`, made once. */
	readonly addressText: string;
	/** From the endpoint or from DNS; empty when there is none. */
	readonly hostname: string;
	readonly weight: number;
	/** Endpoint metadata, `filter_metadata`, compiled once; see telemetry for `istio.workload`. */
	readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
	/** May be picked: healthy or degraded, not draining. */
	readonly healthy: boolean;
	/** Requests (or TCP connections) under way; kept by the pool. */
	activeRequests: number;
}

export interface PickContext {
	/** Hosts that earlier attempts of this request used; a picker avoids them where it can. */
	readonly tried: readonly Host[];
	/** Where the downstream connection was headed; ORIGINAL_DST clusters need it. */
	readonly originalDestination?: IpAddress | null;
}

export interface Picker {
	/** Null: no host may be picked now. */
	pick(context: PickContext | null): Host | null;
}

export interface UpstreamStreamEvents {
	/** The stream can be written. `tls` is null on a plain connection. */
	onReady(stream: ClientStream, host: Host, tls: TlsInfo | null): void;
	/**
	 * No connection could be had: `connect_*`, `tls_handshake_failed`, `tls_secret_missing`, `pool_overflow`,
	 * `pool_closed`. `error.retrySafe` is true.
	 */
	onFailure(error: WeftError, host: Host): void;
}

/** A wait for a stream that can be given up. */
export interface PendingStream {
	cancel(): void;
}

export interface Cluster {
	readonly name: string;
	/** Envoy `alt_stat_name`, else the name. */
	readonly statName: string;
	/** Cluster `metadata.filter_metadata`. */
	readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
	readonly connectTimeoutMs: number;
	/** Reads the present picker at each call. */
	pick(context: PickContext | null): Host | null;
	/** Why `pick` gives nothing: `no healthy upstream` hosts, or none known yet. */
	readonly hostCount: number;
	/**
	 * Opens a stream on a pooled or new connection to `host`. Exactly one of the events follows, possibly
	 * within this call. `listener` hears the response. `downstream`: the protocol that the request came by
	 * (`HTTP/1.1`, `HTTP/2`), for clusters that use the same; default HTTP/1.1.
	 */
	requestStream(
		host: Host,
		listener: ResponseListener,
		events: UpstreamStreamEvents,
		downstream?: string,
	): PendingStream;
	/** A connection of its own for TCP proxying; the caller owns it. */
	connectTcp(host: Host, handler: ConnectionHandler): Connection;
	/** Circuit breaker `max_retries`: takes one if there is one. */
	tryTakeRetry(): boolean;
	releaseRetry(): void;
	readonly stats: ClusterRequestStats;
}

/** Envoy's `cluster.NAME.upstream_rq_*`, resolved. */
export interface ClusterRequestStats {
	/** Counts a finished upstream request by its status (`upstream_rq_2xx`, …; 0: reset without response). */
	countResponse(status: number): void;
	countRetry(): void;
	countTimeout(): void;
	observeDurationMs(ms: number): void;
}

export interface ClusterManager {
	/** Undefined: no such cluster (yet). */
	get(name: string): Cluster | undefined;
	/** Every cluster, for the admin interface. */
	all(): Iterable<Cluster>;
	/** Resolves when every static cluster, and the first CDS answer, is initialised (has hosts or knows it has none). */
	readonly initialized: Promise<void>;
}
