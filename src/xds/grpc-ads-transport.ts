// Delta ADS over gRPC. One channel per stream, so that a renewed certificate is used by the next
// connection and nothing retries behind the ADS client's back.

import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
	type DeltaDiscoveryRequest,
	DeltaDiscoveryRequestSchema,
	type DeltaDiscoveryResponse,
	DeltaDiscoveryResponseSchema,
} from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import { type ClientMethod, GrpcCall } from '../grpc/call.ts';
import { type CallStatus, formatStatus } from '../grpc/call-status.ts';
import { type ClientTlsSource, GrpcChannel } from '../grpc/channel.ts';
import type { GrpcAddress } from '../grpc/connect-attempt.ts';
import { GrpcStatus } from '../grpc/status.ts';
import type { HeaderList } from '../http/headers.ts';
import type { Network } from '../net/network.ts';
import { WeftError } from '../std/errors.ts';
import type { Random } from '../std/random.ts';
import type { AdsStream, AdsStreamEvents, AdsTransport } from './ads-transport.ts';

export interface GrpcAdsTarget {
	/** At least one; tried in order. */
	readonly addresses: readonly GrpcAddress[];
	/** `:authority` of the call; empty: the TLS server name, else the address. */
	readonly authority: string;
	/** Null: plain text. `current()` null: a secret is missing, and the stream fails (it is tried again). */
	readonly tls: ClientTlsSource | null;
	/** Metadata of the call, such as `authorization`; names in lower case. */
	readonly metadata?: HeaderList;
	/** Default 30000. A ping that is not answered within `keepaliveTimeoutMs` ends the connection. */
	readonly keepaliveMs?: number;
	/** Default 10000. */
	readonly keepaliveTimeoutMs?: number;
	/** Default 5000, as Envoy's `Cluster.connect_timeout`. */
	readonly connectTimeoutMs?: number;
}

export interface GrpcAdsTransportOptions extends GrpcAdsTarget {
	readonly network: Network;
	readonly random: Random;
}

const RESPONSE_BYTES_MAX = 64 * 1024 * 1024;
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;

// Not from the service's descriptor, which would bring the whole file of the service into memory.
const METHOD: ClientMethod<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = {
	path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
	encode: (request) => toBinary(DeltaDiscoveryRequestSchema, request),
	decode: (bytes) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
	responseStream: true,
};

export class GrpcAdsTransport implements AdsTransport {
	constructor(private readonly options: GrpcAdsTransportOptions) {}

	open(events: AdsStreamEvents): AdsStream {
		const { metadata, keepaliveMs, keepaliveTimeoutMs, connectTimeoutMs, ...where } = this.options;
		const channel = new GrpcChannel({
			...where,
			keepaliveMs: keepaliveMs ?? KEEPALIVE_MS,
			keepaliveTimeoutMs: keepaliveTimeoutMs ?? KEEPALIVE_TIMEOUT_MS,
			connectTimeoutMs: connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
		});
		const options = { messageBytesMax: RESPONSE_BYTES_MAX, ...(metadata === undefined ? {} : { metadata }) };
		const call = new GrpcCall(channel, METHOD, options, {
			onMessage: (response) => events.onResponse(response),
			onEnd: (status) => {
				channel.close();
				events.onEnd(status.code === GrpcStatus.ok ? null : translated(status));
			},
		});
		return {
			send: (request) => void call.send(request),
			end: () => call.end(),
			cancel: () => {
				call.cancel();
				channel.close();
			},
		};
	}
}

function translated(status: CallStatus): WeftError {
	return new WeftError('ads_stream_failed', formatStatus(status), {
		origin: 'upstream',
		retrySafe: true,
		...(status.cause === null ? {} : { cause: status.cause }),
	});
}
