// Where a connection manager finds its routes: inline in its own configuration, or by name over
// RDS. `table` is replaced as a whole; a request keeps the route that it was given.

import type { RouteTable } from './route-table.ts';

export interface RouteSource {
	/** `RouteConfiguration.name`. */
	readonly name: string;
	/** Null while none was received: requests are answered 404. */
	readonly table: RouteTable | null;
	/** Resolved once: there is a table, or waiting for one was given up. */
	readonly ready: Promise<void>;
	/** No more interest. Idempotent. */
	release(): void;
}

const READY = Promise.resolve();

export function staticRouteSource(table: RouteTable): RouteSource {
	return { name: table.name, table, ready: READY, release: () => {} };
}
