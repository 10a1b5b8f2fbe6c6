// The mesh snapshot for browsers and tools: once as JSON, or each second as a server-sent event
// (HTML Living Standard §9.2). The snapshot is built and encoded once a second for all listeners,
// and only while there is one. A listener that does not keep up misses snapshots; one that reads
// nothing for `SLOW_CLIENT_MS` is disconnected. Mounted by the API server.

import type { Clock, Timer } from '../std/clock.ts';
import { errorMessage } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { Mount } from './api/api-server.ts';
import type { MeshSnapshot } from './mesh-snapshot.ts';

export const MESH_PATH = '/weft/v1/mesh';
export const MESH_STREAM_PATH = '/weft/v1/mesh/stream';
export const INTERVAL_MS = 1000;
export const CLIENTS_MAX = 100;
/** Unread snapshots of one listener; further ones are left out until it reads. */
export const UNREAD_MAX = 2;
export const SLOW_CLIENT_MS = 15_000;
/** How soon a browser comes back after the stream broke; sent as `retry:`. */
export const RETRY_MS = 1000;

export interface MeshStreamOptions {
	/** Builds the snapshot of now. */
	readonly snapshot: () => MeshSnapshot;
	readonly clock: Clock;
	/** Default `CLIENTS_MAX`. One more is answered 503. */
	readonly clientsMax?: number;
}

interface Client {
	readonly controller: ReadableStreamDefaultController<Uint8Array>;
	/** When it last had room. */
	readyMs: number;
}

const SECURITY_HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };

export class MeshStream {
	private readonly log = new Logger('mesh-stream');
	private readonly encoder = new TextEncoder();
	private readonly clients = new Set<Client>();
	private readonly clientsMax: number;
	private timer: Timer | null = null;

	constructor(private readonly options: MeshStreamOptions) {
		this.clientsMax = options.clientsMax ?? CLIENTS_MAX;
	}

	get clientCount(): number {
		return this.clients.size;
	}

	/** `GET /weft/v1/mesh` */
	readonly handleMesh = (request: Request): Response => {
		if (!isRead(request)) return methodNotAllowed();
		return Response.json(this.options.snapshot(), { headers: SECURITY_HEADERS });
	};

	/** `GET /weft/v1/mesh/stream`; the first event comes at once. */
	readonly handleStream = (request: Request): Response => {
		if (request.method !== 'GET') return methodNotAllowed();
		if (this.clients.size >= this.clientsMax) {
			return new Response(`more than ${this.clientsMax} listeners on the mesh stream\n`, {
				status: 503,
				headers: { ...SECURITY_HEADERS, 'retry-after': '5' },
			});
		}
		const first = this.encoder.encode(`retry: ${RETRY_MS}\n\n${this.event()}`);
		let client: Client | null = null;
		const leave = () => {
			if (client !== null) this.drop(client);
		};
		request.signal.addEventListener('abort', leave, { once: true });
		const body = new ReadableStream<Uint8Array>(
			{
				start: (controller) => {
					client = { controller, readyMs: this.options.clock.nowMs() };
					this.clients.add(client);
					controller.enqueue(first);
					this.schedule();
				},
				cancel: leave,
			},
			{ highWaterMark: UNREAD_MAX },
		);
		return new Response(body, {
			headers: { ...SECURITY_HEADERS, 'content-type': 'text/event-stream; charset=utf-8' },
		});
	};

	/** For the API server: both paths. */
	readonly mount: Mount = {
		prefix: MESH_PATH,
		handle: (request, { url, keepOpen }) => {
			if (url.pathname === MESH_PATH) return this.handleMesh(request);
			if (url.pathname !== MESH_STREAM_PATH) return null;
			keepOpen();
			return this.handleStream(request);
		},
	};

	/** Ends all streams; listeners come back when there is somebody again. */
	close(): void {
		for (const client of [...this.clients]) this.drop(client);
	}

	private schedule(): void {
		if (this.timer === null) this.timer = this.options.clock.after(INTERVAL_MS, () => this.tick());
		else if (!this.timer.active) this.timer.restart(INTERVAL_MS);
	}

	private tick(): void {
		if (this.clients.size === 0) return;
		let bytes: Uint8Array;
		try {
			bytes = this.encoder.encode(this.event());
		} catch (error) {
			this.log.error('the mesh snapshot could not be built', { error: errorMessage(error) });
			this.schedule();
			return;
		}
		const now = this.options.clock.nowMs();
		for (const client of [...this.clients]) {
			if ((client.controller.desiredSize ?? 0) > 0) {
				client.readyMs = now;
				client.controller.enqueue(bytes);
			} else if (now - client.readyMs >= SLOW_CLIENT_MS) this.drop(client);
		}
		if (this.clients.size > 0) this.schedule();
	}

	private event(): string {
		return `event: mesh\ndata: ${JSON.stringify(this.options.snapshot())}\n\n`;
	}

	private drop(client: Client): void {
		if (!this.clients.delete(client)) return;
		if (this.clients.size === 0) this.timer?.cancel();
		try {
			client.controller.close();
		} catch {
			// Cancelled by the other side: closed already.
		}
	}
}

function isRead(request: Request): boolean {
	return request.method === 'GET' || request.method === 'HEAD';
}

function methodNotAllowed(): Response {
	return new Response('only GET\n', { status: 405, headers: { ...SECURITY_HEADERS, allow: 'GET, HEAD' } });
}
