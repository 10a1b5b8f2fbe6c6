// An upstream that keeps every byte that it is sent, reads it with the strict reader, and answers
// each complete request as it is told.

import { createServer, type Server, type Socket } from 'node:net';
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
			if (connection.tunnel) {
				connection.readTo = connection.received.length;
				socket.write(chunk);
			} else this.read(connection, socket);
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
			void this.send(socket, answer);
		}
	}

	private async send(socket: Socket, answer: UpstreamAnswer): Promise<void> {
		this.sending++;
		for (let i = 0; i < answer.parts.length && !socket.destroyed; i++) {
			if (i > 0) await new Promise(setImmediate);
			if (!socket.destroyed) socket.write(answer.parts[i]!);
		}
		this.sending--;
		if (answer.ending === 'fin') socket.end();
		else if (answer.ending === 'reset') socket.resetAndDestroy();
		this.changed();
	}

	private changed(): void {
		this.changes++;
		this.onChange();
	}
}

/** 101 and an echo for `/ws`; for all else 200, with what was asked as the body. */
export function okAnswer(request: ReadRequest): UpstreamAnswer {
	const upgrade = request.fields.find(([name]) => name === 'upgrade')?.[1] ?? '';
	if (request.target === '/ws' && upgrade !== '') {
		const head = `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${upgrade}\r\n\r\n`;
		return { parts: [Buffer.from(head)], ending: 'open', tunnel: true };
	}
	const body = request.method === 'HEAD' ? '' : 'ok\n';
	const head = 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n';
	return { parts: [Buffer.from(head + body)], ending: 'open', tunnel: false };
}
