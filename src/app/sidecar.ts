// A sidecar as `weft proxy` runs it: the proxy, its admin interface, and, when its bootstrap is one of
// the mesh (node metadata `WEFT`), its identity, its metrics and its health reports. In order:
//
//   identity ─▶ proxy ─▶ admin ─▶ reports ─▶ ready ─▶ leave() ─▶ stop()

import { fromBinary } from '@bufbuild/protobuf';
import type { Bootstrap } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { RouteConfigurationSchema } from '../generated/envoy/config/route/v3/route_pb.ts';
import type { IdentityAgent } from '../identity/identity-agent.ts';
import type { Listener, Network } from '../net/network.ts';
import { compileListenAddress } from '../proxy/address.ts';
import { startAdminServer } from '../proxy/admin/admin-server.ts';
import type { ServerState } from '../proxy/admin/admin-state.ts';
import { typeRegistry } from '../proxy/type-registry.ts';
import type { WeftError } from '../std/errors.ts';
import type { Random } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { countFaults } from './process-faults.ts';
import { type RunningProxy, startProxy } from './proxy.ts';
import type { SidecarReports, startReports } from './sidecar-reports.ts';
import { shrinkHeap } from './startup-memory.ts';

export interface SidecarOptions {
	/** See `parseBootstrap`. */
	readonly bootstrap: Bootstrap;
	readonly network: Network;
	readonly random: Random;
	/** Where identity and last good state are kept; null: nowhere (not for a sidecar of the mesh). */
	readonly stateDir: string | null;
	/** For a sidecar of the mesh; null: what is on disk must do. */
	readonly joinToken: string | null;
	/** Of listeners that are removed, and of `/drain_listeners?graceful`. */
	readonly drainTimeMs: number;
	/** Of weft. */
	readonly version: string;
	/** Shown by the admin interface. */
	readonly commandLine: Readonly<Record<string, string | number | boolean>>;
	/** Wall time at which the first of the processes that followed each other started; null: it is this one. */
	readonly firstStartedMs?: number | null;
	/** The admin interface asks for the end. */
	readonly onQuit: () => void;
	/** It cannot go on: its certificate expired, or was refused. */
	readonly onFailed: (error: WeftError) => void;
}

export interface Sidecar {
	/** Access logs go on in new files of the same names. */
	reopenLogs(): void;
	/** Its listeners are up. */
	readonly ready: Promise<void>;
	/** Leaves the mesh and lets requests to its program end; what the program calls goes on. */
	leave(deadlineMs: number): Promise<void>;
	/** Leaves, lets everything end within `deadlineMs`, and closes what is left. */
	stop(deadlineMs: number): Promise<void>;
	/** The same when another process has taken over its sockets, the admin interface's too. */
	retire(deadlineMs: number): Promise<void>;
}

/** What only a sidecar of the mesh has. */
interface MeshParts {
	readonly agent: IdentityAgent;
	readonly startReports: typeof startReports;
}

/** @throws ConfigError; WeftError when an address cannot be had, or `identity_refused` */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
	const mesh = isMeshSidecar(options.bootstrap) ? await startMeshParts(options) : null;
	try {
		return new ComposedSidecar(options, mesh);
	} catch (error) {
		void mesh?.agent.stop();
		throw error;
	}
}

/** Whether `weft run` (or who does as it does) wrote this bootstrap: the node's metadata has `WEFT`. */
export function isMeshSidecar(bootstrap: Bootstrap): boolean {
	return bootstrap.node?.metadata?.WEFT !== undefined;
}

/** Loaded only here: what they bring along is a third of a bare proxy's memory. */
async function startMeshParts(options: SidecarOptions): Promise<MeshParts> {
	const { startIdentity } = await import('./sidecar-identity.ts');
	const { startReports } = await import('./sidecar-reports.ts');
	return { agent: await startIdentity(options), startReports };
}

class ComposedSidecar implements Sidecar {
	readonly ready: Promise<void>;
	private readonly proxy: RunningProxy;
	private readonly admin: Listener | null;
	private readonly reports: SidecarReports | null;
	private readonly agent: IdentityAgent | null;
	private readonly startedMs: number;
	private draining = false;
	private healthCheckFailed = false;

	constructor(
		private readonly options: SidecarOptions,
		mesh: MeshParts | null,
	) {
		const { bootstrap, network, random, stateDir, drainTimeMs } = options;
		const registry = new MetricRegistry();
		countFaults(registry);
		this.startedMs = network.clock.wallMs();
		this.agent = mesh === null ? null : mesh.agent;
		this.proxy = startProxy({
			bootstrap,
			network,
			random,
			registry,
			identity: this.agent,
			stateDir,
			drainTimeMs,
			shrinkHeap,
		});
		try {
			this.admin = this.startAdmin(registry);
		} catch (error) {
			void this.proxy.stop();
			throw error;
		}
		this.ready = this.proxy.ready;
		this.reports = mesh === null ? null : mesh.startReports(options, mesh.agent, registry);
	}

	reopenLogs(): void {
		this.proxy.reopenLogs();
	}

	async leave(deadlineMs: number): Promise<void> {
		this.draining = true;
		await this.proxy.ads?.close();
		await this.proxy.listeners.drainInbound(deadlineMs);
	}

	async retire(deadlineMs: number): Promise<void> {
		this.admin?.close();
		this.draining = true;
		await this.proxy.retire(deadlineMs);
		await this.end();
	}

	async stop(deadlineMs: number): Promise<void> {
		this.draining = true;
		await this.proxy.drain(deadlineMs);
		await this.end();
	}

	private async end(): Promise<void> {
		this.reports?.stop();
		await this.proxy.stop();
		await this.agent?.stop();
		this.admin?.close();
	}

	/** Null: the bootstrap has no `admin.address`. */
	private startAdmin(registry: MetricRegistry): Listener | null {
		const { bootstrap, network, version, commandLine, drainTimeMs, onQuit } = this.options;
		if (bootstrap.admin?.address === undefined) return null;
		const { proxy } = this;
		const address = compileListenAddress(bootstrap.admin.address, 'bootstrap', 'admin.address');
		return startAdminServer(network, address, {
			clock: network.clock,
			registry,
			types: typeRegistry,
			bootstrap,
			version,
			startedMs: this.startedMs,
			firstStartedMs: this.options.firstStartedMs ?? this.startedMs,
			commandLine,
			clusters: proxy.clusters,
			secrets: proxy.secrets,
			actions: {
				drainListeners: ({ graceful, inboundOnly }) => {
					if (!graceful) proxy.listeners.stopListening({ inboundOnly });
					else if (inboundOnly) void proxy.listeners.drainInbound(drainTimeMs);
					else void proxy.listeners.drain(drainTimeMs);
				},
				healthCheckFail: () => {
					this.healthCheckFailed = true;
				},
				healthCheckOk: () => {
					this.healthCheckFailed = false;
				},
				reopenLogs: () => proxy.reopenLogs(),
				quit: onQuit,
			},
			state: () => this.serverState(),
			listeners: () =>
				proxy.listeners.status().map((one) => ({
					name: one.name,
					addresses: [one.address ?? one.configuredAddress],
					message: one.message,
					version: one.version,
					isStatic: one.origin === 'static',
					lastUpdatedMs: one.lastUpdatedMs,
					certificates: [],
				})),
			routes: () =>
				proxy.routes.status().flatMap(({ version: routesVersion, value, lastUpdatedMs }) => {
					if (value === null) return [];
					const message = fromBinary(RouteConfigurationSchema, value);
					return [{ message, version: routesVersion, isStatic: false, lastUpdatedMs }];
				}),
			ads: () => proxy.ads?.status() ?? null,
		});
	}

	private serverState(): ServerState {
		if (this.draining || this.healthCheckFailed) return 'DRAINING';
		return this.proxy.isReady ? 'LIVE' : 'INITIALIZING';
	}
}
