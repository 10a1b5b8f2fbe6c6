// A client that sends bytes as they are, and reads what comes back with the strict reader.

import { connect, type Socket } from 'node:net';
import { nextTurn } from './next-turn.ts';
import { type ReadResponse, readResponse } from './strict-reader.ts';

export class RawClient {
	/** Latin-1. */
	received = '';
	closed = false;
	changes = 0;
	private readonly waiting = new Set<() => void>();

	private constructor(private readonly socket: Socket) {
		socket.setNoDelay(true);
		socket.on('data', (chunk: Buffer) => {
			this.received += chunk.toString('latin1');
			this.changed();
		});
		socket.on('error', () => socket.destroy());
		socket.on('close', () => {
			this.closed = true;
			this.changed();
		});
	}

	static connect(port: number): Promise<RawClient> {
		return new Promise((resolve, reject) => {
			const socket = connect(port, '127.0.0.1');
			socket.once('error', reject);
			socket.once('connect', () => {
				socket.off('error', reject);
				resolve(new RawClient(socket));
			});
		});
	}

	/** Each part in a turn of the event loop of its own. */
	async send(parts: readonly Uint8Array[]): Promise<void> {
		for (let i = 0; i < parts.length && !this.closed; i++) {
			if (i > 0) await nextTurn();
			if (this.socket.writable) this.socket.write(parts[i]!);
		}
	}

	/** FIN. */
	end(): void {
		this.socket.end();
	}

	destroy(): void {
		this.socket.destroy();
	}

	/** Until `condition`; false when that did not come about in time. */
	async until(condition: () => boolean, limitMs: number): Promise<boolean> {
		const deadline = performance.now() + limitMs;
		while (!condition()) {
			const left = deadline - performance.now();
			if (left <= 0) return false;
			await new Promise<void>((resolve) => {
				const timer = setTimeout(done, left);
				const { waiting } = this;
				waiting.add(done);
				function done(): void {
					clearTimeout(timer);
					waiting.delete(done);
					resolve();
				}
			});
		}
		return true;
	}

	/** For what happened elsewhere that a condition asks for. */
	changed(): void {
		this.changes++;
		for (const wake of [...this.waiting]) wake();
	}

	/** `methods`: of the requests sent, in order; GET beyond them. */
	responses(methods: readonly string[]): ReadResponses {
		return readResponses(this.received, methods, this.closed);
	}
}

export interface ReadResponses {
	/** 1xx too. */
	readonly responses: readonly ReadResponse[];
	/** The head of a response whose body is not all there. */
	readonly partial: ReadResponse | null;
	/** What is no response; empty: all good. */
	readonly violation: string;
	/** Bytes after a 101, or a 2xx to CONNECT. */
	readonly tunnelled: string;
}

export function readResponses(received: string, methods: readonly string[], closed: boolean): ReadResponses {
	const responses: ReadResponse[] = [];
	let rest = received;
	let finals = 0;
	let partial: ReadResponse | null = null;
	while (rest !== '') {
		const reading = readResponse(rest, methods[finals] ?? 'GET', closed);
		if (reading.kind === 'invalid') {
			return { responses, partial, violation: `${reading.why}: ${JSON.stringify(rest.slice(0, 200))}`, tunnelled: '' };
		}
		if (reading.kind === 'incomplete') {
			partial = reading.head;
			break;
		}
		responses.push(reading.message);
		rest = rest.slice(reading.length);
		const { status } = reading.message;
		const connected = methods[finals] === 'CONNECT' && status >= 200 && status < 300;
		if (status === 101 || connected) return { responses, partial, violation: '', tunnelled: rest };
		if (reading.message.status >= 200) finals++;
	}
	return { responses, partial, violation: '', tunnelled: '' };
}
