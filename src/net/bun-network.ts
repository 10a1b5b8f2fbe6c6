// The real network: TCP, unix sockets and TLS on Bun's native sockets, one per worker.

import type { Clock } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import { BunConnection } from './bun-connection.ts';
import { connectError, listenError } from './bun-errors.ts';
import {
	connectHandlers,
	listenHandlers,
	type NativeSocket,
	plainHost,
	SocketBoundary,
} from './bun-socket-handlers.ts';
import { type DescriptorBudget, descriptorBudget, descriptorLimit } from './descriptors.ts';
import { type EpollInterest, epollInterest, inNetworkNamespace, setBacklog, watchDescriptor } from './linux.ts';
import type {
	Address,
	Connection,
	ConnectionHandler,
	ConnectOptions,
	IpAddress,
	Listener,
	ListenOptions,
	Network,
	PipeAddress,
	ResolvedName,
} from './network.ts';
import { resolveName } from './resolver.ts';
import { TimerWheel } from './timer-wheel.ts';
import { nativeClientTls } from './tls.ts';
import { removeSocketFile, setSocketFileMode, socketInode, withSocketFile } from './unix-socket-file.ts';
import { TurnEnd } from './write-buffer.ts';

const CONNECT_TIMEOUT_DEFAULT_MS = 5_000;
const BACKLOG_DEFAULT = 4096;
const SOCKET_FILE_MODE_DEFAULT = 0o600;

export interface BunNetworkOptions {
	/** Default: a `TimerWheel` of its own. */
	readonly clock?: Clock;
	/** Hears of every exception that a callback of a connection or listener let out. It is logged already. */
	readonly onCaught?: (error: unknown) => void;
	/** Default: that of the process. */
	readonly descriptors?: DescriptorBudget;
}

export class BunNetwork implements Network {
	readonly clock: Clock;
	readonly descriptors: DescriptorBudget;
	private readonly boundary: SocketBoundary;

	constructor(options: BunNetworkOptions = {}) {
		const { clock = new TimerWheel(), onCaught = null } = options;
		this.descriptors = options.descriptors ?? descriptorBudget(descriptorLimit());
		this.clock = clock;
		this.boundary = new SocketBoundary(
			clock,
			clock instanceof TimerWheel ? clock : null,
			new TurnEnd(),
			onCaught,
			this.descriptors.connectMax,
		);
	}

	/** Exceptions that callbacks let out so far. */
	get caughtErrors(): number {
		return this.boundary.caughtErrors;
	}

	listen(options: ListenOptions, onConnection: (connection: Connection) => void): Listener {
		const { address } = options;
		try {
			return address.kind === 'ip'
				? this.listenIp(address, options, onConnection)
				: this.listenPipe(address, options, onConnection);
		} catch (error) {
			throw listenError(address, error);
		}
	}

	private listenIp(
		address: IpAddress,
		options: ListenOptions,
		onConnection: (connection: Connection) => void,
	): Listener {
		const native = inNamespace(address, () =>
			Bun.listen<BunConnection | null>({
				hostname: address.host,
				port: address.port,
				exclusive: options.reusePort !== true,
				...{ reusePort: options.reusePort === true },
				allowHalfOpen: true,
				data: null,
				socket: listenHandlers(this.boundary, (socket) => {
					if (!this.admits(socket, options)) return;
					this.accept(socket, ipOf(address, socket, 'remote'), ipOf(address, socket, 'local'), onConnection);
				}),
			}),
		);
		const bound: IpAddress = { ...address, port: native.port };
		return new BunListener(bound, descriptorOf(native, options), () => native.stop());
	}

	private listenPipe(
		address: PipeAddress,
		options: ListenOptions,
		onConnection: (connection: Connection) => void,
	): Listener {
		const { path } = address;
		const mode = options.mode ?? SOCKET_FILE_MODE_DEFAULT;
		const remote: PipeAddress = { kind: 'pipe', path: '' };
		const native = withSocketFile(path, mode, () =>
			Bun.listen<BunConnection | null>({
				unix: path,
				allowHalfOpen: true,
				data: null,
				socket: listenHandlers(this.boundary, (socket) => {
					if (this.admits(socket, options)) this.accept(socket, remote, address, onConnection);
				}),
			}),
		);
		setSocketFileMode(path, mode);
		const inode = socketInode(path);
		return new BunListener(address, descriptorOf(native, options), () => {
			native.stop();
			removeSocketFile(path, inode);
		});
	}

	private admits(socket: NativeSocket, options: ListenOptions): boolean {
		if (options.admit === undefined || options.admit(socket.fd! >= this.descriptors.acceptMax)) return true;
		// In order, not with a reset: what the peer sees is that of Envoy.
		socket.close();
		return false;
	}

	private accept(
		socket: NativeSocket,
		remote: Address,
		local: Address,
		onConnection: (connection: Connection) => void,
	): void {
		const connection = new BunConnection(this.boundary, 'downstream', remote, local, socket);
		socket.data = connection;
		onConnection(connection);
	}

	connect(options: ConnectOptions, handler: ConnectionHandler): Connection {
		const { address } = options;
		const tls = options.tls ?? null;
		const local: Address = address.kind === 'ip' ? { ...address, host: '', port: 0 } : { kind: 'pipe', path: '' };
		const connection = new BunConnection(this.boundary, 'upstream', address, local, null);
		connection.handler = handler;
		connection.startConnectTimer(options.timeoutMs ?? CONNECT_TIMEOUT_DEFAULT_MS);
		const common = {
			allowHalfOpen: true,
			data: connection,
			socket: connectHandlers(connection, tls),
			...(tls === null ? {} : { tls: nativeClientTls(tls) }),
		};
		try {
			const opening =
				address.kind === 'pipe'
					? Bun.connect<BunConnection | null>({ ...common, unix: address.path })
					: inNamespace(address, () =>
							Bun.connect<BunConnection | null>({ ...common, hostname: address.host, port: address.port }),
						);
			// `connectError` has said it already.
			opening.catch(() => {});
		} catch (error) {
			connection.failed(
				error instanceof WeftError
					? new WeftError(error.code, error.message, { origin: 'upstream', retrySafe: true, cause: error.cause })
					: connectError(address, error),
			);
		}
		return connection;
	}

	resolve(name: string): Promise<ResolvedName> {
		return resolveName(name, this.clock);
	}
}

function inNamespace<T>(address: IpAddress, make: () => T): T {
	return address.networkNamespace === undefined ? make() : inNetworkNamespace(address.networkNamespace, make);
}

function ipOf(listening: IpAddress, socket: NativeSocket, end: 'local' | 'remote'): IpAddress {
	const host = plainHost(end === 'local' ? socket.localAddress : socket.remoteAddress);
	const port = end === 'local' ? socket.localPort : socket.remotePort;
	return listening.networkNamespace === undefined
		? { kind: 'ip', host, port }
		: { kind: 'ip', host, port, networkNamespace: listening.networkNamespace };
}

/** Bun takes no backlog: it is set afterwards. -1: the socket has no descriptor. */
function descriptorOf(native: object, options: ListenOptions): number {
	const { fd = -1 } = native as { readonly fd?: number };
	if (fd >= 0 && process.platform === 'linux') setBacklog(fd, options.backlog ?? BACKLOG_DEFAULT);
	return fd;
}

class BunListener implements Listener {
	private isClosed = false;
	private isPaused = false;
	private interest: EpollInterest | null = null;

	constructor(
		readonly address: Address,
		private readonly fd: number,
		private readonly stop: () => void,
	) {}

	pauseAccepting(): boolean {
		if (this.isClosed || this.isPaused) return true;
		// Bun cannot: the kernel is told not to wake it for this socket.
		this.interest ??= this.fd < 0 ? null : epollInterest(this.fd);
		this.isPaused = this.interest !== null && watchDescriptor(this.interest, false);
		return this.isPaused;
	}

	resumeAccepting(): void {
		if (this.isClosed || !this.isPaused || this.interest === null) return;
		this.isPaused = false;
		watchDescriptor(this.interest, true);
	}

	close(): void {
		if (this.isClosed) return;
		this.isClosed = true;
		this.stop();
	}
}
