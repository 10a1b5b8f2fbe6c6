// A proxy of several workers, as its main process: it has the addresses, the stream to the control plane,
// the identity and the admin interface; the workers have the connections.
//
//   main process: MainNetwork (sockets)   ADS ─▶ ForwardingTap   identity   admin (merged)   reports (merged)
//        │ sockets, updates, identity, requests of admin            ▲ reports, refusals
//        ▼                                                          │
//   worker 0 … N-1: proxy on handed sockets, forwarded discovery ───┘
//
// The main process runs the same proxy on the same configuration, without accepting connections: its
// verdict on a resource is what the control plane is told.

import { toBinary } from '@bufbuild/protobuf';
import { BootstrapSchema } from '../../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import type { SmallRequest, SmallResponse } from '../../http1/small-server.ts';
import type { IdentityAgent } from '../../identity/identity-agent.ts';
import type { HandedSockets, SocketGroup } from '../../net/handed-sockets.ts';
import type { Listener } from '../../net/network.ts';
import type { SystemNetwork } from '../../net/system-network.ts';
import type { HostUse } from '../../proxy/admin/admin-state.ts';
import type { Timer } from '../../std/clock.ts';
import { logSink } from '../../std/log.ts';
import { MergedMetrics, type MergeRule } from '../../telemetry/metric-snapshot.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import { countFaults } from '../process-faults.ts';
import { type RunningProxy, startProxy } from '../proxy.ts';
import { ProxyAdmin } from '../proxy-admin.ts';
import { isMeshSidecar, type MeshParts, type Sidecar, type SidecarOptions, startMeshParts } from '../sidecar.ts';
import type { SidecarReports } from '../sidecar-reports.ts';
import { shrinkHeap } from '../startup-memory.ts';
import { ForwardingTap } from './forwarded-discovery.ts';
import { MainNetwork } from './main-network.ts';
import type { WorkerReport, WorkerStart } from './messages.ts';
import { WorkerGroup } from './worker-group.ts';

export interface WorkersOptions extends SidecarOptions {
	readonly network: SystemNetwork;
	/** 2 or more. */
	readonly workers: number;
	/** Sockets of the process whose place this one takes; null: there is none. */
	readonly handed: HandedSockets | null;
}

/** A sidecar whose listening sockets another process can take over. */
export interface WorkersSidecar extends Sidecar {
	/** What is listened on now, but for the admin interface. */
	listening(): SocketGroup[];
	/** Another process listens on the same sockets from now on. */
	leaveSocketFiles(): void;
}

/** @throws ConfigError; WeftError when an address cannot be had, or `identity_refused` */
export async function startWorkers(options: WorkersOptions): Promise<WorkersSidecar> {
	const mesh = isMeshSidecar(options.bootstrap) ? await startMeshParts(options) : null;
	try {
		return new MainProcess(options, mesh);
	} catch (error) {
		void mesh?.agent.stop();
		throw error;
	}
}

/** How often what the control plane is told of is gathered; it is sent once a second. */
const GATHER_MS = 1000;

class MainProcess implements WorkersSidecar {
	readonly ready: Promise<void>;
	private readonly network: MainNetwork;
	private readonly proxy: RunningProxy;
	private readonly group: WorkerGroup;
	private readonly tap: ForwardingTap;
	private readonly metrics: MergedMetrics;
	private readonly adminState: ProxyAdmin;
	private readonly admin: Listener | null;
	private readonly reports: SidecarReports | null = null;
	private readonly agent: IdentityAgent | null;
	private readonly bootstrap: Uint8Array;
	private readonly hostUse = new Map<string, HostUse>();
	private readonly gathering: Timer | null = null;

	constructor(
		private readonly options: WorkersOptions,
		mesh: MeshParts | null,
	) {
		const { bootstrap, network, random, stateDir, drainTimeMs, workers, handed } = options;
		const { clock } = network;
		const registry = new MetricRegistry();
		countFaults(registry);
		this.bootstrap = toBinary(BootstrapSchema, bootstrap);
		this.agent = mesh?.agent ?? null;
		this.metrics = new MergedMetrics(registry, mergeRule);
		this.tap = new ForwardingTap((updates) => this.group.tell({ kind: 'updates', updates }));
		this.network = new MainNetwork(network, handed, workers, (group) => this.group.share(group));
		const restarts = registry.counter('envoy_server_worker_restarts', 'Workers that ended and were replaced').with();
		registry.gauge('envoy_server_concurrency', 'Number of workers').with().set(workers);
		this.group = new WorkerGroup({
			count: workers,
			clock,
			restarts,
			start: (index) => this.startOf(index),
			sockets: () => this.network.listening(),
			onGone: (last) => this.metrics.retire(last.metrics),
		});
		this.proxy = startProxy({
			bootstrap,
			network: this.network,
			random,
			registry,
			identity: this.agent,
			stateDir,
			drainTimeMs,
			shrinkHeap,
			overhear: (source, client) => this.tap.wrap(source, client),
		});
		this.adminState = new ProxyAdmin({
			...options,
			proxy: this.proxy,
			registry: this.metrics.registry,
			startedMs: clock.wallMs(),
			firstStartedMs: options.firstStartedMs ?? null,
			isReady: () => this.proxy.isReady && this.group.allReady,
			hostUse: (cluster, host) => this.hostUse.get(`${cluster}\u0000${host}`) ?? null,
		});
		try {
			this.admin = this.adminState.listen((request, answer) => this.answer(request, answer));
			this.group.start();
		} catch (error) {
			void this.group.stop(0, false);
			void this.proxy.stop();
			throw error;
		}
		this.ready = Promise.all([this.proxy.ready, this.group.ready]).then(() => {});
		this.agent?.subscribe((identity) => this.group.tell({ kind: 'identity', identity }));
		if (mesh === null) return;
		this.reports = mesh.startReports(options, mesh.agent, this.metrics.registry);
		this.gathering = clock.after(GATHER_MS, () => {
			void this.gather().finally(() => this.gathering?.restart(GATHER_MS));
		});
	}

	reopenLogs(): void {
		this.proxy.reopenLogs();
		this.group.tell({ kind: 'reopen_logs' });
	}

	async leave(deadlineMs: number): Promise<void> {
		this.adminState.draining = true;
		await this.proxy.ads?.close();
		await Promise.all([this.proxy.listeners.drainInbound(deadlineMs), this.group.leave(deadlineMs)]);
	}

	async stop(deadlineMs: number): Promise<void> {
		this.adminState.draining = true;
		// Out of the endpoint sets first. Its copies of the sockets close too: no worker will be replaced any more.
		await this.proxy.drain(0);
		await this.end(deadlineMs, false);
	}

	async retire(deadlineMs: number): Promise<void> {
		this.admin?.close();
		this.adminState.draining = true;
		const own = this.proxy.retire(0);
		await this.end(deadlineMs, true);
		await own;
	}

	listening(): SocketGroup[] {
		return this.network.listening();
	}

	leaveSocketFiles(): void {
		this.network.leaveSocketFiles();
	}

	private async end(deadlineMs: number, retire: boolean): Promise<void> {
		await this.group.stop(deadlineMs, retire);
		this.gathering?.cancel();
		this.reports?.stop();
		await this.proxy.stop();
		await this.agent?.stop();
		this.network.close();
		this.admin?.close();
	}

	private startOf(index: number): WorkerStart {
		const { drainTimeMs, version } = this.options;
		return {
			kind: 'start',
			index,
			bootstrap: this.bootstrap,
			drainTimeMs,
			logLevel: logSink.level,
			logFormat: logSink.format,
			identity: this.agent?.current() ?? null,
			updates: this.tap.known(),
			stopped: this.proxy.listeners
				.status()
				.filter(({ address }) => address === null)
				.map(({ configuredAddress }) => configuredAddress),
			version,
		};
	}

	/** Asks the workers first where the answer is of their counting, and tells them where it is to change something. */
	private async answer(request: SmallRequest, answer: () => SmallResponse): Promise<SmallResponse> {
		if (ASKED.has(request.path)) await this.gather();
		const response = answer();
		if (request.method === 'POST' && response.status === 200 && !MAIN_ONLY.has(request.path)) {
			await this.group.admin(request.path, request.query.toString());
		}
		return response;
	}

	private async gather(): Promise<void> {
		const reports = await this.group.reports();
		this.metrics.merge(reports.map(({ metrics }) => metrics));
		this.hostUse.clear();
		for (const report of reports) this.addHosts(report);
	}

	private addHosts({ hosts }: WorkerReport): void {
		for (const one of hosts) {
			const key = `${one.cluster}\u0000${one.host}`;
			const sum = this.hostUse.get(key);
			if (sum === undefined) {
				this.hostUse.set(key, one);
				continue;
			}
			this.hostUse.set(key, {
				connections: sum.connections + one.connections,
				connectionsActive: sum.connectionsActive + one.connectionsActive,
				connectFailures: sum.connectFailures + one.connectFailures,
				requests: sum.requests + one.requests,
				requestsActive: sum.requestsActive + one.requestsActive,
				healthFlags: sum.healthFlags + one.healthFlags,
			});
		}
	}
}

const ASKED: ReadonlySet<string> = new Set(['/stats', '/stats/prometheus', '/clusters']);
const MAIN_ONLY: ReadonlySet<string> = new Set(['/quitquitquit']);

/** What each worker counts is summed, but for what all of them see alike. */
function mergeRule(family: string): MergeRule {
	if (/^envoy_(cluster_manager|listener_manager|control_plane)_/.test(family)) return 'own';
	if (/^envoy_cluster_(membership|update)_/.test(family)) return 'own';
	if (/^envoy_overload_.*_(pressure|scale_percent|active)$/.test(family)) return 'max';
	if (/^envoy_cluster_(warming_state|circuit_breakers_.*_open)$/.test(family)) return 'max';
	if (/^envoy_((cluster|listener)_ssl_certificate_|server_days_until_)/.test(family)) return 'max';
	return 'sum';
}
