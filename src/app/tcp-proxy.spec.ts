// Connect attempts, time limits and access logs of the TCP proxy, on the simulated network.

import { afterAll, afterEach, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionHandler } from '../net/network.ts';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { Recorder } from '../net/testing-recorder.ts';
import { parseBootstrap } from '../proxy/bootstrap.ts';
import { VirtualClock } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { type RunningProxy, startProxy } from './proxy.ts';

const PORT = 15080;
const UPSTREAM_PORT = 15081;
const TYPE = 'type.googleapis.com/envoy.extensions';
const ECHO: ConnectionHandler = {
	onConnect() {},
	onData: (connection, bytes) => void connection.write(bytes),
	onDrain() {},
	onEnd: (connection) => connection.end(),
	onClose() {},
};
const worlds: World[] = [];
const files = mkdtempSync(join(tmpdir(), 'weft-tcp-'));
afterAll(() => rmSync(files, { recursive: true, force: true }));

afterEach(async () => {
	for (const world of worlds.splice(0)) await world.stop();
});

class World {
	readonly clock = new VirtualClock();
	readonly network = new SimulatedNetwork({ seed: 9, clock: this.clock, cutReads: false });
	private readonly directory = mkdtempSync(join(files, 'world-'));
	private readonly logFile = join(this.directory, 'access.log');
	private readonly proxy: RunningProxy;

	constructor(tcp: object, upstreamIsUp = true) {
		worlds.push(this);
		if (upstreamIsUp) this.listen();
		const accessLog = {
			name: 'file',
			typed_config: {
				'@type': `${TYPE}.access_loggers.file.v3.FileAccessLog`,
				path: this.logFile,
				log_format: {
					text_format_source: {
						inline_string:
							'%ACCESS_LOG_TYPE% %BYTES_RECEIVED% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %CONNECTION_TERMINATION_DETAILS%\n',
					},
				},
			},
		};
		const address = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } });
		const endpoint = { endpoint: { address: address(UPSTREAM_PORT) } };
		const config = { stat_prefix: 's', cluster: 'c', access_log: [accessLog], ...tcp };
		const bootstrap = {
			static_resources: {
				listeners: [
					{
						name: 'l',
						address: address(PORT),
						filter_chains: [
							{
								filters: [
									{
										name: 'rbac',
										typed_config: {
											'@type': `${TYPE}.filters.network.rbac.v3.RBAC`,
											stat_prefix: 'r.',
											rules: {
												action: 'DENY',
												policies: {
													'low ports': {
														permissions: [{ any: true }],
														principals: [{ direct_remote_ip: { address_prefix: '127.0.0.9', prefix_len: 32 } }],
													},
												},
											},
										},
									},
									{
										name: 'tcp',
										typed_config: { '@type': `${TYPE}.filters.network.tcp_proxy.v3.TcpProxy`, ...config },
									},
								],
							},
						],
					},
				],
				clusters: [
					{
						name: 'c',
						connect_timeout: '1s',
						load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint] }] },
					},
				],
			},
		};
		this.proxy = startProxy({
			bootstrap: parseBootstrap(JSON.stringify(bootstrap), 'b'),
			network: this.network,
			random: new SeededRandom(1),
			registry: new MetricRegistry(),
		});
	}

	listen(): void {
		this.network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: UPSTREAM_PORT } }, (connection) => {
			connection.handler = ECHO;
		});
	}

	connect(text: string): Recorder {
		const client = new Recorder();
		const address = { kind: 'ip', host: '127.0.0.1', port: PORT } as const;
		client.connection = this.network.connect({ address }, client);
		client.connection.write(Buffer.from(text));
		return client;
	}

	async advance(ms: number): Promise<void> {
		for (let at = 0; at < ms; at += 5) {
			this.clock.advance(5);
			// Closing is told in the next turn.
			await Promise.resolve();
		}
	}

	async stop(): Promise<string> {
		await this.proxy.stop();
		const text = readFileSync(this.logFile, 'utf8');
		rmSync(this.directory, { recursive: true });
		return text;
	}
}

test('an entry when the upstream is connected, one at each interval, one at the end', async () => {
	const world = new World({
		access_log_options: { flush_access_log_on_connected: true, access_log_flush_interval: '1s' },
	});
	const client = world.connect('4');
	await world.advance(2500);
	client.connection!.end();
	await world.advance(100);
	expect(client.text).toBe('4');
	worlds.length = 0;
	expect((await world.stop()).split('\n')).toEqual([
		'TcpUpstreamConnected 1 - 1 -',
		'TcpPeriodic 1 - 1 -',
		'TcpPeriodic 1 - 1 -',
		'TcpConnectionEnd 1 - 1 -',
		'',
	]);
});

test('connect attempts go on after a backoff, while the client waits', async () => {
	const world = new World(
		{ max_connect_attempts: 6, backoff_options: { base_interval: '1s', max_interval: '2s' } },
		false,
	);
	const client = world.connect('x');
	await world.advance(200);
	expect(client.isClosed).toBe(false);
	world.listen();
	await world.advance(3000);
	expect(client.text).toBe('x');
	client.connection!.end();
	await world.advance(100);
	worlds.length = 0;
	expect(await world.stop()).toMatch(/^TcpConnectionEnd 1 UF [2-5] -\n$/);
});

test('the last attempt that fails closes the connection', async () => {
	const world = new World({ max_connect_attempts: 3, backoff_options: { base_interval: '0.1s' } }, false);
	const client = world.connect('x');
	await world.advance(2000);
	expect(client.isClosed || client.isEnded).toBe(true);
	worlds.length = 0;
	expect(await world.stop()).toBe('TcpConnectionEnd 1 UF,URX 3 -\n');
});

test('a client that goes while a backoff runs is gone', async () => {
	const world = new World({ max_connect_attempts: 2, backoff_options: { base_interval: '1000s' } }, false);
	const client = world.connect('x');
	await world.advance(100);
	client.connection!.reset();
	world.listen();
	await world.advance(20_000);
	worlds.length = 0;
	expect(await world.stop()).toBe('TcpConnectionEnd 1 UF,DC 1 -\n');
});

test('the time that a connection may last is longer by its jitter, never shorter', async () => {
	const jitter = { max_downstream_connection_duration_jitter_percentage: { value: 50 } };
	const world = new World({ max_downstream_connection_duration: '10s', ...jitter });
	const clients = Array.from({ length: 20 }, () => world.connect('x'));
	const closed = (): number => clients.filter((client) => client.isClosed).length;
	await world.advance(9_900);
	expect(closed()).toBe(0);
	await world.advance(2_600);
	expect(closed()).toBeGreaterThan(0);
	expect(closed()).toBeLessThan(20);
	await world.advance(2_700);
	expect(closed()).toBe(20);
});

for (const [field, value] of [
	['max_connect_attempts', 0],
	['backoff_options', {}],
	['backoff_options', { base_interval: '2s', max_interval: '1s' }],
	['access_log_options', { access_log_flush_interval: '0s' }],
	['max_downstream_connection_duration_jitter_percentage', { value: 101 }],
	['hash_policy', [{ source_ip: {} }]],
	['tunneling_config', { hostname: 'a' }],
	['on_demand', {}],
	['metadata_match', { filter_metadata: { a: {} } }],
	['upstream_idle_timeout', '1s'],
] as const) {
	test(`${field}: ${JSON.stringify(value)} is refused`, () => {
		expect(() => new World({ [field]: value })).toThrow(new RegExp(field));
		worlds.length = 0;
	});
}
