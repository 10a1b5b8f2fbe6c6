// The HTTP/2 pool on the simulated network, against servers of our own codec that the test steers.

import { describe, expect, test } from 'bun:test';
import type { JsonObject } from '@bufbuild/protobuf';
import type { RequestHead, ServerStream } from '../../http/stream.ts';
import type { Http2ServerOptions } from '../../http2/limits.ts';
import { Http2ServerCodec } from '../../http2/server-codec.ts';
import type { Connection } from '../../net/network.ts';
import type { SimulatedNetwork } from '../../net/simulated-network.ts';
import type { Cluster } from '../upstream.ts';
import { staticCluster, TestBed, TestRequest } from './testing-upstream.ts';

class Http2TestServer {
	readonly connections: Connection[] = [];
	readonly codecs: Http2ServerCodec[] = [];
	readonly requests: { readonly head: RequestHead; readonly stream: ServerStream }[] = [];

	constructor(network: SimulatedNetwork, port: number, options: Partial<Http2ServerOptions> = {}) {
		network.listen({ address: { kind: 'ip', host: '127.0.0.1', port } }, (connection) => {
			this.connections.push(connection);
			const codec = new Http2ServerCodec(
				{
					write: (bytes) => connection.write(bytes),
					pauseReading: () => connection.pause(),
					resumeReading: () => connection.resume(),
					close: (how) => (how === 'flush' ? connection.end() : connection.reset()),
				},
				{
					onStream: (stream) => ({
						onHead: (head) => void this.requests.push({ head, stream }),
						onData() {},
						onTrailers() {},
						onReset() {},
						onDrain() {},
					}),
					onProtocolError() {},
					onIdle() {},
				},
				{ ...options, clock: network.clock },
			);
			this.codecs.push(codec);
			connection.handler = {
				onConnect() {},
				onData: (_connection, bytes) => codec.receive(bytes),
				onDrain: () => codec.transportDrained(),
				onEnd: () => {
					codec.receiveEnd();
					connection.end();
				},
				onClose: (_connection, error) => codec.transportClosed(error),
			};
		});
	}

	answer(index: number, status = 200): void {
		this.requests[index]!.stream.writeHead({ status, headers: [] }, true);
	}
}

function http2Cluster(
	more: JsonObject = {},
	http2: JsonObject = {},
	common: JsonObject = {},
): ReturnType<typeof staticCluster> {
	return staticCluster([9000], {
		typed_extension_protocol_options: {
			'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
				'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
				common_http_protocol_options: common,
				explicit_http_config: { http2_protocol_options: http2 },
			},
		},
		...more,
	});
}

async function bedWith(
	message: ReturnType<typeof staticCluster>,
	options: Partial<Http2ServerOptions> = {},
): Promise<{ bed: TestBed; server: Http2TestServer; cluster: Cluster }> {
	const bed = new TestBed();
	const server = new Http2TestServer(bed.network, 9000, options);
	bed.manager.addStatic(message);
	bed.manager.start(null);
	await bed.settle();
	return { bed, server, cluster: bed.manager.get('c')! };
}

describe('one connection', () => {
	test('carries all requests at once, in the order they came', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster());
		const requests = Array.from({ length: 20 }, () => new TestRequest(cluster));
		await bed.settle();
		expect([server.connections.length, server.requests.length]).toEqual([1, 20]);
		expect(bed.metric('upstream_cx_http2_total')).toBe(1);
		for (let i = 19; i >= 0; i--) server.answer(i);
		await bed.settle();
		expect(requests.map(({ status }) => status)).toEqual(requests.map(() => 200));
		expect(bed.metric('upstream_rq_active')).toBe(0);
		expect(requests[0]!.host.activeRequests).toBe(0);
	});

	test('is followed by others when it is full, and no more than are needed', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster(), { concurrentStreamsMax: 4 });
		new TestRequest(cluster);
		await bed.settle();
		const later = Array.from({ length: 9 }, () => new TestRequest(cluster));
		await bed.settle(100);
		expect([server.connections.length, server.requests.length]).toEqual([3, 10]);
		for (let i = 0; i < 10; i++) server.answer(i);
		await bed.settle();
		expect(later.every(({ status }) => status === 200)).toBe(true);
	});

	test('heeds max_concurrent_streams of ours', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster({}, { max_concurrent_streams: 2 }));
		for (let i = 0; i < 4; i++) new TestRequest(cluster);
		await bed.settle();
		expect([server.connections.length, server.requests.length]).toEqual([2, 4]);
	});

	test('serves so many requests, and is then replaced', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster({}, {}, { max_requests_per_connection: 3 }));
		for (let i = 0; i < 5; i++) {
			const request = new TestRequest(cluster);
			await bed.settle();
			server.answer(i);
			await bed.settle();
			expect(request.status).toBe(200);
		}
		expect(server.connections.length).toBe(2);
		expect(bed.metric('upstream_cx_max_requests')).toBe(1);
	});

	test('closes when it was idle for long enough, not while a request is under way', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster({}, {}, { idle_timeout: '10s' }));
		new TestRequest(cluster);
		await bed.settle(30_000);
		expect(bed.metric('upstream_cx_active')).toBe(1);
		server.answer(0);
		await bed.settle(9000);
		expect(bed.metric('upstream_cx_active')).toBe(1);
		await bed.settle(3000);
		expect(bed.metric('upstream_cx_active')).toBe(0);
		expect(bed.metric('upstream_cx_idle_timeout')).toBe(1);
	});
});

describe('GOAWAY', () => {
	test('what the host did not process is safe to send elsewhere; the rest goes on; the next has a new connection', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster());
		const first = new TestRequest(cluster);
		await bed.settle();
		server.codecs[0]!.startDrain();
		await bed.settle();
		const second = new TestRequest(cluster);
		await bed.settle();
		expect(server.connections.length).toBe(2);
		server.answer(0);
		server.answer(1);
		await bed.settle();
		expect([first.status, second.status]).toEqual([200, 200]);
		await bed.settle(2000);
		expect(bed.metric('upstream_cx_active')).toBe(1);
	});

	test('streams above the last are refused', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster());
		const first = new TestRequest(cluster);
		const second = new TestRequest(cluster);
		await bed.settle();
		// GOAWAY with last stream 1, by hand.
		server.connections[0]!.write(Uint8Array.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]));
		await bed.settle();
		expect([second.reset?.reason, second.reset?.error?.retrySafe]).toEqual(['refused', true]);
		expect(first.reset).toBeNull();
	});
});

describe('failure', () => {
	test('no connection: all that wait fail', async () => {
		const bed = new TestBed();
		bed.manager.addStatic(http2Cluster());
		bed.manager.start(null);
		await bed.settle();
		const cluster = bed.manager.get('c')!;
		const requests = [new TestRequest(cluster), new TestRequest(cluster)];
		await bed.settle(100);
		expect(requests.map(({ failure }) => failure?.code)).toEqual(['connect_refused', 'connect_refused']);
		expect(bed.metric('upstream_rq_pending_active')).toBe(0);
	});

	test('the connection is lost: every request hears it, and counts are right', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster());
		const requests = [new TestRequest(cluster, undefined, 'POST'), new TestRequest(cluster, undefined, 'POST')];
		await bed.settle();
		server.connections[0]!.reset();
		await bed.settle();
		expect(requests.map(({ reset }) => reset?.reason)).toEqual(['connection_lost', 'connection_lost']);
		expect([bed.metric('upstream_rq_active'), bed.metric('upstream_cx_active')]).toEqual([0, 0]);
	});

	test('a circuit breaker on requests', async () => {
		const limits = { circuit_breakers: { thresholds: [{ max_requests: 2 }] } };
		const { bed, cluster } = await bedWith(http2Cluster(limits));
		const requests = [new TestRequest(cluster), new TestRequest(cluster), new TestRequest(cluster)];
		await bed.settle();
		expect(requests.map(({ failure }) => failure?.code)).toEqual([undefined, undefined, 'pool_overflow']);
	});

	test('a request that is given up leaves the others', async () => {
		const { bed, server, cluster } = await bedWith(http2Cluster());
		const [first, second] = [new TestRequest(cluster), new TestRequest(cluster)];
		await bed.settle();
		server.requests[0]!.stream.reset('refused');
		server.answer(1);
		await bed.settle();
		expect([first!.reset?.reason, second!.status, server.connections.length]).toEqual(['refused', 200, 1]);
	});
});

test('a drained cluster lets requests end, and closes', async () => {
	const { bed, server, cluster } = await bedWith(http2Cluster());
	const request = new TestRequest(cluster);
	await bed.settle();
	bed.manager.close();
	await bed.settle(50);
	expect(bed.metric('upstream_cx_active')).toBe(0);
	expect(request.reset?.reason).toBe('connection_lost');
	expect(server.requests).toHaveLength(1);
});

test('use_downstream_protocol_config takes the protocol of the request', async () => {
	const message = staticCluster([9000], {
		typed_extension_protocol_options: {
			'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
				'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
				use_downstream_protocol_config: {},
			},
		},
	});
	const { bed, cluster } = await bedWith(message);
	const host = cluster.pick(null)!;
	const listener = { onHead() {}, onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
	const events = { onReady() {}, onFailure() {} };
	cluster.requestStream(host, listener, events, 'HTTP/2');
	await bed.settle();
	expect([bed.metric('upstream_cx_http1_total'), bed.metric('upstream_cx_http2_total')]).toEqual([0, 1]);
	cluster.requestStream(host, listener, events, 'HTTP/1.1');
	await bed.settle();
	expect([bed.metric('upstream_cx_http1_total'), bed.metric('upstream_cx_http2_total')]).toEqual([1, 1]);
});
