// Which instance has which index, and with it its block of loopback addresses, on this machine. An
// index belongs to the process that asked for it (`weft run`) for as long as that lives, also while
// the control plane is away: that is why it is remembered in the store. The next index after the last
// given is taken first, so that an address is not another instance's right after its death, while
// somebody may still send to it. Other meshes on this machine give out the same addresses: what is
// listened on already is passed over, and a new mesh begins anywhere, so that two rarely try the same.

import type { InstanceGrant, InstanceGrants } from '../../control/instance-grants.ts';
import { WeftError } from '../../std/errors.ts';
import type { Store } from '../../store/store.ts';
import { INSTANCE_INDEX_MAX, instanceAddress } from '../instance-addresses.ts';
import { stampIsAlive } from '../process-stamp.ts';
import { blocksInUse } from './blocks-in-use.ts';

interface Owner {
	readonly instance: string;
	/** Of the process that asked; empty when it could not be seen. */
	readonly stamp: string;
	/** Null: unknown. */
	readonly joined: JoinedWorkload | null;
}

/** What an instance joined as; its address is its index's. */
export type JoinedWorkload = Omit<InstanceGrant, 'address'>;

/** What there is on this machine beside this mesh. */
export interface MachineBlocks {
	/** The index to begin with, 1…INSTANCE_INDEX_MAX, in a mesh that has given none yet. */
	first(): number;
	/** Indexes on whose addresses something listens. */
	inUse(): ReadonlySet<number>;
}

const THIS_MACHINE: MachineBlocks = {
	first: () => 1 + Math.floor(Math.random() * INSTANCE_INDEX_MAX),
	inUse: blocksInUse,
};

const PREFIX = '/weft.dev/InstanceIndex/-/';

export class InstanceIndexes implements InstanceGrants {
	private last = 0;

	private constructor(
		private readonly store: Store,
		private readonly owners: Map<number, Owner>,
		/** Says whether an instance is connected, by its name; for owners that cannot be seen. */
		private readonly isLive: (instance: string) => boolean,
		private readonly stampAlive: (stamp: string) => boolean,
		private readonly machine: MachineBlocks,
	) {}

	static async open(
		store: Store,
		isLive: (instance: string) => boolean,
		stampAlive: (stamp: string) => boolean = stampIsAlive,
		machine: MachineBlocks = THIS_MACHINE,
	): Promise<InstanceIndexes> {
		const owners = new Map<number, Owner>();
		for (const { key, value } of (await store.list(PREFIX)).entries) {
			owners.set(Number(key.slice(PREFIX.length)), JSON.parse(value) as Owner);
		}
		const indexes = new InstanceIndexes(store, owners, isLive, stampAlive, machine);
		indexes.last = owners.size > 0 ? Math.max(...owners.keys()) : machine.first() - 1;
		return indexes;
	}

	/** @throws WeftError `no_index_left` */
	async take(instance: string, stamp: string, joined: JoinedWorkload | null = null): Promise<number> {
		const inUse = this.machine.inUse();
		for (let step = 1; step <= INSTANCE_INDEX_MAX; step++) {
			const index = ((this.last + step - 1) % INSTANCE_INDEX_MAX) + 1;
			if (inUse.has(index) || this.isTaken(index)) continue;
			this.last = index;
			await this.put(index, { instance, stamp, joined });
			return index;
		}
		throw new WeftError('no_index_left', `${INSTANCE_INDEX_MAX} instances run on this machine; no more have addresses`);
	}

	/** The same again, for an instance that had it. @throws WeftError `conflict` when it is another's by now */
	async retake(index: number, instance: string, stamp: string, joined: JoinedWorkload | null = null): Promise<void> {
		const owner = this.owners.get(index);
		if (owner !== undefined && owner.instance !== instance && this.isTaken(index)) {
			throw new WeftError('conflict', `the addresses of ${instance} are those of ${owner.instance} by now`);
		}
		for (const [other, { instance: name }] of this.owners) {
			if (name !== instance || other === index) continue;
			if (this.isTaken(other)) throw new WeftError('conflict', `${instance} has other addresses`);
			// One name is one instance.
			this.owners.delete(other);
			await this.store.remove(`${PREFIX}${other}`, { kind: 'any' });
		}
		await this.put(index, { instance, stamp, joined });
	}

	/** Whether an instance of that name has an index. */
	has(instance: string): boolean {
		for (const [index, owner] of this.owners) if (owner.instance === instance && this.isTaken(index)) return true;
		return false;
	}

	find(namespace: string, instance: string): InstanceGrant | null {
		for (const [index, { instance: name, joined }] of this.owners) {
			if (name !== instance || joined?.namespace !== namespace) continue;
			return { ...joined, address: instanceAddress(index) };
		}
		return null;
	}

	private isTaken(index: number): boolean {
		const owner = this.owners.get(index);
		if (owner === undefined) return false;
		return (owner.stamp !== '' && this.stampAlive(owner.stamp)) || this.isLive(owner.instance);
	}

	private async put(index: number, owner: Owner): Promise<void> {
		// In memory first: two that ask at the same time must not be given the same.
		this.owners.set(index, owner);
		await this.store.put(`${PREFIX}${index}`, JSON.stringify(owner), { kind: 'any' });
	}
}
