// Delta ADS over grpc-js. One channel per stream, so that a renewed certificate is used by the next
// connection and nothing retries behind the ADS client's back.

import { fromBinary, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import {
	type DeltaDiscoveryRequest,
	DeltaDiscoveryRequestSchema,
	type DeltaDiscoveryResponse,
	DeltaDiscoveryResponseSchema,
} from '../generated/envoy/service/discovery/v3/discovery_pb.ts';

import type { ClientTlsOptions } from '../net/network.ts';
import { peerCertificate } from '../net/tls.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import type { AdsStream, AdsStreamEvents, AdsTransport } from './ads-transport.ts';

export interface GrpcAdsTransportOptions {
	/** grpc-js target: `ipv4:127.0.0.1:15012`, `ipv6:[::1]:15012`, `dns:NAME:PORT`, `unix:PATH`. */
	readonly target: string;
	/** `:authority` of the call; empty: the target's. */
	readonly authority: string;
	/** Null: plain text. `current()` null: a secret is missing, and the stream fails (it is tried again). */
	readonly tls: { current(): ClientTlsOptions | null } | null;
	/** Metadata of the call, such as `authorization`; asked for at each stream. Names in lower case. */
	readonly metadata?: () => Readonly<Record<string, string>>;
	/** Default 30000. A ping that is not answered within `keepaliveTimeoutMs` ends the connection. */
	readonly keepaliveMs?: number;
	/** Default 10000. */
	readonly keepaliveTimeoutMs?: number;
}

const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const RESPONSE_BYTES_MAX = 64 * 1024 * 1024;
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

export class GrpcAdsTransport implements AdsTransport {
	constructor(private readonly options: GrpcAdsTransportOptions) {}

	open(events: AdsStreamEvents): AdsStream {
		const { tls } = this.options;
		const options = tls === null ? undefined : tls.current();
		if (options === null) {
			const error = new WeftError('tls_secret_missing', 'a TLS secret of the control plane is not there yet');
			return failedStream(error, events);
		}
		try {
			return new GrpcStream(this.options, options, events);
		} catch (error) {
			return failedStream(new WeftError('ads_unavailable', errorMessage(error), { cause: error }), events);
		}
	}
}

class GrpcStream implements AdsStream {
	private readonly client: grpc.Client;
	private readonly call: grpc.ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
	private over = false;

	constructor(
		options: GrpcAdsTransportOptions,
		tls: ClientTlsOptions | undefined,
		private readonly events: AdsStreamEvents,
	) {
		this.client = new grpc.Client(options.target, credentials(tls), {
			...(tls?.serverName ? { 'grpc.ssl_target_name_override': tls.serverName } : {}),
			...(options.authority || tls?.serverName
				? { 'grpc.default_authority': options.authority || tls?.serverName }
				: {}),
			'grpc.max_receive_message_length': RESPONSE_BYTES_MAX,
			'grpc.keepalive_time_ms': options.keepaliveMs ?? KEEPALIVE_MS,
			'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs ?? KEEPALIVE_TIMEOUT_MS,
			'grpc.enable_http_proxy': 0,
			'grpc.use_local_subchannel_pool': 1,
			'grpc.enable_retries': 0,
			'grpc.service_config_disable_resolution': 1,
		});
		const metadata = new grpc.Metadata();
		for (const [name, value] of Object.entries(options.metadata?.() ?? {})) metadata.set(name, value);
		this.call = this.client.makeBidiStreamRequest(
			METHOD,
			(request: DeltaDiscoveryRequest) => Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)),
			(bytes: Buffer) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
			metadata,
		);
		this.call.on('data', (response: DeltaDiscoveryResponse) => {
			if (!this.over) this.events.onResponse(response);
		});
		this.call.on('error', (error: grpc.ServiceError) => this.finish(translated(error)));
		this.call.on('end', () => this.finish(null));
	}

	send(request: DeltaDiscoveryRequest): void {
		if (!this.over) this.call.write(request);
	}

	end(): void {
		if (!this.over) this.call.end();
	}

	cancel(): void {
		if (this.over) return;
		this.over = true;
		this.call.cancel();
		this.client.close();
	}

	/** `end` also precedes `error`; the status that says why comes with the latter, in the same turn or the next. */
	private finish(error: WeftError | null): void {
		if (this.over) return;
		if (error === null) {
			setImmediate(() => this.conclude(null));
			return;
		}
		this.conclude(error);
	}

	private conclude(error: WeftError | null): void {
		if (this.over) return;
		this.over = true;
		this.client.close();
		this.events.onEnd(error);
	}
}

function credentials(tls: ClientTlsOptions | undefined): grpc.ChannelCredentials {
	if (tls === undefined) return grpc.credentials.createInsecure();
	const verify: grpc.VerifyOptions = {
		// As in Envoy, the name is checked only by the matchers that are configured.
		checkServerIdentity: (_host, certificate) => {
			const reason = tls.verifyPeer?.(peerCertificate([certificate.raw])) ?? null;
			return reason === null ? undefined : new Error(`the control plane's certificate is refused: ${reason}`);
		},
		rejectUnauthorized: tls.rootsPem !== '',
	};
	return grpc.credentials.createSsl(
		tls.rootsPem === '' ? null : Buffer.from(tls.rootsPem),
		tls.privateKeyPem === undefined ? null : Buffer.from(tls.privateKeyPem),
		tls.certificateChainPem === undefined ? null : Buffer.from(tls.certificateChainPem),
		verify,
	);
}

function failedStream(error: WeftError, events: AdsStreamEvents): AdsStream {
	let cancelled = false;
	queueMicrotask(() => {
		if (!cancelled) events.onEnd(error);
	});
	return {
		send: () => {},
		end: () => {},
		cancel: () => {
			cancelled = true;
		},
	};
}

function translated(error: grpc.ServiceError): WeftError {
	const code = grpc.status[error.code] ?? String(error.code);
	return new WeftError('ads_stream_failed', `${code}: ${error.details || error.message}`, {
		origin: 'upstream',
		retrySafe: true,
		cause: error,
	});
}
