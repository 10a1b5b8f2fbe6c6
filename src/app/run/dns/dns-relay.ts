// Answers the names that a captured program asks for: those of the mesh itself, all others by asking the
// machine's resolvers, or not at all. It listens in the program's network namespace, where everything to
// port 53 is redirected to it, over UDP and TCP.

import { bindDatagrams, type Datagrams } from '../../../net/datagrams.ts';
import type { Connection, ConnectionHandler, IpAddress, Listener, Network } from '../../../net/network.ts';
import type { Timer } from '../../../std/clock.ts';
import { WeftError } from '../../../std/errors.ts';
import { Logger } from '../../../std/log.ts';
import { DnsForwarder, type Transport } from './dns-forwarder.ts';
import { bareResponse, RCODE, readQuery, zoneResponse } from './dns-message.ts';
import type { MeshZone } from './mesh-zone.ts';
import { FrameReader, frame } from './tcp-frames.ts';

export interface DnsRelayOptions {
	readonly network: Network;
	/** UDP and TCP; port 0 takes any that is free for both. */
	readonly address: IpAddress;
	readonly zone: MeshZone;
	/** Whom to ask for other names; null: they are refused. */
	readonly servers: (() => readonly IpAddress[]) | null;
}

const log = new Logger('dns');
const TCP_CONNECTIONS_MAX = 64;
const TCP_IDLE_MS = 10_000;
const PORT_ATTEMPTS_MAX = 20;
/** Queries on one TCP connection whose answers are not there yet; beyond, it is not read. */
const TCP_QUERIES_MAX = 16;

/** With port 0, `take` is tried again when the port that UDP was given is taken for TCP. */
export async function takingOnePort<T>(address: IpAddress, take: () => Promise<T>): Promise<T> {
	for (let attempt = 1; ; attempt++) {
		try {
			return await take();
		} catch (error) {
			const taken = error instanceof WeftError && error.code === 'address_in_use';
			if (!taken || address.port !== 0 || attempt === PORT_ATTEMPTS_MAX) throw error;
		}
	}
}

export class DnsRelay {
	private datagrams: Datagrams | null = null;
	private listener: Listener | null = null;
	private readonly forwarder: DnsForwarder | null;
	private readonly connections = new Set<TcpClient>();

	private constructor(private readonly options: DnsRelayOptions) {
		const { network, servers } = options;
		this.forwarder = servers === null ? null : new DnsForwarder({ network, servers });
	}

	/** Port 0: any that is free for both UDP and TCP. @throws WeftError when the address cannot be had */
	static start(options: DnsRelayOptions): Promise<DnsRelay> {
		return takingOnePort(options.address, () => DnsRelay.startOnce(options));
	}

	private static async startOnce(options: DnsRelayOptions): Promise<DnsRelay> {
		const relay = new DnsRelay(options);
		const { network, address } = options;
		relay.datagrams = await bindDatagrams(address, {
			onDatagram: (bytes, from) => void relay.onDatagram(bytes.slice(), from),
			onError: () => {},
		});
		try {
			const { port } = relay.datagrams.local;
			relay.listener = network.listen({ address: { ...address, port } }, (connection) =>
				relay.onConnection(connection),
			);
		} catch (error) {
			relay.stop();
			throw error;
		}
		return relay;
	}

	get port(): number {
		return this.datagrams?.local.port ?? 0;
	}

	stop(): void {
		this.forwarder?.close();
		this.datagrams?.close();
		this.listener?.close();
		for (const client of [...this.connections]) client.close();
	}

	/** Null: nothing to be said. Never rejects. */
	async respond(query: Uint8Array, transport: Transport): Promise<Uint8Array | null> {
		try {
			const question = readQuery(query);
			if (question === null) return bareResponse(query, null, RCODE.formatError);
			const own = zoneResponse(query, question, this.options.zone.lookUp(question.name, question.type));
			if (own !== null) return own;
			if (this.forwarder === null) return bareResponse(query, question, RCODE.refused);
			const answer = await this.forwarder.ask(query, question, transport);
			return answer ?? bareResponse(query, question, RCODE.serverFailure);
		} catch (error) {
			log.error('a query failed by a fault of ours', { error: error instanceof Error ? error.stack : String(error) });
			return null;
		}
	}

	private async onDatagram(query: Uint8Array, from: IpAddress): Promise<void> {
		const response = await this.respond(query, 'udp');
		if (response !== null) this.datagrams?.send(response, from);
	}

	private onConnection(connection: Connection): void {
		const client = new TcpClient(this, connection, this.options.network, () => this.connections.delete(client));
		this.connections.add(client);
		if (this.connections.size > TCP_CONNECTIONS_MAX) client.close();
	}
}

class TcpClient implements ConnectionHandler {
	private readonly idle: Timer;
	private underWay = 0;
	private ended = false;
	private takesAnswers = true;
	private readonly frames = new FrameReader((message) => void this.answer(message));

	constructor(
		private readonly relay: DnsRelay,
		private readonly connection: Connection,
		{ clock }: Pick<Network, 'clock'>,
		private readonly onGone: () => void,
	) {
		connection.handler = this;
		this.idle = clock.after(TCP_IDLE_MS, () => this.close());
	}

	close(): void {
		this.connection.reset();
	}

	onConnect(): void {}

	onData(_connection: Connection, bytes: Uint8Array): void {
		this.idle.restart(TCP_IDLE_MS);
		this.frames.push(bytes);
	}

	onDrain(): void {
		this.takesAnswers = true;
		this.readOrRest();
	}

	onEnd(): void {
		this.ended = true;
		if (this.underWay === 0) this.connection.end();
	}

	onClose(): void {
		this.idle.cancel();
		this.onGone();
	}

	/** A client that does not read its answers is given no more of them. */
	private readOrRest(): void {
		if (this.takesAnswers && this.underWay < TCP_QUERIES_MAX) this.connection.resume();
		else this.connection.pause();
	}

	private async answer(query: Uint8Array): Promise<void> {
		this.underWay += 1;
		this.readOrRest();
		const response = await this.relay.respond(query, 'tcp');
		this.underWay -= 1;
		if (response !== null && !this.connection.write(frame(response))) this.takesAnswers = false;
		this.readOrRest();
		if (this.ended && this.underWay === 0) this.connection.end();
	}
}
