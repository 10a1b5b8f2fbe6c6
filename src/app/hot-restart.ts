// Hot restart as `weft proxy` does it: finds the process whose place is to be taken, by its base id (as
// Envoy) or its process id, has its listening sockets, tells it to drain once this one serves, and
// opens the door to the next one.

import type { HandedSockets, SocketGroup } from '../net/handed-sockets.ts';
import { formatAddress } from '../net/network.ts';
import { type Door, type Facts, openDoor, type Predecessor, takeSockets } from '../net/socket-hand-over.ts';
import type { Clock } from '../std/clock.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';

const log = new Logger('hot-restart');
/** How long the predecessor may take to give up the name of the base id. */
const NAME_WAIT_MS = 10_000;
const NAME_RETRY_MS = 20;

export interface HotRestartOptions {
	/** Envoy `--base-id`; null: it has no such name. */
	readonly baseId: number | null;
	/** Envoy `--restart-epoch`: above 0 a process of this base id must be there. Null: not said. */
	readonly restartEpoch: number | null;
	/** Takes the place of this process; null: of none, or of that with the base id. */
	readonly replacePid: number | null;
	/** How long the predecessor may go on. Envoy `--parent-shutdown-time-s`. */
	readonly parentShutdownMs: number;
	readonly clock: Clock;
}

export interface Restartable {
	/** What is listened on now; null: it is still starting. */
	listening(): readonly SocketGroup[] | null;
	/** Another process serves on the same sockets. */
	retire(deadlineMs: number): void;
	end(): void;
}

export class HotRestart implements Facts {
	readonly epoch: number;
	readonly firstStartedMs: number;
	private readonly predecessor: Predecessor | null;
	private readonly doors: Door[] = [];

	/** @throws WeftError when the predecessor is not there, or hands nothing over */
	constructor(private readonly options: HotRestartOptions) {
		this.predecessor = findPredecessor(options);
		this.epoch = this.predecessor === null ? 0 : Math.max(this.predecessor.epoch + 1, options.restartEpoch ?? 0);
		this.firstStartedMs = this.predecessor?.firstStartedMs ?? options.clock.wallMs();
		if (this.predecessor !== null) {
			log.info('sockets taken over', { epoch: this.epoch, fromEpoch: this.predecessor.epoch });
		}
	}

	get handed(): HandedSockets | null {
		return this.predecessor?.handed ?? null;
	}

	/** A next process may come. @throws WeftError when another one has the base id */
	open(process: Restartable): void {
		this.openByPid(process);
		const name = this.options.baseId === null ? null : baseName(this.options.baseId);
		if (name === null) return;
		if (this.predecessor === null) {
			try {
				this.openDoor(name, process);
			} catch (error) {
				throw new WeftError(
					'address_in_use',
					`another proxy has base id ${this.options.baseId}: take its place with --restart-epoch, or use another --base-id`,
					{ cause: error },
				);
			}
		}
	}

	/** This process serves: the one before it may go. */
	serving(process: Restartable): void {
		const { predecessor } = this;
		if (predecessor === null) return;
		for (const address of predecessor.handed.closeRest()) {
			log.info('a listener of the process before is no longer there', { address: formatAddress(address) });
		}
		const { parentShutdownMs, clock, baseId } = this.options;
		predecessor.drain(parentShutdownMs);
		clock.after(parentShutdownMs, () => predecessor.end());
		if (baseId !== null) this.openWhenFree(baseName(baseId), process, clock.nowMs() + NAME_WAIT_MS);
	}

	close(): void {
		for (const door of this.doors.splice(0)) door.close();
	}

	/**
	 * Process ids are of a pid name space, these names of a network name space: two containers that share the latter may
	 * both be process 1. Who did not ask to be found that way must not fail by it.
	 */
	private openByPid(process: Restartable): void {
		try {
			this.openDoor(pidName(globalThis.process.pid), process);
		} catch (error) {
			log.warning('the next process cannot find this one by its id, only by a base id', {
				reason: errorMessage(error),
			});
		}
	}

	private openWhenFree(name: string, process: Restartable, deadlineMs: number): void {
		const { clock } = this.options;
		try {
			this.openDoor(name, process);
		} catch (error) {
			if (clock.nowMs() < deadlineMs) {
				clock.after(NAME_RETRY_MS, () => this.openWhenFree(name, process, deadlineMs));
			} else log.error('the next process will not find this one by its base id', { reason: errorMessage(error) });
		}
	}

	private openDoor(name: string, process: Restartable): void {
		const door = openDoor({
			name,
			facts: { epoch: this.epoch, firstStartedMs: this.firstStartedMs },
			clock: this.options.clock,
			listening: () => process.listening(),
			onTakenOver: (deadlineMs) => {
				log.info('another process has taken over, draining', { epoch: this.epoch });
				this.close();
				process.retire(deadlineMs);
			},
			onEnd: () => process.end(),
		});
		this.doors.push(door);
	}
}

function findPredecessor({ baseId, restartEpoch, replacePid }: HotRestartOptions): Predecessor | null {
	if (replacePid !== null) {
		const found = takeSockets(pidName(replacePid));
		if (found !== null) return found;
		throw new WeftError('hand_over_failed', `process ${replacePid} is no proxy that can be replaced`);
	}
	if (restartEpoch === null || restartEpoch === 0) return null;
	const found = takeSockets(baseName(baseId ?? 0));
	if (found !== null) return found;
	const message = `--restart-epoch ${restartEpoch}: there is no proxy with base id ${baseId ?? 0} to take over from`;
	throw new WeftError('hand_over_failed', message);
}

function pidName(pid: number): string {
	return `weft-hot-restart-pid-${pid}`;
}

/** Of this user: two users may have the same base id. */
function baseName(baseId: number): string {
	return `weft-hot-restart-base-${process.getuid?.() ?? 0}-${baseId}`;
}
