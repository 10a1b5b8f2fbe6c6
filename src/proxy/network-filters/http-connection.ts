// One downstream HTTP connection: a codec fed from the socket, the exchanges on it, and one timer
// for all their deadlines. Everything that comes in from the socket or the timer is entered through
// a boundary: a fault of ours closes this connection, and only this one.

import type { CodecTransport, ServerCodec, ServerCodecEvents } from '../../http/codec.ts';
import type { RequestListener, ServerStream } from '../../http/stream.ts';
import { type Connection, type ConnectionHandler, formatAddress, type IpAddress } from '../../net/network.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import { WeftError } from '../../std/errors.ts';
import { reportFault } from '../../std/fault.ts';
import { Logger } from '../../std/log.ts';
import type { Random } from '../../std/random.ts';
import { type BadHead, badHeadOf, headTimeout, headTimeoutDueMs } from './bad-request.ts';
import { type ExchangeHome, HttpExchange } from './http-exchange.ts';
import type { HttpSettings } from './http-settings.ts';
import type { ConnectionInfo, ServedConnection } from './network-filter.ts';
import { agreedProtocol, type HttpProtocol, makeServerCodec, protocolOfFirstBytes } from './server-codec.ts';

const log = new Logger('http');
const NEVER = Number.POSITIVE_INFINITY;

/** The present settings of a filter chain; an update replaces what it holds. */
export interface SettingsSlot {
	current: HttpSettings;
}

export interface HttpConnectionEnvironment {
	readonly clock: Clock;
	readonly random: Random;
	/** The `date` header's value now. */
	readonly date: () => string;
}

export class HttpConnection
	implements ConnectionHandler, CodecTransport, ServerCodecEvents, ExchangeHome, ServedConnection
{
	readonly connection: Connection;
	readonly clock: Clock;
	readonly random: Random;
	protocol: HttpProtocol = 'HTTP/1.1';
	readonly localUriSan: string;
	readonly originalDestination: IpAddress | null;
	readonly requestedServerName: string;
	private codec: ServerCodec;
	/** The first bytes are to say whether the client speaks HTTP/2. */
	private undecided: boolean;
	/** First bytes that could be either; only when they came cut. */
	private firstBytes: Uint8Array | null = null;
	/** The codec has given up on the client, whose side is closed for it at this time. */
	private lingerDueMs = NEVER;
	/** What was not sent yet when the linger began. */
	private lingerBufferedBytes = 0;
	/** Closed in order, and what was written may not have gone to the kernel yet. */
	private flushBegins = false;
	/** First and last byte of a request's head that is not complete; 0: there is none. */
	private headSinceMs = 0;
	private headMovedMs = 0;
	/** Why we gave a head up; null: the client is at fault. */
	private headTimeout: BadHead | null = null;
	private readonly active = new Set<HttpExchange>();
	private readonly timer: Timer;
	private timerDueMs = NEVER;
	private idleSinceMs: number;
	private readonly openedMs: number;
	private readonly settingsAtOpen: HttpSettings;
	private draining = false;
	private drainsGently = false;
	/** It reached its longest duration; when it is closed though idle. */
	private agedDueMs = NEVER;
	private closed = false;

	constructor(
		private readonly slot: SettingsSlot,
		private readonly info: ConnectionInfo,
		private readonly environment: HttpConnectionEnvironment,
	) {
		const settings = slot.current;
		this.connection = info.connection;
		this.localUriSan = info.localUriSan;
		this.originalDestination = info.originalDestination;
		this.requestedServerName = info.requestedServerName;
		this.clock = environment.clock;
		this.random = environment.random;
		this.settingsAtOpen = settings;
		this.openedMs = this.clock.nowMs();
		this.idleSinceMs = this.openedMs;
		const agreed = agreedProtocol(settings, info.connection);
		this.undecided = agreed === null;
		this.protocol = agreed ?? 'HTTP/1.1';
		this.codec = makeServerCodec(this.protocol, settings, info.connection, this, this, environment, this);
		const first = this.connectionDueMs();
		this.timerDueMs = first;
		this.timer = this.clock.after(Math.min(first - this.openedMs, TIMER_MAX_MS), () =>
			this.guard(() => this.onTimer()),
		);
		settings.stats.connectionsTotal.inc();
		settings.stats.connectionsActive.inc();
		info.connection.handler = this;
	}

	drain(gently = false): void {
		if (this.closed || (this.draining && (gently || !this.drainsGently))) return;
		if (!this.draining) this.settingsAtOpen.stats.drainCloses.inc();
		this.draining = true;
		this.drainsGently = gently;
		this.guard(() => this.codec.startDrain(gently));
	}

	close(how: 'flush' | 'reset' = 'reset'): void {
		if (this.closed) return;
		if (how === 'reset') {
			this.connection.reset();
			return;
		}
		this.connection.end();
		this.flushBegins = true;
		this.lingerUntil(this.settingsAtOpen.delayedCloseMs);
	}

	// The socket.

	onConnect(): void {}

	onData(_connection: Connection, bytes: Uint8Array): void {
		try {
			if (this.settingsAtOpen.overload.readsMeetLevels && this.shedsRead(bytes)) return;
			if (this.undecided) this.decide(bytes);
			else this.codec.receive(bytes);
		} catch (error) {
			this.fault(error);
		}
	}

	onDrain(): void {
		try {
			this.codec.transportDrained();
		} catch (error) {
			this.fault(error);
		}
	}

	onEnd(): void {
		try {
			this.codec.receiveEnd();
		} catch (error) {
			this.fault(error);
		}
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		if (this.closed) return;
		this.closed = true;
		this.timer.cancel();
		try {
			this.codec.transportClosed(error);
		} catch (thrown) {
			this.fault(thrown);
		}
		this.settingsAtOpen.stats.connectionsActive.dec();
		this.info.onClosed();
	}

	// The codec's transport.

	write(bytes: Uint8Array): boolean {
		return this.connection.write(bytes);
	}

	pauseReading(): void {
		this.connection.pause();
	}

	resumeReading(): void {
		this.connection.resume();
	}

	// What the codec says.

	onStream(stream: ServerStream): RequestListener {
		const nowMs = this.clock.nowMs();
		const exchange = new HttpExchange(
			this,
			stream,
			this.slot.current,
			this.headSinceMs === 0 ? nowMs : this.headSinceMs,
		);
		this.headSinceMs = 0;
		this.active.add(exchange);
		return exchange;
	}

	onPartialHead(): void {
		this.headMovedMs = this.clock.nowMs();
		if (this.headSinceMs !== 0) return;
		this.headSinceMs = this.headMovedMs;
		this.wakeAt(this.connectionDueMs());
	}

	onHeadDropped(): void {
		this.headSinceMs = 0;
	}

	onBadHead(stream: ServerStream, status: number, error: WeftError): void {
		const exchange = this.onStream(stream) as HttpExchange;
		exchange.refuse(status, this.headTimeout ?? badHeadOf(error.code));
	}

	onProtocolError(error: WeftError): void {
		this.settingsAtOpen.stats.protocolErrors.inc();
		this.lingerUntil(this.settingsAtOpen.delayedCloseMs);
		if (log.enabled('debug')) log.debug('a client broke the protocol', { code: error.code, message: error.message });
	}

	onIdle(): void {
		this.idleSinceMs = this.clock.nowMs();
		this.wakeAt(this.connectionDueMs());
	}

	// What exchanges ask for.

	wakeAt(dueMs: number): void {
		if (dueMs >= this.timerDueMs || this.closed) return;
		this.timerDueMs = dueMs;
		this.timer.restart(Math.min(Math.max(0, dueMs - this.clock.nowMs()), TIMER_MAX_MS));
	}

	exchangeComplete(exchange: HttpExchange): void {
		this.active.delete(exchange);
	}

	disableKeepAlive(): void {
		if (this.draining || !this.settingsAtOpen.overload.disableKeepAlive.sheds(this.random)) return;
		this.draining = true;
		this.settingsAtOpen.stats.overloadKeepAliveDisabled.inc();
		this.codec.startDrain();
	}

	timeoutsChanged(): void {
		this.guard(() => {
			for (const exchange of this.active) exchange.timeoutsChanged();
			this.wakeAt(this.connectionDueMs());
		});
	}

	guard(work: () => void): void {
		try {
			work();
		} catch (error) {
			this.fault(error);
		}
	}

	/** Load shed points of the codecs. True: the bytes are not to be read any more. */
	private shedsRead(bytes: Uint8Array): boolean {
		const { overload, stats } = this.settingsAtOpen;
		if (this.protocol === 'HTTP/2' || (this.undecided && protocolOfFirstBytes(bytes) !== 'HTTP/1.1')) {
			if (!this.draining && overload.http2DispatchPoint.sheds(this.random)) this.drain();
			return false;
		}
		if (!overload.http1DispatchPoint.sheds(this.random)) return false;
		stats.overloadCloses.inc();
		if (this.active.size > 0) {
			this.connection.reset();
			return true;
		}
		if (overload.disableKeepAlive.sheds(this.random)) stats.overloadKeepAliveDisabled.inc();
		// The codec hears of nothing any more, whatever the client still sends.
		this.connection.handler = {
			onConnect() {},
			onData() {},
			onDrain() {},
			onEnd: (connection) => connection.reset(),
			onClose: (connection, error) => this.onClose(connection, error),
		};
		this.connection.write(abortedDispatch(this.settingsAtOpen.serverName, this.environment.date()));
		this.connection.end();
		this.lingerUntil(this.settingsAtOpen.delayedCloseMs);
		return true;
	}

	private decide(bytes: Uint8Array): void {
		let all = bytes;
		if (this.firstBytes !== null) {
			all = new Uint8Array(this.firstBytes.length + bytes.length);
			all.set(this.firstBytes);
			all.set(bytes, this.firstBytes.length);
		}
		const protocol = protocolOfFirstBytes(all);
		if (protocol === null) {
			this.firstBytes = all.slice();
			return;
		}
		this.undecided = false;
		this.firstBytes = null;
		if (protocol === 'HTTP/2') {
			this.protocol = protocol;
			this.codec = makeServerCodec(protocol, this.settingsAtOpen, this.connection, this, this, this.environment, this);
			if (this.draining) this.codec.startDrain(this.drainsGently);
		}
		this.codec.receive(all);
	}

	/** We have ended our side; a client that neither takes what is left nor ends its own is cut off. */
	private lingerUntil(ms: number): void {
		if (this.closed) return;
		this.lingerBufferedBytes = this.connection.bufferedBytes;
		this.lingerDueMs = Math.min(this.lingerDueMs, this.clock.nowMs() + ms);
		this.wakeAt(this.lingerDueMs);
	}

	private onTimer(): void {
		if (this.closed) return;
		const nowMs = this.clock.nowMs();
		// Set anew below, by what is still due and by what the callbacks ask for.
		this.timerDueMs = NEVER;
		let dueMs = NEVER;
		for (const exchange of this.active) dueMs = Math.min(dueMs, exchange.checkDeadlines(nowMs));
		if (this.closed) return;
		if (nowMs >= this.lingerDueMs) {
			const left = this.connection.bufferedBytes;
			// Nothing: the kernel has it all, and delivers it when the socket is given back, too (`Connection.reset`). Else
			// a slow reader may go on as long as it takes something.
			if (left === 0 || (!this.flushBegins && left >= this.lingerBufferedBytes)) {
				this.close();
				return;
			}
			this.flushBegins = false;
			this.lingerDueMs = NEVER;
			this.lingerUntil(this.settingsAtOpen.flushLingerMs);
		}
		const { stats } = this.settingsAtOpen;
		const maxConnectionDurationMs = this.connectionDurationMs();
		const idleTimeoutMs = this.idleTimeoutMs();
		if (maxConnectionDurationMs > 0 && nowMs >= this.openedMs + maxConnectionDurationMs) this.grewOld(nowMs);
		if (this.closed) return;
		if (this.headSinceMs !== 0 && this.giveUpHead(nowMs)) return;
		if (this.active.size === 0 && idleTimeoutMs > 0 && nowMs >= this.idleSinceMs + idleTimeoutMs) {
			stats.idleTimeouts.inc();
			this.close('flush');
			return;
		}
		this.wakeAt(Math.min(dueMs, this.connectionDueMs()));
	}

	/** The next response says that it is the last; a client that asks for nothing more is left when its time is over. */
	private grewOld(nowMs: number): void {
		if (this.draining) return;
		if (nowMs >= this.agedDueMs) this.drain();
		if (this.agedDueMs !== NEVER) return;
		this.settingsAtOpen.stats.connectionDurations.inc();
		this.agedDueMs = nowMs + this.settingsAtOpen.drainTimeoutMs;
		this.codec.startDrain(true);
	}

	/** True: a head took too long, and was refused. */
	private giveUpHead(nowMs: number): boolean {
		const timeout = headTimeout(this.settingsAtOpen, this.headSinceMs, this.headMovedMs, nowMs);
		if (timeout === null) return false;
		timeout.count(this.settingsAtOpen.stats);
		this.headTimeout = timeout;
		this.codec.refuseHead(408, new WeftError('request_head_timeout', timeout.body, { origin: 'downstream' }));
		this.headSinceMs = 0;
		this.lingerUntil(this.settingsAtOpen.delayedCloseMs);
		return true;
	}

	/** Reduced by overload. */
	private idleTimeoutMs(): number {
		const { idleTimeoutMs, overload } = this.settingsAtOpen;
		return overload.httpIdleTimeout === null ? idleTimeoutMs : overload.httpIdleTimeout.of(idleTimeoutMs);
	}

	private connectionDurationMs(): number {
		const { maxConnectionDurationMs, overload } = this.settingsAtOpen;
		const scaled = overload.connectionDuration;
		return scaled === null ? maxConnectionDurationMs : scaled.of(maxConnectionDurationMs);
	}

	/** When the connection itself is to be looked at. */
	private connectionDueMs(): number {
		const maxConnectionDurationMs = this.connectionDurationMs();
		const idleTimeoutMs = this.idleTimeoutMs();
		const idleDueMs = this.active.size === 0 && idleTimeoutMs > 0 ? this.idleSinceMs + idleTimeoutMs : NEVER;
		let endDueMs = NEVER;
		if (maxConnectionDurationMs > 0 && !this.draining) {
			endDueMs = this.agedDueMs === NEVER ? this.openedMs + maxConnectionDurationMs : this.agedDueMs;
		}
		const headDueMs =
			this.headSinceMs === 0 ? NEVER : headTimeoutDueMs(this.settingsAtOpen, this.headSinceMs, this.headMovedMs);
		return Math.min(idleDueMs, endDueMs, headDueMs, this.lingerDueMs);
	}

	/** Something was thrown: a bug. Ends this connection, and nothing else. */
	fault(error: unknown): void {
		reportFault('connection', 'a connection failed by a fault of ours and is closed', error, {
			connection: this.connection.id,
			listener: this.settingsAtOpen.listenerName,
			remote: formatAddress(this.connection.remote),
			protocol: this.protocol,
			routes: routesOf(this.active),
		});
		this.settingsAtOpen.stats.faults.inc();
		for (const exchange of [...this.active]) {
			try {
				exchange.break();
			} catch {
				// It is what failed; its connection goes anyway.
				this.active.delete(exchange);
			}
		}
		if (!this.closed) this.connection.reset();
	}
}

/** Of what is under way, so that a log shows which route a fault may belong to; those of many streams are cut. */
function routesOf(active: ReadonlySet<HttpExchange>): string {
	const names = [...active].slice(0, 4).map(({ route, routeName }) => {
		if (route === null) return 'none';
		return routeName === '' ? `of ${route.virtualHost.name}` : routeName;
	});
	return names.join(', ');
}

/** What Envoy answers where it does not even read: the request is unknown, so this is no exchange. */
function abortedDispatch(serverName: string, date: string): Uint8Array {
	const body = 'Internal Server Error';
	const server = serverName === '' ? '' : `server: ${serverName}\r\n`;
	return Buffer.from(
		`HTTP/1.1 500 ${body}\r\ncontent-length: ${body.length}\r\ncontent-type: text/plain\r\n` +
			`date: ${date}\r\n${server}connection: close\r\n\r\n${body}`,
		'latin1',
	);
}

/** Longer waits are cut into pieces of this: timers of the platform take no more than 2^31 ms. */
const TIMER_MAX_MS = 2 ** 30;
