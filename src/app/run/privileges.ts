// What this process may do beyond any user's rights: capabilities(7), and the ports it may listen on.

import { readFileSync } from 'node:fs';

export const CAP_NET_BIND_SERVICE = 10;
export const CAP_NET_ADMIN = 12;
export const CAP_SYS_ADMIN = 21;

const STATUS_FILE = '/proc/self/status';
const PORT_START_FILE = '/proc/sys/net/ipv4/ip_unprivileged_port_start';
/** The kernel's own. */
const PORT_START_DEFAULT = 1024;

/** Of the effective set. */
export function hasCapability(bit: number): boolean {
	const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(textOf(STATUS_FILE))?.[1];
	return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(bit)) & 1n) === 1n;
}

/** The lowest port on which this process, and a sidecar that it starts, may listen: 1 for root, else as a rule 1024. */
export function lowestPort(): number {
	return hasCapability(CAP_NET_BIND_SERVICE) ? 1 : unprivilegedPortStart(textOf(PORT_START_FILE));
}

/** `text`: of the kernel's `ip_unprivileged_port_start`. */
export function unprivilegedPortStart(text: string): number {
	const start = text.trim() === '' ? PORT_START_DEFAULT : Number(text);
	if (!Number.isInteger(start) || start < 0) return PORT_START_DEFAULT;
	// 0 says that all are free; no listener is on port 0.
	return Math.min(65_535, Math.max(1, start));
}

function textOf(file: string): string {
	try {
		return readFileSync(file, 'utf8');
	} catch {
		return '';
	}
}
