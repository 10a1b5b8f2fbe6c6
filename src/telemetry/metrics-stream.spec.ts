import { afterEach, describe, expect, test } from 'bun:test';
import { create } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerReadableStream, status } from '@grpc/grpc-js';
import { NodeSchema } from '../generated/envoy/config/core/v3/base_pb.ts';
import { MetricsService, type StreamMetricsMessage } from '../generated/envoy/service/metrics/v3/metrics_service_pb.ts';
import { GrpcChannel } from '../grpc/channel.ts';
import { serviceDefinition } from '../grpc/protobuf-methods.ts';
import { SystemNetwork } from '../net/system-network.ts';
import { VirtualClock } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { MetricsStream } from './metrics-stream.ts';
import { MetricRegistry } from './registry.ts';

type Call = ServerReadableStream<StreamMetricsMessage, unknown>;

/** A metrics service that keeps what comes; `next` waits for the next message. */
class Sink {
	readonly server = new Server();
	readonly calls: Call[] = [];
	private readonly messages: StreamMetricsMessage[] = [];
	private wake: () => void = () => {};

	static async start(): Promise<[Sink, number]> {
		const sink = new Sink();
		sink.server.addService(serviceDefinition(MetricsService), {
			streamMetrics: (call: Call) => {
				sink.calls.push(call);
				call.on('data', (message: StreamMetricsMessage) => {
					sink.messages.push(message);
					sink.wake();
				});
				call.on('error', () => {});
			},
		});
		const port = await new Promise<number>((resolve, reject) => {
			sink.server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
				error === null ? resolve(bound) : reject(error),
			);
		});
		return [sink, port];
	}

	async next(): Promise<StreamMetricsMessage> {
		while (this.messages.length === 0) {
			await new Promise<void>((resolve) => {
				this.wake = resolve;
			});
		}
		return this.messages.shift()!;
	}

	get waiting(): number {
		return this.messages.length;
	}
}

const cleanups: (() => void)[] = [];
afterEach(() => {
	for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function start() {
	const [sink, port] = await Sink.start();
	const channel = new GrpcChannel({
		network: new SystemNetwork(),
		random: new SeededRandom(1),
		addresses: [{ kind: 'ip', host: '127.0.0.1', port }],
		tls: null,
	});
	const clock = new VirtualClock();
	const registry = new MetricRegistry();
	const node = create(NodeSchema, { id: 'sidecar~x' });
	const stream = new MetricsStream({
		channel,
		node,
		registry,
		clock,
		random: new SeededRandom(1),
	});
	cleanups.push(
		() => sink.server.forceShutdown(),
		() => channel.close(),
		() => stream.stop(),
	);
	return { sink, clock, registry, stream };
}

function values(message: StreamMetricsMessage): Record<string, number[]> {
	const result: Record<string, number[]> = {};
	for (const family of message.envoyMetrics) {
		result[family.name] = family.metric.map(
			(metric) => metric.counter?.value ?? Number(metric.histogram?.sampleCount ?? 0),
		);
	}
	return result;
}

/** Lets the channel finish what it has under way. */
async function written(sink: Sink, clock: VirtualClock, registry: MetricRegistry): Promise<StreamMetricsMessage> {
	registry.counter('istio_mark', '').with().inc();
	// A tick while a message is under way is left out; the next one brings what it would have brought.
	for (;;) {
		clock.advance(1000);
		const arrived = await Promise.race([sink.next(), new Promise<null>((resolve) => setTimeout(resolve, 5, null))]);
		if (arrived !== null) return arrived;
	}
}

describe('a metrics stream', () => {
	test('says who it is first, then only what changed, only of the mesh', async () => {
		const { sink, clock, registry } = await start();
		const requests = registry.counter('istio_requests_total', '', ['to']);
		registry.counter('other_total', '').with().inc();
		requests.with('a').inc(3);
		requests.with('b').inc();
		registry.histogram('istio_request_bytes', '', []).with().observe(7);
		requests.with('unused');
		clock.advance(0);
		const first = await sink.next();
		expect(first.identifier?.node?.id).toBe('sidecar~x');
		expect(values(first)).toEqual({ istio_requests_total: [3, 1], istio_request_bytes: [1] });

		requests.with('b').inc();
		const second = await written(sink, clock, registry);
		expect(second.identifier).toBeUndefined();
		expect(values(second)).toEqual({ istio_requests_total: [2], istio_mark: [1] });
		expect(await written(sink, clock, registry).then(values)).toEqual({ istio_mark: [2] });
	});

	test('sends many series in several messages', async () => {
		const { sink, clock, registry } = await start();
		const requests = registry.counter('istio_requests_total', '', ['to']);
		for (let i = 0; i < 2500; i++) requests.with(String(i)).inc();
		clock.advance(0);
		const sizes = [];
		for (let i = 0; i < 3; i++) sizes.push((await sink.next()).envoyMetrics[0]!.metric.length);
		expect(sizes).toEqual([1000, 1000, 500]);
	});

	test('after a loss comes back with everything, and says again who it is', async () => {
		const { sink, clock, registry } = await start();
		registry.counter('istio_requests_total', '').with().inc(5);
		clock.advance(0);
		await sink.next();
		sink.calls[0]!.emit('error', { code: status.UNAVAILABLE, details: 'gone' });
		let again: StreamMetricsMessage;
		do again = await written(sink, clock, registry);
		while (again.identifier === undefined);
		expect(again.identifier.node?.id).toBe('sidecar~x');
		expect(values(again).istio_requests_total).toEqual([5]);
		expect(sink.calls).toHaveLength(2);
	});

	test('stopped: ends its call in order', async () => {
		const { sink, clock, stream } = await start();
		clock.advance(0);
		await sink.next();
		const ended = new Promise((resolve) => sink.calls[0]!.on('end', resolve));
		stream.stop();
		await ended;
		expect(clock.nextDueMs()).toBeNull();
	});
});
