// All clusters by name: static ones from the bootstrap, dynamic ones from CDS. A new or changed
// cluster warms up unseen and then takes its name over in one step; the old one drains. A bad one is
// refused and what was there stays.

import { equals, fromBinary } from '@bufbuild/protobuf';
import { type Cluster as ClusterMessage, ClusterSchema } from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import type { Timer } from '../../std/clock.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import type { Counter, Gauge, MetricRegistry } from '../../telemetry/registry.ts';
import type { DiscoveryClient, DiscoveryUpdate, Subscription } from '../../xds/discovery-client.ts';
import { CLUSTER_TYPE } from '../../xds/type-urls.ts';
import { INITIAL_FETCH_TIMEOUT_DEFAULT_MS } from '../config-source.ts';
import type { ClusterManager } from '../upstream.ts';
import { type ClusterConfig, compileCluster } from './cluster-config.ts';
import { UpstreamCluster, type UpstreamDependencies } from './upstream-cluster.ts';

const log = new Logger('clusters');

export class UpstreamClusterManager implements ClusterManager {
	readonly initialized: Promise<void>;
	private resolveInitialized!: () => void;
	private readonly active = new Map<string, UpstreamCluster>();
	private readonly warming = new Map<string, UpstreamCluster>();
	private readonly staticNames = new Set<string>();
	/** Clusters that `initialized` waits for. */
	private readonly awaited = new Set<UpstreamCluster>();
	private cdsAwaited = false;
	private started = false;
	private subscription: Subscription | null = null;
	private cdsTimer: Timer | null = null;
	private readonly stats: ManagerStats;

	constructor(
		private readonly dependencies: UpstreamDependencies,
		registry: MetricRegistry,
	) {
		this.stats = managerStats(registry);
		this.initialized = new Promise((resolve) => {
			this.resolveInitialized = resolve;
		});
	}

	get(name: string): UpstreamCluster | undefined {
		return this.active.get(name);
	}

	all(): Iterable<UpstreamCluster> {
		return this.active.values();
	}

	/** Clusters that wait for their first hosts, for `/config_dump`. */
	allWarming(): Iterable<UpstreamCluster> {
		return this.warming.values();
	}

	isStatic(name: string): boolean {
		return this.staticNames.has(name);
	}

	/** Before `start`. @throws ConfigError, with nothing changed */
	addStatic(message: ClusterMessage): void {
		if (this.staticNames.has(message.name)) {
			const object = `cluster ${JSON.stringify(message.name)}`;
			throw new ConfigError({ object, field: 'name', found: message.name, expected: 'a name that is used once' });
		}
		const cluster = new UpstreamCluster(compileCluster(message), '', this.dependencies);
		this.staticNames.add(message.name);
		this.warm(cluster);
	}

	/**
	 * Begins to look for hosts and, with `cds`, for clusters.
	 * @param initialFetchTimeoutMs how long `initialized` waits for the first CDS answer; 0: for ever
	 */
	start(cds: DiscoveryClient | null, initialFetchTimeoutMs = INITIAL_FETCH_TIMEOUT_DEFAULT_MS): void {
		this.started = true;
		this.cdsAwaited = cds !== null;
		if (cds !== null && initialFetchTimeoutMs > 0) {
			this.cdsTimer = this.dependencies.network.clock.after(initialFetchTimeoutMs, () => this.cdsAnswered());
		}
		// Before the clusters' own subscriptions, so that CDS is asked for first.
		if (cds !== null) {
			this.subscription = cds.subscribe(CLUSTER_TYPE, null, { onUpdate: (update) => this.onUpdate(update) });
		}
		for (const cluster of [...this.warming.values()]) this.startCluster(cluster);
		this.checkInitialized();
	}

	/** Stops following CDS and EDS; what is in flight goes on. */
	close(): void {
		this.subscription?.close();
		this.cdsTimer?.cancel();
		for (const cluster of [...this.active.values(), ...this.warming.values()]) cluster.close();
		this.active.clear();
		this.warming.clear();
	}

	private onUpdate(update: DiscoveryUpdate): string | null {
		const refused: string[] = [];
		for (const resource of update.updated) {
			try {
				this.addOrUpdate(resource.name, resource.value, resource.version);
			} catch (error) {
				const reason = errorMessage(error);
				log.warning('cluster refused, the last good one stays', { cluster: resource.name, reason });
				refused.push(reason);
			}
		}
		for (const name of update.removed) this.remove(name);
		this.cdsAnswered();
		if (refused.length > 0) this.stats.rejected.inc();
		else this.stats.success.inc();
		return refused.length === 0 ? null : refused.join('\n');
	}

	private addOrUpdate(resourceName: string, value: Uint8Array, version: string): void {
		const message = fromBinary(ClusterSchema, value);
		if (message.name !== resourceName) {
			const object = `cluster ${JSON.stringify(resourceName)}`;
			throw new ConfigError({ object, field: 'name', found: message.name, expected: 'the name of the resource' });
		}
		if (this.staticNames.has(message.name)) {
			// As in Envoy: the bootstrap wins, and the control plane is not wrong.
			log.debug('cluster of the bootstrap is not replaced', { cluster: message.name });
			return;
		}
		const known = this.warming.get(message.name) ?? this.active.get(message.name);
		if (known !== undefined && equals(ClusterSchema, known.config.message, message)) return;
		const config: ClusterConfig = compileCluster(message);
		const cluster = new UpstreamCluster(config, version, this.dependencies);
		(this.active.has(message.name) ? this.stats.modified : this.stats.added).inc();
		this.warm(cluster);
		this.startCluster(cluster);
	}

	private warm(cluster: UpstreamCluster): void {
		this.discard(this.warming.get(cluster.name));
		this.warming.set(cluster.name, cluster);
		if (!this.started || this.cdsAwaited) this.awaited.add(cluster);
		this.showCounts();
	}

	private startCluster(cluster: UpstreamCluster): void {
		cluster.start(() => {
			// A cluster that was itself replaced while warming has been discarded before.
			if (this.warming.get(cluster.name) === cluster) {
				this.warming.delete(cluster.name);
				const old = this.active.get(cluster.name);
				this.active.set(cluster.name, cluster);
				old?.drain();
				this.showCounts();
			}
			this.awaited.delete(cluster);
			this.checkInitialized();
		});
	}

	private remove(name: string): void {
		if (this.staticNames.has(name)) return;
		const active = this.active.get(name);
		const warming = this.warming.get(name);
		if (active === undefined && warming === undefined) return;
		this.active.delete(name);
		this.warming.delete(name);
		active?.drain();
		this.discard(warming);
		this.stats.removed.inc();
		this.showCounts();
		const { statName } = (active ?? warming)!;
		for (const other of [...this.active.values(), ...this.warming.values()]) if (other.statName === statName) return;
		this.dependencies.metrics.remove(statName);
	}

	private discard(cluster: UpstreamCluster | undefined): void {
		if (cluster === undefined) return;
		cluster.drain();
		this.awaited.delete(cluster);
		this.checkInitialized();
	}

	private cdsAnswered(): void {
		this.cdsTimer?.cancel();
		this.cdsAwaited = false;
		this.checkInitialized();
	}

	private checkInitialized(): void {
		if (this.started && !this.cdsAwaited && this.awaited.size === 0) this.resolveInitialized();
	}

	private showCounts(): void {
		this.stats.active.set(this.active.size);
		this.stats.warming.set(this.warming.size);
	}
}

interface ManagerStats {
	readonly added: Counter;
	readonly modified: Counter;
	readonly removed: Counter;
	readonly success: Counter;
	readonly rejected: Counter;
	readonly active: Gauge;
	readonly warming: Gauge;
}

function managerStats(registry: MetricRegistry): ManagerStats {
	const counter = (name: string, help: string) => registry.counter(`envoy_cluster_manager_${name}`, help).with();
	const gauge = (name: string, help: string) => registry.gauge(`envoy_cluster_manager_${name}`, help).with();
	return {
		added: counter('cluster_added', 'Clusters added by CDS'),
		modified: counter('cluster_modified', 'Clusters changed by CDS'),
		removed: counter('cluster_removed', 'Clusters removed by CDS'),
		success: counter('cds_update_success', 'CDS updates accepted'),
		rejected: counter('cds_update_rejected', 'CDS updates refused'),
		active: gauge('active_clusters', 'Clusters in use'),
		warming: gauge('warming_clusters', 'Clusters that wait for their first hosts'),
	};
}
