// A small HTTP server on a Network, for the process's own doors (admin, join): requests and
// responses whole in memory, both bounded. Not on the path of proxied traffic.

import type { HeaderList } from '../http/headers.ts';
import type { Connection } from '../net/network.ts';

export interface SmallRequest {
	readonly method: string;
	/** Path without query, not decoded. */
	readonly path: string;
	readonly query: URLSearchParams;
	readonly authority: string;
	readonly headers: HeaderList;
	readonly body: Uint8Array;
	/** For addresses and peer credentials. */
	readonly connection: Connection;
}

export interface SmallResponse {
	readonly status: number;
	readonly contentType?: string;
	readonly headers?: HeaderList;
	readonly body: string | Uint8Array;
}

/** May reject: answered 500 with a plain line, and logged. */
export type SmallHandler = (request: SmallRequest) => SmallResponse | Promise<SmallResponse>;
