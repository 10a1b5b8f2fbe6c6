// Connections of one host: reuse, waiting, limits, races, draining.

import { describe, expect, test } from 'bun:test';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Connection } from '../../net/network.ts';
import type { WeftError } from '../../std/errors.ts';
import { faultSink } from '../../std/fault.ts';
import { logSink } from '../../std/log.ts';
import { staticCluster, TestBed, TestRequest, TestServer } from './testing-upstream.ts';

const PORT = 9000;

function setUp(more: JsonObject = {}) {
	const bed = new TestBed();
	const server = new TestServer(bed.network, PORT);
	bed.manager.addStatic(staticCluster([PORT], more));
	bed.manager.start(null);
	const cluster = bed.manager.get('c')!;
	return { bed, server, cluster };
}

const breakers = (thresholds: JsonObject) => ({ circuit_breakers: { thresholds: [thresholds] } });

describe('reuse', () => {
	test('one connection serves one request after another', async () => {
		const { bed, server, cluster } = setUp();
		for (let i = 0; i < 3; i++) {
			const request = new TestRequest(cluster);
			await bed.settle();
			expect(request).toMatchObject({ status: 200, ended: true, reset: null });
		}
		expect(server.accepted).toBe(1);
		expect(bed.metric('upstream_rq_total')).toBe(3);
		expect(bed.metric('upstream_rq_active')).toBe(0);
		expect(bed.metric('upstream_cx_active')).toBe(1);
		expect([...cluster.hosts()][0]!.activeRequests).toBe(0);
	});

	test('requests at the same time have a connection each, and the last used is taken first', async () => {
		const { bed, server, cluster } = setUp();
		server.autoStatus = null;
		const first = new TestRequest(cluster);
		const second = new TestRequest(cluster);
		await bed.settle();
		expect(server.accepted).toBe(2);
		expect([...cluster.hosts()][0]!.activeRequests).toBe(2);
		server.answer(1);
		await bed.settle();
		server.answer(0);
		await bed.settle();
		expect([first.status, second.status]).toEqual([200, 200]);
		const lastUsed = server.requests[0]!.connection;
		new TestRequest(cluster);
		await bed.settle();
		expect(server.requests[2]!.connection).toBe(lastUsed);
	});

	test('idle connections close after the idle timeout', async () => {
		const { bed, server, cluster } = setUp({ common_http_protocol_options: { idle_timeout: '10s' } });
		new TestRequest(cluster);
		await bed.settle();
		await bed.settle(9_900);
		expect(server.connections.size).toBe(1);
		await bed.settle(200);
		expect(server.connections.size).toBe(0);
		expect(bed.metric('upstream_cx_idle_timeout')).toBe(1);
		expect(bed.metric('upstream_cx_active')).toBe(0);
	});

	test('the idle timeout counts from the last request, and never ends one under way', async () => {
		const { bed, server, cluster } = setUp({ common_http_protocol_options: { idle_timeout: '10s' } });
		new TestRequest(cluster);
		await bed.settle(9_000);
		new TestRequest(cluster);
		await bed.settle(9_500);
		expect(server.connections.size).toBe(1);
		expect(bed.metric('upstream_cx_idle_timeout')).toBe(0);
		await bed.settle(1_000);
		expect(server.connections.size).toBe(0);
		expect(bed.metric('upstream_cx_idle_timeout')).toBe(1);

		server.autoStatus = null;
		const slow = new TestRequest(cluster);
		await bed.settle(25_000);
		expect([slow.failure, slow.reset]).toEqual([null, null]);
		expect(server.connections.size).toBe(1);
	});

	test('a connection takes no more than max_requests_per_connection', async () => {
		const { bed, server, cluster } = setUp({ common_http_protocol_options: { max_requests_per_connection: 2 } });
		for (let i = 0; i < 4; i++) {
			new TestRequest(cluster);
			await bed.settle(3000);
		}
		expect(server.accepted).toBe(2);
		expect(bed.metric('upstream_cx_max_requests')).toBe(2);
	});
});

describe('failures', () => {
	test('a refused connection fails all that wait, safe to retry', async () => {
		const { bed, server, cluster } = setUp();
		server.stop();
		const requests = [new TestRequest(cluster), new TestRequest(cluster)];
		await bed.settle();
		for (const { failure } of requests) expect(failure).toMatchObject({ code: 'connect_refused', retrySafe: true });
		expect(bed.metric('upstream_cx_connect_fail')).toBeGreaterThan(0);
		expect(bed.metric('upstream_rq_pending_active')).toBe(0);
		expect(bed.metric('upstream_cx_active')).toBe(0);
	});

	test('a host that does not answer the connect times out', async () => {
		const { bed, cluster } = setUp({ connect_timeout: '2s' });
		bed.network.silence({ kind: 'ip', host: '127.0.0.1', port: PORT });
		const request = new TestRequest(cluster);
		await bed.settle(1_900);
		expect(request.failure).toBeNull();
		await bed.settle(200);
		expect(request.failure).toMatchObject({ code: 'connect_timeout', retrySafe: true });
		expect(bed.metric('upstream_cx_connect_timeout')).toBe(1);
	});

	test.each([
		['GET', 'refused', true],
		['POST', 'connection_lost', false],
	] as const)('a kept connection that the host closes as a %s is sent: %s', async (method, reason, retrySafe) => {
		const { bed, server, cluster } = setUp();
		new TestRequest(cluster);
		await bed.settle();
		server.autoStatus = null;
		const request = new TestRequest(cluster, undefined, method);
		for (const connection of server.connections) connection.reset();
		await bed.settle();
		expect(request.reset?.reason).toBe(reason);
		expect(request.reset?.error?.retrySafe).toBe(retrySafe);
		expect(bed.metric('upstream_rq_active')).toBe(0);
	});

	test('a new connection that closes without an answer is lost, not refused', async () => {
		const { bed, server, cluster } = setUp();
		server.autoStatus = null;
		const request = new TestRequest(cluster);
		await bed.settle();
		server.requests[0]!.connection.reset();
		await bed.settle();
		expect(request.reset?.reason).toBe('connection_lost');
	});

	test('a kept connection that the host closed while idle is not used again', async () => {
		const { bed, server, cluster } = setUp();
		new TestRequest(cluster);
		await bed.settle();
		for (const connection of server.connections) connection.end();
		await bed.settle();
		const request = new TestRequest(cluster, undefined, 'POST');
		await bed.settle();
		expect(request.status).toBe(200);
		expect(server.accepted).toBe(2);
		await bed.settle(2_000);
		expect(server.connections.size).toBe(1);
	});
});

describe('circuit breakers', () => {
	test('more than max_pending_requests are refused at once', async () => {
		const { bed, cluster } = setUp(breakers({ max_pending_requests: 1 }));
		const requests = [new TestRequest(cluster), new TestRequest(cluster)];
		expect(requests[1]!.failure).toMatchObject({ code: 'pool_overflow', retrySafe: true });
		await bed.settle();
		expect(requests[0]!.status).toBe(200);
		expect(bed.metric('upstream_rq_pending_overflow')).toBe(1);
	});

	test('at max_connections requests wait for a connection to be free', async () => {
		const { bed, server, cluster } = setUp(breakers({ max_connections: 1 }));
		server.autoStatus = null;
		const requests = [new TestRequest(cluster), new TestRequest(cluster)];
		await bed.settle();
		expect(server.accepted).toBe(1);
		expect(bed.metric('upstream_rq_pending_active')).toBe(1);
		expect(bed.metric('circuit_breakers_default_cx_open')).toBe(1);
		server.answer(0);
		await bed.settle();
		server.answer(1);
		await bed.settle();
		expect(requests.map((request) => request.status)).toEqual([200, 200]);
		expect(server.accepted).toBe(1);
		expect(bed.metric('upstream_cx_overflow')).toBeGreaterThan(0);
	});

	test('more than max_requests are refused, and the connection stays for others', async () => {
		const { bed, server, cluster } = setUp(breakers({ max_requests: 1 }));
		server.autoStatus = null;
		const requests = [new TestRequest(cluster), new TestRequest(cluster)];
		await bed.settle();
		expect(requests[1]!.failure?.code).toBe('pool_overflow');
		server.answer(0);
		await bed.settle();
		const after = new TestRequest(cluster);
		await bed.settle();
		server.answer(1);
		await bed.settle();
		expect(after.status).toBe(200);
		expect(bed.metric('upstream_rq_tx_reset')).toBe(0);
	});

	test('retries are bounded, by number or by budget', async () => {
		const { bed, cluster } = setUp(breakers({ max_retries: 1 }));
		expect(cluster.tryTakeRetry()).toBe(true);
		expect(cluster.tryTakeRetry()).toBe(false);
		cluster.releaseRetry();
		expect(cluster.tryTakeRetry()).toBe(true);
		expect(bed.metric('upstream_rq_retry_overflow')).toBe(1);
		const budget = setUp(breakers({ retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 1 } }));
		budget.server.autoStatus = null;
		for (let i = 0; i < 4; i++) new TestRequest(budget.cluster);
		await budget.bed.settle();
		expect([1, 2, 3].map(() => budget.cluster.tryTakeRetry())).toEqual([true, true, false]);
	});
});

describe('cancelling and draining', () => {
	test('a request that no longer waits leaves its connection to others', async () => {
		const { bed, server, cluster } = setUp();
		const cancelled = new TestRequest(cluster);
		cancelled.pending.cancel();
		await bed.settle();
		expect(cancelled).toMatchObject({ status: null, failure: null });
		new TestRequest(cluster);
		await bed.settle();
		expect(server.accepted).toBe(1);
		expect(bed.metric('upstream_rq_cancelled')).toBe(1);
	});

	test('a drained cluster closes what is idle, ends what is under way, and still serves its holders', async () => {
		const { bed, server, cluster } = setUp();
		server.autoStatus = null;
		const busy = new TestRequest(cluster);
		const idle = new TestRequest(cluster);
		await bed.settle();
		server.answer(1);
		await bed.settle();
		expect(idle.status).toBe(200);
		cluster.drain();
		await bed.settle();
		expect(server.connections.size).toBe(1);
		const late = new TestRequest(cluster);
		await bed.settle();
		server.answer(0);
		server.answer(2);
		await bed.settle(2_000);
		expect([busy.status, late.status]).toEqual([200, 200]);
		expect(server.connections.size).toBe(0);
		expect(bed.metric('upstream_cx_active')).toBe(0);
	});
});

test('TCP connections are counted, bounded and owned by the caller', async () => {
	const { bed, cluster } = setUp(breakers({ max_connections: 1 }));
	const events: string[] = [];
	const handler = {
		onConnect: () => void events.push('connect'),
		onData: () => {},
		onDrain: () => {},
		onEnd: () => {},
		onClose: (_connection: Connection, error: WeftError | null) => void events.push(`close ${error?.code ?? ''}`),
	};
	const host = cluster.pick(null)!;
	const first = cluster.connectTcp(host, handler);
	await bed.settle();
	expect(events).toEqual(['connect']);
	expect(host.activeRequests).toBe(1);
	cluster.connectTcp(host, handler);
	await bed.settle();
	expect(events).toEqual(['connect', 'close pool_overflow']);
	first.handler = handler;
	first.reset();
	await bed.settle();
	expect(host.activeRequests).toBe(0);
	expect(bed.metric('upstream_cx_active')).toBe(0);
	cluster.connectTcp(host, handler);
	await bed.settle();
	expect(events.at(-1)).toBe('connect');
});

test('a timer of a connection that throws closes that connection, and requests go on', async () => {
	const { bed, server, cluster } = setUp({ common_http_protocol_options: { idle_timeout: '10s' } });
	new TestRequest(cluster);
	await bed.settle();
	const places: string[] = [];
	const { count } = faultSink;
	const { level } = logSink;
	faultSink.count = (place) => void places.push(place);
	logSink.level = 'off';
	const counter = bed.registry.counter('envoy_cluster_upstream_cx_idle_timeout', '', ['envoy_cluster_name']).with('c');
	counter.inc = () => {
		throw new Error('a bug in a test');
	};
	await bed.settle(11_000);
	faultSink.count = count;
	logSink.level = level;
	expect(places).toEqual(['connection']);
	expect(server.connections.size).toBe(0);
	expect(bed.metric('upstream_cx_active')).toBe(0);
	const next = new TestRequest(cluster);
	await bed.settle();
	expect(next.status).toBe(200);
});

test('a callback of an upstream connection that throws costs that connection and its request', async () => {
	const { bed, server, cluster } = setUp();
	server.autoStatus = null;
	const request = new TestRequest(cluster);
	await bed.settle();
	request.onHead = () => {
		throw new Error('a bug in a test');
	};
	const { level } = logSink;
	logSink.level = 'off';
	server.answer(0);
	await bed.settle();
	logSink.level = level;
	expect(bed.network.caughtErrors).toBe(1);
	expect(bed.metric('upstream_cx_active')).toBe(0);
	expect(bed.metric('upstream_rq_active')).toBe(0);
	server.autoStatus = 200;
	const next = new TestRequest(cluster);
	await bed.settle();
	expect(next.status).toBe(200);
});
