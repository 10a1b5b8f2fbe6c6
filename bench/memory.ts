// Resident memory of one proxy in three states.

import { freePort } from '../test/support/free-ports.ts';
import { writeHop } from './bootstraps.ts';
import { type Child, stop, type Usage, untilListening, usageOf } from './children.ts';
import { type ContenderName, startFromBootstrap, startHaproxy, startNginx } from './contenders.ts';
import type { World } from './shapes.ts';

const COUNT = 1000;
const REQUEST = 'GET / HTTP/1.1\r\nHost: bench\r\n\r\n';

export interface MemoryOf {
	readonly name: string;
	readonly idle: Usage;
	/** With 1000 connections that have each made one request. */
	readonly connected: Usage;
	/** With 1000 clusters and as many routes; null where there is nothing alike. */
	readonly clusters: Usage | null;
}

export type MemoryReport = readonly MemoryOf[];

export async function measureMemory(
	world: World,
	names: readonly ContenderName[],
	settleMs: number,
): Promise<MemoryReport> {
	const report: MemoryOf[] = [];
	for (const name of names) {
		const children: Child[] = [];
		try {
			const listenPort = freePort();
			children.push(startOne(world, name, listenPort, 0));
			await untilListening(listenPort, children);
			await Bun.sleep(settleMs);
			const idle = usageOf(children);
			const release = await connectMany(listenPort);
			await Bun.sleep(settleMs);
			const connected = usageOf(children);
			release();
			let clusters: Usage | null = null;
			if (name === 'weft' || name === 'Envoy') {
				const anotherPort = freePort();
				const another = startOne(world, name, anotherPort, COUNT);
				children.push(another);
				await untilListening(anotherPort, [another]);
				await Bun.sleep(settleMs);
				clusters = usageOf([another]);
			}
			report.push({ name, idle, connected, clusters });
		} finally {
			await stop(children);
		}
	}
	return report;
}

function startOne(world: World, name: ContenderName, listenPort: number, moreClusters: number): Child {
	const targetPort = world.upstream.http1Port;
	if (name === 'HAProxy') return startHaproxy(world.directory, { listenPort, targetPort });
	if (name === 'nginx') return startNginx(world.directory, { listenPort, targetPort });
	const file = writeHop(world.directory, `memory-${name}-${moreClusters}`, { listenPort, targetPort, moreClusters });
	return startFromBootstrap(name, file, 1 + (moreClusters > 0 ? 1 : 0));
}

/** One request on each of 1000 connections; they stay open until the returned function is called. */
async function connectMany(port: number): Promise<() => void> {
	const closers: (() => void)[] = [];
	for (let i = 0; i < COUNT; i++) {
		await new Promise<void>((resolve, reject) => {
			Bun.connect({
				hostname: '127.0.0.1',
				port,
				socket: {
					open(socket) {
						closers.push(() => socket.end());
						socket.write(REQUEST);
					},
					data() {
						resolve();
					},
					close() {
						reject(new Error('a connection was closed before it was answered'));
					},
					connectError(_, error) {
						reject(error);
					},
				},
			}).catch(reject);
		});
	}
	return () => {
		for (const close of closers) close();
	};
}
