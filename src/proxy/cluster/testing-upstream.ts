// A simulated upstream for tests: HTTP/1.1 servers in memory whose answers a test decides, and what a
// cluster needs around it.

import { fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { type Cluster as ClusterMessage, ClusterSchema } from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { ClusterLoadAssignmentSchema } from '../../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import type { RequestHead, ResetReason, ResponseHead, ResponseListener, ServerStream } from '../../http/stream.ts';
import { Http1ClientCodec } from '../../http1/client-codec.ts';
import { Http1ServerCodec } from '../../http1/server-codec.ts';
import type { Connection } from '../../net/network.ts';
import { SimulatedNetwork } from '../../net/simulated-network.ts';
import type { WeftError } from '../../std/errors.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import type { DiscoveryClient, ResourceSubscriber } from '../../xds/discovery-client.ts';
import { ENDPOINT_TYPE } from '../../xds/type-urls.ts';
import { ConfigSources } from '../config-source.ts';
import { SecretManager } from '../tls/secret-manager.ts';
import { typeRegistry } from '../type-registry.ts';
import type { Cluster, Host, PendingStream } from '../upstream.ts';
import { UpstreamClusterManager } from './cluster-manager.ts';
import { ClusterMetrics } from './cluster-stats.ts';

export class TestBed {
	readonly network: SimulatedNetwork;
	readonly registry = new MetricRegistry();
	readonly ads = new FakeDiscovery();
	readonly manager: UpstreamClusterManager;

	constructor(seed = 1) {
		this.network = new SimulatedNetwork({ seed });
		const sources = new ConfigSources(() => this.ads);
		sources.useAds(this.ads);
		const { network } = this;
		this.manager = new UpstreamClusterManager(
			{
				network,
				random: network.random,
				metrics: new ClusterMetrics(this.registry),
				secrets: new SecretManager(sources, null, () => network.clock.wallMs()),
				sources,
				makeHttp1Codec: (transport, events, options) => new Http1ClientCodec(transport, events, options),
			},
			this.registry,
		);
	}

	/** Lets that much time pass, and what waits for promises happen. */
	async settle(ms = 20): Promise<void> {
		const { clock } = this.network;
		const endMs = clock.nowMs() + ms;
		for (;;) {
			for (let round = 0; round < 20; round++) await Promise.resolve();
			const dueMs = clock.nextDueMs();
			if (dueMs === null || dueMs > endMs) break;
			clock.advance(dueMs - clock.nowMs());
		}
		clock.advance(endMs - clock.nowMs());
	}

	metric(name: string, cluster = 'c'): number {
		for (const family of this.registry.all()) {
			if (family.name !== `envoy_cluster_${name}`) continue;
			for (const { labels, instrument } of family.series()) {
				if (labels.includes(cluster) && 'value' in instrument) return instrument.value;
			}
		}
		throw new Error(`no metric ${name} of ${cluster}`);
	}
}

/** Answers what a test tells it to, by resource name. */
export class FakeDiscovery implements DiscoveryClient {
	readonly subscriptions = new Set<{
		typeUrl: string;
		names: readonly string[] | null;
		subscriber: ResourceSubscriber;
	}>();

	subscribe(typeUrl: string, names: readonly string[] | null, subscriber: ResourceSubscriber) {
		const subscription = { typeUrl, names, subscriber };
		this.subscriptions.add(subscription);
		return {
			setNames: (next: readonly string[]) => {
				subscription.names = next;
			},
			close: () => void this.subscriptions.delete(subscription),
		};
	}

	give(
		typeUrl: string,
		resources: Readonly<Record<string, Uint8Array>>,
		removed: readonly string[] = [],
	): string | null {
		let refused: string | null = null;
		for (const { names, subscriber, typeUrl: type } of [...this.subscriptions]) {
			if (type !== typeUrl) continue;
			const updated = Object.entries(resources)
				.filter(([name]) => names?.includes(name) ?? true)
				.map(([name, value]) => ({ name, version: '1', value }));
			if (names !== null && updated.length === 0) continue;
			refused = subscriber.onUpdate({ updated, removed }) ?? refused;
		}
		return refused;
	}

	giveEndpoints(name: string, endpoints: readonly JsonObject[]): string | null {
		const message = fromJson(ClusterLoadAssignmentSchema, {
			cluster_name: name,
			endpoints: [{ lb_endpoints: [...endpoints] }],
		});
		return this.give(ENDPOINT_TYPE, { [name]: toBinary(ClusterLoadAssignmentSchema, message) });
	}
}

export function endpoint(port: number, more: JsonObject = {}, host = '127.0.0.1'): JsonObject {
	return { endpoint: { address: { socket_address: { address: host, port_value: port } } }, ...more };
}

export function clusterMessage(json: JsonObject): ClusterMessage {
	return fromJson(ClusterSchema, { name: 'c', ...json }, { registry: typeRegistry });
}

export function staticCluster(ports: readonly number[], more: JsonObject = {}): ClusterMessage {
	return clusterMessage({
		load_assignment: { cluster_name: 'c', endpoints: [{ lb_endpoints: ports.map((port) => endpoint(port)) }] },
		...more,
	});
}

/** An HTTP/1.1 server on the simulated network. Requests wait until the test answers them, or are answered at once. */
export class TestServer {
	readonly connections = new Set<Connection>();
	readonly requests: { readonly head: RequestHead; readonly stream: ServerStream; readonly connection: Connection }[] =
		[];
	accepted = 0;
	/** Status to answer each request with at once; null: the test answers. */
	autoStatus: number | null = 200;
	private readonly listener;

	constructor(
		network: SimulatedNetwork,
		readonly port: number,
	) {
		this.listener = network.listen({ address: { kind: 'ip', host: '127.0.0.1', port } }, (connection) =>
			this.accept(connection),
		);
	}

	stop(): void {
		this.listener.close();
		for (const connection of [...this.connections]) connection.reset();
	}

	answer(index: number, status = 200, headers: string[] = []): void {
		this.requests[index]!.stream.writeHead({ status, headers }, true);
	}

	private accept(connection: Connection): void {
		this.accepted++;
		this.connections.add(connection);
		const codec = new Http1ServerCodec(
			{
				write: (bytes) => connection.write(bytes),
				pauseReading: () => connection.pause(),
				resumeReading: () => connection.resume(),
				close: (how) => (how === 'flush' ? connection.end() : connection.reset()),
			},
			{
				onStream: (stream) => ({
					onHead: (head) => {
						this.requests.push({ head, stream, connection });
						if (this.autoStatus !== null) stream.writeHead({ status: this.autoStatus, headers: [] }, true);
					},
					onData: () => {},
					onTrailers: () => {},
					onReset: () => {},
					onDrain: () => {},
				}),
				onProtocolError: () => {},
				onIdle: () => {},
			},
		);
		connection.handler = {
			onConnect: () => {},
			onData: (_connection, bytes) => codec.receive(bytes),
			onDrain: () => codec.transportDrained(),
			onEnd: () => {
				codec.receiveEnd();
				connection.end();
			},
			onClose: (_connection, error) => {
				this.connections.delete(connection);
				codec.transportClosed(error);
			},
		};
	}
}

/** One request through a cluster, and all that came of it. */
export class TestRequest implements ResponseListener {
	status: number | null = null;
	ended = false;
	reset: { readonly reason: ResetReason; readonly error: WeftError | null } | null = null;
	failure: WeftError | null = null;
	readonly pending: PendingStream;

	constructor(
		cluster: Cluster,
		readonly host: Host = cluster.pick(null)!,
		method = 'GET',
	) {
		this.pending = cluster.requestStream(host, this, {
			onReady: (stream) =>
				stream.writeHead({ method, scheme: 'http', authority: 'a', path: '/', headers: [], upgrade: '' }, true),
			onFailure: (error) => {
				this.failure = error;
			},
		});
	}

	onHead(head: ResponseHead, end: boolean): void {
		this.status = head.status;
		this.ended ||= end;
	}

	onData(_bytes: Uint8Array, end: boolean): void {
		this.ended ||= end;
	}

	onTrailers(): void {
		this.ended = true;
	}

	onReset(reason: ResetReason, error: WeftError | null): void {
		this.reset = { reason, error };
	}

	onDrain(): void {}
}
