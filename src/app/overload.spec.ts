// Overload of a whole proxy on the simulated network: a pressure is injected, time is moved.

import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { Recorder } from '../net/testing-recorder.ts';
import { parseBootstrap } from '../proxy/bootstrap.ts';
import { VirtualClock } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { type RunningProxy, startProxy } from './proxy.ts';

const TYPE = 'type.googleapis.com/envoy';
const PORT = 15080;
const MONITOR = 'envoy.resource_monitors.injected_resource';
const ACTION = 'envoy.overload_actions';
const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
const worlds: World[] = [];

class World {
	readonly clock = new VirtualClock();
	readonly network = new SimulatedNetwork({ seed: 5, clock: this.clock, cutReads: false });
	readonly registry = new MetricRegistry();
	readonly proxy: RunningProxy;
	shrinks = 0;
	private readonly directory = mkdtempSync(join(tmpdir(), 'weft-overload-'));

	constructor(
		overload: object,
		options: {
			manager?: object;
			listener?: object;
			runtime?: object;
			/** Network filters before the connection manager. */
			before?: object[];
			monitors?: object[];
			residentBytes?: () => number;
		} = {},
	) {
		worlds.push(this);
		this.pressure(0);
		const injected = {
			name: MONITOR,
			typed_config: {
				'@type': `${TYPE}.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig`,
				filename: join(this.directory, 'pressure'),
			},
		};
		const manager = {
			'@type': `${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
			stat_prefix: 's',
			http_filters: [{ name: 'router', typed_config: { '@type': `${TYPE}.extensions.filters.http.router.v3.Router` } }],
			route_config: {
				virtual_hosts: [
					{
						name: 'v',
						domains: ['*'],
						routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'fine' } } }],
					},
				],
			},
			...options.manager,
		};
		const bootstrap = {
			overload_manager: {
				refresh_interval: '0.1s',
				resource_monitors: [injected, ...(options.monitors ?? [])],
				...overload,
			},
			...(options.runtime === undefined
				? {}
				: { layered_runtime: { layers: [{ name: 'static', static_layer: options.runtime }] } }),
			static_resources: {
				listeners: [
					{
						name: 'l',
						address: { socket_address: { address: '127.0.0.1', port_value: PORT } },
						filter_chains: [{ filters: [...(options.before ?? []), { name: 'http', typed_config: manager }] }],
						...options.listener,
					},
				],
			},
		};
		this.proxy = startProxy({
			bootstrap: parseBootstrap(JSON.stringify(bootstrap), 'bootstrap'),
			network: this.network,
			random: new SeededRandom(5),
			registry: this.registry,
			...(options.residentBytes === undefined ? {} : { residentBytes: options.residentBytes }),
			shrinkHeap: () => {
				this.shrinks += 1;
			},
		});
	}

	static async start(...args: ConstructorParameters<typeof World>): Promise<World> {
		const world = new World(...args);
		await world.proxy.ready;
		return world;
	}

	pressure(value: number): void {
		writeFileSync(join(this.directory, 'pressure'), `${value}\n`);
		this.clock.advance(150);
	}

	connect(text = ''): Recorder {
		const recorder = new Recorder();
		recorder.connection = this.network.connect({ address: { kind: 'ip', host: '127.0.0.1', port: PORT } }, recorder);
		if (text !== '') recorder.connection.write(Buffer.from(text));
		this.clock.advance(20);
		return recorder;
	}

	stat(name: string): number {
		for (const family of this.registry.all()) {
			if (family.name !== name) continue;
			for (const { instrument } of family.series()) if ('value' in instrument) return instrument.value;
		}
		throw new Error(`no statistic ${name}`);
	}

	stop(): void {
		void this.proxy.stop();
		rmSync(this.directory, { recursive: true });
	}
}

afterEach(() => {
	for (const world of worlds.splice(0)) world.stop();
});

const at = (name: string, value: number, more: object = {}): object => ({
	name,
	triggers: [{ name: MONITOR, threshold: { value } }],
	...more,
});

test('requests are answered 503 while the pressure is there, on connections that stay', async () => {
	const world = await World.start({ actions: [at(`${ACTION}.stop_accepting_requests`, 0.5)] });
	const client = world.connect(GET);
	expect(client.text).toStartWith('HTTP/1.1 200');
	world.pressure(0.5);
	expect(world.stat('envoy_overload_envoy_overload_actions_stop_accepting_requests_active')).toBe(1);
	client.chunks.length = 0;
	client.connection!.write(Buffer.from(GET));
	world.clock.advance(20);
	expect(client.text).toStartWith('HTTP/1.1 503');
	expect(client.text).toContain('x-envoy-overloaded: true');
	expect(client.text).toEndWith('envoy overloaded');
	expect(world.stat('envoy_http_downstream_rq_overload_close')).toBe(1);
	world.pressure(0.49);
	client.chunks.length = 0;
	client.connection!.write(Buffer.from(GET));
	world.clock.advance(20);
	expect(client.text).toStartWith('HTTP/1.1 200');
	expect(world.stat('envoy_overload_envoy_resource_monitors_injected_resource_pressure')).toBe(49);
});

test('a scaled action takes its share', async () => {
	const triggers = [{ name: MONITOR, scaled: { scaling_threshold: 0.4, saturation_threshold: 0.8 } }];
	const world = await World.start({ actions: [{ name: `${ACTION}.stop_accepting_requests`, triggers }] });
	world.pressure(0.6);
	expect(world.stat('envoy_overload_envoy_overload_actions_stop_accepting_requests_scale_percent')).toBe(50);
	expect(world.stat('envoy_overload_envoy_overload_actions_stop_accepting_requests_active')).toBe(0);
	let refused = 0;
	for (let i = 0; i < 200; i++) if (world.connect(GET).text.startsWith('HTTP/1.1 503')) refused += 1;
	expect(refused).toBeGreaterThan(60);
	expect(refused).toBeLessThan(140);
});

test('keep-alive is disabled: the response says so and the connection ends', async () => {
	const world = await World.start({ actions: [at(`${ACTION}.disable_http_keepalive`, 0.5)] });
	world.pressure(0.7);
	const client = world.connect(GET);
	expect(client.text).toStartWith('HTTP/1.1 200');
	expect(client.text).toContain('connection: close');
	expect(client.isEnded).toBe(true);
	expect(world.stat('envoy_http_downstream_cx_overload_disable_keepalive')).toBe(1);
});

test('connections wait while accepting is stopped, and are served when it goes on', async () => {
	const world = await World.start({ actions: [at(`${ACTION}.stop_accepting_connections`, 0.9)] });
	const open = world.connect(GET);
	world.pressure(0.95);
	const waiting = world.connect(GET);
	expect(waiting.text).toBe('');
	open.chunks.length = 0;
	open.connection!.write(Buffer.from(GET));
	world.clock.advance(20);
	expect(open.text).toStartWith('HTTP/1.1 200');
	world.pressure(0.1);
	world.clock.advance(20);
	expect(waiting.text).toStartWith('HTTP/1.1 200');
});

test('connections are rejected by the action and by the load shed point', async () => {
	const world = await World.start({
		actions: [at(`${ACTION}.reject_incoming_connections`, 0.5)],
		loadshed_points: [at('envoy.load_shed_points.tcp_listener_accept', 0.8)],
	});
	world.pressure(0.6);
	expect(world.connect(GET).isClosed).toBe(true);
	world.pressure(0.9);
	expect(world.connect(GET).isClosed).toBe(true);
	expect(world.stat('envoy_listener_downstream_cx_overload_reject')).toBe(2);
	expect(world.stat('envoy_overload_envoy_load_shed_points_tcp_listener_accept_shed_load_count')).toBe(1);
});

test('a listener that bypasses the overload manager goes on', async () => {
	const world = await World.start(
		{
			actions: [
				at(`${ACTION}.reject_incoming_connections`, 0.5),
				at(`${ACTION}.stop_accepting_requests`, 0.5),
				at(`${ACTION}.stop_accepting_connections`, 0.5),
			],
		},
		{ listener: { bypass_overload_manager: true } },
	);
	world.pressure(1);
	expect(world.connect(GET).text).toStartWith('HTTP/1.1 200');
});

test('idle connections close sooner as pressure grows, those that are open already too', async () => {
	const triggers = [{ name: MONITOR, scaled: { scaling_threshold: 0.5, saturation_threshold: 1 } }];
	const factors = [
		{ timer: 'HTTP_DOWNSTREAM_CONNECTION_IDLE', min_timeout: '2s' },
		{ timer: 'HTTP_DOWNSTREAM_STREAM_IDLE', min_scale: { value: 10 } },
	];
	const typed_config = {
		'@type': `${TYPE}.config.overload.v3.ScaleTimersOverloadActionConfig`,
		timer_scale_factors: factors,
	};
	const world = await World.start({ actions: [{ name: `${ACTION}.reduce_timeouts`, triggers, typed_config }] });
	const idle = world.connect(GET);
	const slow = world.connect('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n');
	world.clock.advance(10_000);
	expect(idle.isEnded).toBe(false);
	// Half way between 3600 s and 2 s.
	world.pressure(0.75);
	world.clock.advance(1_700_000);
	expect(idle.isEnded).toBe(false);
	world.clock.advance(150_000);
	expect(idle.isEnded).toBe(true);
	expect(slow.text).toContain('HTTP/1.1');
	const late = world.connect(GET);
	world.pressure(1);
	world.clock.advance(2_100);
	expect(late.isEnded).toBe(true);
});

test('the heap is shrunk at most each 10 s', async () => {
	const world = await World.start({ actions: [at(`${ACTION}.shrink_heap`, 0.5)] });
	world.pressure(0.6);
	expect(world.shrinks).toBe(1);
	world.clock.advance(9_000);
	expect(world.shrinks).toBe(1);
	world.clock.advance(1_200);
	expect(world.shrinks).toBe(2);
	expect(world.stat('envoy_overload_envoy_overload_actions_shrink_heap_shrink_count')).toBe(2);
	world.pressure(0);
	world.clock.advance(30_000);
	expect(world.shrinks).toBe(2);
});

test('HTTP/1.1 dispatch is aborted with a 500 and the connection closed', async () => {
	const world = await World.start({ loadshed_points: [at('envoy.load_shed_points.http1_server_abort_dispatch', 0.5)] });
	world.pressure(0.5);
	const client = world.connect(GET);
	expect(client.text).toStartWith('HTTP/1.1 500 Internal Server Error\r\n');
	expect(client.text).toContain('connection: close');
	expect(client.isEnded).toBe(true);
	world.clock.advance(40_000);
	await Promise.resolve();
	expect(world.proxy.listeners.connectionCount()).toBe(0);
});

test('connections over the limit of a listener, or of all, are closed at once', async () => {
	const limited = await World.start({}, { runtime: { 'envoy.resource_limits.listener.l.connection_limit': 2 } });
	const first = limited.connect();
	limited.connect();
	expect(limited.connect().isClosed).toBe(true);
	expect(limited.stat('envoy_listener_downstream_cx_overflow')).toBe(1);
	first.connection!.reset();
	limited.clock.advance(20);
	expect(limited.connect(GET).text).toStartWith('HTTP/1.1 200');

	const runtime = { overload: { global_downstream_max_connections: 1 } };
	const global = await World.start({}, { runtime });
	global.connect();
	expect(global.connect().isClosed).toBe(true);
	expect(global.stat('envoy_listener_downstream_global_cx_overflow')).toBe(1);
	const ignoring = await World.start({}, { runtime, listener: { ignore_global_conn_limit: true } });
	ignoring.connect();
	expect(ignoring.connect(GET).text).toStartWith('HTTP/1.1 200');
});

test('the connection limit filter keeps one too many for its delay, unread, and closes it', async () => {
	const limit = {
		name: 'limit',
		typed_config: {
			'@type': `${TYPE}.extensions.filters.network.connection_limit.v3.ConnectionLimit`,
			stat_prefix: 'few',
			max_connections: 1,
			delay: '2s',
		},
	};
	const world = await World.start({}, { before: [limit] });
	const first = world.connect(GET);
	expect(first.text).toStartWith('HTTP/1.1 200');
	const second = world.connect(GET);
	expect(world.stat('envoy_connection_limit_active_connections')).toBe(2);
	expect(world.stat('envoy_connection_limit_limited_connections')).toBe(1);
	world.clock.advance(1_900);
	expect(second.isEnded).toBe(false);
	world.clock.advance(200);
	expect(second.isEnded).toBe(true);
	expect(second.text).toBe('');
	world.clock.advance(1_100);
	await Promise.resolve();
	expect(world.stat('envoy_connection_limit_active_connections')).toBe(1);
	first.connection!.reset();
	world.clock.advance(20);
	await Promise.resolve();
	expect(world.connect(GET).text).toStartWith('HTTP/1.1 200');
	expect(world.proxy.listeners.connectionCount()).toBe(1);
});

test('memory is the pressure of fixed_heap; a monitor that fails keeps its last and is counted', async () => {
	let bytes = 100;
	const world = await World.start(
		{
			actions: [
				{
					name: `${ACTION}.stop_accepting_requests`,
					triggers: [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: 0.8 } }],
				},
			],
		},
		{
			monitors: [
				{
					name: 'envoy.resource_monitors.fixed_heap',
					typed_config: {
						'@type': `${TYPE}.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig`,
						max_heap_size_bytes: 1000,
					},
				},
			],
			residentBytes: () => {
				if (bytes < 0) throw new Error('no figure');
				return bytes;
			},
		},
	);
	expect(world.connect(GET).text).toStartWith('HTTP/1.1 200');
	bytes = 900;
	world.clock.advance(150);
	expect(world.connect(GET).text).toStartWith('HTTP/1.1 503');
	bytes = -1;
	world.clock.advance(150);
	expect(world.connect(GET).text).toStartWith('HTTP/1.1 503');
	expect(world.stat('envoy_overload_envoy_resource_monitors_fixed_heap_failed_updates')).toBeGreaterThan(0);
});
