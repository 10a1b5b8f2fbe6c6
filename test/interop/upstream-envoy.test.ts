// The upstream half beside real Envoy: one cluster, whose endpoints are in a watched file, seen
// through `/clusters` and `/stats/prometheus` of both.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { ClusterSchema } from '../../src/generated/envoy/config/cluster/v3/cluster_pb.ts';
import { Http1ClientCodec } from '../../src/http1/client-codec.ts';
import { SystemNetwork } from '../../src/net/system-network.ts';
import type { AdminState } from '../../src/proxy/admin/admin-state.ts';
import { clustersText } from '../../src/proxy/admin/clusters-text.ts';
import { UpstreamClusterManager } from '../../src/proxy/cluster/cluster-manager.ts';
import { ClusterMetrics } from '../../src/proxy/cluster/cluster-stats.ts';
import { ConfigSources } from '../../src/proxy/config-source.ts';
import { SecretManager } from '../../src/proxy/tls/secret-manager.ts';
import { typeRegistry } from '../../src/proxy/type-registry.ts';
import { SeededRandom } from '../../src/std/random.ts';
import { MetricRegistry } from '../../src/telemetry/registry.ts';
import { FileDiscovery } from '../../src/xds/file-discovery.ts';
import { describeWithPeers, peerPath } from '../support/peers.ts';

/** Every name that weft gives a cluster's numbers and this Envoy has none of, with the reason. */
const ONLY_WITH_TLS = ['envoy_cluster_client_ssl_socket_factory_upstream_context_secrets_not_ready'];
/** Envoy makes these when the first health check or response comes. */
const ONLY_WHEN_USED =
	/^envoy_cluster_(health_check_|upstream_rq$|upstream_rq_xx$|upstream_rq_time|upstream_cx_connect_ms)/;

function endpoints(...list: readonly JsonObject[]): string {
	return JSON.stringify({
		resources: [
			{
				'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
				cluster_name: 'c',
				endpoints: list,
			},
		],
	});
}

function locality(priority: number, ...hosts: readonly (readonly [port: number, more?: JsonObject])[]): JsonObject {
	return {
		priority,
		locality: { region: 'r', zone: `z${priority}` },
		lb_endpoints: hosts.map(([port, more]) => ({
			endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
			...more,
		})),
	};
}

describeWithPeers(['envoy'], 'the upstream half and Envoy', () => {
	let directory: string;
	let file: string;
	let envoy: ReturnType<typeof Bun.spawn>;
	let admin: string;
	let discovery: FileDiscovery;
	const registry = new MetricRegistry();
	const network = new SystemNetwork();
	let manager: UpstreamClusterManager;

	const replace = (text: string) => {
		writeFileSync(`${file}.new`, text);
		renameSync(`${file}.new`, file);
	};
	const envoyClusters = async () => (await fetch(`${admin}/clusters`)).text();
	const weftClusters = () => clustersText({ clusters: manager } as AdminState);
	/** What both say of each host; the rest are counts that Envoy alone keeps. */
	const hostLines = (text: string) =>
		text
			.split('\n')
			.filter((line) => /::(health_flags|weight|priority|hostname|region|zone|cx_total|rq_total)::/.test(line))
			.sort();

	async function eventually(holds: () => Promise<boolean> | boolean): Promise<void> {
		const deadlineMs = Date.now() + 20_000;
		while (!(await holds())) {
			if (Date.now() > deadlineMs) throw new Error('has not happened within 20 s');
			await Bun.sleep(20);
		}
	}

	beforeAll(async () => {
		directory = mkdtempSync(join(tmpdir(), 'weft-upstream-'));
		file = join(directory, 'eds.json');
		replace(
			endpoints(
				locality(0, [9001, { load_balancing_weight: 3 }], [9002, { health_status: 'DRAINING' }], [9003]),
				locality(1, [9004, { health_status: 'UNHEALTHY' }], [9005, { health_status: 'DEGRADED' }]),
			),
		);
		const cluster = {
			name: 'c',
			type: 'EDS',
			connect_timeout: '1s',
			eds_cluster_config: { eds_config: { path_config_source: { path: file } } },
		};
		const bootstrap = {
			node: { id: 'node-1', cluster: 'test' },
			admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
			static_resources: { clusters: [cluster] },
		};
		const config = join(directory, 'envoy.json');
		writeFileSync(config, JSON.stringify(bootstrap));
		const addressFile = join(directory, 'admin');
		envoy = Bun.spawn(
			[
				peerPath('envoy')!,
				'-c',
				config,
				'--use-dynamic-base-id',
				'--concurrency',
				'1',
				'-l',
				'error',
				'--admin-address-path',
				addressFile,
			],
			{ stdout: 'ignore', stderr: 'inherit' },
		);
		const sources = new ConfigSources((path) => {
			discovery = new FileDiscovery(path, typeRegistry);
			return discovery;
		});
		manager = new UpstreamClusterManager(
			{
				network,
				random: new SeededRandom(1),
				metrics: new ClusterMetrics(registry),
				secrets: new SecretManager(sources, null, () => Date.now()),
				sources,
				makeHttp1Codec: (transport, events, options) => new Http1ClientCodec(transport, events, options),
			},
			registry,
		);
		manager.addStatic(fromJson(ClusterSchema, cluster));
		manager.start(null);
		await eventually(async () => {
			try {
				admin = `http://${readFileSync(addressFile, 'utf8').trim()}`;
				return (await fetch(`${admin}/ready`)).ok;
			} catch {
				return false;
			}
		});
	}, 40_000);

	afterAll(async () => {
		manager.close();
		discovery.close();
		envoy.kill();
		await envoy.exited;
		rmSync(directory, { recursive: true });
	});

	test('both say the same of every host: health, weight, priority, locality', async () => {
		const expected = hostLines(await envoyClusters());
		expect(expected.length).toBe(5 * 8);
		expect(hostLines(weftClusters())).toEqual(expected);
	});

	test('both follow the file', async () => {
		replace(endpoints(locality(0, [9003, { load_balancing_weight: 7 }], [9010])));
		const isNew = (text: string) => text.includes(':9010::') && !text.includes(':9001::');
		await eventually(async () => isNew(await envoyClusters()));
		await eventually(() => isNew(weftClusters()));
		expect(hostLines(weftClusters())).toEqual(hostLines(await envoyClusters()));
	});

	test('each number of a cluster has a name that Envoy gives it', async () => {
		const text = await (await fetch(`${admin}/stats/prometheus`)).text();
		const names = new Set(text.match(/^envoy_cluster_\w+/gm));
		const unknown = [...registry.all()]
			.map((family) => family.name)
			.filter((name) => !names.has(name) && !ONLY_WITH_TLS.includes(name) && !ONLY_WHEN_USED.test(name))
			.filter((name) => !name.startsWith('envoy_cluster_manager_cds_'));
		expect(unknown).toEqual([]);
	});
});
