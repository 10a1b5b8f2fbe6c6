// Ports for programs that cannot say which one they took, of tests and benches. They are below those that the kernel gives to outgoing
// connections and to listeners without a port of their own, so that nobody takes one in between; of the files of tests
// that run at the same time, each begins elsewhere.

import { readFileSync } from 'node:fs';

const LOWEST = 12_000;
/** More than a file of tests asks for. */
const PORTS_OF_A_PROCESS = 128;

const END = firstOfKernel();
let next = LOWEST + ((process.pid * PORTS_OF_A_PROCESS) % (END - LOWEST));

/** A port of 127.0.0.1 that is free. */
export function freePort(): number {
	return freePorts(1)[0]!;
}

/** Several of them. Each is given once. */
export function freePorts(count: number): number[] {
	const ports: number[] = [];
	while (ports.length < count) {
		const port = next++;
		if (next >= END) next = LOWEST;
		if (isFree(port)) ports.push(port);
	}
	return ports;
}

function isFree(port: number): boolean {
	try {
		Bun.listen({ hostname: '127.0.0.1', port, exclusive: true, socket: { data() {} } }).stop(true);
		return true;
	} catch {
		return false;
	}
}

function firstOfKernel(): number {
	let first: number;
	try {
		first = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0]);
	} catch {
		// No Linux.
		return 32_768;
	}
	// A machine that gives nearly all of them has none that are safe: those below the usual range are then the least likely.
	return first > LOWEST + PORTS_OF_A_PROCESS ? first : 32_768;
}
