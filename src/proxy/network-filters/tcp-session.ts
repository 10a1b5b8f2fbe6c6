// One proxied TCP connection: bytes both ways with backpressure, each direction closed by itself.
//
//   connecting ──connected──▶ open ──FIN of both, or an error──▶ closed
//       │  failed: next host, after a backoff, up to                 ▲
//       │  max_connect_attempts                                      │
//       └────────────────────────────────────────────────────────────┘

import { type Connection, type ConnectionHandler, formatAddress } from '../../net/network.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import type { WeftError } from '../../std/errors.ts';
import { reportFault } from '../../std/fault.ts';
import { writeAccessLogs } from '../access-log/access-log.ts';
import { LogType, ResponseFlag, StreamInfo } from '../stream-info.ts';
import type { Cluster, Host } from '../upstream.ts';
import type { ConnectionInfo, ServedConnection } from './network-filter.ts';
import type { NetworkFilterContext } from './network-filter-context.ts';
import type { TcpSettings } from './tcp-proxy.ts';

export class TcpSession implements ConnectionHandler, ServedConnection {
	private readonly info: StreamInfo;
	private readonly downstream: Connection;
	private readonly clock: Clock;
	private readonly upstream: UpstreamSide;
	private upstreamConnection: Connection | null = null;
	private connected = false;
	private early: Uint8Array[] = [];
	private earlyBytes = 0;
	private downstreamEnded = false;
	private upstreamEnded = false;
	private over = false;
	/** By us: its end is not the client's doing. */
	private wasReset = false;
	private readonly tried: Host[] = [];
	private timer: Timer | null = null;
	private retryTimer: Timer | null = null;
	private logTimer: Timer | null = null;
	/** Chosen once, with its jitter; 0: none. */
	private readonly durationMaxMs: number;
	private lastMoveMs: number;

	constructor(
		private readonly settings: TcpSettings,
		private readonly connectionInfo: ConnectionInfo,
		private readonly context: NetworkFilterContext,
	) {
		const { connection } = connectionInfo;
		this.clock = context.clock;
		this.downstream = connection;
		this.lastMoveMs = this.clock.nowMs();
		this.info = new StreamInfo(connection, settings.listenerName, this.lastMoveMs, this.clock.wallMs());
		this.info.originalDestination = connectionInfo.originalDestination;
		this.info.requestedServerName = connectionInfo.requestedServerName;
		this.upstream = new UpstreamSide(this);
		const { durationMaxMs, durationJitter } = settings;
		const jitter = durationJitter === 0 ? 0 : durationJitter * context.random.next();
		this.durationMaxMs = durationMaxMs * (1 + jitter);
		connection.handler = this;
		settings.stats.connectionsTotal.inc();
		settings.stats.connectionsActive.inc();
		this.guard(() => this.begin());
	}

	/** A TCP connection has no requests to wait between: it lives until it ends, or the drain's time is over. */
	drain(): void {}

	close(): void {
		this.resetDownstream();
	}

	onConnect(): void {}

	onData(_connection: Connection, bytes: Uint8Array): void {
		if (this.over) return;
		this.info.bytesReceived += bytes.byteLength;
		this.settings.stats.bytesReceived.inc(bytes.byteLength);
		this.lastMoveMs = this.clock.nowMs();
		if (!this.connected || this.upstreamConnection === null) {
			this.keepEarly(bytes);
			return;
		}
		try {
			if (!this.upstreamConnection.write(bytes)) this.downstream.pause();
		} catch (error) {
			this.fault(error);
		}
	}

	onDrain(): void {
		if (!this.over) this.upstreamConnection?.resume();
	}

	onEnd(): void {
		this.guard(() => {
			if (this.over) return;
			this.downstreamEnded = true;
			if (this.connected) this.upstreamConnection?.end();
		});
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		this.guard(() => this.downstreamClosed(error));
	}

	private downstreamClosed(error: WeftError | null): void {
		if (!this.over && !this.wasReset && (error !== null || !this.upstreamEnded)) {
			this.info.responseFlags |= ResponseFlag.downstreamConnectionTermination;
		}
		if (error !== null) this.upstreamConnection?.reset();
		else if (this.connected && this.downstreamEnded) this.upstreamConnection?.end();
		else this.upstreamConnection?.reset();
		this.finish();
	}

	upstreamConnect(connection: Connection): void {
		this.connected = true;
		this.info.upstreamTls = connection.tls;
		this.info.upstreamFirstByteMs = this.clock.nowMs();
		for (const filter of this.settings.filters) filter.onUpstream?.(this.info);
		if (this.settings.logsOnConnected) this.log(LogType.tcpUpstreamConnected);
		let wantsMore = true;
		for (const bytes of this.early) wantsMore = connection.write(bytes);
		this.early = [];
		if (this.downstreamEnded) connection.end();
		if (wantsMore) this.downstream.resume();
	}

	upstreamData(bytes: Uint8Array): void {
		if (this.over) return;
		this.info.bytesSent += bytes.byteLength;
		this.settings.stats.bytesSent.inc(bytes.byteLength);
		this.lastMoveMs = this.clock.nowMs();
		if (!this.downstream.write(bytes)) this.upstreamConnection?.pause();
	}

	upstreamDrain(): void {
		if (!this.over) this.downstream.resume();
	}

	upstreamEnd(): void {
		if (this.over) return;
		this.upstreamEnded = true;
		this.downstream.end();
	}

	upstreamClose(connection: Connection, error: WeftError | null): void {
		if (connection !== this.upstreamConnection && this.upstreamConnection !== null) return;
		this.upstreamConnection = null;
		if (this.over) return;
		if (!this.connected) {
			this.info.upstreamFailureReason = error?.message ?? 'closed';
			this.info.responseFlags |= ResponseFlag.upstreamConnectionFailure;
			if (this.tried.length < this.settings.connectAttemptsMax) {
				this.retry();
				return;
			}
			if (this.settings.connectAttemptsMax > 1) this.info.responseFlags |= ResponseFlag.upstreamRetryLimitExceeded;
			this.downstream.end();
			this.resetDownstream();
			return;
		}
		if (error !== null) {
			this.info.responseFlags |= ResponseFlag.upstreamConnectionTermination;
			this.resetDownstream();
		} else if (!this.upstreamEnded) this.downstream.end();
		this.upstreamEnded = true;
	}

	guard(work: () => void): void {
		try {
			work();
		} catch (error) {
			this.fault(error);
		}
	}

	fault(error: unknown): void {
		reportFault('connection', 'a connection failed by a fault of ours and is closed', error, {
			connection: this.downstream.id,
			listener: this.settings.listenerName,
			remote: formatAddress(this.downstream.remote),
			cluster: this.info.cluster?.name,
			host: this.info.host?.addressText,
		});
		this.settings.stats.faults.inc();
		this.resetDownstream();
		this.upstreamConnection?.reset();
	}

	private resetDownstream(): void {
		this.wasReset = true;
		this.downstream.reset();
	}

	private begin(): void {
		for (const filter of this.settings.filters) {
			if (filter.onOpen?.(this.info) !== false) continue;
			this.resetDownstream();
			return;
		}
		const cluster = this.context.clusters.get(this.chooseCluster());
		if (cluster === undefined) {
			this.settings.stats.noRoute.inc();
			this.info.responseFlags |= ResponseFlag.noClusterFound;
			this.resetDownstream();
			return;
		}
		this.info.cluster = cluster;
		this.armTimer();
		this.connect(cluster);
	}

	private connect(cluster: Cluster): void {
		const host = cluster.pick({ tried: this.tried, originalDestination: this.info.originalDestination });
		if (host === null) {
			this.info.responseFlags |= ResponseFlag.noHealthyUpstream;
			this.resetDownstream();
			return;
		}
		this.tried.push(host);
		this.info.host = host;
		this.info.attempts += 1;
		if (this.info.upstreamStartMs === 0) this.info.upstreamStartMs = this.clock.nowMs();
		this.upstreamConnection = cluster.connectTcp(host, this.upstream);
	}

	private retry(): void {
		const { backoff } = this.settings;
		if (backoff === null) {
			this.connect(this.info.cluster!);
			return;
		}
		const boundMs = Math.min(backoff.maxMs, backoff.baseMs * 2 ** (this.tried.length - 1));
		const delayMs = this.context.random.next() * boundMs;
		this.retryTimer = this.clock.after(delayMs, () => this.guard(() => this.connect(this.info.cluster!)));
	}

	private chooseCluster(): string {
		for (const filter of this.settings.filters) {
			const chosen = filter.chooseCluster?.(this.info) ?? null;
			if (chosen !== null) return chosen;
		}
		const { clusters, totalWeight } = this.settings;
		let value = clusters.length === 1 ? 0 : this.context.random.below(totalWeight);
		for (const cluster of clusters) {
			if (value < cluster.weight) return cluster.name;
			value -= cluster.weight;
		}
		return clusters[clusters.length - 1]!.name;
	}

	private keepEarly(bytes: Uint8Array): void {
		this.earlyBytes += bytes.byteLength;
		if (this.earlyBytes > this.settings.earlyBytesMax) {
			this.resetDownstream();
			return;
		}
		this.early.push(bytes.slice());
		this.downstream.pause();
	}

	private armTimer(): void {
		const { logIntervalMs, idleTimeoutMs } = this.settings;
		const { durationMaxMs } = this;
		if (logIntervalMs > 0) {
			this.logTimer = this.clock.after(logIntervalMs, () => {
				this.logTimer?.restart(logIntervalMs);
				this.guard(() => this.log(LogType.tcpPeriodic));
			});
		}
		if (idleTimeoutMs <= 0 && durationMaxMs <= 0) return;
		this.timer = this.clock.after(this.nextCheckMs(this.clock.nowMs()), () => this.guard(() => this.onTimer()));
	}

	private nextCheckMs(nowMs: number): number {
		const { idleTimeoutMs } = this.settings;
		const { durationMaxMs } = this;
		const idle = idleTimeoutMs > 0 ? this.lastMoveMs + idleTimeoutMs - nowMs : Number.POSITIVE_INFINITY;
		const end = durationMaxMs > 0 ? this.info.startMs + durationMaxMs - nowMs : Number.POSITIVE_INFINITY;
		return Math.min(2 ** 30, Math.max(0, Math.min(idle, end)));
	}

	private onTimer(): void {
		if (this.over) return;
		const nowMs = this.clock.nowMs();
		const { idleTimeoutMs, stats } = this.settings;
		const { durationMaxMs } = this;
		const idle = idleTimeoutMs > 0 && nowMs >= this.lastMoveMs + idleTimeoutMs;
		if (idle || (durationMaxMs > 0 && nowMs >= this.info.startMs + durationMaxMs)) {
			if (idle) stats.idleTimeouts.inc();
			this.info.responseFlags |= idle ? ResponseFlag.streamIdleTimeout : ResponseFlag.durationTimeout;
			this.upstreamConnection?.reset();
			this.resetDownstream();
			return;
		}
		this.timer?.restart(this.nextCheckMs(nowMs));
	}

	private finish(): void {
		if (this.over) return;
		this.over = true;
		this.early = [];
		this.timer?.cancel();
		this.retryTimer?.cancel();
		this.logTimer?.cancel();
		this.info.endMs = this.clock.nowMs();
		this.settings.stats.connectionsActive.dec();
		try {
			for (const filter of this.settings.filters) filter.onComplete?.(this.info);
			this.log(LogType.tcpConnectionEnd);
		} finally {
			// Whatever they threw: the listener must not wait for a connection that is gone.
			this.connectionInfo.onClosed();
		}
	}

	private log(type: number): void {
		this.info.logType = type;
		writeAccessLogs(this.settings.accessLogs, this.info);
	}
}

/** The upstream connection's callbacks, each behind the session's boundary. */
class UpstreamSide implements ConnectionHandler {
	constructor(private readonly session: TcpSession) {}

	onConnect(connection: Connection): void {
		this.session.guard(() => this.session.upstreamConnect(connection));
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		try {
			this.session.upstreamData(bytes);
		} catch (error) {
			this.session.fault(error);
		}
	}

	onDrain(): void {
		this.session.upstreamDrain();
	}

	onEnd(): void {
		this.session.guard(() => this.session.upstreamEnd());
	}

	onClose(connection: Connection, error: WeftError | null): void {
		this.session.guard(() => this.session.upstreamClose(connection, error));
	}
}
