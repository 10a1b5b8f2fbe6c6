// An HTTP/2 server that answers by a script, frame by frame, right or wrong.

import { createServer, type Server, type Socket } from 'node:net';
import { CLIENT_PREFACE, Flag, FrameType } from '../../src/http2/frames.ts';
import { concat, frame, headers, settings } from '../../src/http2/testing.ts';

export interface Script {
	/** What the server says first; default SETTINGS and the answer to the client's. Null: nothing, ever. */
	readonly greeting?: Uint8Array | null;
	readonly answer: (streamId: number) => Uint8Array;
	/** The connection is closed after the answer. */
	readonly closes?: boolean;
}

export const GREETING = concat(settings(), frame(FrameType.settings, Flag.ack, 0));
export const OK: readonly (readonly [string, string])[] = [[':status', '200']];

/** Answers the first request by `script`, and each that comes later with 200. */
export class ScriptedHttp2Server {
	port = 0;
	/** Connections that it was given. */
	connections = 0;
	private requests = 0;
	private readonly sockets = new Set<Socket>();
	private readonly server: Server;

	constructor(private readonly script: Script) {
		this.server = createServer((socket) => this.accept(socket));
	}

	start(): Promise<number> {
		return new Promise((resolve) => {
			this.server.listen(0, '127.0.0.1', () => {
				const address = this.server.address();
				this.port = typeof address === 'object' && address !== null ? address.port : 0;
				resolve(this.port);
			});
		});
	}

	/** Begins again: the next request is the first. */
	reset(): void {
		for (const socket of this.sockets) socket.destroy();
		this.requests = 0;
		this.connections = 0;
	}

	stop(): void {
		this.reset();
		this.server.close();
	}

	private accept(socket: Socket): void {
		this.connections++;
		this.sockets.add(socket);
		socket.on('close', () => this.sockets.delete(socket));
		socket.on('error', () => {});
		const broken = this.requests === 0;
		const greeting = broken && this.script.greeting !== undefined ? this.script.greeting : GREETING;
		if (greeting !== null) socket.write(greeting);
		let bytes = Buffer.alloc(0);
		let prefaceSeen = false;
		socket.on('data', (chunk: Buffer) => {
			bytes = Buffer.concat([bytes, chunk]);
			if (!prefaceSeen) {
				if (bytes.length < CLIENT_PREFACE.length) return;
				prefaceSeen = true;
				bytes = bytes.subarray(CLIENT_PREFACE.length);
			}
			while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
				const type = bytes[3]!;
				const flags = bytes[4]!;
				const streamId = bytes.readUInt32BE(5);
				const length = bytes.readUIntBE(0, 3);
				const payload = bytes.subarray(9, 9 + length);
				bytes = bytes.subarray(9 + length);
				if (type === FrameType.headers) this.answer(socket, streamId);
				else if (type === FrameType.ping && (flags & Flag.ack) === 0 && greeting !== null) {
					socket.write(frame(FrameType.ping, Flag.ack, 0, payload));
				}
			}
		});
	}

	private answer(socket: Socket, streamId: number): void {
		const { script } = this;
		if (this.requests++ > 0) {
			socket.write(headers(streamId, OK));
			return;
		}
		const answer = script.answer(streamId);
		if (script.closes === true) socket.end(answer);
		else socket.write(answer);
	}
}
