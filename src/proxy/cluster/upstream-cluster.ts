// A running cluster: keeps its hosts in step with their source, publishes a new picker at each change,
// and gives streams and connections to hosts.
//
//   warming ──first hosts, first health checks──▶ ready ──replaced or removed──▶ draining
//
// A draining cluster no longer follows its source, but still serves whoever holds it.

import type { ResponseListener } from '../../http/stream.ts';
import { type Connection, type ConnectionHandler, formatAddress, type Network } from '../../net/network.ts';
import type { Random } from '../../std/random.ts';
import { type ConfigSources, initialFetchTimeoutMs } from '../config-source.ts';
import { makePicker, OVERPROVISIONING_FACTOR_DEFAULT } from '../load-balancing/priority-picker.ts';
import type { SecretManager } from '../tls/secret-manager.ts';
import type { Cluster, Host, PendingStream, PickContext, Picker, UpstreamStreamEvents } from '../upstream.ts';
import { AutoPool } from './auto-pool.ts';
import { CircuitBreakers } from './circuit-breakers.ts';
import type { ClusterConfig } from './cluster-config.ts';
import type { ClusterMetrics, ClusterStats } from './cluster-stats.ts';
import type { ConnectionPool, MakeClientCodec, PoolContext } from './connection-pool.ts';
import { DnsHosts } from './dns-hosts.ts';
import { EdsHosts } from './eds-hosts.ts';
import { HealthChecker } from './health-checker.ts';
import { type HostSink, type HostSource, StaticHosts } from './host-source.ts';
import { Http1Pool } from './http1-pool.ts';
import { Http2Pool } from './http2-pool.ts';
import { OriginalDestinationPicker } from './original-destination.ts';
import { connectTcp } from './tcp-connection.ts';
import { TransportSockets } from './transport-sockets.ts';
import { type HostMetadata, type HostSpec, UpstreamHost } from './upstream-host.ts';

export interface UpstreamDependencies {
	readonly network: Network;
	readonly random: Random;
	readonly metrics: ClusterMetrics;
	readonly secrets: SecretManager;
	readonly sources: ConfigSources;
	readonly makeHttp1Codec: MakeClientCodec;
}

const NO_HOSTS: Picker = { pick: () => null };

export class UpstreamCluster implements Cluster, HostSink {
	state: 'warming' | 'ready' | 'draining' = 'warming';
	readonly name: string;
	readonly statName: string;
	readonly metadata: HostMetadata;
	readonly connectTimeoutMs: number;
	readonly stats: ClusterStats;
	readonly transports: TransportSockets;
	readonly breakers: CircuitBreakers;
	private readonly unfollowCertificates: () => void;
	private readonly poolContext: PoolContext;
	private readonly hostsByKey = new Map<string, UpstreamHost>();
	private overprovisioningFactor = OVERPROVISIONING_FACTOR_DEFAULT;
	private picker: Picker = NO_HOSTS;
	private readonly source: HostSource;
	private readonly originalDestination: OriginalDestinationPicker | null = null;
	private readonly healthChecker: HealthChecker | null;
	private sourceInitialized = false;
	private onReady: (() => void) | null = null;

	/** @throws ConfigError for a source or secret that cannot be had */
	constructor(
		readonly config: ClusterConfig,
		/** For `/config_dump`; empty for static clusters. */
		readonly version: string,
		private readonly dependencies: UpstreamDependencies,
	) {
		const { network, metrics, secrets, makeHttp1Codec } = dependencies;
		this.name = config.name;
		this.statName = config.statName;
		this.metadata = config.metadata;
		this.connectTimeoutMs = config.pool.connectTimeoutMs;
		this.stats = metrics.forCluster(config.statName);
		this.breakers = new CircuitBreakers(config.limits, this.stats);
		this.transports = new TransportSockets(config.message, secrets);
		this.poolContext = {
			clusterName: config.name,
			network,
			random: dependencies.random,
			settings: config.pool,
			breakers: this.breakers,
			stats: this.stats,
			makeCodec: makeHttp1Codec,
		};
		try {
			this.source = this.makeSource();
		} catch (error) {
			this.transports.close();
			throw error;
		}
		const contexts = [...this.transports.contexts()].map(({ tls }) => tls);
		this.unfollowCertificates =
			contexts.length === 0 ? () => {} : metrics.followCertificates(config.statName, contexts);
		if (config.discovery.kind === 'original_dst') {
			const { portOverride, cleanupMs } = config.discovery;
			this.originalDestination = new OriginalDestinationPicker(this, network.clock, portOverride, cleanupMs);
		}
		this.healthChecker =
			config.healthCheck === null
				? null
				: new HealthChecker(config.healthCheck, this.poolContext, dependencies.random, {
						onHealthChanged: () => this.publish(),
						onFirstRound: () => this.checkReady(),
					});
	}

	/** Begins to look for hosts. `onReady` is called once, possibly within. */
	start(onReady: () => void): void {
		this.onReady = onReady;
		this.stats.gauges.warming_state.set(1);
		this.source.start(this);
	}

	/** No longer in use for new requests: stops following its source, closes what is idle. Idempotent. */
	drain(): void {
		if (this.state === 'draining') return;
		this.state = 'draining';
		this.onReady = null;
		this.source.close();
		this.healthChecker?.close();
		this.originalDestination?.close();
		for (const host of this.hosts()) drainPools(host);
		this.unfollowCertificates();
		this.transports.close();
	}

	/** Drains, and closes every pooled connection now. */
	close(): void {
		this.drain();
		for (const host of this.hosts()) {
			host.http1Pool?.close();
			host.http2Pool?.close();
			host.autoPool?.close();
		}
	}

	// --- Cluster

	get hostCount(): number {
		return this.hostsByKey.size;
	}

	pick(context: PickContext | null): Host | null {
		const host = this.picker.pick(context);
		if (host === null) this.stats.counters.upstream_cx_none_healthy.inc();
		return host;
	}

	requestStream(
		host: Host,
		listener: ResponseListener,
		events: UpstreamStreamEvents,
		downstream = 'HTTP/1.1',
	): PendingStream {
		const upstream = host as UpstreamHost;
		const { protocol } = this.config.pool;
		if (protocol === 'auto' && upstream.tls !== null) {
			upstream.autoPool ??= this.prepared(new AutoPool(upstream, this.poolContext), upstream);
			return upstream.autoPool.requestStream(listener, events);
		}
		if (protocol === 'http2' || (protocol === 'downstream' && downstream === 'HTTP/2')) {
			upstream.http2Pool ??= this.prepared(new Http2Pool(upstream, this.poolContext), upstream);
			return upstream.http2Pool.requestStream(listener, events);
		}
		upstream.http1Pool ??= this.prepared(new Http1Pool(upstream, this.poolContext), upstream);
		return upstream.http1Pool.requestStream(listener, events);
	}

	connectTcp(host: Host, handler: ConnectionHandler): Connection {
		return connectTcp(host as UpstreamHost, handler, this.poolContext);
	}

	tryTakeRetry(): boolean {
		if (this.breakers.retries.tryTake()) return true;
		this.stats.counters.upstream_rq_retry_overflow.inc();
		return false;
	}

	releaseRetry(): void {
		this.breakers.retries.release();
	}

	// --- hosts

	hosts(): IterableIterator<UpstreamHost> {
		return this.hostsByKey.values();
	}

	onHosts(specs: readonly HostSpec[], overprovisioningFactor: number): void {
		this.overprovisioningFactor = overprovisioningFactor;
		const gone = new Map(this.hostsByKey);
		let membersChanged = false;
		for (const spec of specs) {
			const tls = this.transports.forEndpoint(spec.metadata);
			const key = hostKey(spec);
			const known = this.hostsByKey.get(key);
			if (known !== undefined && !gone.has(key)) continue; // The same address twice: the first counts.
			gone.delete(key);
			if (known !== undefined && known.tls === tls) {
				known.spec = spec;
				continue;
			}
			// Another transport is another host: its connections must not be used again.
			if (known !== undefined) this.retire(known);
			this.addHost(key, new UpstreamHost(spec, tls));
			membersChanged = true;
		}
		for (const [key, host] of gone) {
			this.hostsByKey.delete(key);
			this.retire(host);
			membersChanged = true;
		}
		if (membersChanged) this.stats.counters.membership_change.inc();
		this.healthChecker?.setHosts([...this.hostsByKey.values()]);
		this.publish();
	}

	onInitialized(): void {
		if (this.sourceInitialized) return;
		this.sourceInitialized = true;
		this.healthChecker?.sourceInitialized();
		this.checkReady();
	}

	/** For ORIGINAL_DST, whose hosts are made by picks. */
	addHost(key: string, host: UpstreamHost): void {
		this.hostsByKey.set(key, host);
	}

	/** For ORIGINAL_DST. */
	removeHost(key: string): void {
		const host = this.hostsByKey.get(key);
		if (host === undefined) return;
		this.hostsByKey.delete(key);
		this.retire(host);
	}

	showMembership(): void {
		let healthy = 0;
		let degraded = 0;
		for (const host of this.hostsByKey.values()) {
			if (host.health === 'healthy') healthy++;
			else if (host.health === 'degraded') degraded++;
		}
		const { gauges } = this.stats;
		gauges.membership_total.set(this.hostsByKey.size);
		gauges.membership_healthy.set(healthy);
		gauges.membership_degraded.set(degraded);
	}

	private publish(): void {
		if (this.config.policy === null) {
			if (this.originalDestination !== null) this.picker = this.originalDestination;
			return;
		}
		const priorities: UpstreamHost[][] = [];
		for (const host of this.hostsByKey.values()) {
			while (priorities.length <= host.spec.priority) priorities.push([]);
			priorities[host.spec.priority]!.push(host);
		}
		const { panicThresholdPercent, policy } = this.config;
		const options = { policy, panicThresholdPercent, overprovisioningFactor: this.overprovisioningFactor };
		this.picker = makePicker(options, priorities, this.dependencies.random);
		this.showMembership();
	}

	private retire(host: UpstreamHost): void {
		host.removed = true;
		drainPools(host);
	}

	private checkReady(): void {
		if (this.state !== 'warming' || !this.sourceInitialized) return;
		if (this.healthChecker !== null && !this.healthChecker.firstRoundDone) return;
		this.state = 'ready';
		this.stats.gauges.warming_state.set(0);
		const onReady = this.onReady;
		this.onReady = null;
		onReady?.();
	}

	/** A new pool of a host that may have been given up meanwhile. */
	private prepared(pool: ConnectionPool, host: UpstreamHost): ConnectionPool {
		if (this.state === 'draining' || host.removed) pool.drain();
		return pool;
	}

	private makeSource(): HostSource {
		const { discovery, name } = this.config;
		const { network, sources } = this.dependencies;
		switch (discovery.kind) {
			case 'static':
				return new StaticHosts(discovery.assignment);
			case 'strict_dns':
			case 'logical_dns': {
				const firstOnly = discovery.kind === 'logical_dns';
				return new DnsHosts(discovery.assignment, discovery.dns, firstOnly, network, this.stats);
			}
			case 'eds': {
				const object = `cluster ${JSON.stringify(name)}`;
				const client = sources.resolve(discovery.source, object, 'eds_cluster_config.eds_config');
				const timeoutMs = initialFetchTimeoutMs(discovery.source);
				return new EdsHosts(discovery.serviceName, client, network.clock, timeoutMs, this.stats);
			}
			case 'original_dst':
				return new StaticHosts({ endpoints: [], overprovisioningFactor: OVERPROVISIONING_FACTOR_DEFAULT });
		}
	}
}

function drainPools(host: UpstreamHost): void {
	host.http1Pool?.drain();
	host.http2Pool?.drain();
	host.autoPool?.drain();
}

function hostKey(spec: HostSpec): string {
	const { address } = spec;
	const namespace = address.kind === 'ip' ? (address.networkNamespace ?? '') : '';
	return namespace === '' ? formatAddress(address) : `${formatAddress(address)}\u0000${namespace}`;
}
