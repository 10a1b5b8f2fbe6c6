// The pool that lets its host choose by ALPN, on the simulated network with simulated TLS.

import { beforeAll, describe, expect, test } from 'bun:test';
import type { JsonObject } from '@bufbuild/protobuf';
import type { ServerCodec, ServerCodecEvents } from '../../http/codec.ts';
import type { RequestHead, ServerStream } from '../../http/stream.ts';
import { Http1ServerCodec } from '../../http1/server-codec.ts';
import { Http2ServerCodec } from '../../http2/server-codec.ts';
import type { Connection } from '../../net/network.ts';
import type { SimulatedNetwork } from '../../net/simulated-network.ts';
import { TestAuthority, type TestCertificate } from '../../net/testing-certificates.ts';
import type { Cluster } from '../upstream.ts';
import { endpoint, staticCluster, TestBed, TestRequest } from './testing-upstream.ts';

let certificate: TestCertificate;

beforeAll(async () => {
	const authority = await TestAuthority.create();
	certificate = await authority.issue({ dns: ['host'] });
});

/** Speaks what it and the client agree on; without TLS, HTTP/1.1. */
class AlpnServer {
	readonly connections: Connection[] = [];
	readonly requests: { readonly head: RequestHead; readonly stream: ServerStream; readonly protocol: string }[] = [];
	alpn: readonly string[] | null;
	concurrentStreamsMax = 100;

	constructor(network: SimulatedNetwork, port: number, alpn: readonly string[] | null) {
		this.alpn = alpn;
		network.listen({ address: { kind: 'ip', host: '127.0.0.1', port } }, (connection) => {
			this.connections.push(connection);
			let codec: ServerCodec | null = null;
			const open = () => {
				codec = this.codec(connection, network);
			};
			connection.handler = {
				onConnect: open,
				onData: (_connection, bytes) => codec!.receive(bytes),
				onDrain: () => codec!.transportDrained(),
				onEnd: () => {
					codec?.receiveEnd();
					connection.end();
				},
				onClose: (_connection, error) => codec?.transportClosed(error),
			};
			if (this.alpn === null) open();
			else {
				connection.startServerTls({
					certificateChainPem: certificate.certificatePem,
					privateKeyPem: certificate.privateKeyPem,
					alpn: this.alpn,
				});
			}
		});
	}

	answer(index: number): void {
		this.requests[index]!.stream.writeHead({ status: 200, headers: [] }, true);
	}

	private codec(connection: Connection, network: SimulatedNetwork): ServerCodec {
		const isHttp2 = connection.tls?.alpn === 'h2';
		const transport = {
			write: (bytes: Uint8Array) => connection.write(bytes),
			pauseReading: () => connection.pause(),
			resumeReading: () => connection.resume(),
			close: (how: 'flush' | 'reset') => (how === 'flush' ? connection.end() : connection.reset()),
		};
		const events: ServerCodecEvents = {
			onStream: (stream) => ({
				onHead: (head) => void this.requests.push({ head, stream, protocol: isHttp2 ? 'HTTP/2' : 'HTTP/1.1' }),
				onData() {},
				onTrailers() {},
				onReset() {},
				onDrain() {},
			}),
			onProtocolError() {},
			onIdle() {},
		};
		if (!isHttp2) return new Http1ServerCodec(transport, events);
		const { concurrentStreamsMax } = this;
		return new Http2ServerCodec(transport, events, { clock: network.clock, concurrentStreamsMax });
	}
}

const TLS: JsonObject = {
	name: 'envoy.transport_sockets.tls',
	typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext' },
};

function autoCluster(more: JsonObject = { transport_socket: TLS }, common: JsonObject = {}) {
	return staticCluster([9000], {
		typed_extension_protocol_options: {
			'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
				'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
				common_http_protocol_options: common,
				auto_config: {},
			},
		},
		...more,
	});
}

async function bedWith(
	alpn: readonly string[] | null,
	message = autoCluster(),
): Promise<{ bed: TestBed; server: AlpnServer; cluster: Cluster }> {
	const bed = new TestBed();
	const server = new AlpnServer(bed.network, 9000, alpn);
	bed.manager.addStatic(message);
	bed.manager.start(null);
	await bed.settle();
	return { bed, server, cluster: bed.manager.get('c')! };
}

const counts = (bed: TestBed) => [bed.metric('upstream_cx_http1_total'), bed.metric('upstream_cx_http2_total')];

describe('a host that chooses HTTP/2', () => {
	test('is given a burst of first requests on one connection', async () => {
		const { bed, server, cluster } = await bedWith(['h2', 'http/1.1']);
		const requests = Array.from({ length: 20 }, () => new TestRequest(cluster));
		await bed.settle();
		expect([server.connections.length, server.requests.length]).toEqual([1, 20]);
		expect(counts(bed)).toEqual([0, 1]);
		for (let i = 0; i < 20; i++) server.answer(i);
		await bed.settle();
		expect(requests.map(({ status }) => status)).toEqual(requests.map(() => 200));
		expect([bed.metric('upstream_rq_active'), bed.metric('upstream_cx_active')]).toEqual([0, 1]);
	});

	test('has another connection once it is full', async () => {
		const { bed, server, cluster } = await bedWith(['h2']);
		server.concurrentStreamsMax = 1;
		const requests = [new TestRequest(cluster)];
		await bed.settle();
		requests.push(new TestRequest(cluster), new TestRequest(cluster));
		await bed.settle(100);
		expect(counts(bed)).toEqual([0, 3]);
		for (let i = 0; i < 3; i++) server.answer(i);
		await bed.settle();
		expect(requests.map(({ status }) => status)).toEqual([200, 200, 200]);
	});
});

describe('a host that chooses HTTP/1.1, or nothing', () => {
	test.each([[['http/1.1']], [[]]])(
		'%p: the first connection serves too; others are opened for what waits',
		async (alpn) => {
			const { bed, server, cluster } = await bedWith(alpn);
			const requests = [new TestRequest(cluster), new TestRequest(cluster), new TestRequest(cluster)];
			await bed.settle(100);
			expect(server.requests.map(({ protocol }) => protocol)).toEqual(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1']);
			expect(counts(bed)).toEqual([3, 0]);
			for (let i = 0; i < 3; i++) server.answer(i);
			await bed.settle();
			expect(requests.map(({ status }) => status)).toEqual([200, 200, 200]);
			const later = new TestRequest(cluster);
			await bed.settle();
			server.answer(3);
			await bed.settle();
			expect([later.status, server.connections.length]).toEqual([200, 3]);
		},
	);

	test('may choose otherwise on its next connection', async () => {
		const { bed, server, cluster } = await bedWith(['http/1.1']);
		const first = new TestRequest(cluster);
		await bed.settle();
		server.alpn = ['h2'];
		const second = new TestRequest(cluster);
		await bed.settle();
		const third = new TestRequest(cluster);
		await bed.settle();
		expect(server.requests.map(({ protocol }) => protocol)).toEqual(['HTTP/1.1', 'HTTP/2', 'HTTP/2']);
		for (let i = 0; i < 3; i++) server.answer(i);
		await bed.settle();
		expect([first.status, second.status, third.status]).toEqual([200, 200, 200]);
	});
});

test('hosts without TLS speak HTTP/1.1, beside others of the cluster that choose', async () => {
	const { bed, server, cluster } = await bedWith(
		null,
		autoCluster({
			transport_socket_matches: [
				{ name: 'mutual', match: { tlsMode: 'istio' }, transport_socket: TLS },
				{ name: 'plain', match: {}, transport_socket: { name: 'envoy.transport_sockets.raw_buffer' } },
			],
			load_assignment: {
				cluster_name: 'c',
				endpoints: [
					{
						lb_endpoints: [
							endpoint(9000),
							endpoint(9001, {
								metadata: { filter_metadata: { 'envoy.transport_socket_match': { tlsMode: 'istio' } } },
							}),
						],
					},
				],
			},
		}),
	);
	const other = new AlpnServer(bed.network, 9001, ['h2']);
	for (let i = 0; i < 8; i++) new TestRequest(cluster);
	await bed.settle();
	expect(new Set(server.requests.map(({ protocol }) => protocol))).toEqual(new Set(['HTTP/1.1']));
	expect(new Set(other.requests.map(({ protocol }) => protocol))).toEqual(new Set(['HTTP/2']));
});

test('auto_config without any TLS is refused', () => {
	const bed = new TestBed();
	expect(() => bed.manager.addStatic(autoCluster({}))).toThrow('auto_config');
});

test('a connection that cannot be made fails all that wait, and leaves nothing behind', async () => {
	const bed = new TestBed();
	bed.manager.addStatic(autoCluster());
	bed.manager.start(null);
	await bed.settle();
	const cluster = bed.manager.get('c')!;
	const requests = [new TestRequest(cluster), new TestRequest(cluster)];
	await bed.settle(100);
	expect(requests.map(({ failure }) => failure?.code)).toEqual(['connect_refused', 'connect_refused']);
	expect([bed.metric('upstream_rq_pending_active'), bed.metric('upstream_cx_active')]).toEqual([0, 0]);
});

test('a drained cluster serves what waits for the handshake, then closes', async () => {
	const { bed, server, cluster } = await bedWith(['h2']);
	const request = new TestRequest(cluster);
	(cluster as unknown as { drain(): void }).drain();
	await bed.settle();
	server.answer(0);
	await bed.settle(2000);
	expect([request.status, bed.metric('upstream_cx_active')]).toEqual([200, 0]);
});

describe('preconnect_policy', () => {
	const ratio = (value: number) => ({
		transport_socket: TLS,
		preconnect_policy: { per_upstream_preconnect_ratio: value },
	});

	test('opens HTTP/1.1 connections ahead of requests, and none while there is room', async () => {
		const { bed, server, cluster } = await bedWith(['http/1.1'], autoCluster(ratio(1.5)));
		new TestRequest(cluster);
		new TestRequest(cluster);
		await bed.settle(100);
		expect(server.connections.length).toBe(3);
		server.answer(0);
		server.answer(1);
		await bed.settle(100);
		expect(server.connections.length).toBe(3);
	});

	test('opens the next HTTP/2 connection before the present one is full', async () => {
		const { bed, server, cluster } = await bedWith(['h2'], autoCluster(ratio(1.5)));
		server.concurrentStreamsMax = 4;
		for (let i = 0; i < 2; i++) {
			new TestRequest(cluster);
			await bed.settle();
		}
		expect(server.connections.length).toBe(1);
		new TestRequest(cluster);
		await bed.settle();
		expect(server.connections.length).toBe(2);
	});

	test('is between 1 and 3', () => {
		expect(() => new TestBed().manager.addStatic(autoCluster(ratio(4)))).toThrow('per_upstream_preconnect_ratio');
	});
});
