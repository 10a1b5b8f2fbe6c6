// Clients that never stop asking while something happens to a proxy, and remember every request that
// did not end well: refused or reset connections, ends without an answer, wrong answers.

import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

/** Answers with the path, some requests late, so that there are always some under way. */
export class SlowUpstream {
	requests = 0;
	private readonly server: Server;

	private constructor() {
		this.server = createServer((request, response) => {
			this.requests += 1;
			const body = `${request.url}`;
			const late = this.requests % 3 === 0 ? 20 : 0;
			const answer = () => response.end(body);
			if (late === 0) answer();
			else setTimeout(answer, late);
		});
		this.server.keepAliveTimeout = 0;
	}

	static async start(): Promise<SlowUpstream> {
		const upstream = new SlowUpstream();
		await new Promise<void>((resolve) => upstream.server.listen(0, '127.0.0.1', resolve));
		return upstream;
	}

	get port(): number {
		return (this.server.address() as AddressInfo).port;
	}

	stop(): void {
		this.server.closeAllConnections();
		this.server.close();
	}
}

/** One connection, one request at a time. */
export class KeptConnection {
	private readonly socket: Socket;
	private text = '';
	private waiting: { resolve(answer: string): void; reject(error: Error): void } | null = null;
	private ended: Error | null = null;

	constructor(port: number) {
		this.socket = connect(port, '127.0.0.1');
		this.socket.setNoDelay(true);
		this.socket.on('data', (bytes) => {
			this.text += bytes.toString('latin1');
			this.read();
		});
		this.socket.on('error', (error) => this.lost(error));
		this.socket.on('close', () => this.lost(new Error('closed without an answer')));
	}

	/** The whole response. Rejects when it does not come. */
	ask(path: string): Promise<string> {
		return new Promise((resolve, reject) => {
			if (this.ended !== null) {
				reject(this.ended);
				return;
			}
			this.waiting = { resolve, reject };
			this.socket.write(`GET ${path} HTTP/1.1\r\nhost: steady\r\n\r\n`);
		});
	}

	connected(): Promise<void> {
		return new Promise((resolve, reject) => {
			this.socket.once('connect', resolve);
			this.socket.once('error', reject);
		});
	}

	close(): void {
		this.socket.destroy();
	}

	private read(): void {
		const head = this.text.indexOf('\r\n\r\n');
		if (head < 0) return;
		const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.text)?.[1] ?? 'NaN');
		if (Number.isNaN(length)) {
			this.lost(new Error(`an answer without a length: ${this.text.slice(0, head)}`));
			return;
		}
		if (this.text.length < head + 4 + length) return;
		const answer = this.text.slice(0, head + 4 + length);
		this.text = this.text.slice(head + 4 + length);
		this.waiting?.resolve(answer);
		this.waiting = null;
	}

	private lost(error: Error): void {
		this.ended ??= error;
		this.waiting?.reject(error);
		this.waiting = null;
	}
}

export class SteadyClients {
	readonly failures: string[] = [];
	answered = 0;
	/** Of connections that were asked to close with an answer. */
	closedInOrder = 0;
	private running = true;
	private readonly loops: Promise<void>[] = [];

	/** `fresh`: each request on a connection of its own; `kept`: on one that is kept until an answer says close. */
	constructor(
		private readonly port: number,
		counts: { readonly fresh: number; readonly kept: number },
	) {
		for (let i = 0; i < counts.fresh; i++) this.loops.push(this.loop(`/fresh/${i}`, false));
		for (let i = 0; i < counts.kept; i++) this.loops.push(this.loop(`/kept/${i}`, true));
	}

	/** Resolves when so many more requests have been answered. */
	async moreAnswers(count: number): Promise<void> {
		const goal = this.answered + count;
		while (this.answered < goal && this.failures.length === 0) await Bun.sleep(5);
	}

	async stop(): Promise<void> {
		this.running = false;
		await Promise.all(this.loops);
	}

	private async loop(name: string, keep: boolean): Promise<void> {
		let connection: KeptConnection | null = null;
		for (let i = 0; this.running; i++) {
			const path = `${name}/${i}`;
			connection ??= new KeptConnection(this.port);
			try {
				const answer = await connection.ask(path);
				if (!answer.startsWith('HTTP/1.1 200 ') || !answer.endsWith(path)) throw new Error(`wrong answer: ${answer}`);
				this.answered += 1;
				const closes = /\r\nconnection: close/i.test(answer);
				if (closes) this.closedInOrder += 1;
				if (closes || !keep) {
					connection.close();
					connection = null;
				}
			} catch (error) {
				this.failures.push(`${path}: ${(error as Error).message}`);
				connection?.close();
				connection = null;
				await Bun.sleep(10);
			}
		}
		connection?.close();
	}
}
