// What looks at a connection before its filter chain is chosen: one object per listener, and one
// inspector per connection that it has to look into.

import type { Connection, IpAddress } from '../../net/network.ts';

/** What listener filters find out, and the filter chain is chosen by. */
export interface Findings {
	/** SNI in lower case; empty: none. */
	serverName: string;
	/** In the client's order; empty: none. */
	applicationProtocols: readonly string[];
	/** `tls`; empty: not found out. */
	transportProtocol: string;
	/** Where the connection was headed before it was redirected here; null: here. */
	destination: IpAddress | null;
}

export interface ListenerFilter {
	/** Null: it needs no bytes of this connection; what it knows without is in `found`. */
	begin(connection: Connection, found: Findings): Inspector | null;
}

/** `more`: it cannot say yet. `done`: the next one's turn. `close`: the connection ends, unheard. */
export type Verdict = 'more' | 'done' | 'close';

export interface Inspector {
	/**
	 * `bytes`: all that came, less what filters before took away. Valid during the call, and the same bytes with more
	 * after them in the next one. Never empty.
	 */
	inspect(bytes: Uint8Array): Verdict;
	/** Bytes at the start that were for it alone, once it is done. */
	readonly takenBytes: number;
}
