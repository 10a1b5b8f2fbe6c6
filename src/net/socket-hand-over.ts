// How one process gives its listening sockets to the one that takes its place: a unix socket in the
// abstract name space, open to processes of the same user and to root.
//
//   successor                         door of the one that serves
//      │ ── take ─────────────────────────▶ │  every listening socket, then { done, … }
//      │ ◀───────────────── sockets ─────── │  both accept now, from the same queues
//      │ ── drain ────────────────────────▶ │  closes its copies; ends as its connections end
//      │ ── end ──────────────────────────▶ │  ends now
//
// A successor that goes away before `drain` changes nothing.

import type { Socket } from 'bun';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { encodeGroup, encodeMessage, HandedReader, HandedSockets, type SocketGroup } from './handed-sockets.ts';
import { peerCredentials } from './linux.ts';
import { closeDescriptor, connectUnix, receiveDescriptors, sendAll } from './socket-passing.ts';

const log = new Logger('hot-restart');
/** How long either side waits for the other's next move while sockets change hands. */
const MOVE_TIMEOUT_MS = 10_000;
const FORMAT = 1;

export interface Facts {
	readonly epoch: number;
	/** Wall time at which the first of all epochs started. */
	readonly firstStartedMs: number;
}

export interface DoorOptions {
	/** In the abstract name space; without the leading NUL. */
	readonly name: string;
	readonly facts: Facts;
	/** What is listened on now; null: it is still starting, and hands over nothing. */
	readonly listening: () => readonly SocketGroup[] | null;
	/** The successor serves. What is under way here may go on for `deadlineMs`. */
	readonly onTakenOver: (deadlineMs: number) => void;
	/** The successor wants it to be over. */
	readonly onEnd: () => void;
}

export interface Door {
	/** A successor that is known may still say `end`. Idempotent. */
	close(): void;
}

/** @throws WeftError `address_in_use` when another process has the name */
export function openDoor(options: DoorOptions): Door {
	let taker: Socket<HandedReader> | null = null;
	let isOver = false;
	const onMessage = (socket: Socket<HandedReader>, message: Readonly<Record<string, unknown>>): void => {
		if (message.weft === 'take' && !isOver) {
			const groups = options.listening();
			if (taker !== null || message.format !== FORMAT || groups === null) {
				const refused =
					groups === null
						? 'it is still starting'
						: taker !== null
							? 'another process is taking over already'
							: 'its version does not fit';
				socket.end(encodeMessage({ refused }));
				return;
			}
			taker = socket;
			const fd = (socket as Socket<HandedReader> & { readonly fd: number }).fd;
			for (const group of groups) {
				const { bytes, fds } = encodeGroup(group);
				sendAll(fd, bytes, fds, MOVE_TIMEOUT_MS);
			}
			sendAll(fd, encodeMessage({ done: true, ...options.facts }), [], MOVE_TIMEOUT_MS);
		} else if (message.weft === 'drain' && socket === taker && typeof message.deadlineMs === 'number' && !isOver) {
			isOver = true;
			options.onTakenOver(message.deadlineMs);
		} else if (message.weft === 'end' && socket === taker && isOver) {
			options.onEnd();
		}
	};
	const native = listenAbstract(options.name, {
		open(socket) {
			const peer = peerCredentials((socket as typeof socket & { readonly fd: number }).fd);
			if (!isTrusted(peer)) {
				log.warning('a process of another user wanted the listening sockets', { uid: peer?.uid });
				socket.terminate();
				return;
			}
			socket.data = new HandedReader(
				() => {},
				(message) => onMessage(socket, message),
			);
		},
		data(socket, bytes) {
			try {
				socket.data?.push(Uint8Array.from(bytes), []);
			} catch (error) {
				log.warning('sockets could not be handed over', { reason: errorMessage(error) });
				socket.terminate();
			}
		},
		close(socket) {
			if (taker === socket) taker = null;
		},
	});
	return { close: () => native.stop() };
}

type DoorHandlers = Parameters<typeof Bun.listen<HandedReader>>[0]['socket'];

function listenAbstract(name: string, socket: DoorHandlers) {
	try {
		return Bun.listen<HandedReader>({ unix: `\0${name}`, socket });
	} catch (error) {
		throw new WeftError('address_in_use', `another process has the name ${name}`, { cause: error });
	}
}

function isTrusted(peer: { readonly uid: number } | null): boolean {
	return peer !== null && (peer.uid === 0 || peer.uid === process.getuid?.());
}

/** The process whose sockets were taken. It serves beside this one until `drain`. */
export interface Predecessor extends Facts {
	readonly handed: HandedSockets;
	/** It closes its copies of the sockets, and has `deadlineMs` for what is under way. */
	drain(deadlineMs: number): void;
	/** It is to end now. Nothing when it has ended. */
	end(): void;
}

/** Null: nobody has that name. @throws WeftError when it does not hand over */
export function takeSockets(name: string): Predecessor | null {
	const socket = connectUnix(`\0${name}`, MOVE_TIMEOUT_MS);
	if (socket === null) return null;
	try {
		return takeFrom(socket, name);
	} catch (error) {
		closeDescriptor(socket);
		throw error;
	}
}

function takeFrom(socket: number, name: string): Predecessor {
	if (!isTrusted(peerCredentials(socket))) {
		throw new WeftError('hand_over_failed', `${name} is a process of another user`);
	}
	const handed = new HandedSockets();
	let answer: Readonly<Record<string, unknown>> | null = null;
	const reader = new HandedReader(
		(group) => handed.add(group),
		(message) => {
			answer = message;
		},
	);
	const refuse = (why: string): never => {
		reader.close();
		handed.closeRest();
		throw new WeftError('hand_over_failed', `${name} does not hand over its sockets: ${why}`);
	};
	sendAll(socket, encodeMessage({ weft: 'take', format: FORMAT }), [], MOVE_TIMEOUT_MS);
	while (answer === null) {
		const received = receiveDescriptors(socket, true);
		if (received === null) return refuse(`no answer within ${MOVE_TIMEOUT_MS} ms`);
		if (received.bytes.byteLength === 0) return refuse('it is gone');
		reader.push(received.bytes, received.fds);
	}
	const { refused, epoch, firstStartedMs } = answer as Readonly<Record<string, unknown>>;
	if (typeof refused === 'string') return refuse(refused);
	if (typeof epoch !== 'number' || typeof firstStartedMs !== 'number') return refuse('its answer makes no sense');
	const tell = (message: object): void => {
		try {
			sendAll(socket, encodeMessage(message), [], MOVE_TIMEOUT_MS);
		} catch {
			// It is gone, which is what it is told to do.
		}
	};
	return {
		epoch,
		firstStartedMs,
		handed,
		drain: (deadlineMs) => tell({ weft: 'drain', deadlineMs }),
		end: () => tell({ weft: 'end' }),
	};
}
