// The control plane's one gRPC door: ADS, certificates, health and metrics on one port, over TLS.
// A client certificate is asked for but not needed to connect, since who joins has none yet; every
// service but the certificate service refuses a caller without one. The server's own certificate
// is renewed while it runs.

import { Server, type ServerCredentials } from '@grpc/grpc-js';
import { OptionalClientCertificateCredentials } from '../grpc/server-credentials.ts';
import type { Clock, Timer } from '../std/clock.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { StreamPeer } from '../xds/resource-view.ts';
import type { SigningAuthority } from './certificates.ts';
import { type AuthenticatedCall, peerOf } from './peer.ts';

const log = new Logger('grpc-server');

/** Requests carry what a proxy subscribes to; this holds for about 100,000 names. */
const RECEIVED_MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5000;
const CONCURRENT_STREAMS_MAX = 100;
/**
 * A certificate is looked at when a stream begins, on the connection that showed it: a connection that could
 * last for ever would make an expired one good for ever. Far above the time that a sidecar takes to come back.
 */
const CONNECTION_AGE_MS_MAX = 3_600_000;
const CONNECTION_AGE_GRACE_MS = 5000;
/** Tried again so long after a renewal failed. */
const RENEWAL_RETRY_MS = 60_000;
/** Timers hold for about 24 days; a longer wait is cut and looked at again. */
const RENEWAL_CHECK_MS_MAX = 24 * 3_600_000;

export interface GrpcServerOptions {
	readonly authority: SigningAuthority;
	readonly clock: Clock;
	/** IP address to listen on. */
	readonly address: string;
	/** 0: any free one. */
	readonly port: number;
	/** After so long (± 10 %) a connection is asked to end, and soon ended. Default one hour. */
	readonly connectionAgeMsMax?: number;
}

export class GrpcServer {
	readonly server: Server;
	private credentials: OptionalClientCertificateCredentials | null = null;
	private renewal: Timer | null = null;
	/** Wall clock. */
	private renewAtMs = 0;

	constructor(private readonly options: GrpcServerOptions) {
		this.server = new Server({
			'grpc.max_receive_message_length': RECEIVED_MESSAGE_BYTES_MAX,
			'grpc.max_send_message_length': -1,
			'grpc.keepalive_time_ms': KEEPALIVE_MS,
			'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
			'grpc.max_concurrent_streams': CONCURRENT_STREAMS_MAX,
			'grpc.max_connection_age_ms': options.connectionAgeMsMax ?? CONNECTION_AGE_MS_MAX,
			'grpc.max_connection_age_grace_ms': CONNECTION_AGE_GRACE_MS,
		});
	}

	/** Services must be added before. Returns the port. @throws WeftError `address_in_use`, `listen_failed` */
	async start(): Promise<number> {
		const certificate = await this.issue();
		const { authority, address, port } = this.options;
		this.credentials = new OptionalClientCertificateCredentials({ rootsPem: authority.rootsPem, ...certificate });
		const bound = await this.bind(`${address.includes(':') ? `[${address}]` : address}:${port}`, this.credentials);
		this.scheduleRenewal();
		return bound;
	}

	/** Ends every stream. */
	async stop(): Promise<void> {
		this.renewal?.cancel();
		this.server.forceShutdown();
	}

	/** @throws WeftError `unauthenticated` when the caller shows no workload certificate */
	readonly authenticate = (call: AuthenticatedCall): StreamPeer => {
		const peer = peerOf(call, this.options.authority);
		if (peer.spiffeId !== null) return peer;
		throw new WeftError('unauthenticated', 'a workload certificate of this mesh is needed', { origin: 'downstream' });
	};

	private bind(target: string, credentials: ServerCredentials): Promise<number> {
		return new Promise((resolve, reject) => {
			this.server.bindAsync(target, credentials, (error, port) => {
				if (error === null) resolve(port);
				else {
					const inUse = /EADDRINUSE|address already in use/i.test(error.message);
					// grpc-js tells it at length, with all that it tried.
					const why = inUse ? 'it is in use' : error.message;
					const code = inUse ? 'address_in_use' : 'listen_failed';
					reject(new WeftError(code, `cannot listen on ${target}: ${why}`, { cause: error }));
				}
			});
		});
	}

	private async issue() {
		const certificate = await this.options.authority.issueControlPlaneCertificate();
		const nowMs = this.options.clock.wallMs();
		this.renewAtMs = nowMs + (certificate.notAfterMs - nowMs) / 2;
		return certificate;
	}

	/** At half of the life that the certificate had when it was issued. */
	private scheduleRenewal(): void {
		const leftMs = this.renewAtMs - this.options.clock.wallMs();
		const delayMs = leftMs <= 0 ? RENEWAL_RETRY_MS : Math.min(leftMs, RENEWAL_CHECK_MS_MAX);
		this.renewal = this.options.clock.after(delayMs, () => {
			if (delayMs < leftMs) this.scheduleRenewal();
			else void this.renew();
		});
	}

	private async renew(): Promise<void> {
		try {
			const certificate = await this.issue();
			this.credentials?.renew({ rootsPem: this.options.authority.rootsPem, ...certificate });
			log.info("the control plane's certificate is renewed", {
				notAfter: new Date(certificate.notAfterMs).toISOString(),
			});
		} catch (error) {
			log.error("the control plane's certificate could not be renewed", { error: errorMessage(error) });
		}
		this.scheduleRenewal();
	}
}
