// What a pool of connections to one host is, whatever the protocol, and what it needs of its cluster.

import type { ClientCodec, ClientCodecEvents, CodecTransport } from '../../http/codec.ts';
import type { ResponseListener } from '../../http/stream.ts';
import type { Network } from '../../net/network.ts';
import type { Random } from '../../std/random.ts';
import type { Http2Settings } from '../http2-options.ts';
import type { PendingStream, UpstreamStreamEvents } from '../upstream.ts';
import type { CircuitBreakers } from './circuit-breakers.ts';
import type { ClusterStats } from './cluster-stats.ts';

export interface ConnectionPool {
	/** See `Cluster.requestStream`. */
	requestStream(listener: ResponseListener, events: UpstreamStreamEvents): PendingStream;
	/** Closes idle connections now and the others when their requests have ended; requests are still served. Idempotent. */
	drain(): void;
	/** Closes everything at once. */
	close(): void;
}

/** `requestsMax` 0: no bound. */
export type MakeClientCodec = (
	transport: CodecTransport,
	events: ClientCodecEvents,
	options: { readonly requestsMax: number },
) => ClientCodec;

export interface PoolSettings {
	readonly connectTimeoutMs: number;
	/** Buffered bytes of a connection beyond which its writer waits; null: the network's default. */
	readonly bufferLimitBytes: number | null;
	/** 0: idle connections are kept for ever. */
	readonly idleTimeoutMs: number;
	/** 0: no bound. */
	readonly connectionDurationMaxMs: number;
	/** 0: no bound. */
	readonly requestsPerConnectionMax: number;
	/**
	 * Which protocol is spoken, without asking first; `downstream`: that of the request's own connection; `auto`: what
	 * the host chooses by ALPN, HTTP/1.1 in plain text.
	 */
	readonly protocol: 'http1' | 'http2' | 'downstream' | 'auto';
	/** At 1 connections are opened for requests that wait; above, ahead of them. 1 to 3. */
	readonly preconnectRatio: number;
	readonly http2: Http2Settings;
}

/** Shared by the pools of one cluster. */
export interface PoolContext {
	readonly clusterName: string;
	readonly network: Network;
	readonly random: Random;
	readonly settings: PoolSettings;
	readonly breakers: CircuitBreakers;
	readonly stats: ClusterStats;
	readonly makeCodec: MakeClientCodec;
}
