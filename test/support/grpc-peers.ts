// gRPC spoken by hand: an HTTP/2 upstream that answers as its path tells it, and requests whose
// answers are seen down to their trailers.

import { connect, createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';

/** The five bytes of a gRPC frame's head and the message. */
export function grpcFrame(message: string | Uint8Array, flags = 0): Buffer {
	const body = Buffer.from(message);
	const head = Buffer.alloc(5);
	head[0] = flags;
	head.writeUInt32BE(body.length, 1);
	return Buffer.concat([head, body]);
}

export interface SeenCall {
	readonly headers: IncomingHttpHeaders;
	readonly body: Buffer;
}

export interface GrpcUpstream {
	readonly port: number;
	readonly seen: SeenCall[];
	stop(): void;
}

export interface CallAnswer {
	readonly status?: number;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: Uint8Array;
	/** None: the body, or the head, ends the answer. */
	readonly trailers?: Readonly<Record<string, string>>;
}

/** Answers a call when all of it has come; `silence` says nothing, `reset` gives it up. */
export function grpcUpstream(
	answer: (call: SeenCall, count: number) => CallAnswer | 'silence' | 'reset',
): Promise<GrpcUpstream> {
	const seen: SeenCall[] = [];
	const sessions = new Set<{ destroy(): void }>();
	const server: Http2Server = createServer();
	server.on('session', (session) => {
		sessions.add(session);
		session.on('close', () => sessions.delete(session));
		session.on('error', () => {});
	});
	server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
		const chunks: Buffer[] = [];
		stream.on('error', () => {});
		stream.on('data', (chunk: Buffer) => chunks.push(chunk));
		stream.on('end', () => {
			if (stream.destroyed || stream.rstCode !== 0) return;
			const call = { headers, body: Buffer.concat(chunks) };
			seen.push(call);
			const reply = answer(call, seen.length);
			if (reply === 'silence') return;
			if (reply === 'reset') {
				stream.close(8);
				return;
			}
			const { status = 200, headers: fields = {}, body, trailers } = reply;
			const head = { ':status': status, 'content-type': 'application/grpc', ...fields };
			if (body === undefined && trailers === undefined) {
				stream.respond(head, { endStream: true });
				return;
			}
			stream.respond(head, { waitForTrailers: trailers !== undefined });
			if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers({ ...trailers }));
			stream.end(body);
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
					for (const session of sessions) session.destroy();
				},
			});
		});
	});
}

export interface Http2Answer {
	readonly status: number;
	/** `name: value`, sorted, without `:status`. */
	readonly headers: readonly string[];
	readonly body: Buffer;
	readonly trailers: readonly string[];
	/** Of RST_STREAM; null: it ended. */
	readonly resetCode: number | null;
}

/** One request by HTTP/2 with prior knowledge, on a connection of its own. */
export function http2Request(
	port: number,
	request: { path: string; method?: string; headers?: Readonly<Record<string, string>>; body?: Uint8Array },
): Promise<Http2Answer> {
	return new Promise((resolve, reject) => {
		const session = connect(`http://127.0.0.1:${port}`);
		session.on('error', reject);
		const { path, method = 'POST', headers = {}, body } = request;
		const stream = session.request(
			{ ':method': method, ':path': path, ':authority': 'test.example', ...headers },
			{ endStream: body === undefined },
		);
		let status = 0;
		let fields: string[] = [];
		let trailers: string[] = [];
		let resetCode: number | null = null;
		const chunks: Buffer[] = [];
		stream.on('response', (head) => {
			status = Number(head[':status']);
			fields = fieldLines(head);
		});
		stream.on('trailers', (list) => {
			trailers = fieldLines(list);
		});
		stream.on('data', (chunk: Buffer) => chunks.push(chunk));
		stream.on('error', () => {
			resetCode = stream.rstCode ?? -1;
		});
		stream.on('close', () => {
			if (stream.rstCode) resetCode = stream.rstCode;
			session.close();
			resolve({ status, headers: fields, body: Buffer.concat(chunks), trailers, resetCode });
		});
		if (body !== undefined) stream.end(body);
	});
}

function fieldLines(fields: IncomingHttpHeaders): string[] {
	return Object.entries(fields)
		.filter(([name]) => name !== ':status')
		.map(([name, value]) => `${name}: ${String(value)}`)
		.sort();
}
