// The CLI's way to the control plane: HTTP over the unix socket of the data directory, or over
// loopback TCP with a token. What cannot be reached is one line that says which address was tried.

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { dataDirectory, dataPaths } from '../app/data-directory.ts';
import { ExitError } from '../app/exit-error.ts';
import { apiVersionOf } from '../config/kind.ts';
import type { AnyKind } from '../config/kinds.ts';
import type { MeshObject } from '../config/object.ts';
import { errorMessage } from '../std/errors.ts';
import { EXIT_FAILED, EXIT_INVALID, EXIT_UNREACHABLE } from './exit-codes.ts';

const REQUEST_TIMEOUT_MS = 30_000;

export interface ApiClientOptions {
	/** `unix:PATH` or `http://HOST:PORT`. */
	readonly address: string;
	/** For writing over HTTP. */
	readonly token?: string;
}

export interface ApiAnswer {
	readonly status: number;
	readonly body: unknown;
	/** Of the `Warning` headers. */
	readonly warnings: readonly string[];
}

export interface ApiRequest {
	readonly method?: string;
	/** With the query. */
	readonly path: string;
	readonly body?: unknown;
	readonly accept?: string;
}

/** From `--server`, `--data` and the environment. @throws ExitError */
export function clientFor(command: Command): ApiClient {
	const { server, data } = command.optsWithGlobals<{ server?: string; data?: string }>();
	const paths = dataPaths(dataDirectory(data, process.env));
	const given = server ?? (data === undefined ? process.env.WEFT_SERVER : undefined);
	const address = given === undefined || given === '' ? `unix:${paths.apiSocket}` : given;
	if (!address.startsWith('unix:') && !/^https?:\/\//.test(address)) {
		throw new ExitError(EXIT_INVALID, `--server ${address}: expected unix:PATH or http://HOST:PORT`);
	}
	return new ApiClient({ address, token: process.env.WEFT_TOKEN ?? tokenFrom(paths.token) });
}

function tokenFrom(path: string): string | undefined {
	try {
		return readFileSync(path, 'utf8').trim() || undefined;
	} catch {
		return undefined;
	}
}

export class ApiClient {
	readonly address: string;
	private readonly base: string;
	private readonly unixPath: string | undefined;
	private readonly token: string | undefined;

	constructor(options: ApiClientOptions) {
		this.address = options.address;
		this.unixPath = options.address.startsWith('unix:')
			? options.address.slice(5).replace(/^\/\/(?=\/)/, '')
			: undefined;
		this.base = this.unixPath === undefined ? options.address.replace(/\/+$/, '') : 'http://localhost';
		this.token = this.unixPath === undefined ? options.token : undefined;
	}

	/** Answers of 400 and above are returned too. @throws ExitError when the control plane cannot be reached */
	async send(request: ApiRequest): Promise<ApiAnswer> {
		const response = await this.fetch(request, AbortSignal.timeout(REQUEST_TIMEOUT_MS));
		const text = await this.reading(() => response.text());
		const isJson = (response.headers.get('content-type') ?? '').includes('json');
		const warnings = [...(response.headers.get('warning') ?? '').matchAll(/\b299 \S+ "((?:[^"\\]|\\.)*)"/g)];
		return {
			status: response.status,
			body: isJson ? this.parsed(text) : text,
			warnings: warnings.map(([, warning]) => (warning ?? '').replace(/\\(.)/g, '$1')),
		};
	}

	/** The body of an answer below 400. @throws ExitError with the server's message */
	async call(request: ApiRequest): Promise<unknown> {
		const answer = await this.send(request);
		if (answer.status >= 400) throw failure(answer);
		return answer.body;
	}

	/** The object, or null when it is not there. */
	async get(kind: AnyKind, namespace: string, name: string): Promise<MeshObject | null> {
		const answer = await this.send({ path: resourcePath(kind, namespace, name) });
		if (answer.status === 404) return null;
		if (answer.status >= 400) throw failure(answer);
		return answer.body as MeshObject;
	}

	/** All of a namespace, or of all. */
	async list(kind: AnyKind, namespace?: string, query = ''): Promise<MeshObject[]> {
		const { items } = (await this.call({ path: `${resourcePath(kind, namespace)}${query}` })) as {
			items: MeshObject[];
		};
		return items;
	}

	/** Parts of a streamed answer, cut at `separator`, as they come; ends when the server or `signal` ends it. */
	async *stream(request: ApiRequest, separator: string, signal?: AbortSignal): AsyncGenerator<string> {
		const response = await this.fetch(request, signal);
		if (response.status >= 400) {
			const body = this.parsed(await this.reading(() => response.text()));
			throw failure({ status: response.status, body, warnings: [] });
		}
		const decoder = new TextDecoder();
		let rest = '';
		const reader = (response.body ?? new ReadableStream<Uint8Array>()).getReader();
		try {
			for (;;) {
				const { done, value } = await this.reading(() => reader.read());
				if (done) return;
				const parts = (rest + decoder.decode(value, { stream: true })).split(separator);
				rest = parts.pop() ?? '';
				yield* parts;
			}
		} catch (error) {
			if (signal?.aborted !== true) throw error;
		} finally {
			await reader.cancel().catch(() => {});
		}
	}

	private async fetch(request: ApiRequest, signal?: AbortSignal): Promise<Response> {
		const headers = new Headers({ accept: request.accept ?? 'application/json' });
		if (request.body !== undefined) headers.set('content-type', 'application/json');
		if (this.token !== undefined) headers.set('authorization', `Bearer ${this.token}`);
		return await this.reading(() =>
			fetch(`${this.base}${request.path}`, {
				method: request.method ?? 'GET',
				headers,
				body: request.body === undefined ? undefined : JSON.stringify(request.body),
				unix: this.unixPath,
				signal,
				// Streams may be silent for long; `send` brings its own limit.
				timeout: false,
			}),
		);
	}

	/** Translates what the platform says of a connection that fails. */
	private async reading<T>(action: () => Promise<T>): Promise<T> {
		try {
			return await action();
		} catch (error) {
			if (error instanceof Error && error.name === 'TimeoutError') {
				throw new ExitError(
					EXIT_UNREACHABLE,
					`the control plane at ${this.address} did not answer within ${REQUEST_TIMEOUT_MS / 1000} s`,
				);
			}
			throw new ExitError(
				EXIT_UNREACHABLE,
				`cannot reach the control plane at ${this.address} (${connectReason(error)}); start it with: weft up`,
				{ cause: error },
			);
		}
	}

	private parsed(text: string): unknown {
		try {
			return JSON.parse(text);
		} catch {
			throw new ExitError(EXIT_FAILED, `${this.address} did not answer with JSON: is it a control plane of weft?`);
		}
	}
}

function connectReason(error: unknown): string {
	const code = error instanceof Error && 'code' in error ? String(error.code) : '';
	const reasons: Readonly<Record<string, string>> = {
		ENOENT: 'no such socket',
		FailedToOpenSocket: 'nothing listens there',
		ConnectionRefused: 'connection refused',
		ECONNREFUSED: 'connection refused',
		ConnectionClosed: 'connection closed',
		ECONNRESET: 'connection closed',
		EACCES: 'permission denied',
	};
	return reasons[code] ?? errorMessage(error).split('\n')[0] ?? code;
}

/** The server's own words. */
export function failure(answer: ApiAnswer): ExitError {
	const message =
		typeof answer.body === 'object' && answer.body !== null && 'message' in answer.body
			? String(answer.body.message)
			: `HTTP status ${answer.status}`;
	return new ExitError(answer.status === 422 || answer.status === 400 ? EXIT_INVALID : EXIT_FAILED, message);
}

/** `/apis/G/V/namespaces/NS/PLURAL/NAME`; without a name the collection, without a namespace all of them. */
export function resourcePath(kind: AnyKind, namespace?: string, name?: string): string {
	const base = kind.group === '' ? `/api/${kind.versions[0]}` : `/apis/${apiVersionOf(kind)}`;
	const scope = kind.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
	return `${base}${scope}/${kind.plural}${name === undefined ? '' : `/${encodeURIComponent(name)}`}`;
}
