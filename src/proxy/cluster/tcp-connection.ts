// A connection to a host that a TCP proxy owns: the net connection with the cluster's and the host's
// counts kept, whatever handler the owner sets later. `RefusedConnection` is one that never was.

import type {
	Address,
	Connection,
	ConnectionHandler,
	IpAddress,
	Network,
	ServerTlsOptions,
	TlsInfo,
} from '../../net/network.ts';
import type { Timer } from '../../std/clock.ts';
import { WeftError } from '../../std/errors.ts';
import type { PoolContext } from './connection-pool.ts';
import { poolOverflow, secretMissing } from './http-pool.ts';
import type { UpstreamHost } from './upstream-host.ts';

/** See `Cluster.connectTcp`. */
export function connectTcp(host: UpstreamHost, handler: ConnectionHandler, context: PoolContext): Connection {
	const { breakers, network, settings, stats, clusterName } = context;
	const tls = host.tls === null ? undefined : host.tls.current();
	if (tls === null) {
		stats.counters.client_ssl_socket_factory_upstream_context_secrets_not_ready.inc();
		return new RefusedConnection(network, host.address, handler, secretMissing(clusterName));
	}
	if (!breakers.connections.tryTake()) {
		stats.counters.upstream_cx_overflow.inc();
		return new RefusedConnection(network, host.address, handler, poolOverflow('max_connections', clusterName));
	}
	const connection = new CountedConnection(host, handler, context);
	const socket = network.connect({ address: host.address, timeoutMs: settings.connectTimeoutMs, tls }, connection);
	if (settings.bufferLimitBytes !== null) socket.highWatermarkBytes = settings.bufferLimitBytes;
	connection.attach(socket);
	return connection;
}

class CountedConnection implements Connection, ConnectionHandler {
	private socket!: Connection;
	private connected = false;
	private readonly startedMs: number;

	constructor(
		private readonly host: UpstreamHost,
		public handler: ConnectionHandler,
		private readonly context: PoolContext,
	) {
		this.startedMs = context.network.clock.nowMs();
		context.stats.counters.upstream_cx_total.inc();
		context.stats.gauges.upstream_cx_active.inc();
		host.counts.connections++;
		host.counts.connectionsActive++;
		host.activeRequests++;
	}

	attach(socket: Connection): void {
		this.socket = socket;
	}

	get id(): number {
		return this.socket.id;
	}

	get local(): Address {
		return this.socket.local;
	}

	get remote(): Address {
		return this.socket.remote;
	}

	get directRemote(): Address {
		return this.socket.directRemote;
	}

	get tls(): TlsInfo | null {
		return this.socket.tls;
	}

	get bufferedBytes(): number {
		return this.socket.bufferedBytes;
	}

	get highWatermarkBytes(): number {
		return this.socket.highWatermarkBytes;
	}

	set highWatermarkBytes(bytes: number) {
		this.socket.highWatermarkBytes = bytes;
	}

	write(bytes: Uint8Array): boolean {
		return this.socket.write(bytes);
	}

	end(): void {
		this.socket.end();
	}

	reset(): void {
		this.socket.reset();
	}

	pause(): void {
		this.socket.pause();
	}

	resume(): void {
		this.socket.resume();
	}

	startServerTls(options: ServerTlsOptions, received?: Uint8Array): void {
		this.socket.startServerTls(options, received);
	}

	speakFor(address: Address): void {
		this.socket.speakFor(address);
	}

	originalDestination(): IpAddress | null {
		return this.socket.originalDestination();
	}

	peerCredentials(): { readonly pid: number; readonly uid: number; readonly gid: number } | null {
		return this.socket.peerCredentials();
	}

	setNoDelay(on: boolean): void {
		this.socket.setNoDelay(on);
	}

	onConnect(): void {
		this.connected = true;
		this.context.stats.connectMs.observe(this.context.network.clock.nowMs() - this.startedMs);
		if (this.socket.tls !== null) this.context.stats.handshaken(this.socket.tls);
		this.handler.onConnect(this);
	}

	onData(_socket: Connection, bytes: Uint8Array): void {
		this.handler.onData(this, bytes);
	}

	onDrain(): void {
		this.handler.onDrain(this);
	}

	onEnd(): void {
		this.handler.onEnd(this);
	}

	onClose(_socket: Connection, error: WeftError | null): void {
		const { breakers, stats } = this.context;
		breakers.connections.release();
		stats.gauges.upstream_cx_active.dec();
		this.host.counts.connectionsActive--;
		this.host.activeRequests--;
		if (this.connected) {
			stats.counters.upstream_cx_destroy.inc();
		} else if (error !== null) {
			this.host.counts.connectFailures++;
			stats.counters.upstream_cx_connect_fail.inc();
			stats.connectFailed(error);
			if (error.code === 'connect_timeout') stats.counters.upstream_cx_connect_timeout.inc();
		}
		this.handler.onClose(this, error);
	}
}

/** Closes with its error in the next turn, unless it is reset before. */
class RefusedConnection implements Connection {
	readonly id = 0;
	readonly tls = null;
	readonly bufferedBytes = 0;
	highWatermarkBytes = 0;
	readonly local: Address = { kind: 'ip', host: '0.0.0.0', port: 0 };
	readonly directRemote: Address;
	private timer: Timer | null;

	constructor(
		network: Network,
		readonly remote: Address,
		public handler: ConnectionHandler,
		error: WeftError,
	) {
		this.directRemote = remote;
		this.timer = network.clock.after(0, () => this.finish(error));
	}

	write(): boolean {
		return false;
	}

	end(): void {}

	reset(): void {
		this.finish(null);
	}

	pause(): void {}
	resume(): void {}

	startServerTls(): void {
		throw new WeftError('not_connected', 'a connection that was refused cannot become a TLS server');
	}

	speakFor(): void {}

	originalDestination(): null {
		return null;
	}

	peerCredentials(): null {
		return null;
	}

	setNoDelay(): void {}

	private finish(error: WeftError | null): void {
		if (this.timer === null) return;
		this.timer.cancel();
		this.timer = null;
		this.handler.onClose(this, error);
	}
}
