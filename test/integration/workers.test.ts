// `weft proxy --concurrency N` as processes: connections are spread, the admin interface answers for all,
// a worker that dies is replaced, and nobody outlives the main process.

import { afterAll, afterEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../support/free-ports.ts';
import { SimpleAds } from '../support/simple-ads.ts';
import { KeptConnection, SlowUpstream, SteadyClients } from '../support/steady-clients.ts';
import { httpListener, staticCluster } from '../support/test-proxy.ts';
import { childrenOf, processGone, WeftProcess } from '../support/weft-process.ts';

const TIME_LIMIT_MS = 120_000;
const directory = mkdtempSync(join(tmpdir(), 'weft-workers-'));
const closers: (() => void | Promise<void>)[] = [];
let files = 0;

afterEach(async () => {
	for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function start(bootstrap: object, ...args: readonly string[]): WeftProcess {
	const file = join(directory, `${files++}.json`);
	writeFileSync(file, JSON.stringify(bootstrap));
	const weft = new WeftProcess(['proxy', '-c', file, ...args]);
	closers.push(() => weft.kill());
	return weft;
}

function workersOf(weft: WeftProcess): number[] {
	return childrenOf(weft.pid, '--worker');
}

async function eventually<T>(what: () => T | Promise<T>, holds: (value: T) => boolean): Promise<T> {
	const deadline = Date.now() + 30_000;
	for (;;) {
		const value = await what();
		if (holds(value)) return value;
		if (Date.now() > deadline) throw new Error(`it did not happen: ${JSON.stringify(value)}`);
		await Bun.sleep(20);
	}
}

function adminAt(port: number): object {
	return { address: { socket_address: { address: '127.0.0.1', port_value: port } } };
}

function routesTo(cluster: string): object {
	return {
		name: 'routes',
		virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
	};
}

async function get(port: number, path: string): Promise<string> {
	const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
	return await response.text();
}

async function stat(admin: number, name: string): Promise<number> {
	const line = (await get(admin, '/stats')).split('\n').find((one) => one.startsWith(`${name}: `));
	return line === undefined ? Number.NaN : Number(line.slice(name.length + 2));
}

interface Bed {
	readonly weft: WeftProcess;
	readonly port: number;
	readonly admin: number;
	readonly upstream: SlowUpstream;
	readonly bootstrap: object;
}

async function bed(workers: number, ...args: readonly string[]): Promise<Bed> {
	const upstream = await SlowUpstream.start();
	closers.push(() => upstream.stop());
	const [port, admin] = freePorts(2);
	const bootstrap = {
		admin: adminAt(admin!),
		static_resources: {
			listeners: [httpListener(port!, { route_config: routesTo('up') })],
			clusters: [staticCluster('up', [upstream.port])],
		},
	};
	const weft = start(bootstrap, '--concurrency', String(workers), ...args);
	await weft.says(/ ready$/m);
	return { weft, port: port!, admin: admin!, upstream, bootstrap };
}

describe('workers', () => {
	test(
		'share the connections, and the admin interface answers for all of them',
		async () => {
			const { weft, port, admin } = await bed(3);
			expect(await get(admin, '/ready')).toBe('LIVE\n');
			expect(workersOf(weft)).toHaveLength(3);
			for (let i = 0; i < 60; i++) expect(await get(port, `/${i}`)).toBe(`/${i}`);
			expect(await stat(admin, 'http.test.downstream_rq_total')).toBe(60);
			expect(await stat(admin, `listener.127.0.0.1_${port}.downstream_cx_total`)).toBe(60);
			expect(await stat(admin, 'cluster.up.membership_total')).toBe(1);
			expect(await stat(admin, 'listener_manager.total_listeners_active')).toBe(1);
			expect(await stat(admin, 'server.concurrency')).toBe(3);
			const prometheus = await get(admin, '/stats/prometheus');
			expect(prometheus).toContain('envoy_cluster_upstream_rq_time_count{envoy_cluster_name="up"} 60');
			const clusters = await get(admin, '/clusters');
			expect(clusters).toMatch(/::rq_total::60\n/);
			// One worker keeps one connection for requests that come one by one: as many as workers were used.
			const connections = Number(/::cx_total::(\d+)\n/.exec(clusters)![1]);
			expect(connections).toBeGreaterThan(1);
			expect(connections).toBeLessThanOrEqual(3);
			expect(await get(admin, '/listeners')).toContain(`127.0.0.1:${port}`);
			const logging = await fetch(`http://127.0.0.1:${admin}/logging?level=debug`, { method: 'POST' });
			expect(await logging.text()).toContain('debug');
			await fetch(`http://127.0.0.1:${admin}/healthcheck/fail`, { method: 'POST' });
			expect(await get(admin, '/ready')).toBe('DRAINING\n');
			await fetch(`http://127.0.0.1:${admin}/drain_listeners`, { method: 'POST' });
			await eventually(
				() => get(port, '/').catch(() => 'refused'),
				(answer) => answer === 'refused',
			);
			await fetch(`http://127.0.0.1:${admin}/quitquitquit`, { method: 'POST' });
			expect(await weft.exited).toBe(0);
		},
		TIME_LIMIT_MS,
	);

	test(
		'one that crashes is replaced and counted; nobody is refused, and counters do not fall',
		async () => {
			const { weft, port, admin } = await bed(2);
			const clients = new SteadyClients(port, { fresh: 4, kept: 0 });
			await clients.moreAnswers(50);
			const before = await stat(admin, 'http.test.downstream_rq_total');
			for (let crash = 1; crash <= 3; crash++) {
				process.kill(workersOf(weft)[0]!, 'SIGKILL');
				await eventually(
					() => stat(admin, 'server.worker_restarts'),
					(restarts) => restarts === crash,
				);
				await eventually(
					() => get(admin, '/ready'),
					(state) => state === 'LIVE\n',
				);
			}
			await clients.stop();
			// What was under way in the worker is lost with it; what waited in its queue is not.
			expect(clients.failures.filter((failure) => failure.includes('ECONNREFUSED'))).toEqual([]);
			expect(clients.failures.length).toBeLessThanOrEqual(3 * 4);
			expect(await stat(admin, 'http.test.downstream_rq_total')).toBeGreaterThanOrEqual(before);
			expect(weft.output).toContain('ended="signal SIGKILL"');
		},
		TIME_LIMIT_MS,
	);

	test(
		'one that dies where listeners were drained serves those that were not',
		async () => {
			const [inbound, outbound, admin] = freePorts(3);
			const upstream = await SlowUpstream.start();
			closers.push(() => upstream.stop());
			const manager = { route_config: routesTo('up') };
			const weft = start(
				{
					admin: adminAt(admin!),
					static_resources: {
						listeners: [
							httpListener(inbound!, manager, { name: 'in', traffic_direction: 'INBOUND' }),
							httpListener(outbound!, manager, { name: 'out', traffic_direction: 'OUTBOUND' }),
						],
						clusters: [staticCluster('up', [upstream.port])],
					},
				},
				'--concurrency',
				'2',
			);
			await weft.says(/ ready$/m);
			await fetch(`http://127.0.0.1:${admin}/drain_listeners?inboundonly`, { method: 'POST' });
			for (const worker of workersOf(weft)) process.kill(worker, 'SIGKILL');
			await eventually(
				() => stat(admin!, 'server.worker_restarts'),
				(restarts) => restarts >= 2,
			);
			await eventually(
				() => get(admin!, '/ready'),
				(state) => state === 'LIVE\n',
			);
			for (let i = 0; i < 10; i++) expect(await get(outbound!, `/${i}`)).toBe(`/${i}`);
			expect(await get(inbound!, '/').catch(() => 'refused')).toBe('refused');
			expect(await stat(admin!, 'server.worker_restarts')).toBe(2);
		},
		TIME_LIMIT_MS,
	);

	test(
		'one that is stopped in order is replaced without a lost request',
		async () => {
			const { weft, port, admin } = await bed(2);
			const clients = new SteadyClients(port, { fresh: 4, kept: 4 });
			await clients.moreAnswers(50);
			for (let round = 0; round < 3; round++) {
				const [worker] = workersOf(weft);
				process.kill(worker!, 'SIGTERM');
				await processGone(worker!);
				await eventually(
					() => get(admin, '/ready'),
					(state) => state === 'LIVE\n',
				);
			}
			await clients.moreAnswers(50);
			await clients.stop();
			expect(clients.failures).toEqual([]);
			expect(await stat(admin, 'server.worker_restarts')).toBe(0);
			expect(await stat(admin, 'http.test.downstream_rq_total')).toBe(clients.answered);
		},
		TIME_LIMIT_MS,
	);

	test(
		'SIGTERM lets what is under way end; a killed main process leaves nobody behind',
		async () => {
			const { weft, port, upstream } = await bed(2);
			const kept = [new KeptConnection(port), new KeptConnection(port), new KeptConnection(port)];
			for (const one of kept) closers.push(() => one.close());
			const seen = upstream.requests;
			const answers = kept.map((one) => one.ask('/late'));
			await eventually(
				() => upstream.requests,
				(requests) => requests === seen + 3,
			);
			const workers = workersOf(weft);
			weft.signal('SIGTERM');
			for (const answer of await Promise.all(answers)) expect(answer).toStartWith('HTTP/1.1 200');
			expect(await weft.exited).toBe(0);
			for (const worker of workers) await processGone(worker);

			const other = await bed(2);
			const orphans = workersOf(other.weft);
			expect(orphans).toHaveLength(2);
			other.weft.signal('SIGKILL');
			for (const orphan of orphans) await processGone(orphan);
		},
		TIME_LIMIT_MS,
	);

	test(
		'hot restart to another number of workers loses no request',
		async () => {
			const { weft, port, admin, bootstrap } = await bed(2);
			const clients = new SteadyClients(port, { fresh: 4, kept: 4 });
			await clients.moreAnswers(50);
			let current = weft;
			for (const workers of [3, 1, 2]) {
				const next = start(bootstrap, '--concurrency', String(workers), '--replace', String(current.pid));
				await next.says(/ ready$/m);
				expect(await current.exited).toBe(0);
				await clients.moreAnswers(100);
				current = next;
			}
			await clients.stop();
			expect(clients.failures).toEqual([]);
			const info = JSON.parse(await get(admin, '/server_info')) as { command_line_options: { restart_epoch: number } };
			expect(info.command_line_options.restart_epoch).toBe(3);
		},
		TIME_LIMIT_MS,
	);

	test(
		'one stream to the control plane serves all; a resource that is refused is refused once',
		async () => {
			const ads = await SimpleAds.start();
			const upstream = await SlowUpstream.start();
			closers.push(
				() => ads.stop(),
				() => upstream.stop(),
			);
			const [port, moved, admin] = freePorts(3);
			const rds = { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: 'main' };
			const eds = { eds_config: { ads: {}, resource_api_version: 'V3' } };
			ads.set('cluster', 'up', { name: 'up', type: 'EDS', connect_timeout: '1s', eds_cluster_config: eds });
			ads.set('endpoints', 'up', {
				cluster_name: 'up',
				endpoints: [
					{
						lb_endpoints: [
							{
								endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: upstream.port } } },
							},
						],
					},
				],
			});
			ads.set('listener', 'test', httpListener(port!, { rds }));
			ads.set('routes', 'main', { ...routesTo('up'), name: 'main' });
			const grpc = { envoy_grpc: { cluster_name: 'xds' } };
			const http2 = {
				'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
					'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
					explicit_http_config: { http2_protocol_options: {} },
				},
			};
			const weft = start(
				{
					admin: adminAt(admin!),
					node: { id: 'one', cluster: 'test' },
					dynamic_resources: {
						ads_config: { api_type: 'DELTA_GRPC', transport_api_version: 'V3', grpc_services: [grpc] },
						cds_config: { ads: {}, resource_api_version: 'V3' },
						lds_config: { ads: {}, resource_api_version: 'V3' },
					},
					static_resources: {
						clusters: [staticCluster('xds', [ads.port], { typed_extension_protocol_options: http2 })],
					},
				},
				'--concurrency',
				'2',
			);
			await weft.says(/ ready$/m);
			for (let i = 0; i < 20; i++) expect(await get(port!, `/${i}`)).toBe(`/${i}`);
			expect(ads.streams.size).toBe(1);

			ads.set('listener', 'bad', { ...httpListener(0, { rds }), name: 'bad', address: {} });
			await eventually(
				() => ads.refused,
				(refused) => refused.length > 0,
			);
			expect(ads.refused).toHaveLength(1);
			expect(weft.output).not.toContain('a worker refuses');

			// A worker that starts later knows what the others know.
			const [worker] = workersOf(weft);
			process.kill(worker!, 'SIGKILL');
			await eventually(
				() => get(admin!, '/ready'),
				(state) => state === 'LIVE\n',
			);
			ads.set('routes', 'main', {
				name: 'main',
				virtual_hosts: [
					{
						name: 'all',
						domains: ['*'],
						routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'new' } } }],
					},
				],
			});
			await eventually(
				async () => Promise.all(Array.from({ length: 12 }, () => get(port!, '/'))),
				(answers) => answers.every((answer) => answer === 'new'),
			);

			// The same listener elsewhere, then none.
			ads.set('listener', 'test', httpListener(moved!, { rds }));
			await eventually(
				() => get(moved!, '/').catch(() => ''),
				(answer) => answer === 'new',
			);
			ads.remove('listener', 'test');
			await eventually(
				() => get(moved!, '/').catch(() => 'refused'),
				(answer) => answer === 'refused',
			);
			expect(ads.streamsEver).toBe(1);
			weft.signal('SIGTERM');
			expect(await weft.exited).toBe(0);
		},
		TIME_LIMIT_MS,
	);
});
