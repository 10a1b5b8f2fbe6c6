// Overload and limits on connections: weft and real Envoy, the same bootstrap, the same pressure.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../support/free-ports.ts';
import { eventually } from '../support/mesh-control.ts';
import { describeWithPeers } from '../support/peers.ts';
import { RawClient } from '../support/raw-client.ts';
import { httpListener, startRealEnvoy, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

const TYPE = 'type.googleapis.com/envoy.extensions';
const MONITOR = 'envoy.resource_monitors.injected_resource';
const GET = Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
const LIMIT_MS = 20_000;

const at = (name: string, value: number): object => ({ name, triggers: [{ name: MONITOR, threshold: { value } }] });

describeWithPeers(['envoy'], 'overload, as with Envoy', () => {
	const directory = mkdtempSync(join(tmpdir(), 'weft-overload-'));
	const file = join(directory, 'pressure');
	let adminPort = 0;
	let envoyPort = 0;
	let envoyLimitedPort = 0;
	let weftLimitedPort = 0;
	let weft: TestProxy;
	let envoy: { stop(): Promise<void> };

	beforeAll(async () => {
		adminPort = freePort();
		envoyPort = freePort();
		envoyLimitedPort = freePort();
		writeFileSync(file, '0');
		const routes = {
			route_config: {
				virtual_hosts: [
					{
						name: 'v',
						domains: ['*'],
						routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'fine' } } }],
					},
				],
			},
		};
		const bootstrap = (port: number, limitedPort: number): object => {
			const limited = httpListener(limitedPort, routes) as { filter_chains: { filters: object[] }[] };
			limited.filter_chains[0]!.filters.unshift({
				name: 'limit',
				typed_config: {
					'@type': `${TYPE}.filters.network.connection_limit.v3.ConnectionLimit`,
					stat_prefix: 'few',
					max_connections: 1,
					delay: '0.3s',
				},
			});
			return {
				admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
				layered_runtime: {
					layers: [{ name: 'static', static_layer: { 'envoy.resource_limits.listener.test.connection_limit': 2 } }],
				},
				overload_manager: {
					refresh_interval: '0.05s',
					resource_monitors: [
						{
							name: MONITOR,
							typed_config: {
								'@type': `${TYPE}.resource_monitors.injected_resource.v3.InjectedResourceConfig`,
								filename: file,
							},
						},
					],
					actions: [
						at('envoy.overload_actions.disable_http_keepalive', 0.3),
						at('envoy.overload_actions.stop_accepting_requests', 0.6),
						at('envoy.overload_actions.reject_incoming_connections', 0.8),
					],
					loadshed_points: [
						at('envoy.load_shed_points.http_connection_manager_decode_headers', 0.5),
						at('envoy.load_shed_points.http1_server_abort_dispatch', 0.7),
						at('envoy.load_shed_points.tcp_listener_accept', 0.9),
					],
				},
				static_resources: { listeners: [httpListener(port, routes), { ...limited, name: 'limited' }] },
			};
		};
		weft = await startTestProxy(bootstrap(0, 0));
		const address = weft.proxy.listeners.addressOf('limited');
		weftLimitedPort = address?.kind === 'ip' ? address.port : 0;
		envoy = await startRealEnvoy(bootstrap(envoyPort, envoyLimitedPort), adminPort);
	}, 60_000);

	afterAll(async () => {
		await weft?.stop();
		await envoy?.stop();
		rmSync(directory, { recursive: true });
	});

	/** Prometheus names with their labels; Envoy's as it says them, weft's from its registry. */
	async function envoyStats(): Promise<Map<string, number>> {
		const text = await (await fetch(`http://127.0.0.1:${adminPort}/stats/prometheus`)).text();
		const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
		return new Map(
			lines.map((line) => {
				const space = line.lastIndexOf(' ');
				return [line.slice(0, space).replace('{}', ''), Number(line.slice(space + 1))];
			}),
		);
	}

	function weftStats(): Map<string, number> {
		const stats = new Map<string, number>();
		for (const family of weft.registry.all()) {
			for (const { labels, instrument } of family.series()) {
				if (!('value' in instrument)) continue;
				const pairs = family.labelNames.map((name, i) => `${name}="${labels[i]}"`).join(',');
				stats.set(pairs === '' ? family.name : `${family.name}{${pairs}}`, instrument.value);
			}
		}
		return stats;
	}

	/** Puts it in place as Envoy wants it, and waits until both have seen it. */
	async function pressure(value: number): Promise<void> {
		writeFileSync(`${file}.next`, String(value));
		renameSync(`${file}.next`, file);
		const name = 'envoy_overload_envoy_resource_monitors_injected_resource_pressure';
		const percent = Math.round(value * 100);
		await eventually('Envoy sees the pressure', async () => (await envoyStats()).get(name) === percent || null);
		await eventually('weft sees the pressure', () => weftStats().get(name) === percent || null);
	}

	const ends = (client: RawClient): boolean =>
		client.closed || /\r\n\r\n(fine|envoy overloaded|Internal Server Error)$/.test(client.received);

	/** What a client sees of one request, without what differs on purpose or from one to the next. */
	async function exchange(client: RawClient): Promise<string> {
		client.received = '';
		await client.send([GET]);
		await client.until(() => ends(client), LIMIT_MS);
		return client.received
			.split('\r\n')
			.filter((line) => !/^(date|server|x-envoy-overloaded):/i.test(line))
			.map((line) => line.toLowerCase())
			.sort()
			.join('\n');
	}

	async function observe(port: number): Promise<string> {
		const client = await RawClient.connect(port);
		const seen = await exchange(client);
		if (/connection: close|^$/.test(seen)) await client.until(() => client.closed, LIMIT_MS);
		const state = client.closed ? 'closed' : 'open';
		client.destroy();
		return `${seen}\n${state}`;
	}

	for (const value of [0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.95, 0.1]) {
		test(`one request at a pressure of ${value}`, async () => {
			await pressure(value);
			const theirs = await observe(envoyPort);
			expect(await observe(weft.port)).toBe(theirs);
		}, 60_000);
	}

	test('the statistics of it all have the same names and values', async () => {
		await pressure(0);
		const theirs = await envoyStats();
		const ours = weftStats();
		const names = [...theirs.keys()].filter(
			(name) =>
				/^envoy_overload_envoy_/.test(name) ||
				/^envoy_http_downstream_(rq_overload_close|cx_overload_disable_keepalive)\{.*"test"/.test(name),
		);
		expect(names.length).toBeGreaterThan(10);
		// Envoy counts updates that it skips since one is under way: here none ever is.
		const compared = names.filter((name) => !name.endsWith('_skipped_updates'));
		expect(Object.fromEntries(compared.map((name) => [name, ours.get(name)]))).toEqual(
			Object.fromEntries(compared.map((name) => [name, theirs.get(name)])),
		);
		const rejects = (stats: Map<string, number>, port: number) =>
			stats.get(`envoy_listener_downstream_cx_overload_reject{envoy_listener_address="127.0.0.1_${port}"}`);
		expect(rejects(ours, 0)).toBe(rejects(theirs, envoyPort)!);
	}, 60_000);

	test('a listener at its limit closes who comes, and takes others once somebody has left', async () => {
		await pressure(0);
		for (const port of [envoyPort, weft.port]) {
			// Connections of earlier tests may still be on their way out.
			const served = (): Promise<RawClient> =>
				eventually('a connection is taken', async () => {
					const client = await RawClient.connect(port);
					if ((await exchange(client)).includes('200 ok')) return client;
					client.destroy();
					return null;
				});
			const first = await served();
			const second = await served();
			const third = await RawClient.connect(port);
			expect(await third.until(() => third.closed, LIMIT_MS)).toBe(true);
			expect(third.received).toBe('');
			first.destroy();
			(await served()).destroy();
			second.destroy();
		}
		const overflows = (stats: Map<string, number>, port: number) =>
			stats.get(`envoy_listener_downstream_cx_overflow{envoy_listener_address="127.0.0.1_${port}"}`) ?? 0;
		expect(overflows(await envoyStats(), envoyPort)).toBeGreaterThan(0);
		expect(overflows(weftStats(), 0)).toBeGreaterThan(0);
	}, 60_000);

	test('the connection limit filter holds who is one too many, and closes him without a word', async () => {
		await pressure(0);
		for (const port of [envoyLimitedPort, weftLimitedPort]) {
			const first = await RawClient.connect(port);
			expect(await exchange(first)).toContain('200 ok');
			const startMs = performance.now();
			const second = await RawClient.connect(port);
			expect(await exchange(second)).toBe('');
			expect(second.closed).toBe(true);
			expect(performance.now() - startMs).toBeGreaterThan(250);
			first.destroy();
		}
		const name = 'envoy_connection_limit_limited_connections{envoy_connection_limit_prefix="few"}';
		expect((await envoyStats()).get(name)).toBe(1);
		expect(weftStats().get(name)).toBe(1);
	}, 60_000);
});

describeWithPeers(['envoy'], 'a cluster whose queue is full, as with Envoy', () => {
	/** Envoy's default of `max_pending_requests`, and weft's. */
	const PENDING = 1024;
	let adminPort = 0;
	let envoyPort = 0;
	let weft: TestProxy;
	let envoy: { stop(): Promise<void> };
	const arrived = new Set<string>();
	const silent = createServer((socket) => {
		socket.on('data', (bytes) => void arrived.add(bytes.toString('latin1').split(' ')[1] ?? ''));
		socket.on('error', () => socket.destroy());
	});

	beforeAll(async () => {
		await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
		const upstreamPort = (silent.address() as AddressInfo).port;
		adminPort = freePort();
		envoyPort = freePort();
		const bootstrap = (port: number): object => ({
			admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
			static_resources: {
				listeners: [
					httpListener(port, {
						route_config: {
							response_headers_to_add: [{ header: { key: 'x-flags', value: '%RESPONSE_FLAGS%' } }],
							virtual_hosts: [
								{
									name: 'v',
									domains: ['*'],
									routes: [{ match: { prefix: '/' }, route: { cluster: 'a', timeout: '0s' } }],
								},
							],
						},
					}),
				],
				clusters: [staticCluster('a', [upstreamPort], { circuit_breakers: { thresholds: [{ max_connections: 1 }] } })],
			},
		});
		weft = await startTestProxy(bootstrap(0));
		envoy = await startRealEnvoy(bootstrap(envoyPort), adminPort);
	}, 60_000);

	afterAll(async () => {
		await weft?.stop();
		await envoy?.stop();
		silent.close();
	});

	test('as many wait as the default allows, and one more is told that there is no room', async () => {
		const seen: string[][] = [];
		for (const port of [envoyPort, weft.port]) {
			const clients = await Promise.all(Array.from({ length: PENDING + 6 }, () => RawClient.connect(port)));
			const request = Buffer.from(`GET /${port} HTTP/1.1\r\nhost: a\r\n\r\n`);
			await clients[0]!.send([request]);
			await eventually('one is under way', () => arrived.has(`/${port}`), LIMIT_MS);
			for (const client of clients.slice(1)) await client.send([request]);
			// The queue is full, and five are left over.
			await eventually(
				'five are answered',
				() => clients.filter((client) => client.received !== '').length >= 5,
				LIMIT_MS,
			);
			const answered = clients.filter((client) => client.received !== '');
			expect(answered).toHaveLength(5);
			const lines = answered[0]!.received.split('\r\n').filter((line) => !/^(date|server):/i.test(line));
			seen.push(lines.map((line) => line.toLowerCase()).sort());
			for (const client of clients) client.destroy();
		}
		expect(seen[1]).toEqual(seen[0]!);
		expect(seen[1]).toContain('x-envoy-overloaded: true');
		expect(seen[1]).toContain('x-flags: uo');
	}, 90_000);
});
