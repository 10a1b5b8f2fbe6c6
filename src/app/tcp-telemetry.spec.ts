// Istio's TCP metrics of a whole proxy on the simulated network.

import { afterEach, beforeEach, expect, test } from 'bun:test';
import type { Connection, ConnectionHandler } from '../net/network.ts';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { parseBootstrap } from '../proxy/bootstrap.ts';
import { VirtualClock } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { type RunningProxy, startProxy } from './proxy.ts';

const PORT = 15080;
const UPSTREAM_PORT = 15081;
let clock: VirtualClock;
let network: SimulatedNetwork;
let proxy: RunningProxy | null = null;

beforeEach(() => {
	clock = new VirtualClock();
	network = new SimulatedNetwork({ seed: 7, clock });
});

afterEach(async () => {
	await proxy?.stop();
});

class Silent implements ConnectionHandler {
	onConnect(): void {}
	onData(_connection: Connection, _bytes: Uint8Array): void {}
	onDrain(): void {}
	onEnd(connection: Connection): void {
		connection.end();
	}
	onClose(): void {}
}

/** Answers each chunk with twice as many bytes. */
class Doubling extends Silent {
	override onData(connection: Connection, bytes: Uint8Array): void {
		connection.write(new Uint8Array(bytes.byteLength * 2));
	}
}

const address = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } });

async function start(registry: MetricRegistry): Promise<void> {
	const typed = (type: string, value: object) => ({ '@type': `type.googleapis.com/${type}`, ...value });
	const telemetry = typed('xds.type.v3.TypedStruct', {
		type_url: 'type.googleapis.com/weft.telemetry.v1.MeshTelemetry',
		value: { reporter: 'source' },
	});
	const tcp = typed('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', { stat_prefix: 's', cluster: 'db' });
	const services = [{ host: 'db.shop.svc.cluster.local', name: 'db', namespace: 'shop' }];
	const workload = 'db-v2;shop;db;v2;weft';
	const endpoint = {
		endpoint: { address: address(UPSTREAM_PORT) },
		metadata: { filter_metadata: { istio: { workload } } },
	};
	const bootstrap = {
		node: {
			id: 'n',
			metadata: { WORKLOAD_NAME: 'front-v1', NAMESPACE: 'shop', SERVICE_ACCOUNT: 'front', MESH_ID: 'td' },
		},
		static_resources: {
			listeners: [
				{
					name: 'l',
					address: address(PORT),
					filter_chains: [
						{
							filters: [
								{ name: 'telemetry', typed_config: telemetry },
								{ name: 'tcp', typed_config: tcp },
							],
						},
					],
				},
			],
			clusters: [
				{
					name: 'db',
					connect_timeout: '1s',
					metadata: { filter_metadata: { istio: { services } } },
					load_assignment: { cluster_name: 'db', endpoints: [{ lb_endpoints: [endpoint] }] },
				},
			],
		},
	};
	proxy = startProxy({
		bootstrap: parseBootstrap(JSON.stringify(bootstrap), 'b'),
		network,
		random: new SeededRandom(1),
		registry,
	});
	await proxy.ready;
}

function connect(bytes: number): Connection {
	const connection = network.connect({ address: { kind: 'ip', host: '127.0.0.1', port: PORT } }, new Silent());
	connection.write(new Uint8Array(bytes));
	return connection;
}

/** Sums by name, and the labels of the last series. */
function tcpMetrics(registry: MetricRegistry) {
	const sums: Record<string, number> = {};
	const labels: Record<string, string> = {};
	for (const family of registry.all()) {
		if (!family.name.startsWith('istio_tcp_')) continue;
		for (const { labels: values, instrument } of family.series()) {
			if ('value' in instrument) sums[family.name] = (sums[family.name] ?? 0) + instrument.value;
			family.labelNames.forEach((name, index) => {
				labels[name] = values[index]!;
			});
		}
	}
	return { sums, labels };
}

function advance(ms: number): void {
	for (let at = 0; at < ms; at += 10) clock.advance(10);
}

test('a connection counts as opened at once, its bytes while it lasts, and as closed at its end', async () => {
	const registry = new MetricRegistry();
	network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: UPSTREAM_PORT } }, (connection) => {
		connection.handler = new Doubling();
	});
	await start(registry);
	const connection = connect(100);
	advance(1000);
	expect(tcpMetrics(registry).sums).toEqual({
		istio_tcp_connections_opened_total: 1,
		istio_tcp_connections_closed_total: 0,
		istio_tcp_sent_bytes_total: 0,
		istio_tcp_received_bytes_total: 0,
	});
	advance(5000);
	const { sums, labels } = tcpMetrics(registry);
	expect(sums).toMatchObject({ istio_tcp_sent_bytes_total: 200, istio_tcp_received_bytes_total: 100 });
	expect(labels).toMatchObject({
		reporter: 'source',
		request_protocol: 'tcp',
		source_workload: 'front-v1',
		destination_workload: 'db-v2',
		destination_service: 'db.shop.svc.cluster.local',
	});
	connection.write(new Uint8Array(1));
	connection.end();
	advance(1000);
	expect(tcpMetrics(registry).sums).toEqual({
		istio_tcp_connections_opened_total: 1,
		istio_tcp_connections_closed_total: 1,
		istio_tcp_sent_bytes_total: 202,
		istio_tcp_received_bytes_total: 101,
	});
});

test('one that gets nowhere counts too, and says why', async () => {
	const registry = new MetricRegistry();
	await start(registry);
	connect(1);
	advance(2000);
	// Connections say that they are closed when who closed them has returned.
	await new Promise((resolve) => setImmediate(resolve));
	const { sums, labels } = tcpMetrics(registry);
	expect(sums).toMatchObject({ istio_tcp_connections_opened_total: 1, istio_tcp_connections_closed_total: 1 });
	expect(labels).toMatchObject({ response_flags: 'UF' });
});
