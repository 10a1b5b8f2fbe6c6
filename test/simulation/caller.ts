// A program that calls the service: requests as planned, over kept connections, with bodies sent and
// read in its own time. It checks every byte of what comes back.
//
//   idle ──start──▶ busy ──response whole──▶ idle, or closed
//                    │ closed before anything of the response came, on a kept connection, and no program
//                    │ has seen the request: sent again on a new one, as HTTP clients do
//                    └──▶ outcome

import type { Connection, IpAddress } from '../../src/net/network.ts';
import type { SimulatedNetwork } from '../../src/net/simulated-network.ts';
import type { SeededRandom } from '../../src/std/random.ts';
import type { Ledger } from './ledger.ts';
import { MessageError, type MessageEvents, type MessageHead, MessageReader } from './message-reader.ts';
import { isPayload, payload } from './payload.ts';
import { isBodiless, mayRepeat, type RequestPlan } from './plan.ts';

/** Per message; small windows make many small reads. */
export const PAUSES_MAX = 10;

export class Caller {
	private readonly idle: CallerConnection[] = [];
	private readonly open = new Set<CallerConnection>();

	constructor(
		readonly name: string,
		readonly network: SimulatedNetwork,
		readonly random: SeededRandom,
		readonly ledger: Ledger,
		/** Where the sidecar listens for the service. */
		readonly address: IpAddress,
		/** Nobody breaks its connections: what the sidecar closes without an answer, it has not passed on. */
		readonly trustsCloses: boolean,
	) {}

	get openConnections(): number {
		return this.open.size;
	}

	send(plan: RequestPlan, fresh = false): void {
		const connection = fresh ? undefined : this.idle.pop();
		if (connection !== undefined) {
			connection.start(plan);
			return;
		}
		const made = new CallerConnection(this);
		this.open.add(made);
		made.start(plan);
	}

	closeIdle(): void {
		for (const connection of this.idle.splice(0)) connection.end();
	}

	/** @internal */
	becameIdle(connection: CallerConnection): void {
		this.idle.push(connection);
	}

	/** @internal */
	left(connection: CallerConnection): void {
		const at = this.idle.indexOf(connection);
		if (at >= 0) this.idle.splice(at, 1);
	}

	/** @internal */
	closed(connection: CallerConnection): void {
		this.left(connection);
		this.open.delete(connection);
	}
}

class CallerConnection implements MessageEvents {
	private readonly connection: Connection;
	private readonly reader = new MessageReader('response', this);
	private plan: RequestPlan | null = null;
	private served = 0;
	private sent = 0;
	private received = 0;
	private pauses = 0;
	private head: MessageHead | null = null;
	private begun = false;
	private blocked = false;
	private awaitsContinue = false;
	private closed = false;
	/** The peer has said that it closes, or has. */
	private ending = false;

	constructor(private readonly caller: Caller) {
		this.connection = caller.network.connect(
			{ address: caller.address },
			{
				onConnect: () => {},
				onData: (_connection, bytes) => this.onData(bytes),
				onDrain: () => {
					this.blocked = false;
					this.sendBody();
				},
				onEnd: () => this.onEnd(),
				onClose: () => this.onClose(),
			},
		);
	}

	get bodiless(): boolean {
		return this.plan?.method === 'HEAD';
	}

	start(plan: RequestPlan): void {
		const { ledger, network, random } = this.caller;
		this.plan = plan;
		this.served++;
		this.sent = 0;
		this.received = 0;
		this.pauses = 0;
		this.head = null;
		this.begun = false;
		ledger.sentByClient(plan.id);
		ledger.note(`${this.caller.name} sends on connection ${this.connection.id} ${JSON.stringify(plan)}`);
		let head = `${plan.method} ${plan.path} HTTP/1.1\r\nhost: service\r\nx-sim-id: ${plan.id}\r\n`;
		if (plan.requestBytes > 0) {
			head += plan.requestChunked ? 'transfer-encoding: chunked\r\n' : `content-length: ${plan.requestBytes}\r\n`;
		} else if (plan.method === 'POST') head += 'content-length: 0\r\n';
		if (plan.lastOnConnection) head += 'connection: close\r\n';
		this.awaitsContinue = plan.expectContinue && plan.requestBytes > 0;
		if (this.awaitsContinue) head += 'expect: 100-continue\r\n';
		this.writeText(`${head}\r\n`);
		if (plan.abortAfterMs !== null) {
			network.clock.after(plan.abortAfterMs, () => {
				if (this.plan !== plan || this.closed) return;
				this.plan = null;
				ledger.finish(plan.id, { kind: 'left' });
				if (random.next() < 0.8) this.connection.reset();
				else this.end();
			});
		}
		if (!this.awaitsContinue) this.sendBody();
	}

	end(): void {
		this.ending = true;
		this.caller.left(this);
		this.connection.end();
	}

	onHead(head: MessageHead): void {
		const { plan, caller } = this;
		if (plan === null) return;
		if (head.status === 100 && this.awaitsContinue) {
			this.awaitsContinue = false;
			this.sendBody();
			return;
		}
		if (head.status < 200) return;
		this.head = head;
		this.begun = true;
		if (head.fields.get('connection')?.toLowerCase() === 'close') this.ending = true;
		if (head.fields.has('x-weft-retry')) caller.ledger.violation(`the response to ${plan.id} shows x-weft-retry`);
		const answers = head.fields.get('x-sim-id');
		if (answers !== undefined && answers !== String(plan.id)) {
			caller.ledger.violation(`request ${plan.id} got the response to ${answers}`);
		}
		if (answers !== undefined && head.status !== plan.status) {
			caller.ledger.violation(`request ${plan.id} got status ${head.status} instead of ${plan.status}`);
		}
	}

	onBody(bytes: Uint8Array): void {
		const { plan, head, caller } = this;
		if (plan === null || head === null) return;
		if (head.fields.has('x-sim-id') && !isPayload(plan.id, 'response', this.received, bytes)) {
			caller.ledger.violation(`the response to ${plan.id} is wrong after ${this.received} bytes`);
		}
		this.received += bytes.length;
		caller.ledger.responseBytesReceived(plan.id, this.received);
		if (plan.clientPauseMs > 0 && this.pauses < PAUSES_MAX && caller.random.next() < 0.3) {
			this.pauses++;
			this.connection.pause();
			caller.network.clock.after(plan.clientPauseMs, () => this.connection.resume());
		}
	}

	onMessageEnd(): void {
		const { plan, head, caller } = this;
		if (plan === null || head === null) return;
		const { ledger } = caller;
		this.plan = null;
		if (head.fields.has('x-sim-id')) {
			const expected = isBodiless(plan) ? 0 : plan.responseBytes;
			const wasCut = plan.misbehaviour === 'reset in body' || plan.misbehaviour === 'garbage';
			if (this.received !== expected) {
				ledger.violation(`the response to ${plan.id} ended after ${this.received} of ${expected} bytes`);
			} else if (wasCut && expected > 0 && plan.responseFraming !== 'length') {
				ledger.violation(`the response to ${plan.id}, which its program broke off, passed for whole`);
			}
			ledger.finish(plan.id, { kind: 'answered' });
		} else {
			ledger.finish(plan.id, { kind: 'failed', status: head.status, details: this.headText(head) });
		}
		const sentAll = this.sent === plan.requestBytes;
		if (this.closed) return;
		if (this.ending || plan.lastOnConnection || !sentAll) this.end();
		else if (caller.random.next() < 0.7) caller.becameIdle(this);
		else this.end();
	}

	private headText(head: MessageHead): string {
		return head.fields.get('server') ?? '';
	}

	private sendBody(): void {
		const { plan, caller } = this;
		if (plan === null || this.awaitsContinue || this.closed || plan.requestBytes === 0) return;
		const { random, ledger, network } = caller;
		// Of earlier turns: a connection that broke within this one still seems to take everything.
		ledger.requestBytesSent(plan.id, this.sent - this.connection.bufferedBytes);
		while (this.sent < plan.requestBytes) {
			const left = plan.requestBytes - this.sent;
			const length = Math.min(left, 1 + random.below(random.next() < 0.5 ? 1000 : 60_000));
			if (plan.requestChunked) this.writeText(`${length.toString(16)}\r\n`);
			const more = this.connection.write(payload(plan.id, 'request', this.sent, length));
			if (plan.requestChunked) this.writeText('\r\n');
			this.sent += length;
			if (this.sent === plan.requestBytes && plan.requestChunked) this.writeText('0\r\n\r\n');
			if (!more) {
				this.blocked = true;
				return;
			}
			if (plan.requestGapMs > 0 && this.sent < plan.requestBytes) {
				network.clock.after(random.next() * plan.requestGapMs * 2, () => {
					if (this.plan === plan && !this.blocked) this.sendBody();
				});
				return;
			}
		}
	}

	private onData(bytes: Uint8Array): void {
		if (this.plan === null && !this.ending) {
			this.caller.ledger.violation(`bytes on a connection without a request: ${Buffer.from(bytes).toString('latin1')}`);
		}
		try {
			this.reader.read(bytes);
		} catch (error) {
			if (!(error instanceof MessageError)) throw error;
			this.caller.ledger.violation(`${this.caller.name} was sent no HTTP: ${error.message}`);
			this.connection.reset();
		}
	}

	private onEnd(): void {
		this.ending = true;
		this.caller.left(this);
		if (this.plan !== null && this.reader.readEnd() && this.plan === null) return;
		this.connection.end();
	}

	private onClose(): void {
		this.closed = true;
		this.caller.closed(this);
		const { plan, caller } = this;
		if (plan === null) return;
		this.plan = null;
		const kept = this.served > 1;
		const maySendAgain = mayRepeat(plan) || caller.trustsCloses;
		if (kept && !this.begun && maySendAgain && !caller.ledger.wasSeen(plan.id)) {
			caller.ledger.note(`request ${plan.id} met a connection that closed`);
			caller.send(plan, true);
			return;
		}
		caller.ledger.finish(plan.id, { kind: 'broken', responseBegun: this.begun });
	}

	private writeText(text: string): void {
		if (!this.connection.write(Buffer.from(text, 'latin1'))) this.blocked = true;
	}
}
