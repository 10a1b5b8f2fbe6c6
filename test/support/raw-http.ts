// HTTP/1.1 spoken by hand over a socket, so that a test sees every byte of what a proxy answers.

import { connect, createServer, type Server, type Socket } from 'node:net';

export interface RawResponse {
	readonly status: number;
	/** Names in lower case, in the order of the wire. */
	readonly headers: readonly (readonly [string, string])[];
	readonly body: string;
}

export interface RawRequest {
	readonly method?: string;
	readonly path: string;
	readonly host?: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: string;
}

/** One request on a connection of its own. */
export async function rawRequest(port: number, request: RawRequest): Promise<RawResponse> {
	const { method = 'GET', path, host = 'test.example', headers = {}, body = '' } = request;
	let text = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n`;
	for (const [name, value] of Object.entries(headers)) text += `${name}: ${value}\r\n`;
	if (body !== '' || method === 'POST' || method === 'PUT') text += `content-length: ${Buffer.byteLength(body)}\r\n`;
	return parseResponse(await exchange(port, `${text}\r\n${body}`), method);
}

/** Sends `text`, reads until the other side closes. */
export function exchange(port: number, text: string): Promise<Buffer> {
	return new Promise((resolve, reject) => {
		const chunks: Buffer[] = [];
		const socket: Socket = connect(port, '127.0.0.1', () => socket.write(text));
		socket.on('data', (chunk: Buffer) => chunks.push(chunk));
		socket.on('error', reject);
		socket.on('close', () => resolve(Buffer.concat(chunks)));
	});
}

export function parseResponse(bytes: Buffer, method = 'GET'): RawResponse {
	const text = bytes.toString('latin1');
	const end = text.indexOf('\r\n\r\n');
	if (end < 0) throw new Error(`no response: ${JSON.stringify(text.slice(0, 200))}`);
	const [statusLine = '', ...lines] = text.slice(0, end).split('\r\n');
	const status = Number(statusLine.split(' ')[1]);
	if (status >= 100 && status < 200) return parseResponse(bytes.subarray(end + 4), method);
	const headers = lines.map((line): [string, string] => {
		const colon = line.indexOf(':');
		return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
	});
	const chunked = headers.some(([name, value]) => name === 'transfer-encoding' && value === 'chunked');
	const rest = text.slice(end + 4);
	return { status, headers, body: method === 'HEAD' ? '' : chunked ? dechunked(rest) : rest };
}

export function header(response: RawResponse, name: string): string | undefined {
	return response.headers.find(([key]) => key === name)?.[1];
}

function dechunked(text: string): string {
	let out = '';
	let at = 0;
	for (;;) {
		const end = text.indexOf('\r\n', at);
		const size = Number.parseInt(text.slice(at, end), 16);
		if (!(size > 0)) return out;
		out += text.slice(end + 2, end + 2 + size);
		at = end + 2 + size + 2;
	}
}

export interface SeenRequest {
	readonly method: string;
	readonly path: string;
	/** Names in lower case, `host` among them. */
	readonly headers: readonly (readonly [string, string])[];
	readonly body: string;
}

export interface RawUpstream {
	readonly port: number;
	readonly seen: SeenRequest[];
	stop(): void;
}

/** Gives the raw answer to a request, `close` to close without one, `silence` to say nothing. */
export type Answer = (request: SeenRequest, count: number) => string | 'close' | 'silence';

/** An upstream that answers as it is told; Content-Length bodies only. */
export function rawUpstream(answer: Answer): Promise<RawUpstream> {
	const seen: SeenRequest[] = [];
	const sockets = new Set<Socket>();
	const server: Server = createServer((socket) => {
		sockets.add(socket);
		socket.on('close', () => sockets.delete(socket));
		socket.on('error', () => socket.destroy());
		let buffered = '';
		socket.on('data', (chunk) => {
			buffered += chunk.toString('latin1');
			for (;;) {
				const end = buffered.indexOf('\r\n\r\n');
				if (end < 0) return;
				const [line = '', ...lines] = buffered.slice(0, end).split('\r\n');
				const headers = lines.map((one): [string, string] => {
					const colon = one.indexOf(':');
					return [one.slice(0, colon).toLowerCase(), one.slice(colon + 1).trim()];
				});
				const chunked = headers.some(([name]) => name === 'transfer-encoding');
				const rest = buffered.slice(end + 4);
				const length = chunked
					? lengthOfChunked(rest)
					: Number(headers.find(([name]) => name === 'content-length')?.[1] ?? 0);
				if (length < 0 || rest.length < length) return;
				const body = chunked ? dechunked(rest) : rest.slice(0, length);
				buffered = rest.slice(length);
				const [method = '', path = ''] = line.split(' ');
				const request: SeenRequest = { method, path, headers, body };
				seen.push(request);
				const reply = answer(request, seen.length);
				if (reply === 'close') socket.destroy();
				else if (reply !== 'silence') socket.write(reply, 'latin1');
			}
		});
	});
	return new Promise((resolve) => {
		server.listen(0, '127.0.0.1', () => {
			const address = server.address();
			const port = typeof address === 'object' && address !== null ? address.port : 0;
			resolve({
				port,
				seen,
				stop: () => {
					server.close();
					for (const socket of sockets) socket.destroy();
				},
			});
		});
	});
}

function lengthOfChunked(text: string): number {
	const end = text.indexOf('0\r\n\r\n');
	return end < 0 ? -1 : end + 5;
}

export function okResponse(body: string, headers: Readonly<Record<string, string>> = {}, status = '200 OK'): string {
	let text = `HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
	for (const [name, value] of Object.entries(headers)) text += `${name}: ${value}\r\n`;
	return `${text}\r\n${body}`;
}
