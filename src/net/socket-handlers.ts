// The boundary between sockets, Bun's or of our own event loop, and connections. Every callback of a socket
// enters here; what is thrown behind it is caught, counted and logged, and costs only the connection in whose
// turn it was thrown.

import type { Socket, SocketHandler } from 'bun';
import type { Clock } from '../std/clock.ts';
import type { WeftError } from '../std/errors.ts';
import { reportFault } from '../std/fault.ts';
import type { LogFields } from '../std/log.ts';
import { AbandonedConnects } from './abandoned-connects.ts';
import type { EpollSocket, SocketEvents } from './epoll-socket.ts';
import { type ClientTlsOptions, formatAddress, type IpAddress } from './network.ts';
import type { SocketName } from './socket-calls.ts';
import type { SocketConnection } from './socket-connection.ts';
import { connectError } from './socket-errors.ts';
import { closeDescriptor } from './socket-passing.ts';
import type { TimerWheel } from './timer-wheel.ts';
import { giveBack, type TurnEnd } from './write-buffer.ts';

/** Bun's socket, with the `fd` that its types leave out. `data` is null once nobody listens. */
export type NativeSocket = Socket<SocketConnection | null> & { readonly fd?: number };
export type NativeHandlers = SocketHandler<SocketConnection | null>;
/** A socket of our own event loop: plain TCP. */
export type LoopSocket = EpollSocket<SocketConnection | null>;
export type AnySocket = NativeSocket | LoopSocket;

/** What the connections of one network share. */
export class SocketBoundary {
	/** Exceptions caught so far. */
	caughtErrors = 0;
	readonly abandoned = new AbandonedConnects();

	constructor(
		readonly clock: Clock,
		/** Time stands still while data is taken in. Null: it is not ours to hold. */
		readonly time: TimerWheel | null,
		readonly turnEnd: TurnEnd,
		private readonly onCaught: ((error: unknown) => void) | null,
		/** See `DescriptorBudget.connectMax`. */
		private readonly connectDescriptorMax = Number.POSITIVE_INFINITY,
	) {}

	/** The process has none to spare for a connection with this one. */
	isScarce(descriptor: number): boolean {
		return descriptor >= this.connectDescriptorMax;
	}

	/** A callback threw: a bug. Only its connection goes. */
	caught(connection: SocketConnection | null, error: unknown): void {
		this.caughtErrors++;
		const context = connection === null ? {} : contextOf(connection);
		reportFault('connection', 'a connection failed by a fault of ours and is closed', error, context);
		try {
			this.onCaught?.(error);
		} catch (hookError) {
			reportFault('process', 'the error hook failed', hookError);
		}
		connection?.reset();
	}

	notifyEnd(connection: SocketConnection): void {
		try {
			connection.handler.onEnd(connection);
		} catch (thrown) {
			this.caught(connection, thrown);
		}
	}

	notifyClose(connection: SocketConnection, error: WeftError | null): void {
		try {
			connection.handler.onClose(connection, error);
		} catch (thrown) {
			this.caught(connection, thrown);
		}
	}
}

function contextOf({ id, origin, local, remote }: SocketConnection): LogFields {
	return { connection: id, side: origin, local: formatAddress(local), remote: formatAddress(remote) };
}

/**
 * Bun makes an array of its own for each read, of up to 512 KiB. Left to the collector, some tens of MiB of them
 * gather while a long body passes; given back at once, the next read finds the same memory, still in the cache.
 */
const GIVEN_BACK_BYTES_MIN = 4 * 1024;

function onData(socket: NativeSocket, bytes: Uint8Array): void {
	takeIn(socket, bytes);
	if (bytes.length >= GIVEN_BACK_BYTES_MIN) giveBack(bytes);
}

function takeIn(socket: AnySocket, bytes: Uint8Array): void {
	const connection = socket.data;
	if (connection == null || !connection.uses(socket)) return;
	const { time } = connection.boundary;
	time?.hold();
	try {
		connection.received(bytes);
	} catch (error) {
		connection.boundary.caught(connection, error);
	}
	time?.letGo();
}

function onDrain(socket: AnySocket): void {
	const connection = socket.data;
	if (connection?.uses(socket)) connection.writable();
}

function onEnd(socket: AnySocket): void {
	const connection = socket.data;
	if (connection == null || !connection.uses(socket)) return;
	try {
		connection.remoteEnd();
	} catch (error) {
		connection.boundary.caught(connection, error);
	}
}

function onClose(socket: AnySocket, error?: Error): void {
	const connection = socket.data;
	if (connection == null) return;
	connection.closed(socket, error);
}

function onError(socket: NativeSocket, error: Error): void {
	const connection = socket.data;
	if (connection == null || !connection.uses(socket)) return;
	connection.broken(error);
}

function onHandshake(socket: NativeSocket, done: boolean, chainError: Error | null): void {
	const connection = socket.data;
	if (connection == null) return;
	if (!connection.uses(socket)) {
		connection.handshakenEarly(chainError);
		return;
	}
	try {
		connection.handshaken(socket, done, chainError);
	} catch (error) {
		connection.boundary.caught(connection, error);
	}
}

function onSession(socket: NativeSocket, session: Buffer): void {
	const connection = socket.data;
	if (connection?.uses(socket)) connection.sessionReceived(session);
}

const SHARED = {
	data: onData,
	drain: onDrain,
	end: onEnd,
	close: onClose,
	error: onError,
	binaryType: 'uint8array',
} as const;

export const SERVER_TLS_HANDLERS: NativeHandlers = { ...SHARED, open() {}, handshake: onHandshake };

/** Makes a plain connected socket one of Bun's. `adopted` is called later, or `failed`, once or twice: `fd` is closed then. */
export function adoptSocket(
	fd: number,
	on: { readonly adopted: (socket: NativeSocket) => void; readonly failed: (error: unknown) => void },
): void {
	let isOurs = true;
	const failed = (error: unknown) => {
		// Bun leaves it open, and says so by its handler and by its promise.
		if (isOurs) closeDescriptor(fd);
		isOurs = false;
		on.failed(error);
	};
	const open = (socket: NativeSocket) => {
		isOurs = false;
		on.adopted(socket);
	};
	const options = {
		...{ fd, allowHalfOpen: true, data: null },
		socket: { ...SHARED, open, connectError: (_socket: unknown, error: Error) => failed(error) },
	};
	try {
		// Bun has `fd`; its types do not say so.
		(Bun.connect as (options: unknown) => Promise<unknown>)(options).catch(failed);
	} catch (error) {
		failed(error);
	}
}

/** Of plain connections that were accepted in our own event loop. */
export const LOOP_EVENTS: SocketEvents<SocketConnection | null> = {
	data: takeIn,
	drain: onDrain,
	end: onEnd,
	close: onClose,
};

/** `accept` makes the connection of a socket and gives it out. */
export function listenHandlers(boundary: SocketBoundary, accept: (socket: NativeSocket) => void): NativeHandlers {
	return {
		...SHARED,
		open(socket) {
			try {
				accept(socket);
			} catch (error) {
				const connection = (socket as NativeSocket).data;
				boundary.caught(connection ?? null, error);
				if (connection == null) socket.terminate();
			}
		},
	};
}

export function connectHandlers(connection: SocketConnection, tls: ClientTlsOptions | null): NativeHandlers {
	const handlers: NativeHandlers = {
		...SHARED,
		open: (socket) => connected(connection, socket, tls),
		connectError: (_socket, error) => notConnected(connection, error),
	};
	if (tls !== null) handlers.handshake = onHandshake;
	// Bun has it; its types do not say so.
	return (tls?.sessionsMax ?? 0) > 0 ? Object.assign(handlers, { session: onSession }) : handlers;
}

/** Of plain connections that we make in our own event loop. */
export const LOOP_CONNECT_EVENTS: SocketEvents<SocketConnection | null> = {
	...LOOP_EVENTS,
	open(socket) {
		if (socket.data !== null) connected(socket.data, socket, null);
	},
	connectError(socket, error) {
		if (socket.data !== null) notConnected(socket.data, error);
	},
};

function connected(connection: SocketConnection, socket: AnySocket, tls: ClientTlsOptions | null): void {
	connection.attemptOver();
	try {
		if (connection.boundary.isScarce((socket as { readonly fd?: number }).fd ?? -1)) {
			connection.failed(connectError(connection.remote, new Error('too many open files')));
			socket.data = null;
			socket.terminate();
			return;
		}
		connection.opened(socket, localOf(socket, connection), tls);
	} catch (error) {
		connection.boundary.caught(connection, error);
	}
}

function notConnected(connection: SocketConnection, error: Error): void {
	connection.attemptOver();
	connection.failed(connectError(connection.remote, error));
}

function localOf(socket: AnySocket, connection: SocketConnection) {
	const { remote, local } = connection;
	if (remote.kind === 'pipe') return local;
	return inSameNamespace(remote, { host: plainHost(socket.localAddress), port: socket.localPort });
}

/** An address in the network namespace of another. */
export function inSameNamespace({ networkNamespace }: IpAddress, { host, port }: SocketName): IpAddress {
	return networkNamespace === undefined ? { kind: 'ip', host, port } : { kind: 'ip', host, port, networkNamespace };
}

/** An IPv4 peer of a dual-stack socket is named as IPv4. */
export function plainHost(host: string | undefined): string {
	if (host === undefined) return '';
	return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host;
}
