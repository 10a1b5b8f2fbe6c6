// Passes queries on to the machine's resolvers, each from a socket of its own (a random port) under a
// random id, so that nobody who does not see the query can answer it (RFC 5452). What comes back is
// given on as it is, under the id that the program used.
//
//   ask ──▶ server 1 ──time-out, refused, or a failure──▶ server 2 ──▶ … twice round, 5 s in all

import { connectDatagrams, type Datagrams } from '../../../net/datagrams.ts';
import type { Connection, ConnectionHandler, IpAddress, Network } from '../../../net/network.ts';
import { answers, messageId, type Question, RCODE, rcodeOf, withId } from './dns-message.ts';
import { FrameReader, frame } from './tcp-frames.ts';

export interface DnsForwarderOptions {
	readonly network: Pick<Network, 'clock' | 'connect'>;
	readonly servers: () => readonly IpAddress[];
	/** Default 1500. */
	readonly attemptTimeoutMs?: number;
}

export type Transport = 'udp' | 'tcp';

const ATTEMPT_TIMEOUT_MS = 1500;
const TOTAL_TIMEOUT_MS = 5000;
const ROUNDS = 2;
/** Queries under way; beyond, the program is told that it failed. */
const QUERIES_MAX = 256;

export class DnsForwarder {
	private underWay = 0;
	private readonly attempts = new Set<() => void>();
	private closed = false;

	constructor(private readonly options: DnsForwarderOptions) {}

	/** The answer, under the query's own id; null when there was none. */
	async ask(query: Uint8Array, question: Question, transport: Transport): Promise<Uint8Array | null> {
		if (this.underWay >= QUERIES_MAX || this.closed) return null;
		this.underWay += 1;
		try {
			return await this.askAll(query, question, transport);
		} finally {
			this.underWay -= 1;
		}
	}

	close(): void {
		this.closed = true;
		for (const giveUp of [...this.attempts]) giveUp();
	}

	private async askAll(query: Uint8Array, question: Question, transport: Transport): Promise<Uint8Array | null> {
		const { clock } = this.options.network;
		const servers = this.options.servers();
		const untilMs = clock.nowMs() + TOTAL_TIMEOUT_MS;
		let failure: Uint8Array | null = null;
		for (let attempt = 0; attempt < ROUNDS * servers.length; attempt++) {
			const leftMs = untilMs - clock.nowMs();
			if (leftMs <= 0 || this.closed) break;
			const timeoutMs = Math.min(leftMs, this.options.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS);
			const server = servers[attempt % servers.length]!;
			const sent = withId(query, crypto.getRandomValues(new Uint16Array(1))[0]!);
			const response =
				transport === 'udp'
					? await this.overUdp(server, sent, question, timeoutMs)
					: await this.overTcp(server, sent, question, timeoutMs);
			if (response === null) continue;
			const own = withId(response, messageId(query));
			if (!isFailure(rcodeOf(response))) return own;
			failure = own;
		}
		return failure;
	}

	private overUdp(
		server: IpAddress,
		sent: Uint8Array,
		question: Question,
		timeoutMs: number,
	): Promise<Uint8Array | null> {
		return this.attempt(timeoutMs, (done) => {
			let socket: Datagrams | null = null;
			let over = false;
			const opening = connectDatagrams(server, {
				// Anything but the answer is not from whom we asked: wait on.
				onDatagram: (bytes) => {
					if (answers(bytes, sent, question)) done(bytes.slice());
				},
				onError: () => done(null),
			});
			opening.then(
				(opened) => {
					if (over) return opened.close();
					socket = opened;
					opened.send(sent, null);
				},
				() => done(null),
			);
			return () => {
				over = true;
				socket?.close();
			};
		});
	}

	private overTcp(
		server: IpAddress,
		sent: Uint8Array,
		question: Question,
		timeoutMs: number,
	): Promise<Uint8Array | null> {
		return this.attempt(timeoutMs, (done) => {
			const handler = new AnswerOverTcp(sent, question, done);
			const connection = this.options.network.connect({ address: server, timeoutMs }, handler);
			return () => connection.reset();
		});
	}

	/** `begin` gives what ends it; called once, whatever the result. */
	private attempt(
		timeoutMs: number,
		begin: (done: (response: Uint8Array | null) => void) => () => void,
	): Promise<Uint8Array | null> {
		return new Promise((resolve) => {
			let over = false;
			let end: (() => void) | null = null;
			const done = (response: Uint8Array | null) => {
				if (over) return;
				over = true;
				timer.cancel();
				this.attempts.delete(giveUp);
				end?.();
				resolve(response);
			};
			const giveUp = () => done(null);
			const timer = this.options.network.clock.after(timeoutMs, giveUp);
			this.attempts.add(giveUp);
			end = begin(done);
			if (over) end();
		});
	}
}

class AnswerOverTcp implements ConnectionHandler {
	private readonly frames: FrameReader;

	constructor(
		private readonly sent: Uint8Array,
		question: Question,
		private readonly done: (response: Uint8Array | null) => void,
	) {
		this.frames = new FrameReader((message) => done(answers(message, sent, question) ? message : null));
	}

	onConnect(connection: Connection): void {
		connection.write(frame(this.sent));
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		this.frames.push(bytes);
	}

	onDrain(): void {}

	onEnd(): void {
		this.done(null);
	}

	onClose(): void {
		this.done(null);
	}
}

/** Another server may know better, as libc does it. */
function isFailure(rcode: number): boolean {
	return rcode === RCODE.serverFailure || rcode === RCODE.notImplemented || rcode === RCODE.refused;
}
