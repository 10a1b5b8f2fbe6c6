// A real proxy under a storm of connections, and at the limit of its descriptors.

import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../support/free-ports.ts';
import { eventually } from '../support/mesh-control.ts';
import { RawClient } from '../support/raw-client.ts';
import { httpListener } from '../support/test-proxy.ts';
import { WeftProcess } from '../support/weft-process.ts';

const GET = Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
/** Generous: other work may have the machine. */
const LIMIT_MS = 60_000;
const DESCRIPTORS = 160;

let directory = '';
const clients: RawClient[] = [];
let weft: WeftProcess;
let port = 0;
let adminPort = 0;

afterEach(async () => {
	for (const client of clients.splice(0)) client.destroy();
	await weft.kill();
	rmSync(directory, { recursive: true, force: true });
});

async function start(into: readonly string[] = []): Promise<void> {
	[port, adminPort] = freePorts(2) as [number, number];
	const route = { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'fine' } } };
	const bootstrap = {
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
		static_resources: {
			listeners: [
				httpListener(port, { route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes: [route] }] } }),
			],
		},
	};
	directory = mkdtempSync(join(tmpdir(), 'weft-storm-'));
	const file = join(directory, 'bootstrap.json');
	writeFileSync(file, JSON.stringify(bootstrap));
	weft = new WeftProcess(['proxy', '-c', file], {}, into);
	await weft.says(/main: ready/);
}

async function connect(): Promise<RawClient> {
	const client = await RawClient.connect(port);
	clients.push(client);
	return client;
}

/** Whether it was answered; false: the connection was closed. */
async function isServed(client: RawClient): Promise<boolean> {
	client.received = '';
	await client.send([GET]);
	await client.until(() => client.closed || client.received.endsWith('fine'), LIMIT_MS);
	return client.received.startsWith('HTTP/1.1 200');
}

async function stat(name: string): Promise<number> {
	const text = await (await fetch(`http://127.0.0.1:${adminPort}/stats`)).text();
	return Number(new RegExp(`${name}: (\\d+)`).exec(text)?.[1] ?? Number.NaN);
}

test(
	'in a storm of connections all are served, and who was there before goes on',
	async () => {
		await start();
		const before = await connect();
		expect(await isServed(before)).toBe(true);
		let isOver = false;
		let answered = 0;
		const steady = (async () => {
			while (!isOver) {
				expect(await isServed(before)).toBe(true);
				answered += 1;
			}
		})();
		const storm = await Promise.all(Array.from({ length: 2000 }, async () => isServed(await connect())));
		isOver = true;
		await steady;
		expect(storm.filter((served) => served)).toHaveLength(2000);
		expect(answered).toBeGreaterThan(0);
		expect(await stat('downstream_global_cx_overflow')).toBe(0);
	},
	2 * LIMIT_MS,
);

test(
	'short of descriptors, connections are closed at once; others go on, and it recovers',
	async () => {
		await start(['/bin/sh', '-c', `ulimit -n ${DESCRIPTORS}; exec "$@"`, 'sh']);
		const before = await connect();
		expect(await isServed(before)).toBe(true);
		const many: RawClient[] = [];
		for (let i = 0; i < 2 * DESCRIPTORS; i++) many.push(await connect());
		await eventually('connections are turned away', async () => {
			return (await stat('downstream_global_cx_overflow')) > DESCRIPTORS || null;
		});
		// The reserve is there for upstream connections, and the admin interface has just answered.
		const open = readdirSync(`/proc/${weft.pid}/fd`).length;
		expect(open).toBeGreaterThan(DESCRIPTORS / 2);
		expect(open).toBeLessThan(DESCRIPTORS - 10);
		expect(await isServed(before)).toBe(true);
		const kept = many.filter((client) => !client.closed);
		expect(kept.length).toBeGreaterThan(10);
		expect(await isServed(kept[0]!)).toBe(true);
		for (const client of many) client.destroy();
		await eventually('there is room again', async () => (await isServed(await connect())) || null);
		expect(await isServed(before)).toBe(true);
	},
	2 * LIMIT_MS,
);
