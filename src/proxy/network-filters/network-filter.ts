// What ends a filter chain: takes over a connection (handshaken, if it is TLS) and serves it.

import type { Connection, IpAddress } from '../../net/network.ts';

export interface ConnectionInfo {
	readonly connection: Connection;
	/** First URI SAN of our own certificate on it; empty without TLS or where it has none. */
	readonly localUriSan: string;
	/** Where it was headed before it was redirected here; null: it was not. */
	readonly originalDestination: IpAddress | null;
	/** SNI in lower case, from the handshake or a listener filter; empty: none. */
	readonly requestedServerName: string;
	/** Called once when the connection is gone. */
	readonly onClosed: () => void;
}

/** A connection that is being served, as its listener sees it. */
export interface ServedConnection {
	/**
	 * Ends when what is under way is done: no new requests, idle connections close at once. `gently`: an idle one of
	 * HTTP/1.1 is left for one more request, as a request that crosses its end would be lost.
	 */
	drain(gently?: boolean): void;
	/** Closes now. */
	close(): void;
	/** Timeouts are reduced by overload, or no more. */
	timeoutsChanged?(): void;
}

/** A compiled terminal network filter. Immutable but for `handOver`. */
export interface NetworkFilter {
	readonly kind: 'http' | 'tcp';
	/** Resolves when it can serve: its routes have arrived, or were given up waiting for. */
	readonly ready: Promise<void>;
	/** Sets the connection's handler in this call. */
	serve(info: ConnectionInfo): ServedConnection;
	/**
	 * An update of the same filter chain: connections of `this` go on with `next` from their next request.
	 * False: they cannot, and are to be drained.
	 */
	handOver(next: NetworkFilter): boolean;
	/** Gives up what it subscribed to; served connections may still read what they have. Idempotent. */
	release(): void;
}
