// Which instances' blocks of addresses something on this machine listens on already: the sidecars of
// another mesh (each control plane counts its instances by itself), or anything else. Linux's
// /proc/net/tcp lists the sockets of all users in this network namespace.

import { readFileSync } from 'node:fs';
import { instanceIndexOfAddress } from '../instance-addresses.ts';

const LISTENING = '0A';

/** Indexes of instances (`instanceAddress`); empty where /proc/net/tcp cannot be read. */
export function blocksInUse(): ReadonlySet<number> {
	try {
		return blocksListenedOn(readFileSync('/proc/net/tcp', 'latin1'));
	} catch {
		return new Set();
	}
}

/** `table` is in the form of /proc/net/tcp (proc_net_tcp(5)): `sl local_address rem_address st …`. */
export function blocksListenedOn(table: string): ReadonlySet<number> {
	const indexes = new Set<number>();
	for (const line of table.split('\n')) {
		const [, local = '', , state] = line.trim().split(/\s+/, 4);
		if (state !== LISTENING) continue;
		const index = instanceIndexOfAddress(addressOf(local));
		if (index !== null) indexes.add(index);
	}
	return indexes;
}

/** `0108807F:1F90` is 127.128.8.1 port 8080: the address is in the machine's (little-endian) order. */
function addressOf(local: string): string {
	const bytes = local.slice(0, 8).match(/../g) ?? [];
	return bytes
		.map((hex) => Number.parseInt(hex, 16))
		.reverse()
		.join('.');
}
