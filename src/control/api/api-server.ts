// The API server: objects by the Kubernetes API conventions, discovery, health, and whatever else is
// mounted (mesh snapshot, dashboard, metrics), on a unix socket and on a loopback TCP port, by one
// handler. Access differs by the door, see access.ts.

import { existsSync, unlinkSync } from 'node:fs';
import type { ObjectStore } from '../../config/object-store.ts';
import { withSocketFile } from '../../net/unix-socket-file.ts';
import type { Clock } from '../../std/clock.ts';
import { errorMessage, WeftError } from '../../std/errors.ts';
import { AccessCheck, type Door } from './access.ts';
import { ApiError, errorResponse } from './api-error.ts';
import { discovery, versionInfo } from './discovery.ts';
import { openapi } from './openapi.ts';
import { REQUEST_BODY_BYTES_MAX } from './request-body.ts';
import { parseRequestTarget } from './request-target.ts';
import { handleResource, withDetails } from './resource-handler.ts';

/** A request that sends or takes nothing for so long is closed; streams are exempt. */
const IDLE_TIMEOUT_SECONDS = 60;

export interface MountContext {
	readonly url: URL;
	readonly door: Door;
	/** Call before answering with a stream, or the server closes it when nothing is sent for a minute. */
	readonly keepOpen: () => void;
}

/** Answers requests below a path prefix. Access has been checked: reading is open, other methods had the token. */
export interface Mount {
	/** `/weft/v1/mesh`: that path and those below it. `/` takes whatever nothing else takes. */
	readonly prefix: string;
	/** Null: not found. A thrown ApiError, ConfigError or WeftError becomes a Status object. */
	readonly handle: (request: Request, context: MountContext) => Response | null | Promise<Response | null>;
}

export interface TcpAddress {
	/** A loopback address. */
	readonly hostname: string;
	/** 0 takes a free one. */
	readonly port: number;
}

export interface ApiServerOptions {
	readonly objects: ObjectStore;
	readonly clock: Clock;
	/** Of weft, for `/version`. */
	readonly version: string;
	/** Full access for whoever can open it; mode 0600. Default: no unix socket. */
	readonly unixPath?: string;
	/** Default: no TCP. */
	readonly tcp?: TcpAddress;
	/** The same over TLS, for clients that send a token over TLS only, as `kubectl` does. Default: no TLS. */
	readonly tls?: TcpAddress & {
		/** Leaf first. Its names: the hostname, `localhost`. */
		readonly certificateChainPem: string;
		readonly privateKeyPem: string;
	};
	/** What writing over TCP needs as a bearer token. */
	readonly token: string;
	readonly mounts?: readonly Mount[];
	/** Why the control plane is not ready, for `/readyz`; null when it is. Default: always ready. */
	readonly notReadyReason?: () => string | null;
}

export interface ApiServer {
	/** Of TCP; null without. */
	readonly port: number | null;
	/** Of TLS; null without. */
	readonly tlsPort: number | null;
	/** Streams are cut, what is being answered is finished. */
	close(): Promise<void>;
}

/** @throws WeftError `address_in_use`, `listen_failed` */
export function startApiServer(options: ApiServerOptions): ApiServer {
	const handler = new ApiHandler(options);
	const servers: Bun.Server<undefined>[] = [];
	let port: number | null = null;
	let tlsPort: number | null = null;
	try {
		if (options.unixPath !== undefined) servers.push(listenUnix(options.unixPath, handler));
		if (options.tcp !== undefined) {
			const server = listenTcp(options.tcp, undefined, handler);
			servers.push(server);
			port = server.port ?? null;
		}
		if (options.tls !== undefined) {
			const { certificateChainPem: cert, privateKeyPem: key } = options.tls;
			const server = listenTcp(options.tls, { cert, key }, handler);
			servers.push(server);
			tlsPort = server.port ?? null;
		}
	} catch (error) {
		for (const server of servers) server.stop(true);
		throw error;
	}
	return {
		port,
		tlsPort,
		close: async () => {
			handler.closeStreams();
			await Promise.all(servers.map((server) => server.stop(true)));
			if (options.unixPath !== undefined && existsSync(options.unixPath)) unlinkSync(options.unixPath);
		},
	};
}

function listenTcp(
	tcp: TcpAddress,
	tls: { readonly cert: string; readonly key: string } | undefined,
	handler: ApiHandler,
): Bun.Server<undefined> {
	try {
		return Bun.serve({
			hostname: tcp.hostname,
			port: tcp.port,
			tls,
			idleTimeout: IDLE_TIMEOUT_SECONDS,
			maxRequestBodySize: REQUEST_BODY_BYTES_MAX,
			fetch: (request, server) => handler.answer(request, 'tcp', server),
			error: errorResponse,
		});
	} catch (error) {
		throw listenError(error, `${tcp.hostname}:${tcp.port}`);
	}
}

function listenUnix(path: string, handler: ApiHandler): Bun.Server<undefined> {
	try {
		const options: Parameters<typeof Bun.serve>[0] = {
			unix: path,
			maxRequestBodySize: REQUEST_BODY_BYTES_MAX,
			fetch: (request: Request, server: Bun.Server<undefined>) => handler.answer(request, 'unix', server),
			error: errorResponse,
		};
		// Not in Bun's types for unix sockets, but heeded: its default of 10 s ends watches, which `timeout` cannot stop here.
		Object.assign(options, { idleTimeout: 0 });
		return withSocketFile(path, 0o600, () => Bun.serve(options) as Bun.Server<undefined>);
	} catch (error) {
		throw listenError(error, path);
	}
}

function listenError(error: unknown, address: string): WeftError {
	if (error instanceof WeftError) return error;
	const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
	if (inUse) return new WeftError('address_in_use', `cannot listen on ${address}: it is in use`, { cause: error });
	return new WeftError('listen_failed', `cannot listen on ${address}: ${errorMessage(error)}`, { cause: error });
}

class ApiHandler {
	private readonly access: AccessCheck;
	private readonly mounts: readonly Mount[];
	/** Aborted at close: ends the watches. */
	private readonly streams = new AbortController();

	constructor(private readonly options: ApiServerOptions) {
		this.access = new AccessCheck(options.token);
		this.mounts = (options.mounts ?? []).toSorted((a, b) => b.prefix.length - a.prefix.length);
	}

	closeStreams(): void {
		this.streams.abort();
	}

	async answer(request: Request, door: Door, server: Bun.Server<undefined>): Promise<Response> {
		try {
			this.access.check(request, door);
			const url = new URL(request.url);
			const keepOpen = () => server.timeout(request, 0);
			return (await this.route(request, url, door, keepOpen)) ?? errorResponse(notServed(url.pathname));
		} catch (error) {
			return errorResponse(error);
		}
	}

	private async route(request: Request, url: URL, door: Door, keepOpen: () => void): Promise<Response | null> {
		const path = url.pathname;
		if (path === '/api' || path === '/apis' || path.startsWith('/api/') || path.startsWith('/apis/')) {
			return await this.routeApi(request, url, keepOpen);
		}
		switch (path) {
			case '/version':
				return Response.json(versionInfo(this.options.version));
			case '/healthz':
			case '/livez':
				return new Response('ok');
			case '/readyz': {
				const reason = this.options.notReadyReason?.() ?? null;
				return reason === null ? new Response('ok') : new Response(`not ready: ${reason}\n`, { status: 503 });
			}
		}
		if (path.startsWith('/openapi/')) {
			const document = openapi(path);
			return document === null ? null : Response.json(document);
		}
		for (const mount of this.mounts) {
			const below = mount.prefix.endsWith('/') ? mount.prefix : `${mount.prefix}/`;
			if (path !== mount.prefix && !path.startsWith(below)) continue;
			const response = await mount.handle(request, { url, door, keepOpen });
			if (response !== null) return response;
		}
		return null;
	}

	private async routeApi(request: Request, url: URL, keepOpen: () => void): Promise<Response | null> {
		const found = discovery(url.pathname);
		if (found !== null) {
			if (request.method !== 'GET') throw new ApiError(405, 'MethodNotAllowed', 'discovery is only read');
			return Response.json(found);
		}
		const target = parseRequestTarget(url.pathname);
		if (target === null) return null;
		const { objects, clock } = this.options;
		// A watch ends with the request or with the server, whichever is first.
		const signal = AbortSignal.any([request.signal, this.streams.signal]);
		try {
			return await handleResource({ objects, clock, request, signal, url, target, keepOpen });
		} catch (error) {
			throw withDetails(error, target);
		}
	}
}

function notServed(path: string): ApiError {
	return new ApiError(404, 'NotFound', `nothing is at ${path.slice(0, 200)}`);
}
