// `per_connection_buffer_limit_bytes`: how much of a fast sender's bytes the proxy takes while the
// receiver takes none, on the simulated network.

import { expect, test } from 'bun:test';
import type { Connection, ConnectionHandler } from '../net/network.ts';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { parseBootstrap } from '../proxy/bootstrap.ts';
import { VirtualClock } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { startProxy } from './proxy.ts';

const PORT = 15080;
const UPSTREAM_PORT = 15081;
const SENT_BYTES = 4 * 1024 * 1024;
const KIBIBYTE = 1024;
const quiet: ConnectionHandler = { onConnect() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

interface Limits {
	readonly listener?: number;
	readonly cluster?: number;
}

function bootstrapWith(limits: Limits): string {
	const address = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } });
	const proxy = {
		'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
		stat_prefix: 's',
		cluster: 'up',
	};
	const endpoints = [{ lb_endpoints: [{ endpoint: { address: address(UPSTREAM_PORT) } }] }];
	return JSON.stringify({
		static_resources: {
			listeners: [
				{
					name: 'l',
					address: address(PORT),
					per_connection_buffer_limit_bytes: limits.listener,
					filter_chains: [{ filters: [{ name: 'tcp', typed_config: proxy }] }],
				},
			],
			clusters: [
				{
					name: 'up',
					per_connection_buffer_limit_bytes: limits.cluster,
					load_assignment: { cluster_name: 'up', endpoints },
				},
			],
		},
	});
}

/** Bytes that the proxy took of `sender`, while the other side does not read. */
async function bytesTaken(limits: Limits, sender: 'client' | 'upstream'): Promise<number> {
	const clock = new VirtualClock();
	const network = new SimulatedNetwork({ seed: 3, clock });
	const registry = new MetricRegistry();
	const flood = (connection: Connection) => connection.write(new Uint8Array(SENT_BYTES));
	network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: UPSTREAM_PORT } }, (connection) => {
		connection.handler = quiet;
		if (sender === 'upstream') flood(connection);
		else connection.pause();
	});
	const bootstrap = parseBootstrap(bootstrapWith(limits), 'b');
	const proxy = startProxy({ bootstrap, network, random: new SeededRandom(1), registry });
	await proxy.ready;
	const client = network.connect({ address: { kind: 'ip', host: '127.0.0.1', port: PORT } }, quiet);
	if (sender === 'client') flood(client);
	else client.pause();
	for (let i = 0; i < 400; i++) clock.advance(5);
	const direction = sender === 'client' ? 'rx' : 'tx';
	const taken = registry.counter(`envoy_tcp_downstream_cx_${direction}_bytes_total`, '', ['envoy_tcp_prefix']);
	const bytes = taken.with('s').value;
	await proxy.stop();
	return bytes;
}

// Beside what is buffered, the simulated connection itself has a window under way, and one read may be beyond.
const UNDER_WAY_BYTES = 128 * KIBIBYTE;

test("the cluster's limit bounds what waits for an upstream", async () => {
	expect(await bytesTaken({ cluster: KIBIBYTE }, 'client')).toBeLessThan(UNDER_WAY_BYTES + KIBIBYTE);
	const large = await bytesTaken({ cluster: KIBIBYTE * KIBIBYTE }, 'client');
	expect(large).toBeGreaterThan(KIBIBYTE * KIBIBYTE);
	expect(large).toBeLessThan(KIBIBYTE * KIBIBYTE + UNDER_WAY_BYTES);
});

test("the listener's limit bounds what waits for a client", async () => {
	expect(await bytesTaken({ listener: KIBIBYTE }, 'upstream')).toBeLessThan(UNDER_WAY_BYTES + KIBIBYTE);
	const large = await bytesTaken({ listener: KIBIBYTE * KIBIBYTE }, 'upstream');
	expect(large).toBeGreaterThan(KIBIBYTE * KIBIBYTE);
	expect(large).toBeLessThan(KIBIBYTE * KIBIBYTE + UNDER_WAY_BYTES);
});

test('no limit at all is refused', () => {
	const network = new SimulatedNetwork({ clock: new VirtualClock() });
	const start = (limits: Limits) =>
		startProxy({
			bootstrap: parseBootstrap(bootstrapWith(limits), 'b'),
			network,
			random: new SeededRandom(1),
			registry: new MetricRegistry(),
		});
	for (const limits of [{ listener: 0 }, { cluster: 0 }]) {
		expect(() => start(limits)).toThrow(/per_connection_buffer_limit_bytes: found 0/);
	}
});
