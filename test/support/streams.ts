// The two ends of a long body: a program that sends or takes one, and a client that does. Both on Bun's
// sockets, of bytes that are made once; either end can be slow. Both speak HTTP/1.1 as little as it needs, so
// that a TCP proxy can stand between them too.

import type { Socket, TCPSocketListener } from 'bun';

export type Pace = 'fast' | 'slow';
export type Framing = 'content-length' | 'chunked';
export type Direction = 'download' | 'upload';

export interface Transfer {
	readonly direction: Direction;
	readonly framing: Framing;
	/** Whole pieces: a multiple of `PIECE_BYTES`. */
	readonly bodyBytes: number;
	/** Of who reads. */
	readonly reader: Pace;
}

export const PIECE_BYTES = 64 * 1024;
/** A slow reader takes so much, and then nothing for a moment. */
const SLOW_STEP_BYTES = 512 * 1024;
const SLOW_REST_MS = 5;

const PIECE = Buffer.alloc(PIECE_BYTES, 'weft');
const CHUNK = Buffer.concat([Buffer.from(`${PIECE_BYTES.toString(16)}\r\n`), PIECE, Buffer.from('\r\n')]);
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** Sends a head and a body as fast as the other side takes it. */
class Sender {
	private piecesLeft: number;
	private rest: Buffer;
	private readonly piece: Buffer;
	private last: Buffer | null;

	constructor(
		private readonly socket: Socket<End>,
		head: string,
		{ framing, bodyBytes }: Transfer,
	) {
		this.rest = Buffer.from(head);
		this.piecesLeft = bodyBytes / PIECE_BYTES;
		this.piece = framing === 'chunked' ? CHUNK : PIECE;
		this.last = framing === 'chunked' ? LAST_CHUNK : null;
	}

	send(): void {
		for (;;) {
			if (this.rest.length === 0) {
				if (this.piecesLeft > 0) {
					this.piecesLeft -= 1;
					this.rest = this.piece;
				} else if (this.last !== null) {
					this.rest = this.last;
					this.last = null;
				} else return;
			}
			const sent = this.socket.write(this.rest);
			if (sent <= 0) return;
			this.rest = this.rest.subarray(sent);
			if (this.rest.length > 0) return;
		}
	}
}

/** Counts the bytes behind a head, without keeping them. */
class Taker {
	private head = '';
	private bodyBytes = -1;
	private expectedBytes = 0;
	private stepBytes = 0;
	private pace: Pace = 'fast';

	constructor(
		private readonly socket: Socket<End>,
		private readonly onHead: (head: string) => { readonly bytes: number; readonly pace: Pace },
		private readonly onDone: (head: string) => void,
	) {}

	take(bytes: Uint8Array): void {
		let from = 0;
		if (this.bodyBytes < 0) {
			const before = this.head.length;
			this.head += Buffer.from(bytes).toString('latin1');
			const end = this.head.indexOf('\r\n\r\n');
			if (end < 0) return;
			from = end + 4 - before;
			this.head = this.head.slice(0, end);
			const { bytes: expected, pace } = this.onHead(this.head);
			this.expectedBytes = expected;
			this.pace = pace;
			this.bodyBytes = 0;
		}
		this.bodyBytes += bytes.length - from;
		this.stepBytes += bytes.length - from;
		if (this.bodyBytes >= this.expectedBytes) {
			this.onDone(this.head);
			return;
		}
		if (this.pace === 'slow' && this.stepBytes >= SLOW_STEP_BYTES) {
			this.stepBytes = 0;
			this.socket.pause();
			setTimeout(() => this.socket.resume(), SLOW_REST_MS);
		}
	}
}

interface End {
	taker: Taker;
	sender: Sender | null;
	closed(): void;
}

const HANDLERS = {
	data: (socket: Socket<End>, bytes: Uint8Array) => socket.data.taker.take(bytes),
	drain: (socket: Socket<End>) => socket.data.sender?.send(),
	close: (socket: Socket<End>) => socket.data.closed(),
	error() {},
	binaryType: 'uint8array',
} as const;

/** A program that sends the body it is asked for, or takes one and says so. What is asked stands in the path. */
export class StreamProgram {
	private constructor(private readonly listener: TCPSocketListener<End>) {}

	static start(): StreamProgram {
		return new StreamProgram(
			Bun.listen<End>({
				hostname: '127.0.0.1',
				port: 0,
				socket: {
					...HANDLERS,
					open(socket) {
						let asked: Transfer;
						const onHead = (head: string) => {
							asked = transferOf(head);
							if (asked.direction === 'download') return { bytes: 0, pace: 'fast' as const };
							// The proxy may frame it anew, in pieces of other sizes: what is counted is what must come at least.
							return { bytes: asked.bodyBytes, pace: asked.reader };
						};
						socket.data = {
							sender: null,
							taker: new Taker(socket, onHead, () => {
								const { direction, framing } = asked;
								const framed =
									framing === 'chunked' ? 'transfer-encoding: chunked' : `content-length: ${asked.bodyBytes}`;
								if (direction === 'upload') {
									socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
									return;
								}
								const head = `HTTP/1.1 200 OK\r\n${framed}\r\nconnection: close\r\n\r\n`;
								socket.data.sender = new Sender(socket, head, asked);
								socket.data.sender.send();
							}),
							closed() {},
						};
					},
				},
			}),
		);
	}

	get port(): number {
		return this.listener.port;
	}

	stop(): void {
		this.listener.stop(true);
	}
}

function transferOf(head: string): Transfer {
	const [direction, framing, bodyBytes, reader] = head.split(' ', 2)[1]!.split('/').slice(1) as [
		Direction,
		Framing,
		string,
		Pace,
	];
	return { direction, framing, bodyBytes: Number(bodyBytes), reader };
}

/** Carries a body through what listens on `port`. Rejects when the connection ends before it is over. */
export function carry(port: number, transfer: Transfer): Promise<void> {
	const { direction, framing, bodyBytes, reader } = transfer;
	return new Promise((resolve, reject) => {
		let status = '';
		const onHead = (head: string) => {
			status = head;
			return { bytes: direction === 'download' ? bodyBytes : 0, pace: reader };
		};
		const isDone = (socket: Socket<End>) => {
			socket.data.closed = () => {};
			socket.terminate();
			if (status.startsWith('HTTP/1.1 200')) resolve();
			else reject(new Error(`answered ${status}`));
		};
		const path = `/${direction}/${framing}/${bodyBytes}/${reader}`;
		Bun.connect<End>({
			hostname: '127.0.0.1',
			port,
			socket: {
				...HANDLERS,
				open(socket) {
					socket.data = {
						taker: new Taker(socket, onHead, () => isDone(socket)),
						sender: null,
						closed: () => reject(new Error(`the connection ended early, after ${status}`)),
					};
					const framed = framing === 'chunked' ? 'transfer-encoding: chunked' : `content-length: ${bodyBytes}`;
					const request =
						direction === 'download'
							? `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`
							: `POST ${path} HTTP/1.1\r\nhost: a\r\n${framed}\r\n\r\n`;
					const sent =
						direction === 'download' ? { ...transfer, framing: 'content-length' as const, bodyBytes: 0 } : transfer;
					socket.data.sender = new Sender(socket, request, sent);
					socket.data.sender.send();
				},
			},
		}).catch(reject);
	});
}
