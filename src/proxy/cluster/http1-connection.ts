// One HTTP/1.1 connection of a pool: joins the socket to the codec and knows what may be done with it.
//
//                  onConnect             assign
//   connecting ──────────────▶ idle ◀───────────────▶ busy
//       │                       │      onAvailable      │ onUnavailable, drain
//       │ onClose               │ idle timeout, FIN     ▼
//       └─────────▶ closed ◀────┴─────────────────── draining

import type { ClientCodec, ClientCodecEvents, CodecTransport } from '../../http/codec.ts';
import { type Connection, type ConnectionHandler, formatAddress, type TlsInfo } from '../../net/network.ts';
import { type Clock, GuardedClock, type Timer } from '../../std/clock.ts';
import { WeftError } from '../../std/errors.ts';
import { reportFault } from '../../std/fault.ts';
import type { PoolContext } from './connection-pool.ts';
import type { PooledStream, PooledStreamOwner } from './pooled-stream.ts';

export type Http1ConnectionState = 'connecting' | 'idle' | 'busy' | 'draining' | 'closed';

/** What a connection tells its pool. */
export interface Http1ConnectionOwner {
	onReady(connection: Http1Connection): void;
	/** The request that was assigned to it has ended. */
	onStreamOver(): void;
	/** It went from idle to draining by itself. */
	onUnusable(connection: Http1Connection): void;
	/** `error` null: closed in order. `wasConnecting`: it never came up. */
	onClosed(connection: Http1Connection, wasConnecting: boolean, error: WeftError | null): void;
}

/** Codec errors that say that the host closed, which is its right. */
const CLOSE_CODES: ReadonlySet<string> = new Set([
	'http1_not_sent',
	'http1_closed_before_response',
	'http1_premature_close',
]);

/** A host that was sent FIN has this long to close its side. */
const CLOSE_GRACE_MS = 1000;

export class Http1Connection implements ConnectionHandler, CodecTransport, ClientCodecEvents, PooledStreamOwner {
	state: Http1ConnectionState = 'connecting';
	current: PooledStream | null = null;
	/** Requests that were given to it. */
	served = 0;
	codec: ClientCodec | null = null;
	tls: TlsInfo | null = null;
	private socket: Connection | null = null;
	/** Idle timeout; later the grace for closing. Requests do not move it: when it rings, `idleSinceMs` decides. */
	private readonly timer: Timer;
	private idleSinceMs = 0;
	/** A timer of this connection that throws costs this connection. */
	private readonly clock: Clock;
	private lifeTimer: Timer | null = null;
	private closedLocally = false;
	private resetError: WeftError | null = null;

	constructor(
		private readonly context: PoolContext,
		private readonly owner: Http1ConnectionOwner,
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

	/** Must be idle. */
	assign(stream: PooledStream): void {
		this.state = 'busy';
		this.served++;
		this.current = stream;
		stream.inner = this.codec!.newStream(stream);
	}

	streamOver(stream: PooledStream): void {
		if (this.current === stream) this.current = null;
		this.owner.onStreamOver();
	}

	/** No more requests; closes when the present one has ended. */
	drain(): void {
		switch (this.state) {
			case 'connecting':
				this.closeNow();
				break;
			case 'idle':
			case 'busy':
				this.state = 'draining';
				if (this.current === null) this.closeNow();
				else this.codec!.startDrain();
				break;
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
		this.tls = connection.tls;
		if (connection.tls !== null) context.stats.handshaken(connection.tls);
		connection.setNoDelay(true);
		context.stats.connectMs.observe(context.network.clock.nowMs() - this.startedMs);
		if (connection.tls?.alpn === 'h2') {
			const options = { origin: 'upstream', retrySafe: true } as const;
			this.resetError = new WeftError('connect_failed', 'the host chose HTTP/2 where HTTP/1.1 is configured', options);
			this.closeNow();
			return;
		}
		this.codec = context.makeCodec(this, this, { requestsMax: context.settings.requestsPerConnectionMax });
		if (context.settings.connectionDurationMaxMs > 0) {
			this.lifeTimer = this.clock.after(context.settings.connectionDurationMaxMs, () => {
				context.stats.counters.upstream_cx_max_duration_reached.inc();
				this.becomeUnusable();
			});
		}
		this.becomeReady();
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		this.codec!.receive(bytes);
	}

	onDrain(): void {
		this.codec?.transportDrained();
	}

	onEnd(): void {
		this.codec?.receiveEnd();
		if (this.current !== null) return;
		this.becomeUnusable();
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		const wasConnecting = this.codec === null;
		const hadRequest = this.current !== null;
		this.state = 'closed';
		this.timer.cancel();
		this.lifeTimer?.cancel();
		const { counters } = this.context.stats;
		if (!wasConnecting) {
			counters.upstream_cx_destroy.inc();
			(this.closedLocally ? counters.upstream_cx_destroy_local : counters.upstream_cx_destroy_remote).inc();
			if (hadRequest) counters.upstream_cx_destroy_with_active_rq.inc();
		}
		// The pool first, so that a request that is sent again from within `onReset` does not meet this one.
		this.owner.onClosed(this, wasConnecting, error ?? this.resetError);
		this.codec?.transportClosed(error);
		this.current?.finish();
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
		this.current = null;
		if (this.state === 'busy') this.becomeReady();
		else if (this.state === 'draining') this.closeNow();
	}

	onUnavailable(error: WeftError | null): void {
		const { counters } = this.context.stats;
		if (error?.origin === 'upstream' && error.code.startsWith('http1_') && !CLOSE_CODES.has(error.code)) {
			counters.upstream_cx_protocol_error.inc();
		}
		const max = this.context.settings.requestsPerConnectionMax;
		if (max > 0 && this.served >= max) counters.upstream_cx_max_requests.inc();
		const wasIdle = this.state === 'idle';
		if (this.state === 'idle' || this.state === 'busy') this.state = 'draining';
		if (wasIdle) this.owner.onUnusable(this);
	}

	private becomeReady(): void {
		this.state = 'idle';
		const { idleTimeoutMs } = this.context.settings;
		if (idleTimeoutMs > 0) {
			this.idleSinceMs = this.context.network.clock.nowMs();
			if (!this.timer.active) this.timer.restart(idleTimeoutMs);
		}
		this.owner.onReady(this);
	}

	private becomeUnusable(): void {
		const wasIdle = this.state === 'idle';
		this.drain();
		if (wasIdle) this.owner.onUnusable(this);
	}

	private onTimer(): void {
		if (this.state !== 'idle') {
			// With a request under way it is of no account, unless it is the grace: idle again starts it again.
			if (this.closedLocally) this.closeNow();
			return;
		}
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
