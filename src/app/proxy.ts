// Builds a proxy out of its parts and runs it: secrets, clusters, listeners, and the stream to the
// control plane. Static resources must all be right; dynamic ones are refused one by one.
//
//   startProxy ──▶ static secrets, clusters, listeners ──▶ ADS ──▶ `ready`: clusters have hosts,
//   listeners have routes ──▶ drain() ──▶ stop()

import { create } from '@bufbuild/protobuf';
import type { Bootstrap } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { NodeSchema } from '../generated/envoy/config/core/v3/base_pb.ts';
import { Http1ClientCodec } from '../http1/client-codec.ts';
import type { IdentitySource } from '../net/identity-source.ts';
import type { Network } from '../net/network.ts';
import { LogFiles } from '../proxy/access-log/log-files.ts';
import { compileAdsConfig } from '../proxy/ads-config.ts';
import { UpstreamClusterManager } from '../proxy/cluster/cluster-manager.ts';
import { ClusterMetrics } from '../proxy/cluster/cluster-stats.ts';
import { ConfigSources, initialFetchTimeoutMs } from '../proxy/config-source.ts';
import { corsFilterFactory } from '../proxy/http-filters/cors.ts';
import { faultFilterFactory } from '../proxy/http-filters/fault.ts';
import type { HttpFilterFactory } from '../proxy/http-filters/filter.ts';
import { HttpFilterRegistry } from '../proxy/http-filters/filter-registry.ts';
import { grpcHttp1BridgeFilterFactory } from '../proxy/http-filters/grpc-http1-bridge.ts';
import { grpcStatsFilterFactory } from '../proxy/http-filters/grpc-stats.ts';
import { grpcWebFilterFactory } from '../proxy/http-filters/grpc-web.ts';
import { meshTelemetryFactory } from '../proxy/http-filters/mesh-telemetry.ts';
import { retryHintFilterFactory } from '../proxy/http-filters/retry-hint.ts';
import { ListenerManager } from '../proxy/listener/listener-manager.ts';
import { ownWorkload } from '../proxy/mesh-telemetry/own-workload.ts';
import { tcpMeshTelemetryFactory } from '../proxy/network-filters/tcp-mesh-telemetry.ts';
import type { TcpSessionFilterFactory } from '../proxy/network-filters/tcp-session-filter.ts';
import { connectionBudget, isConnectionLimitKey } from '../proxy/overload/connection-budget.ts';
import { compileOverloadManager, connectionsMax } from '../proxy/overload/overload-config.ts';
import { OverloadManager } from '../proxy/overload/overload-manager.ts';
import { OverloadState } from '../proxy/overload/overload-state.ts';
import { compileRuntime } from '../proxy/overload/runtime.ts';
import { RouteConfigs } from '../proxy/route/route-configs.ts';
import { CertificateExpiry } from '../proxy/tls/certificate-expiry.ts';
import { SecretManager } from '../proxy/tls/secret-manager.ts';
import { SecretMetrics } from '../proxy/tls/tls-stats.ts';
import { typeRegistry } from '../proxy/type-registry.ts';
import type { Clock } from '../std/clock.ts';
import type { Random } from '../std/random.ts';
import type { MetricRegistry } from '../telemetry/registry.ts';
import { AdsClient } from '../xds/ads-client.ts';
import type { AdsTransport } from '../xds/ads-transport.ts';
import type { DiscoveryClient } from '../xds/discovery-client.ts';
import { FileDiscovery } from '../xds/file-discovery.ts';
import { type GrpcAdsTarget, GrpcAdsTransport } from '../xds/grpc-ads-transport.ts';

export interface ProxyOptions {
	/** See `parseBootstrap`. */
	readonly bootstrap: Bootstrap;
	readonly network: Network;
	readonly random: Random;
	readonly registry: MetricRegistry;
	/** What carries the stream to the control plane. Default: gRPC. */
	readonly makeAdsTransport?: MakeAdsTransport;
	/** Answers for the secrets `default` and `ROOTCA`. Default: they are asked for over SDS. */
	readonly identity?: IdentitySource | null;
	/** Where the last good state of the control plane is kept. Default: nowhere. */
	readonly stateDir?: string | null;
	/** Filters beside those of weft itself. */
	readonly httpFilters?: readonly HttpFilterFactory[];
	readonly tcpFilters?: readonly TcpSessionFilterFactory[];
	/** What `fixed_heap` measures. Default: the resident set of the process. */
	readonly residentBytes?: () => number;
	/** What the overload action `shrink_heap` does. Default: nothing. */
	readonly shrinkHeap?: () => void;
	/** Where resources come from instead: a worker gets them from its main process. By `ads`, or a file's path. */
	readonly discovery?: ((source: string) => DiscoveryClient) | null;
	/** Puts something between what brings resources and this proxy. Default: nothing. */
	readonly overhear?: (source: string, client: DiscoveryClient) => DiscoveryClient;
	/** How long connections of a removed listener may go on. Default 600000. */
	readonly drainTimeMs?: number;
}

export interface RunningProxy {
	/** Clusters have hosts (or know that they have none), listeners have routes. */
	readonly ready: Promise<void>;
	readonly isReady: boolean;
	readonly bootstrap: Bootstrap;
	/** Null: the bootstrap has no `ads_config`, or resources come from elsewhere. */
	readonly ads: AdsClient | null;
	readonly clusters: UpstreamClusterManager;
	readonly listeners: ListenerManager;
	readonly routes: RouteConfigs;
	readonly secrets: SecretManager;
	/**
	 * Leaves the control plane, then lets what is under way end: at most `deadlineMs`, after which it is cut.
	 * The listeners are closed when it resolves.
	 */
	drain(deadlineMs: number): Promise<void>;
	/** Another process has taken over the sockets: leaves the control plane, and ends as connections end. */
	retire(deadlineMs: number): Promise<void>;
	/** Ports are free at once, connections go on (`/drain_listeners`). */
	drainListeners(): void;
	/** Access logs go on in new files of the same names (SIGUSR1, `/reopen_logs`). */
	reopenLogs(): void;
	/** Closes everything. Idempotent. */
	stop(): Promise<void>;
}

export type MakeAdsTransport = (target: GrpcAdsTarget) => AdsTransport;

/** @throws ConfigError for what is wrong in the bootstrap; WeftError when a static listener's address cannot be had */
export function startProxy(options: ProxyOptions): RunningProxy {
	const proxy = new ComposedProxy(options);
	try {
		proxy.start();
	} catch (error) {
		void proxy.stop();
		throw error;
	}
	return proxy;
}

class ComposedProxy implements RunningProxy {
	readonly bootstrap: Bootstrap;
	readonly ads: AdsClient | null = null;
	readonly clusters: UpstreamClusterManager;
	readonly listeners: ListenerManager;
	readonly routes: RouteConfigs;
	readonly secrets: SecretManager;
	isReady = false;
	ready: Promise<void> = Promise.resolve();
	private readonly sources: ConfigSources;
	private readonly logFiles: LogFiles;
	private readonly files: FileDiscovery[] = [];
	private readonly adsCluster: string | null = null;
	private readonly overload: OverloadManager | null = null;
	private stopped = false;

	constructor(options: ProxyOptions) {
		const { bootstrap, network, random, registry } = options;
		const { clock } = network;
		this.bootstrap = bootstrap;
		const { discovery = null, overhear = (_source: string, client: DiscoveryClient) => client } = options;
		this.sources = new ConfigSources((path) => {
			if (discovery !== null) return discovery(path);
			const file = new FileDiscovery(path, typeRegistry);
			this.files.push(file);
			return overhear(path, file);
		});
		this.secrets = new SecretManager(
			this.sources,
			options.identity ?? null,
			() => clock.wallMs(),
			new SecretMetrics(registry),
		);
		const expiry = CertificateExpiry.of(registry);
		const days = registry
			.gauge('envoy_server_days_until_first_cert_expiring', 'Full days until a certificate ends')
			.with();
		registry.onRead(() => days.set(expiry.daysUntilFirst(clock.wallMs())));
		this.logFiles = new LogFiles(clock, registry);
		for (const secret of bootstrap.staticResources?.secrets ?? []) this.secrets.addStatic(secret);
		const ads = compileAdsConfig(bootstrap, this.secrets);
		if (ads !== null) {
			this.adsCluster = ads.clusterName;
			if (discovery !== null) this.sources.useAds(discovery(ADS_SOURCE));
		}
		if (ads !== null && discovery === null) {
			this.ads = new AdsClient({
				transport: options.makeAdsTransport?.(ads.target) ?? new GrpcAdsTransport({ ...ads.target, network, random }),
				node: bootstrap.node ?? create(NodeSchema),
				clock,
				random,
				nodeOnFirstMessageOnly: ads.nodeOnFirstMessageOnly,
				stateDirectory: options.stateDir ?? null,
			});
			this.sources.useAds(overhear(ADS_SOURCE, this.ads));
		}
		this.clusters = new UpstreamClusterManager(
			{
				network,
				random,
				metrics: new ClusterMetrics(registry),
				secrets: this.secrets,
				sources: this.sources,
				makeHttp1Codec: (transport, events, codec) => new Http1ClientCodec(transport, events, codec),
			},
			registry,
		);
		const own = ownWorkload(bootstrap.node);
		const filters = new HttpFilterRegistry([
			corsFilterFactory,
			faultFilterFactory,
			grpcHttp1BridgeFilterFactory,
			grpcStatsFilterFactory,
			grpcWebFilterFactory,
			retryHintFilterFactory,
			meshTelemetryFactory(own),
			...(options.httpFilters ?? []),
		]);
		const tcpFilters = [tcpMeshTelemetryFactory(own), ...(options.tcpFilters ?? [])];
		this.routes = new RouteConfigs(this.sources, filters.compileRouteConfig, clock);
		const overload = new OverloadState();
		const overloadConfig =
			bootstrap.overloadManager === undefined ? null : compileOverloadManager(bootstrap.overloadManager);
		const connections = connectionBudget(
			compileRuntime(bootstrap.layeredRuntime, isConnectionLimitKey),
			overloadConfig === null ? null : connectionsMax(overloadConfig),
		);
		this.listeners = new ListenerManager({
			network,
			registry,
			environment: {
				clock,
				random,
				date: httpDate(clock),
				registry,
				clusters: this.clusters,
				routeConfigs: this.routes,
				filters,
				tcpFilters: new Map(tcpFilters.map((factory) => [factory.typeUrl, factory])),
				logFiles: this.logFiles,
				overload,
			},
			secrets: this.secrets,
			connections,
			...(options.drainTimeMs === undefined ? {} : { drainTimeMs: options.drainTimeMs }),
		});
		if (overloadConfig !== null) {
			const { residentBytes = process.memoryUsage.rss, shrinkHeap = () => {} } = options;
			const onChange = (): void => this.listeners.overloadChanged();
			const state = overload;
			this.overload = new OverloadManager({
				config: overloadConfig,
				state,
				clock,
				registry,
				connections,
				residentBytes,
				shrinkHeap,
				onChange,
			});
		}
	}

	start(): void {
		const { staticResources, dynamicResources } = this.bootstrap;
		for (const cluster of staticResources?.clusters ?? []) {
			if (cluster.name !== this.adsCluster) this.clusters.addStatic(cluster);
		}
		for (const listener of staticResources?.listeners ?? []) this.listeners.addStatic(listener);
		const { cdsConfig, ldsConfig } = dynamicResources ?? {};
		const cds =
			cdsConfig === undefined ? null : this.sources.resolve(cdsConfig, OBJECT, 'dynamic_resources.cds_config');
		this.clusters.start(cds, cdsConfig === undefined ? undefined : initialFetchTimeoutMs(cdsConfig));
		const lds =
			ldsConfig === undefined ? null : this.sources.resolve(ldsConfig, OBJECT, 'dynamic_resources.lds_config');
		const timeoutMs = ldsConfig === undefined ? 0 : initialFetchTimeoutMs(ldsConfig);
		this.ready = this.becomeReady(() => (lds === null ? this.listeners.warm() : this.listeners.follow(lds, timeoutMs)));
		this.ads?.start();
	}

	async drain(deadlineMs: number): Promise<void> {
		// Out of the endpoint sets first, so that nobody sends new requests.
		await this.ads?.close();
		await this.listeners.drain(deadlineMs);
	}

	async retire(deadlineMs: number): Promise<void> {
		const ended = this.listeners.retire(deadlineMs);
		await this.ads?.close();
		await ended;
	}

	reopenLogs(): void {
		this.logFiles.reopen();
	}

	drainListeners(): void {
		this.listeners.stopListening();
	}

	async stop(): Promise<void> {
		if (this.stopped) return;
		this.stopped = true;
		this.overload?.close();
		this.listeners.stop();
		this.clusters.close();
		this.secrets.close();
		for (const file of this.files) file.close();
		await this.logFiles.close();
		await this.ads?.close();
	}

	/** Listeners are asked for once there are clusters to route to, as Envoy does. */
	private async becomeReady(listeners: () => Promise<void>): Promise<void> {
		await this.clusters.initialized;
		if (this.stopped) return;
		await listeners();
		this.isReady = !this.stopped;
	}
}

const OBJECT = 'bootstrap';
/** A file's path is absolute, or begins with a dot or a folder: none is `ads`. */
const ADS_SOURCE = 'ads';

/** RFC 9110 §5.6.7, made once per second. */
function httpDate(clock: Clock): () => string {
	let second = -1;
	let text = '';
	return () => {
		const now = Math.floor(clock.wallMs() / 1000);
		if (now !== second) {
			second = now;
			text = new Date(now * 1000).toUTCString();
		}
		return text;
	};
}
