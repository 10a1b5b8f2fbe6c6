// A client's connection spoken by hand: text in, and waiting for what comes back, byte by byte.

import { connect, type Socket } from 'node:net';

const WAIT_LIMIT_MS = 20_000;

export class RawConnection {
	/** All that came and was not taken yet, as latin1. */
	received = '';
	ended = false;
	private readonly socket: Socket;
	private wake: () => void = () => {};

	constructor(hostname: string, port: number) {
		this.socket = connect({ host: hostname, port, allowHalfOpen: true });
		this.socket.on('data', (bytes: Buffer) => {
			this.received += bytes.toString('latin1');
			this.wake();
		});
		for (const event of ['end', 'close', 'error'] as const) {
			this.socket.on(event, () => {
				this.ended = true;
				this.wake();
			});
		}
	}

	send(text: string | Uint8Array): void {
		this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
	}

	/** `send`, and resolves when the system has taken all of it. */
	sent(bytes: Uint8Array): Promise<void> {
		return new Promise((resolve, reject) => this.socket.write(bytes, (error) => (error ? reject(error) : resolve())));
	}

	/** No more is sent; what comes is still read. */
	end(): void {
		this.socket.end();
	}

	close(): void {
		this.socket.destroy();
	}

	pause(): void {
		this.socket.pause();
	}

	resume(): void {
		this.socket.resume();
	}

	/** Takes what came up to the end of the first match. */
	async until(pattern: RegExp): Promise<RegExpExecArray> {
		for (;;) {
			const match = pattern.exec(this.received);
			if (match !== null) {
				this.received = this.received.slice(match.index + match[0].length);
				return match;
			}
			if (this.ended) throw new Error(`it ended without ${pattern}: ${JSON.stringify(this.received.slice(0, 500))}`);
			await this.more(pattern);
		}
	}

	/** Takes a response's head. */
	async head(): Promise<string> {
		return (await this.until(/^[\s\S]*?\r\n\r\n/))[0];
	}

	/** Takes `count` characters. */
	async take(count: number): Promise<string> {
		while (this.received.length < count) {
			if (this.ended) throw new Error(`it ended after ${this.received.length} of ${count} bytes`);
			await this.more(`${count} bytes`);
		}
		const taken = this.received.slice(0, count);
		this.received = this.received.slice(count);
		return taken;
	}

	/** All that is left, when the other side has ended. */
	async rest(): Promise<string> {
		while (!this.ended) await this.more('the end');
		return this.received;
	}

	private more(what: unknown): Promise<void> {
		return new Promise((resolve, reject) => {
			const timer = setTimeout(
				() => reject(new Error(`waited for ${what}; there is ${JSON.stringify(this.received.slice(0, 500))}`)),
				WAIT_LIMIT_MS,
			);
			this.wake = () => {
				clearTimeout(timer);
				resolve();
			};
		});
	}
}
