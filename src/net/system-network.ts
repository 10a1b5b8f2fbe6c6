// The real network: TCP, unix sockets and TLS, one per worker. Plain TCP is on sockets of our own event loop where
// there is one, all else on Bun's native sockets.

import type { Clock } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import { parseIp } from '../std/ip.ts';
import { type DescriptorBudget, descriptorBudget, descriptorLimit } from './descriptors.ts';
import { EpollListener } from './epoll-listener.ts';
import type { EpollLoop } from './epoll-loop.ts';
import { EpollSocket } from './epoll-socket.ts';
import type { HandedSockets, SocketGroup } from './handed-sockets.ts';
import { type EpollInterest, epollInterest, inNetworkNamespace, setBacklog, watchDescriptor } from './linux.ts';
import {
	type Address,
	type Connection,
	type ConnectionHandler,
	type ConnectOptions,
	formatAddress,
	type IpAddress,
	type Listener,
	type ListenOptions,
	type Network,
	type PipeAddress,
	type ResolvedName,
} from './network.ts';
import { resolveName } from './resolver.ts';
import { encodeSockaddr, setStreamOptions, socketName } from './socket-calls.ts';
import { SocketConnection } from './socket-connection.ts';
import { connectError, listenError } from './socket-errors.ts';
import {
	type AnySocket,
	connectHandlers,
	inSameNamespace,
	LOOP_CONNECT_EVENTS,
	LOOP_EVENTS,
	listenHandlers,
	type NativeHandlers,
	type NativeSocket,
	plainHost,
	SocketBoundary,
} from './socket-handlers.ts';
import { closeDescriptor, duplicateDescriptor, putUnderListener } from './socket-passing.ts';
import { TimerWheel } from './timer-wheel.ts';
import { nativeClientTls } from './tls.ts';
import { listenAtSocketFile, removeSocketFile, socketInode } from './unix-socket-file.ts';
import { TurnEnd } from './write-buffer.ts';

const CONNECT_TIMEOUT_DEFAULT_MS = 5_000;
const BACKLOG_DEFAULT = 4096;
const SOCKET_FILE_MODE_DEFAULT = 0o600;

export interface SystemNetworkOptions {
	/** Default: a `TimerWheel` of its own. */
	readonly clock?: Clock;
	/** Hears of every exception that a callback of a connection or listener let out. It is logged already. */
	readonly onCaught?: (error: unknown) => void;
	/** Default: that of the process. */
	readonly descriptors?: DescriptorBudget;
	/** Sockets that another process made: they are used for the addresses that they are for. Default none. */
	readonly handed?: HandedSockets | null;
	/**
	 * Plain TCP sockets are this loop's, not Bun's, where it is to be had: then `clock` should be of its `timeSource`.
	 * Default null: Bun's.
	 */
	readonly loop?: EpollLoop | null;
	/** No address is taken that was not handed over, and no file of a unix socket is removed. Default false. */
	readonly handedOnly?: boolean;
}

export class SystemNetwork implements Network {
	readonly clock: Clock;
	readonly descriptors: DescriptorBudget;
	private readonly boundary: SocketBoundary;
	private readonly handed: HandedSockets | null;
	private readonly handedOnly: boolean;
	private readonly loop: EpollLoop | null;
	private readonly listeners = new Set<SystemListener>();
	private ownsFiles: boolean;

	constructor(options: SystemNetworkOptions = {}) {
		const { clock = new TimerWheel(options.loop?.timeSource()), onCaught = null } = options;
		this.descriptors = options.descriptors ?? descriptorBudget(descriptorLimit());
		this.clock = clock;
		this.handed = options.handed ?? null;
		this.handedOnly = options.handedOnly ?? false;
		this.ownsFiles = !this.handedOnly;
		this.loop = options.loop ?? null;
		this.boundary = new SocketBoundary(
			clock,
			clock instanceof TimerWheel ? clock : null,
			new TurnEnd(this.loop),
			onCaught,
			this.descriptors.connectMax,
		);
	}

	/** Exceptions that callbacks let out so far. */
	get caughtErrors(): number {
		return this.boundary.caughtErrors;
	}

	/** Connects that were given up, and that the kernel still tries. */
	get abandonedConnects(): number {
		return this.boundary.abandoned.count;
	}

	/** What is listened on now, for another process. The descriptors stay this network's. */
	listening(): SocketGroup[] {
		return [...this.listeners].map((one) => ({ asked: one.asked, bound: one.address, fds: one.descriptors() }));
	}

	/** Another process listens on the same sockets from now on: files of unix sockets are its to remove. */
	leaveSocketFiles(): void {
		this.ownsFiles = false;
	}

	listen(options: ListenOptions, onConnection: (connection: Connection) => void): Listener {
		const { address } = options;
		try {
			const group = this.handed?.take(address) ?? null;
			if (group === null && this.handedOnly) {
				throw new WeftError('address_not_available', `no socket of ${formatAddress(address)} was handed over`);
			}
			const listener =
				group === null ? this.listenAnew(options, onConnection) : this.listenHanded(group, options, onConnection);
			this.listeners.add(listener);
			return listener;
		} catch (error) {
			throw listenError(address, error);
		}
	}

	/**
	 * Takes an address without accepting anything: `count` sockets that share a port, one for a unix socket. The
	 * descriptors are the caller's; they are closed, and a socket's file removed, by who has them.
	 * @throws WeftError as `listen`
	 */
	makeSockets(options: ListenOptions, count: number): SocketGroup {
		const { address } = options;
		const fds: number[] = [];
		const take = (native: NativeListener): number => {
			fds.push(duplicateDescriptor(native.fd));
			const { port } = native;
			native.stop();
			return port;
		};
		try {
			if (address.kind === 'pipe') {
				take(this.openPipe(address, options, NO_HANDLERS));
				return { asked: address, bound: address, fds };
			}
			// Of its own first, so that an address that somebody has is not shared with him by mistake.
			const alone = this.openIp(address, { ...options, reusePort: false }, NO_HANDLERS);
			const bound: IpAddress = { ...address, port: alone.port };
			if (count === 1) take(alone);
			else {
				alone.stop();
				while (fds.length < count) take(this.openIp(bound, { ...options, reusePort: true }, NO_HANDLERS));
			}
			return { asked: address, bound, fds };
		} catch (error) {
			for (const fd of fds) closeDescriptor(fd);
			throw listenError(address, error);
		}
	}

	private listenAnew(options: ListenOptions, onConnection: (connection: Connection) => void): SystemListener {
		const { address } = options;
		const sockaddr = address.kind === 'ip' && this.takesOwn(options) ? encodeSockaddr(address) : null;
		if (sockaddr !== null) {
			const { reusePort = false, backlog = BACKLOG_DEFAULT } = options;
			const fd = inNamespace(address as IpAddress, () =>
				EpollListener.listen(this.loop!, sockaddr, { reusePort, backlog }),
			);
			const bound = { ...(address as IpAddress), port: socketName(fd)?.port ?? 0 };
			const own = this.ownListener(fd, bound, options, onConnection);
			own.start();
			return this.listenerOf(address, bound, [own]);
		}
		const handlers = this.handlersFor(address, options, onConnection);
		const native =
			address.kind === 'ip' ? this.openIp(address, options, handlers) : this.openPipe(address, options, handlers);
		const bound: Address = address.kind === 'ip' ? { ...address, port: native.port } : address;
		return this.listenerOf(address, bound, [native]);
	}

	private listenHanded(
		group: SocketGroup,
		options: ListenOptions,
		onConnection: (connection: Connection) => void,
	): SystemListener {
		const { asked, bound, fds } = group;
		// Who made them may not have.
		if (bound.kind === 'ip') fds.forEach(setStreamOptions);
		if (bound.kind === 'ip' && this.takesOwn(options)) {
			const own = fds.map((fd) => this.ownListener(fd, bound, options, onConnection));
			setBacklogs(fds, options);
			try {
				for (const one of own) one.start();
			} catch (error) {
				for (const one of own) one.stop();
				throw error;
			}
			return this.listenerOf(asked, bound, own);
		}
		const natives: NativeListener[] = [];
		try {
			for (const fd of fds) {
				const native = this.openPlaceholder(bound, this.handlersFor(bound, options, onConnection));
				natives.push(native);
				putUnderListener(native.fd, fd);
				withBacklog(native, options);
			}
			return this.listenerOf(asked, bound, natives);
		} catch (error) {
			for (const native of natives) native.stop();
			throw error;
		} finally {
			for (const fd of fds) closeDescriptor(fd);
		}
	}

	/** In our own loop: what is not known to become TLS, which only Bun's sockets can. */
	private takesOwn(options: ListenOptions): boolean {
		return this.loop !== null && options.startsTls !== true;
	}

	private ownListener(
		fd: number,
		bound: IpAddress,
		options: ListenOptions,
		onConnection: (connection: Connection) => void,
	): EpollListener {
		const loop = this.loop!;
		// Else all connections have the address that is listened on, as the kernel has it: `bound` may be written otherwise.
		const isAny = parseIp(bound.host)?.every((byte) => byte === 0) === true;
		const listening = inSameNamespace(bound, socketName(fd) ?? bound);
		return new EpollListener(loop, fd, (accepted, name) => {
			if (!this.admitsOwn(accepted, options)) {
				closeDescriptor(accepted);
				return;
			}
			const own = isAny ? socketName(accepted) : null;
			const remote: IpAddress = inSameNamespace(bound, name);
			const local: IpAddress = own === null ? listening : inSameNamespace(bound, own);
			const socket = new EpollSocket<SocketConnection | null>(loop, accepted, LOOP_EVENTS, null);
			if (!socket.watch()) return;
			try {
				this.accept(socket, remote, local, onConnection);
			} catch (error) {
				this.boundary.caught(socket.data, error);
			}
		});
	}

	private admitsOwn(accepted: number, options: ListenOptions): boolean {
		try {
			return this.isAdmitted(accepted, options);
		} catch (error) {
			this.boundary.caught(null, error);
			return false;
		}
	}

	private listenerOf(asked: Address, bound: Address, natives: readonly NativeListener[]): SystemListener {
		const inode = bound.kind === 'pipe' ? socketInode(bound.path) : 0;
		const listener: SystemListener = new SystemListener(asked, bound, natives, () => {
			this.listeners.delete(listener);
			if (bound.kind === 'pipe' && this.ownsFiles) removeSocketFile(bound.path, inode);
		});
		return listener;
	}

	private handlersFor(
		address: Address,
		options: ListenOptions,
		onConnection: (connection: Connection) => void,
	): NativeHandlers {
		if (address.kind === 'pipe') {
			const remote: PipeAddress = { kind: 'pipe', path: '' };
			return listenHandlers(this.boundary, (socket) => {
				if (this.admits(socket, options)) this.accept(socket, remote, address, onConnection);
			});
		}
		return listenHandlers(this.boundary, (socket) => {
			if (!this.admits(socket, options)) return;
			this.accept(socket, ipOf(address, socket, 'remote'), ipOf(address, socket, 'local'), onConnection);
		});
	}

	private openIp(address: IpAddress, options: ListenOptions, handlers: NativeHandlers): NativeListener {
		const native = inNamespace(address, () =>
			Bun.listen<SocketConnection | null>({
				hostname: address.host,
				port: address.port,
				exclusive: options.reusePort !== true,
				...{ reusePort: options.reusePort === true },
				allowHalfOpen: true,
				data: null,
				socket: handlers,
			}),
		);
		const listener = withBacklog(native, options);
		// At once: who accepts may begin later than clients.
		setStreamOptions(listener.fd);
		return listener;
	}

	private openPipe(address: PipeAddress, options: ListenOptions, handlers: NativeHandlers): NativeListener {
		const native = listenAtSocketFile(address.path, options.mode ?? SOCKET_FILE_MODE_DEFAULT, (path) =>
			Bun.listen<SocketConnection | null>({
				unix: path,
				allowHalfOpen: true,
				data: null,
				socket: handlers,
			}),
		);
		return withBacklog(native, options);
	}

	/** A listener of the same kind on an address that nobody knows, for a handed socket to be put under. */
	private openPlaceholder(address: Address, handlers: NativeHandlers): NativeListener {
		if (address.kind === 'ip') return this.openIp(PLACEHOLDER, { address: PLACEHOLDER }, handlers);
		const native = Bun.listen<SocketConnection | null>({
			unix: `\0weft-${process.pid}-${crypto.randomUUID()}`,
			allowHalfOpen: true,
			data: null,
			socket: handlers,
		});
		return native as unknown as NativeListener;
	}

	private admits(socket: NativeSocket, options: ListenOptions): boolean {
		if (this.isAdmitted(socket.fd!, options)) return true;
		// In order, not with a reset: what the peer sees is that of Envoy.
		socket.close();
		return false;
	}

	private isAdmitted(accepted: number, { admit }: ListenOptions): boolean {
		return admit === undefined || admit(accepted >= this.descriptors.acceptMax);
	}

	private accept(
		socket: AnySocket,
		remote: Address,
		local: Address,
		onConnection: (connection: Connection) => void,
	): void {
		const connection = new SocketConnection(this.boundary, 'downstream', remote, local, socket);
		socket.data = connection;
		onConnection(connection);
	}

	connect(options: ConnectOptions, handler: ConnectionHandler): Connection {
		const { address } = options;
		const tls = options.tls ?? null;
		const local: Address = address.kind === 'ip' ? { ...address, host: '', port: 0 } : { kind: 'pipe', path: '' };
		const connection = new SocketConnection(this.boundary, 'upstream', address, local, null);
		connection.handler = handler;
		connection.startConnectTimer(options.timeoutMs ?? CONNECT_TIMEOUT_DEFAULT_MS);
		const { loop } = this;
		const sockaddr = loop !== null && tls === null && address.kind === 'ip' ? encodeSockaddr(address) : null;
		if (loop !== null && sockaddr !== null) {
			try {
				connection.openingBy(
					inNamespace(address as IpAddress, () =>
						EpollSocket.connect<SocketConnection | null>(loop, sockaddr, LOOP_CONNECT_EVENTS, connection),
					),
				);
			} catch (error) {
				connection.failed(upstreamError(address, error));
			}
			return connection;
		}
		const common = {
			allowHalfOpen: true,
			data: connection,
			socket: connectHandlers(connection, tls),
			...(tls === null ? {} : { tls: nativeClientTls(tls) }),
		};
		try {
			connection.attempt(() => {
				const opening =
					address.kind === 'pipe'
						? Bun.connect<SocketConnection | null>({ ...common, unix: address.path })
						: inNamespace(address, () =>
								Bun.connect<SocketConnection | null>({ ...common, hostname: address.host, port: address.port }),
							);
				// `connectError` has said it already.
				opening.catch(() => {});
			});
		} catch (error) {
			connection.failed(upstreamError(address, error));
		}
		return connection;
	}

	resolve(name: string): Promise<ResolvedName> {
		return resolveName(name, this.clock);
	}
}

function upstreamError(address: Address, error: unknown): WeftError {
	return error instanceof WeftError
		? new WeftError(error.code, error.message, { origin: 'upstream', retrySafe: true, cause: error.cause })
		: connectError(address, error);
}

function inNamespace<T>(address: IpAddress, make: () => T): T {
	return address.networkNamespace === undefined ? make() : inNetworkNamespace(address.networkNamespace, make);
}

function ipOf(listening: IpAddress, socket: NativeSocket, end: 'local' | 'remote'): IpAddress {
	const host = plainHost(end === 'local' ? socket.localAddress : socket.remoteAddress);
	const port = end === 'local' ? socket.localPort : socket.remotePort;
	return inSameNamespace(listening, { host, port });
}

/** Bun's listener, with the `fd` that its types leave out, or one of our own. */
interface NativeListener {
	readonly fd: number;
	/** 0 for a unix socket. */
	readonly port: number;
	stop(): void;
	/** Our own can. */
	pause?(): void;
	resume?(): void;
}

const PLACEHOLDER: IpAddress = { kind: 'ip', host: '127.0.0.1', port: 0 };
const NO_HANDLERS: NativeHandlers = { data() {}, open: (socket) => socket.terminate() };

/** Bun takes no backlog: it is set afterwards. */
function withBacklog(native: object, options: ListenOptions): NativeListener {
	const listener = native as NativeListener;
	if (listener.fd >= 0 && process.platform === 'linux') setBacklogs([listener.fd], options);
	return listener;
}

function setBacklogs(fds: readonly number[], options: ListenOptions): void {
	for (const fd of fds) setBacklog(fd, options.backlog ?? BACKLOG_DEFAULT);
}

/** One address: a socket, or several that share it. */
class SystemListener implements Listener {
	private isClosed = false;
	private isPaused = false;
	private interests: readonly (EpollInterest | null)[] | null = null;

	constructor(
		readonly asked: Address,
		readonly address: Address,
		private readonly natives: readonly NativeListener[],
		private readonly onClosed: () => void,
	) {}

	descriptors(): number[] {
		return this.natives.map((native) => native.fd);
	}

	pauseAccepting(): boolean {
		if (this.isClosed || this.isPaused) return true;
		if (this.natives.every(({ pause }) => pause !== undefined)) {
			for (const native of this.natives) native.pause?.();
			this.isPaused = true;
			return true;
		}
		// Bun cannot: the kernel is told not to wake it for these sockets.
		this.interests ??= this.natives.map(({ fd }) => (fd < 0 ? null : epollInterest(fd)));
		this.isPaused = this.interests.every((interest) => interest !== null && watchDescriptor(interest, false));
		if (!this.isPaused) this.watch();
		return this.isPaused;
	}

	resumeAccepting(): void {
		if (this.isClosed || !this.isPaused) return;
		this.isPaused = false;
		for (const native of this.natives) native.resume?.();
		this.watch();
	}

	close(): void {
		if (this.isClosed) return;
		this.isClosed = true;
		for (const native of this.natives) native.stop();
		this.onClosed();
	}

	private watch(): void {
		for (const interest of this.interests ?? []) if (interest !== null) watchDescriptor(interest, true);
	}
}
