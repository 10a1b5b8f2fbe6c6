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
import type { Clock, Timer } from '../std/clock.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import {
	type EncodedGroup,
	encodeGroup,
	encodeMessage,
	HandedReader,
	HandedSockets,
	type SocketGroup,
} from './handed-sockets.ts';
import { peerCredentials } from './linux.ts';
import {
	closeDescriptor,
	connectUnix,
	dropDescriptors,
	duplicateDescriptors,
	type Parcel,
	receiveDescriptors,
	sendAll,
	sendParcel,
} from './socket-passing.ts';

const log = new Logger('hot-restart');
/** How long either side waits for the other's next move while sockets change hands. */
const MOVE_TIMEOUT_MS = 10_000;
/** A successor that has not taken what it was sent is looked at again. */
const SEND_RETRY_MS = 5;
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
	readonly clock: Clock;
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
	let sending: HandOver | null = null;
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
			const { fd } = socket as Socket<HandedReader> & { readonly fd: number };
			const parcels = [...groups.map(encodeGroup), { bytes: encodeMessage({ done: true, ...options.facts }), fds: [] }];
			sending = new HandOver(fd, parcels, options.clock, () => socket.terminate());
			sending.start();
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
			if (taker !== socket) return;
			taker = null;
			sending?.stop();
			sending = null;
		},
	});
	return { close: () => native.stop() };
}

/**
 * What goes to a successor, as it takes it: this process serves meanwhile, however long that is. Its copies of the
 * descriptors hold for listeners that close before they are sent.
 */
class HandOver {
	private readonly parcels: Parcel[] = [];
	private readonly deadlineMs: number;
	private timer: Timer | null = null;

	constructor(
		private readonly socket: number,
		parcels: readonly EncodedGroup[],
		private readonly clock: Clock,
		private readonly onFailed: () => void,
	) {
		this.deadlineMs = clock.nowMs() + MOVE_TIMEOUT_MS;
		try {
			for (const { bytes, fds } of parcels) this.parcels.push({ bytes, fds: duplicateDescriptors(fds) });
		} catch (error) {
			this.stop();
			throw error;
		}
	}

	start(): void {
		try {
			if (this.sendSome()) return;
		} catch (error) {
			this.fail(errorMessage(error));
			return;
		}
		if (this.clock.nowMs() >= this.deadlineMs) this.fail(`they were not taken within ${MOVE_TIMEOUT_MS} ms`);
		else this.timer = this.clock.after(SEND_RETRY_MS, () => this.start());
	}

	stop(): void {
		this.timer?.cancel();
		this.parcels.splice(0).forEach(dropDescriptors);
	}

	/** False: the other end takes no more for now. */
	private sendSome(): boolean {
		for (let next = this.parcels[0]; next !== undefined; next = this.parcels[0]) {
			if (!sendParcel(this.socket, next)) return false;
			this.parcels.shift();
		}
		return true;
	}

	private fail(why: string): void {
		log.warning('sockets could not be handed over', { reason: why });
		this.stop();
		this.onFailed();
	}
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
		throw new WeftError('hand_over_failed', `${name} does not hand over its sockets: ${why}`);
	};
	const facts = (): Facts => {
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
		return { epoch, firstStartedMs };
	};
	let found: Facts;
	try {
		found = facts();
	} catch (error) {
		reader.close();
		handed.closeRest();
		throw error;
	}
	const tell = (message: object): void => {
		try {
			sendAll(socket, encodeMessage(message), [], MOVE_TIMEOUT_MS);
		} catch {
			// It is gone, which is what it is told to do.
		}
	};
	return {
		...found,
		handed,
		drain: (deadlineMs) => tell({ weft: 'drain', deadlineMs }),
		end: () => tell({ weft: 'end' }),
	};
}
