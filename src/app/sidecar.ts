// A sidecar as `weft proxy` runs it: the proxy, its admin interface, and, when its bootstrap is one of
// the mesh (node metadata `WEFT`), its identity, its metrics and its health reports. In order:
//
//   identity ─▶ proxy ─▶ admin ─▶ reports ─▶ ready ─▶ leave() ─▶ stop()

import type { Bootstrap } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import type { IdentityAgent } from '../identity/identity-agent.ts';
import type { Listener, Network } from '../net/network.ts';
import type { WeftError } from '../std/errors.ts';
import type { Random } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { countFaults } from './process-faults.ts';
import { type RunningProxy, startProxy } from './proxy.ts';
import { ProxyAdmin } from './proxy-admin.ts';
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
export interface MeshParts {
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
export async function startMeshParts(options: SidecarOptions): Promise<MeshParts> {
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
	private readonly adminState: ProxyAdmin;

	constructor(options: SidecarOptions, mesh: MeshParts | null) {
		const { bootstrap, network, random, stateDir, drainTimeMs } = options;
		const registry = new MetricRegistry();
		countFaults(registry);
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
		this.adminState = new ProxyAdmin({
			...options,
			proxy: this.proxy,
			registry,
			startedMs: network.clock.wallMs(),
			firstStartedMs: options.firstStartedMs ?? null,
			isReady: () => this.proxy.isReady,
		});
		try {
			this.admin = this.adminState.listen();
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
		this.adminState.draining = true;
		await this.proxy.ads?.close();
		await this.proxy.listeners.drainInbound(deadlineMs);
	}

	async retire(deadlineMs: number): Promise<void> {
		this.admin?.close();
		this.adminState.draining = true;
		await this.proxy.retire(deadlineMs);
		await this.end();
	}

	async stop(deadlineMs: number): Promise<void> {
		this.adminState.draining = true;
		await this.proxy.drain(deadlineMs);
		await this.end();
	}

	private async end(): Promise<void> {
		this.reports?.stop();
		await this.proxy.stop();
		await this.agent?.stop();
		this.admin?.close();
	}
}
