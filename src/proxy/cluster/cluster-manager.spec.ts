// Clusters as they come, change and go: static, CDS, EDS, DNS, original destination, health.

import { describe, expect, test } from 'bun:test';
import { type JsonObject, toBinary } from '@bufbuild/protobuf';
import { ClusterSchema } from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import type { CodecTransport } from '../../http/codec.ts';
import type { RequestListener, ServerStream } from '../../http/stream.ts';
import { Http2ServerCodec } from '../../http2/server-codec.ts';
import { TestAuthority } from '../../net/testing-certificates.ts';
import { ConfigError } from '../../std/errors.ts';
import { CLUSTER_TYPE } from '../../xds/type-urls.ts';
import type { PickContext } from '../upstream.ts';
import { clusterMessage, endpoint, staticCluster, TestBed, TestRequest, TestServer } from './testing-upstream.ts';

const bytes = (json: JsonObject) => toBinary(ClusterSchema, clusterMessage(json));
const edsCluster = (more: JsonObject = {}): JsonObject => ({
	type: 'EDS',
	eds_cluster_config: { eds_config: { ads: {} }, service_name: 'c-endpoints' },
	...more,
});
const staticJson = (port: number, more: JsonObject = {}): JsonObject => ({
	load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(port)] }] },
	...more,
});

async function isSettled(promise: Promise<void>): Promise<boolean> {
	let settled = false;
	void promise.then(() => {
		settled = true;
	});
	for (let i = 0; i < 5; i++) await Promise.resolve();
	return settled;
}

function ports(bed: TestBed, picks = 20, context: PickContext | null = null): number[] {
	const found = new Set<number>();
	for (let i = 0; i < picks; i++) {
		const address = bed.manager.get('c')!.pick(context)?.address;
		if (address?.kind === 'ip') found.add(address.port);
	}
	return [...found].sort();
}

describe('configuration', () => {
	test.each([
		['connect_timeout', staticJson(1, { connect_timeout: '0s' })],
		['load_assignment', { type: 'LOGICAL_DNS' }],
		['outlier_detection', staticJson(1, { outlier_detection: {} })],
		['lb_policy', staticJson(1, { lb_policy: 'RING_HASH' })],
		['ring_hash_lb_config', staticJson(1, { ring_hash_lb_config: { minimum_ring_size: '1' } })],
		['load_assignment.policy.drop_overloads', { load_assignment: { policy: { drop_overloads: [{ category: 'x' }] } } }],
		[
			'endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address',
			{ load_assignment: { endpoints: [{ lb_endpoints: [endpoint(1, {}, 'a.name')] }] } },
		],
		[
			'circuit_breakers.thresholds[0].priority',
			staticJson(1, { circuit_breakers: { thresholds: [{ priority: 'HIGH' }] } }),
		],
		[
			'explicit_http_config.http2_protocol_options.allow_metadata',
			staticJson(1, {
				typed_extension_protocol_options: {
					'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
						'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
						explicit_http_config: { http2_protocol_options: { allow_metadata: true } },
					},
				},
			}),
		],
		['health_checks[0].interval', staticJson(1, { health_checks: [{ timeout: '1s' }] })],
	])('what is wrong or not supported is refused by name: %s', (field, json) => {
		const bed = new TestBed();
		const add = () => bed.manager.addStatic(clusterMessage(json as JsonObject));
		expect(add).toThrow(ConfigError);
		expect(add).toThrow(field);
	});

	test('a static cluster may have no endpoint, as in Envoy', () => {
		const bed = new TestBed();
		bed.manager.addStatic(clusterMessage({}));
		bed.manager.start(null);
		expect(bed.manager.get('c')!.pick(null)).toBeNull();
	});

	test('a name is used once', () => {
		const bed = new TestBed();
		bed.manager.addStatic(staticCluster([1]));
		expect(() => bed.manager.addStatic(staticCluster([1]))).toThrow('used once');
	});
});

describe('CDS', () => {
	test('a cluster appears when it has its first endpoints, and not before', async () => {
		const bed = new TestBed();
		bed.manager.start(bed.ads);
		expect(await isSettled(bed.manager.initialized)).toBe(false);
		expect(bed.ads.give(CLUSTER_TYPE, { c: bytes(edsCluster()) })).toBeNull();
		expect(bed.manager.get('c')).toBeUndefined();
		expect(bed.ads.giveEndpoints('c-endpoints', [endpoint(9000)])).toBeNull();
		expect(ports(bed)).toEqual([9000]);
		expect(await isSettled(bed.manager.initialized)).toBe(true);
	});

	test('without endpoints it appears, empty, after the initial fetch timeout', async () => {
		const bed = new TestBed();
		bed.manager.start(bed.ads);
		bed.ads.give(CLUSTER_TYPE, { c: bytes(edsCluster()) });
		await bed.settle(14_900);
		expect(bed.manager.get('c')).toBeUndefined();
		await bed.settle(200);
		expect(bed.manager.get('c')?.hostCount).toBe(0);
		expect(bed.manager.get('c')?.pick(null)).toBeNull();
		expect(await isSettled(bed.manager.initialized)).toBe(true);
	});

	test('a changed cluster takes over when it is ready, and requests in flight keep the old', async () => {
		const bed = new TestBed();
		const server = new TestServer(bed.network, 9000);
		server.autoStatus = null;
		bed.manager.start(bed.ads);
		bed.ads.give(CLUSTER_TYPE, { c: bytes(staticJson(9000)) });
		const old = bed.manager.get('c')!;
		const request = new TestRequest(old);
		await bed.settle();
		bed.ads.give(CLUSTER_TYPE, { c: bytes(edsCluster()) });
		expect(bed.manager.get('c')).toBe(old);
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9001)]);
		expect(bed.manager.get('c')).not.toBe(old);
		expect(ports(bed)).toEqual([9001]);
		server.answer(0);
		await bed.settle(2_000);
		expect(request.status).toBe(200);
		expect(server.connections.size).toBe(0);
	});

	test('the same cluster again changes nothing', () => {
		const bed = new TestBed();
		bed.manager.start(bed.ads);
		bed.ads.give(CLUSTER_TYPE, { c: bytes(staticJson(9000)) });
		const cluster = bed.manager.get('c');
		bed.ads.give(CLUSTER_TYPE, { c: bytes(staticJson(9000)) });
		expect(bed.manager.get('c')).toBe(cluster);
	});

	test('a bad one is named, the last good one and the others of the update stay', () => {
		const bed = new TestBed();
		bed.manager.start(bed.ads);
		bed.ads.give(CLUSTER_TYPE, { c: bytes(staticJson(9000)) });
		const refused = bed.ads.give(CLUSTER_TYPE, {
			c: bytes(staticJson(9000, { lb_policy: 'MAGLEV' })),
			d: bytes(staticJson(9002, { name: 'd' })),
			e: new Uint8Array([0xff, 0xff]),
		});
		expect(refused).toContain('cluster "c": lb_policy: found MAGLEV');
		expect(refused).not.toContain('"d"');
		expect(ports(bed)).toEqual([9000]);
		expect(bed.manager.get('d')).toBeDefined();
		expect(bed.manager.get('e')).toBeUndefined();
	});

	test('a removed cluster is gone with its numbers; a static one cannot be replaced', () => {
		const bed = new TestBed();
		bed.manager.addStatic(staticCluster([9000], { name: 's' }));
		bed.manager.start(bed.ads);
		bed.ads.give(CLUSTER_TYPE, { c: bytes(staticJson(9000)), s: bytes(staticJson(9009, { name: 's' })) });
		expect(bed.metric('membership_total', 'c')).toBe(1);
		bed.ads.give(CLUSTER_TYPE, {}, ['c', 's']);
		expect(bed.manager.get('c')).toBeUndefined();
		expect(() => bed.metric('membership_total', 'c')).toThrow();
		expect(bed.manager.get('s')!.pick(null)!.addressText).toBe('127.0.0.1:9000');
	});
});

describe('EDS', () => {
	function setUp(more: JsonObject = {}) {
		const bed = new TestBed();
		bed.manager.addStatic(clusterMessage(edsCluster(more)));
		bed.manager.start(null);
		return bed;
	}

	test('hosts that stay keep their connections; those that go are drained', async () => {
		const bed = setUp();
		const stays = new TestServer(bed.network, 9000);
		const goes = new TestServer(bed.network, 9001);
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9000), endpoint(9001)]);
		const cluster = bed.manager.get('c')!;
		for (let i = 0; i < 4; i++) new TestRequest(cluster);
		await bed.settle();
		const keptHost = [...cluster.hosts()].find((host) => host.addressText.endsWith(':9000'));
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9000, { load_balancing_weight: 3 }), endpoint(9002)]);
		await bed.settle();
		expect(goes.connections.size).toBe(0);
		expect(stays.connections.size).toBeGreaterThan(0);
		expect([...cluster.hosts()][0]).toBe(keptHost!);
		expect(keptHost!.weight).toBe(3);
		expect(ports(bed)).toEqual([9000, 9002]);
	});

	test('a bad assignment is refused, and the last good one stays', () => {
		const bed = setUp();
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9000)]);
		expect(bed.ads.giveEndpoints('c-endpoints', [endpoint(9001), endpoint(0)])).toContain('port_value');
		expect(ports(bed)).toEqual([9000]);
		expect(bed.metric('update_rejected')).toBe(1);
	});

	test('an empty assignment takes all hosts away', () => {
		const bed = setUp();
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9000)]);
		bed.ads.giveEndpoints('c-endpoints', []);
		expect(bed.manager.get('c')!.pick(null)).toBeNull();
	});

	test('hosts said to be unhealthy or draining are not picked; metadata is there', () => {
		const bed = setUp();
		bed.ads.giveEndpoints('c-endpoints', [
			endpoint(9000, { metadata: { filter_metadata: { istio: { workload: 'w;n' } } } }),
			endpoint(9001),
			endpoint(9002, { health_status: 'DRAINING' }),
		]);
		expect(ports(bed)).toEqual([9000, 9001]);
		expect(bed.metric('membership_healthy')).toBe(2);
		const host = [...bed.manager.get('c')!.hosts()][0]!;
		expect(host.metadata).toEqual({ istio: { workload: 'w;n' } });
	});

	test('the endpoint decides the transport, by its metadata', () => {
		const tls = {
			name: 'tls',
			typed_config: {
				'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
				sni: 'x',
			},
		};
		const bed = setUp({
			transport_socket_matches: [{ name: 'mtls', match: { tlsMode: 'istio' }, transport_socket: tls }],
		});
		const mode = { metadata: { filter_metadata: { 'envoy.transport_socket_match': { tlsMode: 'istio', other: 1 } } } };
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9000, mode), endpoint(9001)]);
		const [secured, plain] = [...bed.manager.get('c')!.hosts()];
		expect(secured!.tls?.current()?.serverName).toBe('x');
		expect(plain!.tls).toBeNull();
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9000), endpoint(9001)]);
		const [changed, same] = [...bed.manager.get('c')!.hosts()];
		expect(changed).not.toBe(secured);
		expect(changed!.tls).toBeNull();
		expect(same).toBe(plain);
	});
});

describe('DNS', () => {
	function setUp(more: JsonObject = {}) {
		const bed = new TestBed();
		bed.manager.addStatic(
			clusterMessage({
				type: 'STRICT_DNS',
				load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: [endpoint(80, {}, 'a.example')] }] },
				...more,
			}),
		);
		return bed;
	}
	const addresses = (bed: TestBed) => [...bed.manager.get('c')!.hosts()].map((host) => host.addressText).sort();

	test('each address is a host, followed as the name changes', async () => {
		const bed = setUp({ dns_lookup_family: 'V4_ONLY' });
		bed.network.setName('a.example', ['10.0.0.1', '10.0.0.2', '::1']);
		bed.manager.start(null);
		expect(bed.manager.get('c')).toBeUndefined();
		await bed.settle();
		expect(addresses(bed)).toEqual(['10.0.0.1:80', '10.0.0.2:80']);
		expect([...bed.manager.get('c')!.hosts()][0]!.hostname).toBe('a.example');
		bed.network.setName('a.example', ['10.0.0.3']);
		await bed.settle(5_100);
		expect(addresses(bed)).toEqual(['10.0.0.3:80']);
	});

	test('a name that cannot be resolved any more keeps its hosts', async () => {
		const bed = setUp();
		bed.network.setName('a.example', ['10.0.0.1']);
		bed.manager.start(null);
		await bed.settle();
		bed.network.setName('a.example', null);
		await bed.settle(60_000);
		expect(addresses(bed)).toEqual(['10.0.0.1:80']);
		expect(bed.metric('update_failure')).toBeGreaterThan(5);
	});

	test('one that never resolves still lets the proxy start', async () => {
		const bed = setUp();
		bed.manager.start(null);
		await bed.settle();
		expect(await isSettled(bed.manager.initialized)).toBe(true);
		expect(bed.manager.get('c')!.hostCount).toBe(0);
	});

	test('AUTO prefers IPv6, and LOGICAL_DNS takes one address', async () => {
		const bed = setUp({ type: 'LOGICAL_DNS' });
		bed.network.setName('a.example', ['10.0.0.1', '::1', '::2']);
		bed.manager.start(null);
		await bed.settle();
		expect(addresses(bed)).toEqual(['[::1]:80']);
	});
});

test('ORIGINAL_DST goes where the connection was headed, and forgets hosts nobody uses', async () => {
	const bed = new TestBed();
	bed.manager.addStatic(clusterMessage({ type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED' }));
	bed.manager.start(null);
	const cluster = bed.manager.get('c')!;
	expect(cluster.pick(null)).toBeNull();
	expect(cluster.pick({ tried: [] })).toBeNull();
	const context = { tried: [], originalDestination: { kind: 'ip', host: '10.9.8.7', port: 443 } } as const;
	const host = cluster.pick(context)!;
	expect(host.addressText).toBe('10.9.8.7:443');
	expect(cluster.pick(context)).toBe(host);
	expect(cluster.hostCount).toBe(1);
	await bed.settle(11_000);
	expect(cluster.hostCount).toBe(0);
});

describe('active health checks', () => {
	const check = (more: JsonObject = {}): JsonObject => ({
		health_checks: [
			{
				timeout: '1s',
				interval: '5s',
				no_traffic_interval: '5s',
				unhealthy_threshold: 2,
				healthy_threshold: 2,
				...(more.tcp_health_check === undefined ? { http_health_check: { path: '/healthz' } } : {}),
				...more,
			},
		],
		common_lb_config: { healthy_panic_threshold: { value: 0 } },
	});

	test('a cluster is ready when its hosts were checked once, and only healthy ones are picked', async () => {
		const bed = new TestBed();
		const good = new TestServer(bed.network, 9000);
		const bad = new TestServer(bed.network, 9001);
		bad.autoStatus = 503;
		bed.manager.addStatic(staticCluster([9000, 9001], check()));
		bed.manager.start(null);
		expect(bed.manager.get('c')).toBeUndefined();
		await bed.settle();
		expect(ports(bed)).toEqual([9000]);
		expect(good.requests[0]!.head).toMatchObject({ method: 'GET', path: '/healthz', authority: 'c' });
	});

	test('a host that chooses HTTP/2 by ALPN is checked over HTTP/2', async () => {
		const bed = new TestBed();
		const { certificatePem, privateKeyPem } = await TestAuthority.create();
		let checks = 0;
		bed.network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: 9000 } }, (connection) => {
			const transport: CodecTransport = {
				write: (bytes) => connection.write(bytes),
				pauseReading() {},
				resumeReading() {},
				close: () => connection.reset(),
			};
			const onStream = (stream: ServerStream): RequestListener => ({
				onHead() {
					checks++;
					stream.writeHead({ status: 200, headers: [] }, true);
				},
				onData() {},
				onTrailers() {},
				onReset() {},
				onDrain() {},
			});
			let codec: Http2ServerCodec | null = null;
			connection.handler = {
				onConnect() {
					const { clock } = bed.network;
					codec = new Http2ServerCodec(transport, { onStream, onProtocolError() {}, onIdle() {} }, { clock });
				},
				onData: (_connection, bytes) => codec?.receive(bytes),
				onDrain: () => codec?.transportDrained(),
				onEnd: () => codec?.receiveEnd(),
				onClose: (_connection, error) => codec?.transportClosed(error),
			};
			connection.startServerTls({ certificateChainPem: certificatePem, privateKeyPem, alpn: ['h2'] });
		});
		const tls = {
			'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
			common_tls_context: { alpn_protocols: ['h2'] },
		};
		const transport = { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: tls } };
		bed.manager.addStatic(staticCluster([9000], { ...check(), ...transport }));
		bed.manager.start(null);
		await bed.settle();
		expect(ports(bed)).toEqual([9000]);
		await bed.settle(5_100);
		expect(checks).toBe(2);
		expect(bed.metric('health_check_success')).toBe(2);
	});

	test('a host that fails goes after the threshold, and comes back after the other', async () => {
		const bed = new TestBed();
		const server = new TestServer(bed.network, 9000);
		const steady = new TestServer(bed.network, 9001);
		bed.manager.addStatic(staticCluster([9000, 9001], check()));
		bed.manager.start(null);
		await bed.settle();
		expect(ports(bed)).toEqual([9000, 9001]);
		bed.network.silence({ kind: 'ip', host: '127.0.0.1', port: 9000 });
		for (const connection of server.connections) connection.reset();
		await bed.settle(6_500);
		expect(ports(bed)).toEqual([9000, 9001]);
		await bed.settle(6_500);
		expect(ports(bed)).toEqual([9001]);
		bed.network.unsilence({ kind: 'ip', host: '127.0.0.1', port: 9000 });
		await bed.settle(6_000);
		expect(ports(bed)).toEqual([9001]);
		await bed.settle(6_000);
		expect(ports(bed)).toEqual([9000, 9001]);
		expect(steady.accepted).toBe(1);
	});

	test('a status that is not expected counts at once', async () => {
		const bed = new TestBed();
		const server = new TestServer(bed.network, 9000);
		bed.manager.addStatic(staticCluster([9000], check()));
		bed.manager.start(null);
		await bed.settle();
		expect(ports(bed)).toEqual([9000]);
		server.autoStatus = 500;
		await bed.settle(5_100);
		expect(ports(bed)).toEqual([]);
	});

	test('TCP: connected is healthy', async () => {
		const bed = new TestBed();
		new TestServer(bed.network, 9000);
		bed.manager.addStatic(staticCluster([9000, 9001], check({ tcp_health_check: {} })));
		bed.manager.start(null);
		await bed.settle();
		expect(ports(bed)).toEqual([9000]);
	});

	test('a removed host is checked no more', async () => {
		const bed = new TestBed();
		const server = new TestServer(bed.network, 9000);
		bed.manager.start(bed.ads);
		bed.ads.give(CLUSTER_TYPE, { c: bytes(edsCluster(check())) });
		bed.ads.giveEndpoints('c-endpoints', [endpoint(9000)]);
		await bed.settle();
		expect(server.requests.length).toBe(1);
		bed.ads.giveEndpoints('c-endpoints', []);
		await bed.settle(30_000);
		expect(server.requests.length).toBe(1);
		expect(server.connections.size).toBe(0);
	});
});
