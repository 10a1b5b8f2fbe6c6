// One HTTP/2 connection of a pool: joins the socket to the codec and knows what may be done with it.
//
//                  onConnect           GOAWAY, requestsMax, drain, idle timeout
//   connecting ──────────────▶ open ────────────────────────────────────────────▶ draining
//       │ onClose                │                                                   │ last stream ended
//       └─────────▶ closed ◀─────┴───────────────────────────────────────────────────┘

import type { ClientCodecEvents, CodecTransport } from '../../http/codec.ts';
import { Http2ClientCodec } from '../../http2/client-codec.ts';
import { STREAMS_BEFORE_SETTINGS_MAX } from '../../http2/limits.ts';
import { type Connection, type ConnectionHandler, formatAddress, type TlsInfo } from '../../net/network.ts';
import { type Clock, GuardedClock, type Timer } from '../../std/clock.ts';
import { WeftError } from '../../std/errors.ts';
import { reportFault } from '../../std/fault.ts';
import type { PoolContext } from './connection-pool.ts';
import type { PooledStream, PooledStreamOwner } from './pooled-stream.ts';

export type Http2ConnectionState = 'connecting' | 'open' | 'draining' | 'closed';

/** What a connection tells its pool. */
export interface Http2ConnectionOwner {
	/** It came up, or has room again. */
	onReady(connection: PooledHttp2Connection): void;
	/** A request that was assigned to it has ended. */
	onStreamOver(): void;
	/** It takes no more requests. */
	onUnusable(connection: PooledHttp2Connection): void;
	/** `error` null: closed in order. `wasConnecting`: it never came up. */
	onClosed(connection: PooledHttp2Connection, wasConnecting: boolean, error: WeftError | null): void;
}

/** A host that was sent FIN has this long to close its side. */
const CLOSE_GRACE_MS = 1000;

export class PooledHttp2Connection implements ConnectionHandler, CodecTransport, ClientCodecEvents, PooledStreamOwner {
	state: Http2ConnectionState = 'connecting';
	/** Requests that were given to it. */
	served = 0;
	codec: Http2ClientCodec | null = null;
	tls: TlsInfo | null = null;
	private readonly streams = new Set<PooledStream>();
	private socket: Connection | null = null;
	/** Idle timeout; later the grace for closing. When it rings, `idleSinceMs` decides. */
	private readonly timer: Timer;
	private idleSinceMs = 0;
	/** A timer of this connection that throws costs this connection. */
	private readonly clock: Clock;
	private lifeTimer: Timer | null = null;
	private closedLocally = false;
	private closeError: WeftError | null = null;

	constructor(
		private readonly context: PoolContext,
		private readonly owner: Http2ConnectionOwner,
		/** Streams that the host takes at once, as far as is known. */
		private readonly streamsExpected: number,
		/** When the connection was asked for; default now. */
		private readonly startedMs = context.network.clock.nowMs(),
	) {
		this.clock = new GuardedClock(context.network.clock, (error) => this.fault(error));
		this.timer = this.clock.after(0, () => this.onTimer());
		this.timer.cancel();
	}

	/** Once, right after `network.connect` returned it. */
	attach(socket: Connection): void {
		this.socket = socket;
	}

	// --- for the pool

	get available(): boolean {
		return this.state === 'open' && this.codec!.available;
	}

	/** Streams that it would take now. */
	get room(): number {
		return this.available ? this.codec!.streamsMax - this.codec!.activeStreams : 0;
	}

	/** Must be available. */
	assign(stream: PooledStream): void {
		this.served++;
		this.streams.add(stream);
		stream.inner = this.codec!.newStream(stream);
	}

	streamOver(stream: PooledStream): void {
		this.streams.delete(stream);
		if (this.streams.size === 0) this.becomeIdle();
		this.owner.onStreamOver();
	}

	/** No more requests; closes when those that are under way have ended. */
	drain(): void {
		if (this.state === 'connecting') this.closeNow();
		else if (this.state === 'open') {
			this.state = 'draining';
			this.codec!.startDrain();
		}
	}

	closeNow(): void {
		this.closedLocally = true;
		this.socket?.reset();
	}

	private fault(error: unknown): void {
		reportFault('connection', 'an upstream connection failed by a fault of ours and is closed', error, {
			cluster: this.context.clusterName,
			host: this.socket === null ? undefined : formatAddress(this.socket.remote),
		});
		this.closeNow();
	}

	// --- from the socket

	onConnect(connection: Connection): void {
		const { context } = this;
		const { network, settings, stats } = context;
		this.tls = connection.tls;
		if (connection.tls !== null) context.stats.handshaken(connection.tls);
		connection.setNoDelay(true);
		stats.connectMs.observe(network.clock.nowMs() - this.startedMs);
		const alpn = connection.tls?.alpn ?? null;
		if (alpn !== null && alpn !== 'h2') {
			const options = { origin: 'upstream', retrySafe: true } as const;
			this.closeError = new WeftError('connect_failed', `the host chose ${alpn} where HTTP/2 is configured`, options);
			this.closeNow();
			return;
		}
		const { limits, keepAlive } = settings.http2;
		this.codec = new Http2ClientCodec(this, this, {
			...limits,
			clock: this.clock,
			keepAlive,
			random: () => context.random.next(),
			requestsMax: settings.requestsPerConnectionMax,
			streamsBeforeSettingsMax: Math.min(STREAMS_BEFORE_SETTINGS_MAX, this.streamsExpected),
			// What a host does not take is bounded by the timeouts of the request.
			stallTimeoutMs: 0,
		});
		if (settings.connectionDurationMaxMs > 0) {
			this.lifeTimer = this.clock.after(settings.connectionDurationMaxMs, () => {
				stats.counters.upstream_cx_max_duration_reached.inc();
				this.becomeUnusable();
			});
		}
		this.state = 'open';
		this.becomeIdle();
		this.owner.onReady(this);
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		this.codec!.receive(bytes);
	}

	onDrain(): void {
		this.codec?.transportDrained();
	}

	onEnd(): void {
		this.codec?.receiveEnd();
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		const wasConnecting = this.codec === null;
		const hadRequests = this.streams.size > 0;
		this.state = 'closed';
		this.timer.cancel();
		this.lifeTimer?.cancel();
		const { counters } = this.context.stats;
		if (!wasConnecting) {
			counters.upstream_cx_destroy.inc();
			(this.closedLocally ? counters.upstream_cx_destroy_local : counters.upstream_cx_destroy_remote).inc();
			if (hadRequests) counters.upstream_cx_destroy_with_active_rq.inc();
		}
		// The pool first, so that a request that is sent again from within `onReset` does not meet this one.
		this.owner.onClosed(this, wasConnecting, error ?? this.closeError);
		this.codec?.transportClosed(error);
		for (const stream of [...this.streams]) stream.finish();
	}

	// --- from the codec

	write(bytes: Uint8Array): boolean {
		return this.socket!.write(bytes);
	}

	pauseReading(): void {
		this.socket!.pause();
	}

	resumeReading(): void {
		this.socket!.resume();
	}

	/** The codec is done with the connection. */
	close(how: 'flush' | 'reset'): void {
		this.closedLocally = true;
		if (how === 'reset') {
			this.socket!.reset();
			return;
		}
		this.socket!.end();
		this.timer.restart(CLOSE_GRACE_MS);
	}

	onAvailable(): void {
		if (this.state === 'open') this.owner.onReady(this);
	}

	onUnavailable(error: WeftError | null): void {
		const { counters } = this.context.stats;
		if (error?.code === 'http2_goaway') counters.upstream_cx_close_notify.inc();
		else if (error?.origin === 'upstream' && error.code.startsWith('http2_')) counters.upstream_cx_protocol_error.inc();
		const max = this.context.settings.requestsPerConnectionMax;
		if (max > 0 && this.served >= max) counters.upstream_cx_max_requests.inc();
		if (this.state !== 'open') return;
		this.state = 'draining';
		this.owner.onUnusable(this);
	}

	private becomeIdle(): void {
		const { idleTimeoutMs } = this.context.settings;
		if (idleTimeoutMs === 0 || this.state !== 'open') return;
		this.idleSinceMs = this.context.network.clock.nowMs();
		if (!this.timer.active) this.timer.restart(idleTimeoutMs);
	}

	private becomeUnusable(): void {
		if (this.state !== 'open') return;
		this.drain();
		this.owner.onUnusable(this);
	}

	private onTimer(): void {
		if (this.closedLocally) {
			this.closeNow();
			return;
		}
		// With requests under way it is of no account: idle again starts it again.
		if (this.streams.size > 0) return;
		const { network, settings, stats } = this.context;
		const leftMs = this.idleSinceMs + settings.idleTimeoutMs - network.clock.nowMs();
		if (leftMs > 0) {
			this.timer.restart(leftMs);
			return;
		}
		stats.counters.upstream_cx_idle_timeout.inc();
		this.becomeUnusable();
	}
}
