// How one health check of one host is done: an HTTP request, a gRPC call, or a TCP connection with optional
// bytes to send and to expect. One check at a time; an HTTP connection is kept for the next one if so configured.

import type { ClientCodec, ClientCodecEvents } from '../../http/codec.ts';
import type { ResetReason, ResponseHead, ResponseListener } from '../../http/stream.ts';
import { Http2ClientCodec } from '../../http2/client-codec.ts';
import type { Connection } from '../../net/network.ts';
import { offering } from '../../net/offered-protocols.ts';
import type { Timer } from '../../std/clock.ts';
import type { WeftError } from '../../std/errors.ts';
import type { PoolContext } from './connection-pool.ts';
import { GrpcProbeSession } from './grpc-probe-session.ts';
import type { HealthCheckConfig } from './health-check-config.ts';
import { type CheckOutcome, CodecProbeSession, ProbeSession, type Report, transportOf } from './probe-session.ts';
import type { UpstreamHost } from './upstream-host.ts';

/** What a TCP check keeps of what it received, to look for the expected bytes. */
const RECEIVED_BYTES_MAX = 64 * 1024;

export class HealthProbe {
	private session: ProbeSession | null = null;
	private done: ((outcome: CheckOutcome) => void) | null = null;
	private readonly timer: Timer;

	constructor(
		private readonly host: UpstreamHost,
		private readonly config: HealthCheckConfig,
		private readonly context: PoolContext,
	) {
		this.timer = context.network.clock.after(0, () =>
			this.settle({ kind: 'network', reason: `no answer within ${config.timeoutMs} ms` }),
		);
		this.timer.cancel();
	}

	/** `done` is called once; not when the probe is closed before. */
	check(done: (outcome: CheckOutcome) => void): void {
		this.done = done;
		this.timer.restart(this.config.timeoutMs);
		if (this.session?.reusable) {
			this.session.begin();
			return;
		}
		this.dropSession();
		const tls = this.host.tls === null ? undefined : this.host.tls.current();
		if (tls === null) {
			this.settle({ kind: 'network', reason: 'a TLS secret is missing' });
			return;
		}
		const session = this.makeSession();
		this.session = session;
		const { network } = this.context;
		const { checker } = this.config;
		const http2 = checker.kind === 'grpc' || (checker.kind === 'http' && checker.http2);
		// Whatever the cluster's requests speak.
		const options = tls !== undefined && http2 ? offering(tls, 'h2') : tls;
		const { timeoutMs } = this.config;
		session.attach(network.connect({ address: this.address(), timeoutMs, tls: options }, session));
	}

	close(): void {
		this.done = null;
		this.timer.cancel();
		this.dropSession();
	}

	private settle(outcome: CheckOutcome): void {
		const { done } = this;
		if (done === null) return;
		this.done = null;
		this.timer.cancel();
		// Whether an HTTP connection can really be used again is known when its next check begins.
		const keep = this.config.reuseConnection && this.config.checker.kind !== 'tcp' && outcome.kind !== 'network';
		if (!keep) this.dropSession();
		done(outcome);
	}

	private dropSession(): void {
		const { session } = this;
		this.session = null;
		session?.close();
	}

	private makeSession(): ProbeSession {
		const { checker } = this.config;
		// Word of a connection that was dropped meanwhile says nothing of the present check.
		const report = (outcome: CheckOutcome) => {
			if (this.session === session) this.settle(outcome);
		};
		let session: ProbeSession;
		switch (checker.kind) {
			case 'http':
				session = new HttpSession(this.host, checker, this.context, report);
				break;
			case 'grpc':
				session = new GrpcProbeSession(this.host, checker, this.config.timeoutMs, this.context, report);
				break;
			case 'tcp':
				session = new TcpSession(checker, report);
		}
		return session;
	}

	private address() {
		const { spec } = this.host;
		const { altPort } = this.config;
		if (spec.healthCheckAddress !== null) return spec.healthCheckAddress;
		return altPort !== null && spec.address.kind === 'ip' ? { ...spec.address, port: altPort } : spec.address;
	}
}

class HttpSession extends CodecProbeSession<ClientCodec> {
	private outcome: CheckOutcome | null = null;

	constructor(
		private readonly host: UpstreamHost,
		private readonly checker: HealthCheckConfig['checker'] & { readonly kind: 'http' },
		private readonly context: PoolContext,
		report: Report,
	) {
		super(report);
	}

	begin(): void {
		this.outcome = null;
		const { method, path, host, headers } = this.checker;
		const authority = this.host.spec.healthCheckHostname || host || this.context.clusterName;
		const head = {
			method,
			scheme: this.host.tls === null ? 'http' : 'https',
			authority,
			path,
			headers: ['user-agent', 'weft/HC', ...headers],
			upgrade: '',
		};
		this.codec!.newStream(this.listener).writeHead(head, true);
	}

	onConnect(connection: Connection): void {
		const transport = transportOf(connection);
		// An unused connection that closes is noticed at the next check, which opens a new one.
		const events: ClientCodecEvents = { onAvailable: () => {}, onUnavailable: () => {} };
		// A host that chose HTTP/2 by ALPN understands nothing else.
		this.codec =
			this.checker.http2 || connection.tls?.alpn === 'h2'
				? new Http2ClientCodec(transport, events, { clock: this.context.network.clock })
				: this.context.makeCodec(transport, events, { requestsMax: 0 });
		this.begin();
	}

	private readonly listener: ResponseListener = {
		onHead: (head: ResponseHead, end: boolean) => {
			if (head.status < 200) return;
			this.outcome = this.judge(head.status);
			if (end) this.finish();
		},
		onData: (_bytes: Uint8Array, end: boolean) => {
			if (end) this.finish();
		},
		onTrailers: () => this.finish(),
		onReset: (reason: ResetReason, error: WeftError | null) =>
			this.report({ kind: 'network', reason: error?.message ?? reason }),
		onDrain: () => {},
	};

	private finish(): void {
		if (this.outcome !== null) this.report(this.outcome);
	}

	private judge(status: number): CheckOutcome {
		const reason = `status ${status}`;
		for (const { from, to } of this.checker.expected) if (status >= from && status < to) return { kind: 'success' };
		for (const { from, to } of this.checker.retriable) {
			if (status >= from && status < to) return { kind: 'retriable', reason };
		}
		return { kind: 'refused', reason };
	}
}

/** Succeeds when connected or, with `receive`, when all its parts came in that order (gaps allowed, as in Envoy). */
class TcpSession extends ProbeSession {
	readonly reusable = false;
	private received = Buffer.alloc(0);

	constructor(
		private readonly checker: HealthCheckConfig['checker'] & { readonly kind: 'tcp' },
		report: Report,
	) {
		super(report);
	}

	begin(): void {}

	onConnect(connection: Connection): void {
		if (this.checker.send.length > 0) connection.write(this.checker.send);
		this.judge();
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		if (this.received.length + bytes.length > RECEIVED_BYTES_MAX) {
			this.report({ kind: 'refused', reason: 'expected bytes not found' });
			return;
		}
		this.received = Buffer.concat([this.received, bytes]);
		this.judge();
	}

	onDrain(): void {}

	onEnd(): void {
		this.report({ kind: 'network', reason: 'connection closed' });
	}

	private judge(): void {
		let at = 0;
		for (const part of this.checker.receive) {
			const found = this.received.indexOf(part, at);
			if (found < 0) return;
			at = found + part.length;
		}
		this.report({ kind: 'success' });
	}
}
