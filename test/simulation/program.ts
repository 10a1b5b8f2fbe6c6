// The program behind a sidecar: an HTTP/1.1 server that checks every request it gets against the
// plan and answers as the plan says, well or badly. It notes which requests it has seen.

import type { Connection, IpAddress, Listener } from '../../src/net/network.ts';
import type { SimulatedNetwork } from '../../src/net/simulated-network.ts';
import type { SeededRandom } from '../../src/std/random.ts';
import { PAUSES_MAX } from './caller.ts';
import type { Ledger } from './ledger.ts';
import { HEALTH_PATH } from './mesh-config.ts';
import { MessageError, type MessageEvents, type MessageHead, MessageReader } from './message-reader.ts';
import { isPayload, payload } from './payload.ts';
import { isBodiless, type RequestPlan } from './plan.ts';

export class Program {
	private readonly connections = new Set<ProgramConnection>();
	private listener: Listener | null = null;
	/** Closes connections that are idle for up to so long; 0: never. */
	idleCloseMs = 0;

	constructor(
		readonly name: string,
		readonly network: SimulatedNetwork,
		readonly random: SeededRandom,
		readonly ledger: Ledger,
		readonly address: IpAddress,
		readonly hasSidecar: boolean,
	) {}

	get listening(): boolean {
		return this.listener !== null;
	}

	start(): void {
		this.listener ??= this.network.listen({ address: this.address }, (connection) => {
			const served = new ProgramConnection(this, connection, () => this.connections.delete(served));
			this.connections.add(served);
		});
	}

	/** New connections are refused; those that are there go on. */
	stopListening(): void {
		this.listener?.close();
		this.listener = null;
	}

	crash(): void {
		this.stopListening();
		this.resetConnections();
	}

	resetConnections(): void {
		for (const one of [...this.connections]) one.connection.reset();
	}
}

class ProgramConnection implements MessageEvents {
	readonly bodiless = false;
	private readonly reader = new MessageReader('request', this);
	private plan: RequestPlan | null = null;
	private received = 0;
	private pauses = 0;
	private requestEnded = false;
	private answered = false;
	private sent = 0;
	private blocked = false;
	/** What marks the end of the body is written too: it may have to wait for `onDrain`. */
	private terminated = false;
	private closed = false;
	private lastMoveMs: number;

	constructor(
		private readonly program: Program,
		readonly connection: Connection,
		onClosed: () => void,
	) {
		this.lastMoveMs = program.network.clock.nowMs();
		connection.handler = {
			onConnect: () => {},
			onData: (_connection, bytes) => this.onData(bytes),
			onDrain: () => {
				this.blocked = false;
				this.sendBody();
			},
			onEnd: () => connection.end(),
			onClose: () => {
				this.closed = true;
				onClosed();
			},
		};
		this.watchIdle();
	}

	onHead(head: MessageHead): void {
		const { ledger } = this.program;
		if (head.startLine === `GET ${HEALTH_PATH} HTTP/1.1`) {
			this.writeText('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
			return;
		}
		const id = Number(head.fields.get('x-sim-id'));
		const plan = ledger.plan(id);
		if (plan === undefined) {
			ledger.violation(`${this.program.name} got a request of no plan: ${head.startLine}`);
			return;
		}
		if (this.plan !== null) ledger.violation(`request ${id} came before the answer to ${this.plan.id} had ended`);
		if (head.startLine !== `${plan.method} ${plan.path} HTTP/1.1`) {
			ledger.violation(`request ${id} came as ${head.startLine}`);
		}
		if (this.program.hasSidecar && head.fields.has('x-weft-peer'))
			ledger.violation(`request ${id} shows x-weft-peer to the program`);
		ledger.seenByProgram(id);
		this.plan = plan;
		this.received = 0;
		this.pauses = 0;
		this.requestEnded = false;
		this.answered = false;
		this.terminated = false;
		this.sent = 0;
		if (plan.earlyHints) this.writeText('HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n');
		if (plan.early) this.think();
	}

	onBody(bytes: Uint8Array): void {
		const { plan, program } = this;
		if (plan === null) return;
		if (!isPayload(plan.id, 'request', this.received, bytes)) {
			program.ledger.violation(`the body of request ${plan.id} is wrong after ${this.received} bytes`);
		}
		this.received += bytes.length;
		program.ledger.requestBytesAtProgram(plan.id, this.received);
		if (plan.serverPauseMs > 0 && this.pauses < PAUSES_MAX && program.random.next() < 0.3) {
			this.pauses++;
			this.connection.pause();
			program.network.clock.after(plan.serverPauseMs, () => this.connection.resume());
		}
	}

	onMessageEnd(): void {
		const { plan, program } = this;
		if (plan === null) return;
		this.requestEnded = true;
		if (this.received !== plan.requestBytes) {
			program.ledger.violation(`request ${plan.id} ended after ${this.received} of ${plan.requestBytes} bytes`);
		}
		if (plan.early) this.finishIfDone();
		else this.think();
	}

	private onData(bytes: Uint8Array): void {
		this.lastMoveMs = this.program.network.clock.nowMs();
		try {
			this.reader.read(bytes);
		} catch (error) {
			if (!(error instanceof MessageError)) throw error;
			this.program.ledger.violation(`${this.program.name} was sent no HTTP: ${error.message}`);
			this.connection.reset();
		}
	}

	private think(): void {
		const { plan } = this;
		this.program.network.clock.after(plan!.thinkMs, () => {
			if (!this.closed && this.plan === plan) this.answer(plan!);
		});
	}

	private answer(plan: RequestPlan): void {
		switch (plan.misbehaviour) {
			case 'silence':
				return;
			case 'garbage':
				this.writeText('HTTP/1.1 banana\r\nx: y\r\n\r\n');
				return;
			case 'reset before head':
				this.connection.reset();
				return;
			case 'end before head':
				this.connection.end();
				return;
		}
		const bodiless = isBodiless(plan);
		let head = `HTTP/1.1 ${plan.status} Sim\r\nx-sim-id: ${plan.id}\r\n`;
		if (plan.status !== 204) {
			if (plan.responseFraming === 'length') head += `content-length: ${plan.responseBytes}\r\n`;
			else if (plan.responseFraming === 'chunked') head += 'transfer-encoding: chunked\r\n';
		}
		if (this.closesAfter(plan)) head += 'connection: close\r\n';
		this.writeText(`${head}\r\n`);
		this.answered = true;
		if (bodiless) {
			this.sent = plan.responseBytes;
			this.terminated = true;
			this.finishIfDone();
		} else this.sendBody();
	}

	private sendBody(): void {
		const { plan, program } = this;
		if (plan === null || !this.answered || this.terminated || this.closed || isBodiless(plan)) return;
		const { random, ledger } = program;
		// Of earlier turns: a connection that broke within this one still seems to take everything.
		ledger.responseBytesSent(plan.id, this.sent - this.connection.bufferedBytes);
		while (this.sent < plan.responseBytes) {
			const left = plan.responseBytes - this.sent;
			const length = Math.min(left, 1 + random.below(random.next() < 0.5 ? 1000 : 60_000));
			if (this.sent > 0 && this.breaksNow(plan)) return;
			const bytes = payload(plan.id, 'response', this.sent, length);
			const chunked = plan.responseFraming === 'chunked';
			if (chunked) this.writeText(`${length.toString(16)}\r\n`);
			const more = this.connection.write(bytes);
			if (chunked) this.writeText('\r\n');
			this.sent += length;
			if (!more) {
				this.blocked = true;
				return;
			}
			if (plan.responseGapMs > 0 && this.sent < plan.responseBytes) {
				program.network.clock.after(random.next() * plan.responseGapMs * 2, () => {
					if (this.plan === plan && !this.blocked) this.sendBody();
				});
				return;
			}
		}
		if (this.breaksNow(plan)) return;
		if (plan.responseFraming === 'chunked') this.writeText('0\r\n\r\n');
		this.terminated = true;
		this.finishIfDone();
	}

	/** Before the last byte at the latest, so that the response is never whole. */
	private breaksNow(plan: RequestPlan): boolean {
		if (plan.misbehaviour === 'reset in body') this.connection.reset();
		// A body that lasts until the close cannot be told from one that was cut by FIN.
		else if (plan.misbehaviour === 'end in body' && plan.responseFraming === 'chunked') this.connection.end();
		else return false;
		return true;
	}

	private finishIfDone(): void {
		const { plan } = this;
		if (plan === null || !this.answered || this.sent < plan.responseBytes || !this.terminated) return;
		if (this.closesAfter(plan)) {
			this.plan = null;
			this.connection.end();
		} else if (this.requestEnded) {
			this.plan = null;
		}
	}

	private closesAfter(plan: RequestPlan): boolean {
		return plan.serverCloses || (plan.responseFraming === 'close' && !isBodiless(plan));
	}

	private watchIdle(): void {
		const { idleCloseMs, network, random } = this.program;
		if (idleCloseMs === 0) return;
		const waitMs = random.next() * idleCloseMs;
		network.clock.after(waitMs, () => {
			if (this.closed) return;
			if (this.plan === null && network.clock.nowMs() - this.lastMoveMs >= waitMs / 2) this.connection.end();
			else this.watchIdle();
		});
	}

	private writeText(text: string): void {
		if (!this.connection.write(Buffer.from(text, 'latin1'))) this.blocked = true;
	}
}
