// Hot restart of the real command: one process after the other takes the place of the one before, while
// clients go on asking. Not one request is lost.

import { afterAll, afterEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../support/free-ports.ts';
import { KeptConnection, SlowUpstream, SteadyClients } from '../support/steady-clients.ts';
import { httpListener, staticCluster } from '../support/test-proxy.ts';
import { processGone, WeftProcess, weftOutput } from '../support/weft-process.ts';

const TIME_LIMIT_MS = 120_000;
const directory = mkdtempSync(join(tmpdir(), 'weft-restart-'));
const closers: (() => void | Promise<void>)[] = [];

afterEach(async () => {
	for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function start(...args: readonly string[]): WeftProcess {
	const weft = new WeftProcess(['proxy', ...args]);
	closers.push(() => weft.kill());
	return weft;
}

interface Bed {
	readonly config: string;
	readonly port: number;
	readonly admin: number;
	readonly socket: string;
	/** One that no other test has. */
	readonly baseId: string;
}

let beds = 0;

/** A configuration with a listener on a port, one on a unix socket and an admin interface. */
async function bed(): Promise<Bed> {
	const upstream = await SlowUpstream.start();
	closers.push(() => upstream.stop());
	const [port, admin] = freePorts(2);
	const name = `bed-${beds++}`;
	const socket = join(directory, `${name}.sock`);
	const routes = {
		name: 'routes',
		virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'up' } }] }],
	};
	const tcp = httpListener(port!, { route_config: routes });
	const unix = { ...httpListener(0, { route_config: routes }), name: 'unix', address: { pipe: { path: socket } } };
	const config = join(directory, `${name}.json`);
	const bootstrap = {
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: admin } } },
		static_resources: { listeners: [tcp, unix], clusters: [staticCluster('up', [upstream.port])] },
	};
	writeFileSync(config, JSON.stringify(bootstrap));
	return { config, port: port!, admin: admin!, socket, baseId: String(process.pid * 16 + beds) };
}

interface ServerInfo {
	readonly state: string;
	readonly command_line_options: { readonly restart_epoch: number };
}

async function serverInfo(port: number): Promise<ServerInfo> {
	return (await (await fetch(`http://127.0.0.1:${port}/server_info`)).json()) as ServerInfo;
}

describe('hot restart', () => {
	test(
		'several in a row lose no request, on new connections or kept ones',
		async () => {
			const { config, port, admin, baseId, socket } = await bed();
			const common = ['-c', config, '--base-id', baseId, '--parent-shutdown-time-s', '60'];
			let current = start(...common, '--restart-epoch', '0');
			await current.says(/ ready/);
			const clients = new SteadyClients(port, { fresh: 4, kept: 4 });
			await clients.moreAnswers(50);
			for (let epoch = 1; epoch <= 4; epoch++) {
				// One that says nothing until its process is long on its way out.
				const idle = new KeptConnection(port);
				closers.push(() => idle.close());
				await idle.ask('/early');
				const next = start(...common, '--restart-epoch', String(epoch));
				await next.says(/ ready/);
				await current.says(/another process has taken over/);
				await clients.moreAnswers(100);
				const late = await idle.ask('/late');
				expect(late).toStartWith('HTTP/1.1 200');
				if (!/connection: close/i.test(late)) throw new Error(`it was answered by the new one: ${late}`);
				expect(await current.exited).toBe(0);
				current = next;
				const info = await serverInfo(admin);
				expect(info.state).toBe('LIVE');
				expect(info.command_line_options.restart_epoch).toBe(epoch);
				const overUnix = await fetch('http://x/unix', { unix: socket, headers: { connection: 'close' } });
				expect(await overUnix.text()).toBe('/unix');
			}
			await clients.moreAnswers(50);
			await clients.stop();
			expect(clients.failures).toEqual([]);
			expect(clients.closedInOrder).toBeGreaterThanOrEqual(4);
		},
		TIME_LIMIT_MS,
	);

	test(
		'--replace takes the place of a process by its id; another one that never serves changes nothing',
		async () => {
			const { config, port, admin } = await bed();
			const old = start('-c', config);
			await old.says(/ ready/);
			const clients = new SteadyClients(port, { fresh: 2, kept: 2 });
			await clients.moreAnswers(20);
			const broken = join(directory, 'broken.json');
			writeFileSync(
				broken,
				JSON.stringify({ static_resources: { clusters: [staticCluster('x', [1]), staticCluster('x', [1])] } }),
			);
			const failed = await weftOutput('proxy', '-c', broken, '--replace', String(old.pid));
			expect(failed.exitCode).toBe(2);
			await clients.moreAnswers(20);
			const next = start('-c', config, '--replace', String(old.pid));
			await next.says(/ ready/);
			expect(await old.exited).toBe(0);
			await clients.moreAnswers(20);
			await clients.stop();
			expect(clients.failures).toEqual([]);
			expect((await serverInfo(admin)).command_line_options.restart_epoch).toBe(1);
			next.signal('SIGTERM');
			expect(await next.exited).toBe(0);
			await processGone(next.pid);
		},
		TIME_LIMIT_MS,
	);

	test(
		'what cannot be taken over is said',
		async () => {
			const { config, baseId } = await bed();
			const nobody = await weftOutput('proxy', '-c', config, '--restart-epoch', '1', '--base-id', baseId);
			expect(nobody.exitCode).toBe(1);
			expect(nobody.output).toContain(`no proxy with base id ${baseId} to take over from`);
			const noProxy = await weftOutput('proxy', '-c', config, '--replace', String(process.pid));
			expect(noProxy.output).toContain('is no proxy that can be replaced');
			const first = start('-c', config, '--base-id', baseId);
			await first.says(/ ready/);
			const twin = await weftOutput('proxy', '-c', config, '--base-id', baseId);
			expect(twin.exitCode).toBe(1);
			expect(twin.output).toContain(`another proxy has base id ${baseId}`);
			const closed = start(
				'-c',
				config,
				'--disable-hot-restart',
				'--config-yaml',
				'{static_resources: {listeners: []}}',
			);
			closed.signal('SIGTERM');
			const refused = await weftOutput('proxy', '-c', config, '--disable-hot-restart', '--replace', '1');
			expect(refused.exitCode).toBe(2);
		},
		TIME_LIMIT_MS,
	);
});
