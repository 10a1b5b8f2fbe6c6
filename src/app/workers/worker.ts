// A worker: serves the listeners that its main process gives it, with the configuration that it is
// told, and ends with it. Its connections, pools and balancing are its own.

import { fromBinary } from '@bufbuild/protobuf';
import { BootstrapSchema } from '../../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { EpollLoop } from '../../net/epoll-loop.ts';
import { HandedReader, HandedSockets } from '../../net/handed-sockets.ts';
import type { IdentitySource, WorkloadIdentity } from '../../net/identity-source.ts';
import { dieWithParent, receiveDescriptors } from '../../net/socket-passing.ts';
import { SystemNetwork } from '../../net/system-network.ts';
import { performAdmin } from '../../proxy/admin/admin-server.ts';
import { hostUse } from '../../proxy/admin/clusters-text.ts';
import { errorMessage } from '../../std/errors.ts';
import { Logger, logSink } from '../../std/log.ts';
import { systemRandom } from '../../std/random.ts';
import { snapshotOf } from '../../telemetry/metric-snapshot.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import { countFaults, surviveFaults } from '../process-faults.ts';
import { type RunningProxy, startProxy } from '../proxy.ts';
import { ProxyAdmin } from '../proxy-admin.ts';
import { releaseStartupMemory, shrinkHeap } from '../startup-memory.ts';
import { ForwardedDiscovery } from './forwarded-discovery.ts';
import {
	type FromWorker,
	type HostReport,
	LAST_REPORT_ID,
	type ToWorker,
	WORKER_SOCKETS_FD,
	type WorkerReport,
	type WorkerStart,
} from './messages.ts';
import { WorkerNetwork } from './worker-network.ts';

const log = new Logger('worker');

/** Serves until the main process ends it, or is no more. Never resolves: the process exits. */
export function runWorker(): Promise<never> {
	// A main process that is gone needs no word: the channel's end is the sign, and the kernel's signal should this
	// process be too busy to look.
	process.on('disconnect', () => process.exit(0));
	dieWithParent();
	if (process.send === undefined) {
		log.error('--worker is for processes that weft starts itself');
		process.exit(2);
	}
	let worker: Worker | null = null;
	process.on('message', (message: ToWorker) => {
		try {
			if (message.kind === 'start') worker = new Worker(message);
			else worker?.hear(message);
		} catch (error) {
			log.error('a worker cannot go on', { reason: errorMessage(error) });
			process.exit(1);
		}
	});
	process.on('SIGTERM', () => worker?.leave());
	process.on('SIGUSR1', () => worker?.hear({ kind: 'reopen_logs' }));
	// Ctrl-C reaches all processes of a terminal; the main one says what is to be done.
	process.on('SIGINT', () => {});
	tell({ kind: 'started' });
	return new Promise(() => {});
}

function tell(message: FromWorker): void {
	try {
		process.send!(message);
	} catch {
		// The main process is gone: so is this one, soon.
	}
}

class Worker {
	private readonly handed = new HandedSockets();
	private readonly sockets = new HandedReader((group) => this.handed.add(group));
	private readonly registry = new MetricRegistry();
	private readonly discovery = new ForwardedDiscovery();
	private readonly identity: ToldIdentity | null;
	private readonly proxy: RunningProxy;
	private readonly admin: ProxyAdmin;
	private ending = false;

	constructor(private readonly start: WorkerStart) {
		const { index, logLevel, logFormat, updates, stopped, identity, drainTimeMs, version } = start;
		logSink.level = logLevel;
		logSink.format = logFormat;
		logSink.context = { worker: index };
		surviveFaults();
		countFaults(this.registry);
		this.receiveSockets();
		this.discovery.apply(updates, refused);
		this.identity = identity === null ? null : new ToldIdentity(identity);
		const bootstrap = fromBinary(BootstrapSchema, start.bootstrap);
		const own = new SystemNetwork({ handed: this.handed, handedOnly: true, loop: EpollLoop.shared() });
		const network = new WorkerNetwork(own, this.handed, stopped);
		this.proxy = startProxy({
			bootstrap,
			network,
			random: systemRandom,
			registry: this.registry,
			identity: this.identity,
			discovery: (source) => this.discovery.source(source),
			drainTimeMs,
			shrinkHeap,
		});
		this.admin = new ProxyAdmin({
			bootstrap,
			network,
			proxy: this.proxy,
			registry: this.registry,
			version,
			commandLine: {},
			startedMs: network.clock.wallMs(),
			firstStartedMs: null,
			drainTimeMs,
			isReady: () => this.proxy.isReady,
			onQuit: () => {},
		});
		void this.proxy.ready.then(() => {
			releaseStartupMemory(network.clock);
			tell({ kind: 'ready' });
		});
	}

	hear(message: Exclude<ToWorker, WorkerStart>): void {
		this.receiveSockets();
		switch (message.kind) {
			case 'updates':
				this.discovery.apply(message.updates, refused);
				break;
			case 'identity':
				this.identity?.replace(message.identity);
				break;
			case 'report':
				tell({ kind: 'report', id: message.id, report: this.report() });
				break;
			case 'admin':
				performAdmin(message.path, new URLSearchParams(message.query), this.admin.state);
				tell({ kind: 'done', id: message.id });
				break;
			case 'reopen_logs':
				this.proxy.reopenLogs();
				break;
			case 'leave':
				void this.proxy.listeners.drainInbound(message.deadlineMs).then(() => tell({ kind: 'done', id: message.id }));
				break;
			case 'stop':
				void this.end(message.deadlineMs, message.retire);
				break;
		}
	}

	/** SIGTERM to this worker alone: another one takes its place, on the same sockets. */
	leave(): void {
		if (this.ending) return;
		log.info('leaving, another worker takes over');
		tell({ kind: 'leaving' });
		void this.end(this.start.drainTimeMs, true);
	}

	private async end(deadlineMs: number, retire: boolean): Promise<void> {
		// Asked for a second time, with less patience.
		if (this.ending && deadlineMs > 0) return;
		this.ending = true;
		if (retire) await this.proxy.retire(deadlineMs);
		else await this.proxy.drain(deadlineMs);
		await this.proxy.stop();
		// The main process ends the channel when it has it, and so this one.
		tell({ kind: 'report', id: LAST_REPORT_ID, report: this.report() });
	}

	private report(): WorkerReport {
		const hosts: HostReport[] = [];
		for (const cluster of this.proxy.clusters.all()) {
			for (const host of cluster.hosts()) {
				const use = hostUse(host);
				const { connections, connectFailures, requests, healthFlags } = use;
				if (connections + connectFailures + requests === 0 && healthFlags === '') continue;
				hosts.push({ cluster: cluster.name, host: host.addressText, ...use });
			}
		}
		const { heapUsed, heapTotal, rss } = process.memoryUsage();
		return { metrics: snapshotOf(this.registry), hosts, memory: { heapUsed, heapTotal, rss } };
	}

	private receiveSockets(): void {
		for (;;) {
			const received = receiveDescriptors(WORKER_SOCKETS_FD, false);
			if (received === null || received.bytes.byteLength === 0) return;
			this.sockets.push(received.bytes, received.fds);
		}
	}
}

function refused(typeUrl: string, reason: string): void {
	tell({ kind: 'refused', typeUrl, reason });
}

/** The identity that the main process's agent has. */
class ToldIdentity implements IdentitySource {
	private readonly subscribers = new Set<(identity: WorkloadIdentity) => void>();

	constructor(private identity: WorkloadIdentity) {}

	current(): WorkloadIdentity {
		return this.identity;
	}

	subscribe(onChange: (identity: WorkloadIdentity) => void): () => void {
		this.subscribers.add(onChange);
		onChange(this.identity);
		return () => this.subscribers.delete(onChange);
	}

	replace(identity: WorkloadIdentity): void {
		this.identity = identity;
		for (const subscriber of [...this.subscribers]) subscriber(identity);
	}
}
