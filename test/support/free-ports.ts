// Ports for programs that cannot say which one they took.

import { type AddressInfo, createServer } from 'node:net';

const given = new Set<number>();

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
	return (await freePorts(1))[0]!;
}

/** Several of them. Each is given once. */
export async function freePorts(count: number): Promise<number[]> {
	const ports: number[] = [];
	while (ports.length < count) {
		const servers = Array.from({ length: count - ports.length }, () => createServer());
		for (const server of servers) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
		const found = servers.map((server) => (server.address() as AddressInfo).port);
		for (const server of servers) await new Promise((resolve) => server.close(resolve));
		for (const port of found) {
			if (!given.has(port)) ports.push(port);
			given.add(port);
		}
	}
	return ports;
}
