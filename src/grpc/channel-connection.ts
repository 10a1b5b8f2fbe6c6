// One HTTP/2 connection of a channel: joins the socket to the codec.
//
//                   server's SETTINGS        GOAWAY, idle, drain()
//   connecting ──────────────────────▶ open ──────────────────────▶ draining
//       │ onClose, too late              │                             │ last call ended
//       └──────────────▶ closed ◀────────┴─────────────────────────────┘
//
// It counts as connected only with the server's SETTINGS: what accepts connections and says nothing
// is no server.

import type { ClientCodecEvents, CodecTransport } from '../http/codec.ts';
import { Http2ClientCodec } from '../http2/client-codec.ts';
import type { Http2KeepAlive } from '../http2/limits.ts';
import type { Address, ClientTlsOptions, Connection, ConnectionHandler, Network } from '../net/network.ts';
import { formatAddress } from '../net/network.ts';
import { offering } from '../net/offered-protocols.ts';
import type { Timer } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import type { Random } from '../std/random.ts';

export interface ChannelConnectionEvents {
	/** It is open; calls may begin. */
	onOpen(): void;
	/** It may have room for another call again. */
	onRoom(): void;
	/** It takes no more calls. `error` null: in order. */
	onUnusable(error: WeftError | null): void;
	/** Last. `error` null: closed in order. */
	onClosed(error: WeftError | null): void;
}

export interface ChannelConnectionOptions {
	readonly network: Network;
	readonly random: Random;
	readonly address: Address;
	/** Null: plain text. */
	readonly tls: ClientTlsOptions | null;
	/** For the connection, the handshake and the server's SETTINGS together. */
	readonly timeoutMs: number;
	/** Without a call for so long, it closes. */
	readonly idleTimeoutMs: number;
	readonly keepAlive: Http2KeepAlive | null;
}

/** A server that was sent FIN has this long to close its side. */
const CLOSE_GRACE_MS = 1000;

export class ChannelConnection implements ConnectionHandler, CodecTransport, ClientCodecEvents {
	codec: Http2ClientCodec | null = null;
	private state: 'connecting' | 'open' | 'draining' | 'closed' = 'connecting';
	private readonly socket: Connection;
	/** Until it is open; then while it is idle; then until the server has closed its side. */
	private readonly timer: Timer;
	/** Why it is being closed, where the socket will not say. */
	private reason: WeftError | null = null;
	private closing = false;
	private calls = 0;

	constructor(
		private readonly options: ChannelConnectionOptions,
		/** May be replaced. */
		public events: ChannelConnectionEvents,
	) {
		const { network, address, tls, timeoutMs } = options;
		this.timer = network.clock.after(timeoutMs, () => this.onTimer());
		// With TLS the protocol that is spoken is offered, where the configuration names none.
		const secure = tls === null ? {} : { tls: offering(tls, 'h2') };
		this.socket = network.connect({ address, timeoutMs, ...secure }, this);
	}

	/** A call may begin. */
	get hasRoom(): boolean {
		return this.state === 'open' && this.codec!.available;
	}

	/** Of the channel: so many calls are under way on it now. */
	callsChanged(count: number): void {
		this.calls = count;
		if (this.state !== 'open') return;
		if (count === 0) this.timer.restart(this.options.idleTimeoutMs);
		else this.timer.cancel();
	}

	/** No more calls; it closes when those that are under way have ended. */
	drain(): void {
		if (this.state === 'connecting') this.closeNow();
		else if (this.state === 'open') {
			this.state = 'draining';
			this.timer.cancel();
			this.codec!.startDrain();
		}
	}

	closeNow(): void {
		this.closing = true;
		this.socket.reset();
	}

	// --- from the socket

	onConnect(connection: Connection): void {
		connection.setNoDelay(true);
		const alpn = connection.tls?.alpn ?? null;
		if (alpn !== null && alpn !== 'h2') {
			this.giveUp('connect_failed', `${this.where} chose ${alpn} where gRPC needs HTTP/2`);
			return;
		}
		const { network, random, keepAlive } = this.options;
		this.codec = new Http2ClientCodec(this, this, {
			clock: network.clock,
			keepAlive,
			random: () => random.next(),
			streamsBeforeSettingsMax: 0,
		});
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		this.codec?.receive(bytes);
	}

	onDrain(): void {
		this.codec?.transportDrained();
	}

	onEnd(): void {
		if (this.state === 'connecting') this.giveUp('connect_failed', `${this.where} closed before it said anything`);
		else this.codec?.receiveEnd();
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		this.state = 'closed';
		this.timer.cancel();
		const cause = this.reason ?? error;
		// The channel first, so that a call that begins within `onReset` does not meet this one.
		this.events.onClosed(cause);
		this.codec?.transportClosed(cause);
	}

	// --- from the codec

	write(bytes: Uint8Array): boolean {
		return this.socket.write(bytes);
	}

	pauseReading(): void {
		this.socket.pause();
	}

	resumeReading(): void {
		this.socket.resume();
	}

	close(how: 'flush' | 'reset'): void {
		this.closing = true;
		if (how === 'reset') {
			this.socket.reset();
			return;
		}
		this.socket.end();
		this.timer.restart(CLOSE_GRACE_MS);
	}

	onAvailable(): void {
		if (this.state === 'connecting') {
			this.state = 'open';
			this.timer.restart(this.options.idleTimeoutMs);
			this.events.onOpen();
		} else if (this.state === 'open') this.events.onRoom();
	}

	onUnavailable(error: WeftError | null): void {
		this.reason ??= error;
		if (this.state !== 'open') return;
		this.state = 'draining';
		this.timer.cancel();
		this.events.onUnusable(error);
	}

	private get where(): string {
		return formatAddress(this.options.address);
	}

	private giveUp(code: string, message: string): void {
		this.reason ??= new WeftError(code, message, { origin: 'upstream', retrySafe: true });
		this.closeNow();
	}

	private onTimer(): void {
		if (this.closing) this.socket.reset();
		else if (this.state === 'connecting') {
			this.giveUp('connect_timeout', `${this.where} did not answer as HTTP/2 within ${this.options.timeoutMs} ms`);
		} else if (this.state === 'open' && this.calls === 0) {
			this.drain();
			this.events.onUnusable(null);
		}
	}
}
