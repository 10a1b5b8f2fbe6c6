// An upstream that keeps every byte that it is sent, reads it with the strict reader, and answers
// each complete request as it is told.

import { createServer, type Server, type Socket } from 'node:net';
import { nextTurn } from './next-turn.ts';
import { type ReadRequest, readRequest } from './strict-reader.ts';

export interface UpstreamAnswer {
	/** Pieces as they are written, each in a turn of the event loop of its own. */
	readonly parts: readonly Uint8Array[];
	/** Then: FIN, RST, or stay. */
	readonly ending: 'open' | 'fin' | 'reset';
	/** What comes next on the connection is no HTTP: echoed. */
	readonly tunnel: boolean;
}

export interface RecordedConnection {
	readonly id: number;
	/** All that was received, Latin-1. */
	received: string;
	/** Index into `received` from which nothing complete was read yet. */
	readTo: number;
	requests: ReadRequest[];
	/** What of the bytes is no request; null: all good. */
	violation: string | null;
	tunnel: boolean;
	open: boolean;
}

export interface ArrivedRequest {
	readonly connection: RecordedConnection;
	readonly request: ReadRequest;
	/** The bytes of it, Latin-1. */
	readonly raw: string;
}

export class RecordingUpstream {
	readonly connections: RecordedConnection[] = [];
	/** In the order in which they were complete. */
	readonly arrived: ArrivedRequest[] = [];
	answer: (request: ReadRequest) => UpstreamAnswer = okAnswer;
	onChange: () => void = () => {};
	/** Grows with every byte and close. */
	changes = 0;
	/** Answers that are not written to their end. */
	sending = 0;
	private accepted = 0;
	private readonly sockets = new Set<Socket>();

	private constructor(
		private readonly server: Server,
		readonly port: number,
	) {}

	static start(): Promise<RecordingUpstream> {
		return new Promise((resolve) => {
			const server = createServer({ allowHalfOpen: false });
			server.listen(0, '127.0.0.1', () => {
				const address = server.address();
				const upstream = new RecordingUpstream(server, typeof address === 'object' ? (address?.port ?? 0) : 0);
				server.on('connection', (socket) => upstream.accept(socket));
				resolve(upstream);
			});
		});
	}

	/** Forgets what was; connections that are open stay. */
	begin(): void {
		this.arrived.length = 0;
		for (let i = this.connections.length - 1; i >= 0; i--) {
			const connection = this.connections[i]!;
			if (!connection.open) this.connections.splice(i, 1);
		}
	}

	/** Bytes of requests that are not complete, on connections that are still open. */
	unfinished(): string {
		return this.connections
			.filter((one) => one.open && !one.tunnel)
			.map((one) => one.received.slice(one.readTo))
			.join('');
	}

	/** What on any connection was no request. */
	violations(): string[] {
		return this.connections.flatMap((one) => (one.violation === null ? [] : [one.violation]));
	}

	stop(): void {
		this.server.close();
		for (const socket of this.sockets) socket.destroy();
	}

	private accept(socket: Socket): void {
		const connection: RecordedConnection = {
			id: ++this.accepted,
			received: '',
			readTo: 0,
			requests: [],
			violation: null,
			tunnel: false,
			open: true,
		};
		this.connections.push(connection);
		this.sockets.add(socket);
		socket.setNoDelay(true);
		socket.on('error', () => socket.destroy());
		socket.on('close', () => {
			connection.open = false;
			this.sockets.delete(socket);
			this.changed();
		});
		socket.on('data', (chunk: Buffer) => {
			connection.received += chunk.toString('latin1');
			if (!connection.tunnel) this.read(connection, socket);
			else if (this.sending === 0) this.echo(connection, socket);
			this.changed();
		});
	}

	private read(connection: RecordedConnection, socket: Socket): void {
		while (connection.readTo < connection.received.length && !connection.tunnel) {
			const rest = connection.received.slice(connection.readTo);
			const reading = readRequest(rest);
			if (reading.kind === 'incomplete') return;
			if (reading.kind === 'invalid') {
				connection.violation = `${reading.why}: ${JSON.stringify(rest.slice(0, 300))}`;
				socket.destroy();
				return;
			}
			connection.readTo += reading.length;
			connection.requests.push(reading.message);
			this.arrived.push({ connection, request: reading.message, raw: rest.slice(0, reading.length) });
			const answer = this.answer(reading.message);
			connection.tunnel = answer.tunnel;
			void this.send(socket, answer, connection);
		}
	}

	private async send(socket: Socket, answer: UpstreamAnswer, connection: RecordedConnection): Promise<void> {
		this.sending++;
		for (let i = 0; i < answer.parts.length && !socket.destroyed; i++) {
			if (i > 0) await nextTurn();
			if (!socket.destroyed) socket.write(answer.parts[i]!);
		}
		this.sending--;
		// What came with the request, or before the answer was written, is of the tunnel.
		if (answer.tunnel) this.echo(connection, socket);
		if (answer.ending === 'fin') socket.end();
		else if (answer.ending === 'reset') socket.resetAndDestroy();
		this.changed();
	}

	private echo(connection: RecordedConnection, socket: Socket): void {
		const bytes = connection.received.slice(connection.readTo);
		connection.readTo = connection.received.length;
		if (bytes !== '' && socket.writable) socket.write(Buffer.from(bytes, 'latin1'));
	}

	private changed(): void {
		this.changes++;
		this.onChange();
	}
}

/** What the hosts that CONNECT may ask for say to it; all others agree, with an echo. */
const CONNECT_HEADS: Readonly<Record<string, string>> = {
	'refused.example:443': '403 Forbidden\r\ncontent-length: 3\r\n\r\nno\n',
	'login.example:443':
		'407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="a"\r\ncontent-length: 0\r\n\r\n',
	'moved.example:443': '302 Found\r\nlocation: http://b/\r\ncontent-length: 0\r\n\r\n',
	'length.example:443': '200 OK\r\ncontent-length: 5\r\n\r\n',
	'chunks.example:443': '200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
	'both.example:443': '200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n',
	'empty.example:443': '204 No Content\r\n\r\n',
	'partial.example:443': '206 Partial Content\r\n\r\n',
	'switching.example:443': '101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
	'early.example:443': '103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
};

/** 101 and an echo for `/ws`; CONNECT as `CONNECT_HEADS`; for all else 200, with what was asked as the body. */
export function okAnswer(request: ReadRequest): UpstreamAnswer {
	if (request.method === 'CONNECT') {
		const head = `HTTP/1.1 ${CONNECT_HEADS[request.target] ?? '200 OK\r\n\r\n'}`;
		return { parts: [Buffer.from(head)], ending: 'open', tunnel: /^HTTP\/1\.1 (1|2)/.test(head) };
	}
	const upgrade = request.fields.find(([name]) => name === 'upgrade')?.[1] ?? '';
	if (request.target === '/ws' && upgrade !== '') {
		const head = `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${upgrade}\r\n\r\n`;
		return { parts: [Buffer.from(head)], ending: 'open', tunnel: true };
	}
	const body = request.method === 'HEAD' ? '' : 'ok\n';
	const head = 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n';
	return { parts: [Buffer.from(head + body)], ending: 'open', tunnel: false };
}
