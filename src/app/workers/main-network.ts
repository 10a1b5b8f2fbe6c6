// The network of the main process when workers serve: it takes the addresses, keeps the listening sockets
// for as long as their listeners live, and accepts nothing. So a socket outlives the worker that serves
// it, with the connections that wait in its queue.

import type { HandedSockets, SocketGroup } from '../../net/handed-sockets.ts';
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
} from '../../net/network.ts';
import { closeDescriptor } from '../../net/socket-passing.ts';
import type { SystemNetwork } from '../../net/system-network.ts';
import { removeSocketFile, socketInode } from '../../net/unix-socket-file.ts';
import type { Clock } from '../../std/clock.ts';

/**
 * A listener that takes the address of one that has just gone gets its sockets: workers, which have them open too,
 * may not have come so far.
 */
const PARKED_MS = 100;

interface HeldGroup extends SocketGroup {
	/** Of a unix socket's file. */
	readonly inode: number;
}

export class MainNetwork implements Network {
	private readonly open = new Set<HeldGroup>();
	private readonly parked = new Map<string, HeldGroup>();
	private ownsFiles = true;

	/**
	 * @param workers how many sockets share a port
	 * @param onOpened sockets that workers need from now on
	 */
	constructor(
		private readonly network: SystemNetwork,
		private readonly handed: HandedSockets | null,
		private readonly workers: number,
		private readonly onOpened: (group: SocketGroup) => void,
	) {}

	get clock(): Clock {
		return this.network.clock;
	}

	/** What is listened on now. The descriptors stay this network's. */
	listening(): SocketGroup[] {
		return [...this.open];
	}

	/** Another process listens on the same sockets from now on. */
	leaveSocketFiles(): void {
		this.ownsFiles = false;
	}

	listen(options: ListenOptions): Listener {
		const group = this.socketsFor(options);
		this.open.add(group);
		try {
			this.onOpened(group);
		} catch (error) {
			this.open.delete(group);
			this.release(group);
			throw error;
		}
		let isClosed = false;
		return {
			address: group.bound,
			// Each worker pauses its own.
			pauseAccepting: () => true,
			resumeAccepting: () => {},
			close: () => {
				if (isClosed) return;
				isClosed = true;
				this.open.delete(group);
				this.park(group);
			},
		};
	}

	connect(options: ConnectOptions, handler: ConnectionHandler): Connection {
		return this.network.connect(options, handler);
	}

	resolve(name: string): Promise<ResolvedName> {
		return this.network.resolve(name);
	}

	/** Closes what has been parked. */
	close(): void {
		for (const group of [...this.parked.values()]) this.release(group);
	}

	private socketsFor(options: ListenOptions): HeldGroup {
		const { address } = options;
		const parked = this.parked.get(addressKey(address));
		if (parked !== undefined) {
			this.parked.delete(addressKey(address));
			return { ...parked, asked: address };
		}
		const group = this.handed?.take(address) ?? this.network.makeSockets(options, this.workers);
		return { ...group, inode: group.bound.kind === 'pipe' ? socketInode(group.bound.path) : 0 };
	}

	private park(group: HeldGroup): void {
		const key = addressKey(group.bound);
		const before = this.parked.get(key);
		if (before !== undefined) this.release(before);
		this.parked.set(key, group);
		this.clock.after(PARKED_MS, () => {
			if (this.parked.get(key) === group) this.release(group);
		});
	}

	private release(group: HeldGroup): void {
		const key = addressKey(group.bound);
		if (this.parked.get(key) === group) this.parked.delete(key);
		for (const fd of group.fds) closeDescriptor(fd);
		if (group.bound.kind === 'pipe' && this.ownsFiles) removeSocketFile(group.bound.path, group.inode);
	}
}

export function addressKey(address: Address): string {
	return `${address.kind === 'ip' ? (address.networkNamespace ?? '') : ''} ${formatAddress(address)}`;
}
