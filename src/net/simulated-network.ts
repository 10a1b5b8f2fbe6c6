// A network in memory for tests: connections, TLS verdicts and names, on virtual time and from a
// seed. The same seed gives the same run: how long each segment travels, where reads are cut, how
// much a write takes. Nothing happens but by `clock.advance`, and nothing leaves the process.

import { VirtualClock } from '../std/clock.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { SeededRandom } from '../std/random.ts';
import {
	type Address,
	type Connection,
	type ConnectionHandler,
	type ConnectOptions,
	formatAddress,
	type Listener,
	type ListenOptions,
	type Network,
	type ResolvedName,
} from './network.ts';
import { SimulatedConnection } from './simulated-connection.ts';
import { connectError } from './socket-errors.ts';

export interface SimulatedNetworkOptions {
	/** Default 1. Tests print theirs. */
	readonly seed?: number;
	/** Default: a new one that starts at the time of day. */
	readonly clock?: VirtualClock;
	/** One way, at least; default 0.1. */
	readonly latencyMs?: number;
	/** Added to it at random; default 0.4. */
	readonly jitterMs?: number;
	/** What the receiver's kernel takes before the sender has to wait; default 64 KiB. */
	readonly windowBytes?: number;
	/** Data is given out in random cuts; default true. */
	readonly cutReads?: boolean;
}

interface Door {
	readonly address: Address;
	readonly reusePort: boolean;
	readonly accept: (connection: Connection) => void;
	readonly admit: (scarce: boolean) => boolean;
	/** Arrivals that wait, while accepting is paused. */
	waiting: (() => void)[] | null;
}

const FIRST_EPHEMERAL_PORT = 32_768;
const CONNECT_TIMEOUT_DEFAULT_MS = 5_000;

const log = new Logger('simulated-net');

export class SimulatedNetwork implements Network {
	readonly clock: VirtualClock;
	readonly random: SeededRandom;
	readonly windowBytes: number;
	readonly cutReads: boolean;
	/** Exceptions that callbacks let out so far. */
	caughtErrors = 0;
	private readonly latencyMs: number;
	private readonly jitterMs: number;
	private readonly doors = new Map<string, Door[]>();
	private readonly names = new Map<string, ResolvedName>();
	private readonly silent = new Set<string>();
	private readonly redirections = new Map<string, Address>();
	private readonly connections = new Set<SimulatedConnection>();
	private nextPort = FIRST_EPHEMERAL_PORT;

	constructor(options: SimulatedNetworkOptions = {}) {
		this.clock = options.clock ?? new VirtualClock(Date.now());
		this.random = new SeededRandom(options.seed ?? 1);
		this.latencyMs = options.latencyMs ?? 0.1;
		this.jitterMs = options.jitterMs ?? 0.4;
		this.windowBytes = options.windowBytes ?? 64 * 1024;
		this.cutReads = options.cutReads ?? true;
		this.setName('localhost', ['127.0.0.1', '::1']);
	}

	listen(options: ListenOptions, onConnection: (connection: Connection) => void): Listener {
		const wanted = options.address;
		const address: Address = wanted.kind === 'ip' && wanted.port === 0 ? { ...wanted, port: this.nextPort++ } : wanted;
		const key = doorKey(address);
		const doors = this.doors.get(key) ?? [];
		const reusePort = options.reusePort === true;
		if (doors.some((door) => !door.reusePort || !reusePort)) {
			throw new WeftError('address_in_use', `${formatAddress(address)} is already in use`);
		}
		const admit = options.admit ?? (() => true);
		const door: Door = { address, reusePort, accept: onConnection, admit, waiting: null };
		this.doors.set(key, [...doors, door]);
		return {
			address,
			pauseAccepting: () => {
				door.waiting ??= [];
				return true;
			},
			resumeAccepting: () => {
				const { waiting } = door;
				door.waiting = null;
				for (const arrive of waiting ?? []) arrive();
			},
			close: () => {
				const left = (this.doors.get(key) ?? []).filter((one) => one !== door);
				if (left.length > 0) this.doors.set(key, left);
				else this.doors.delete(key);
				// Refused, as by a kernel whose listening socket went away.
				for (const arrive of door.waiting ?? []) arrive();
				door.waiting = null;
			},
		};
	}

	connect(options: ConnectOptions, handler: ConnectionHandler): Connection {
		const { address } = options;
		const local: Address =
			address.kind === 'pipe'
				? { kind: 'pipe', path: '' }
				: { ...address, host: address.host.includes(':') ? '::1' : '127.0.0.1', port: this.nextPort++ };
		const connection = new SimulatedConnection(this, 'upstream', address, local, options.tls ?? null);
		connection.handler = handler;
		connection.startConnectTimer(options.timeoutMs ?? CONNECT_TIMEOUT_DEFAULT_MS);
		this.connections.add(connection);
		this.clock.after(this.travelMs(), () => this.arrive(connection, address, local));
		return connection;
	}

	resolve(name: string): Promise<ResolvedName> {
		return new Promise((resolve, reject) => {
			this.clock.after(this.travelMs(), () => {
				const found = this.names.get(name);
				if (found === undefined) reject(new WeftError('name_not_found', `${name} has no address`));
				else resolve(found);
			});
		});
	}

	// ---- what a test arranges

	/** Null: the name does not exist. */
	setName(name: string, addresses: readonly string[] | null, ttlMs = 5_000): void {
		if (addresses === null) this.names.delete(name);
		else this.names.set(name, { addresses, ttlMs });
	}

	/** Nothing sent to this address arrives or is refused, as behind a firewall that drops. */
	silence(address: Address): void {
		this.silent.add(doorKey(address));
	}

	unsilence(address: Address): void {
		this.silent.delete(doorKey(address));
	}

	/** Connections to `from` arrive at `to`, which learns of it by `originalDestination`. */
	redirect(from: Address, to: Address): void {
		this.redirections.set(doorKey(from), to);
	}

	/** Breaks every connection made to this address, as a machine that crashes does; also ends whose other end is gone. */
	resetConnectionsTo(address: Address): void {
		const key = doorKey(address);
		for (const connection of [...this.connections]) {
			const there = connection.origin === 'upstream' ? connection.remote : connection.local;
			if (doorKey(there) === key) connection.breakBothEnds();
		}
	}

	/** Breaks one connection, whichever. */
	breakAnyConnection(): void {
		const all = [...this.connections];
		all[this.random.below(all.length)]?.breakBothEnds();
	}

	/** Connections that are not closed, both ends counted. */
	get openConnections(): number {
		return this.connections.size;
	}

	/** Moves time on from event to event until `promise` settles; fails when nothing is left to happen. */
	async run<T>(promise: Promise<T>): Promise<T> {
		let isSettled = false;
		const settled = promise.finally(() => {
			isSettled = true;
		});
		settled.catch(() => {});
		for (;;) {
			// Lets promise reactions run; a hundred rounds cover any chain of awaits in a test.
			for (let round = 0; round < 100 && !isSettled; round++) await Promise.resolve();
			if (isSettled) return settled;
			const dueMs = this.clock.nextDueMs();
			if (dueMs === null) throw new Error('the simulation has come to rest and what is waited for has not happened');
			this.clock.advance(dueMs - this.clock.nowMs());
		}
	}

	// ---- for SimulatedConnection

	travelMs(): number {
		return this.latencyMs + this.random.next() * this.jitterMs;
	}

	isSilent(address: Address): boolean {
		return this.silent.has(doorKey(address));
	}

	forget(connection: SimulatedConnection): void {
		this.connections.delete(connection);
	}

	/** The boundary: what `callback` throws costs only its connection. */
	guard(connection: SimulatedConnection, callback: () => void): void {
		try {
			callback();
		} catch (error) {
			this.caughtErrors++;
			log.error('a connection callback failed', { connection: connection.id, error: errorMessage(error) });
			connection.reset();
		}
	}

	private arrive(client: SimulatedConnection, address: Address, local: Address): void {
		if (this.isSilent(address)) return;
		const redirected = this.redirections.get(doorKey(address));
		const door = this.findDoor(redirected ?? address);
		if (door === undefined) {
			this.clock.after(this.travelMs(), () => client.failed(connectError(address, { code: 'ECONNREFUSED' })));
			return;
		}
		if (door.waiting !== null) {
			door.waiting.push(() => this.arrive(client, address, local));
			return;
		}
		const here =
			door.address.kind === 'ip' && address.kind === 'ip' && redirected === undefined ? address : door.address;
		const server = new SimulatedConnection(this, 'downstream', local, here, null);
		if (redirected !== undefined && address.kind === 'ip') server.redirectedFrom = address;
		this.connections.add(server);
		server.join(client);
		this.guard(server, () => (door.admit(false) ? door.accept(server) : server.reset()));
	}

	private findDoor(address: Address): Door | undefined {
		const doors =
			this.doors.get(doorKey(address)) ??
			(address.kind === 'ip'
				? (this.doors.get(doorKey({ ...address, host: '0.0.0.0' })) ??
					this.doors.get(doorKey({ ...address, host: '::' })))
				: undefined);
		return doors?.[this.random.below(doors.length)];
	}
}

function doorKey(address: Address): string {
	return address.kind === 'ip' ? `${address.networkNamespace ?? ''}|${formatAddress(address)}` : formatAddress(address);
}
