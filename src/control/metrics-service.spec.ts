import { afterEach, beforeEach, expect, test } from 'bun:test';
import { create, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import { StreamMetricsMessageSchema } from '../generated/envoy/service/metrics/v3/metrics_service_pb.ts';
import { MetricFamilySchema } from '../generated/io/prometheus/client/metrics_pb.ts';
import { WeftError } from '../std/errors.ts';
import type { StreamPeer } from '../xds/resource-view.ts';
import { registerMetricsService } from './metrics-service.ts';
import type { SidecarNode } from './sidecar-node.ts';
import { nodeMessage } from './testing-mesh.ts';

const METHOD = '/envoy.service.metrics.v3.MetricsService/StreamMetrics';

let server: grpc.Server;
let client: grpc.Client;
let peer: StreamPeer | null;
let check: (node: SidecarNode) => void;
let events: string[];
/** Resolves when the sink has taken so many events. */
let waiting: { count: number; resolve: () => void } | null;

function note(event: string): void {
	events.push(event);
	if (waiting !== null && events.length >= waiting.count) waiting.resolve();
}

function taken(count: number): Promise<void> {
	if (events.length >= count) return Promise.resolve();
	return new Promise((resolve) => {
		waiting = { count, resolve };
	});
}

beforeEach(async () => {
	events = [];
	waiting = null;
	peer = { spiffeId: 'spiffe://cluster.local/ns/default/sa/client', certificateNotAfterMs: 0, address: 'test' };
	check = () => {};
	server = new grpc.Server();
	registerMetricsService(
		server,
		() => {
			if (peer === null) throw new WeftError('unauthenticated', 'a certificate is needed');
			return peer;
		},
		{
			onMetrics: (node, families) => note(`${node.workload}: ${families.map(({ name }) => name).join(' ')}`),
			onEnd: (node) => note(`${node.workload} ended`),
		},
		(node) => check(node),
	);
	const port = await new Promise<number>((resolve, reject) => {
		server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
			error === null ? resolve(bound) : reject(error),
		);
	});
	client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
		'grpc.use_local_subchannel_pool': 1,
	});
});

afterEach(() => {
	client.close();
	server.forceShutdown();
});

function stream() {
	let call!: grpc.ClientWritableStream<Uint8Array>;
	const answer = new Promise<{ code: grpc.status; details: string }>((resolve) => {
		call = client.makeClientStreamRequest(
			METHOD,
			(bytes: Uint8Array) => Buffer.from(bytes),
			(bytes: Buffer) => bytes,
			(error) => resolve(error === null ? { code: grpc.status.OK, details: '' } : error),
		);
	});
	const send = (names: readonly string[], node?: Node) => {
		const message = create(StreamMetricsMessageSchema, {
			envoyMetrics: names.map((name) => create(MetricFamilySchema, { name })),
		});
		if (node !== undefined)
			message.identifier = { $typeName: 'envoy.service.metrics.v3.StreamMetricsMessage.Identifier', node };
		call.write(toBinary(StreamMetricsMessageSchema, message));
	};
	return { call, answer, send };
}

test('a stream speaks for the node of its first message until it ends', async () => {
	const { call, answer, send } = stream();
	send(['istio_requests_total'], nodeMessage());
	// Another's name in a later message changes nothing.
	send(['a', 'b'], nodeMessage({ name: 'other' }));
	call.end();
	expect(await answer).toMatchObject({ code: grpc.status.OK });
	expect(events).toEqual(['client-v1: istio_requests_total', 'client-v1: a b', 'client-v1 ended']);
});

test('a stream that breaks has ended, once', async () => {
	const { call, answer, send } = stream();
	send(['a'], nodeMessage());
	await taken(1);
	call.cancel();
	await answer;
	await taken(2);
	await new Promise((resolve) => setImmediate(resolve));
	expect(events).toEqual(['client-v1: a', 'client-v1 ended']);
});

test('who shows no certificate is refused', async () => {
	peer = null;
	const { answer, send } = stream();
	send(['a'], nodeMessage());
	expect(await answer).toMatchObject({ code: grpc.status.UNAUTHENTICATED, details: 'a certificate is needed' });
	expect(events).toEqual([]);
});

test('a first message without a node, or with the node of another account, is refused', async () => {
	for (const [node, text, code] of [
		[undefined, 'identifier.node', grpc.status.INVALID_ARGUMENT],
		[nodeMessage({ name: 'payments' }), 'account payments', grpc.status.PERMISSION_DENIED],
	] as const) {
		const { answer, send } = stream();
		send(['a'], node);
		const refused = await answer;
		expect(refused.code).toBe(code);
		expect(refused.details).toContain(text);
	}
	expect(events).toEqual([]);
});

test('a node that did not join as what it says is refused, and nothing it sent is taken', async () => {
	check = () => {
		throw new WeftError('permission_denied', 'nobody joined by that name');
	};
	const { answer, send } = stream();
	send(['a'], nodeMessage());
	send(['b']);
	expect(await answer).toMatchObject({
		code: grpc.status.PERMISSION_DENIED,
		details: 'nobody joined by that name',
	});
	expect(events).toEqual([]);
});
