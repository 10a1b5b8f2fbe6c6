// The gRPC face of discovery: AggregatedDiscoveryService, both variants, on a grpc-js server.
// Each call becomes a DiscoveryStream; everything that decides is there.

import type { Server, ServerDuplexStream } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import { AggregatedDiscoveryService } from '../generated/envoy/service/discovery/v3/ads_pb.ts';
import type { DeltaDiscoveryRequest, DiscoveryRequest } from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import { SecretDiscoveryService } from '../generated/envoy/service/secret/v3/sds_pb.ts';
import { serviceDefinition } from '../grpc/protobuf-methods.ts';
import type { Clock } from '../std/clock.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { DiscoveryStream, type StreamObserver, type StreamRequest } from './discovery-stream.ts';
import type { ResourceSource, StreamPeer } from './resource-view.ts';
import { ResponseEncoder } from './response-encoder.ts';
import type { Variant } from './subscription-state.ts';

const log = new Logger('xds-server');

type DiscoveryCall = ServerDuplexStream<DiscoveryRequest | DeltaDiscoveryRequest, Uint8Array>;

export interface DiscoveryServerOptions {
	readonly source: ResourceSource;
	readonly clock: Clock;
	readonly observer: StreamObserver;
	/** Who is calling. @throws WeftError `unauthenticated`: the stream is refused with its message */
	readonly authenticate: (call: DiscoveryCall) => StreamPeer;
	/** Streams open at a time; one more is refused with RESOURCE_EXHAUSTED. Default 20000. */
	readonly streamsMax?: number;
}

export class DiscoveryServer {
	private readonly open = new Set<DiscoveryStream>();
	private readonly streamsMax: number;
	private readonly encoder: ResponseEncoder;

	constructor(private readonly options: DiscoveryServerOptions) {
		this.streamsMax = options.streamsMax ?? 20_000;
		this.encoder = new ResponseEncoder(options.clock);
	}

	/** Every stream that is open, also those that have not said who they are. */
	streams(): ReadonlySet<DiscoveryStream> {
		return this.open;
	}

	register(server: Server): void {
		server.addService(serviceDefinition(AggregatedDiscoveryService, { encodedResponses: true }), {
			streamAggregatedResources: (call: DiscoveryCall) => this.serve(call, 'state-of-the-world'),
			deltaAggregatedResources: (call: DiscoveryCall) => this.serve(call, 'delta'),
		});
	}

	/** The same streams under SecretDiscoveryService, for clients that fetch their secrets by themselves. */
	registerSecrets(server: Server): void {
		server.addService(serviceDefinition(SecretDiscoveryService, { encodedResponses: true }), {
			streamSecrets: (call: DiscoveryCall) => this.serve(call, 'state-of-the-world'),
			deltaSecrets: (call: DiscoveryCall) => this.serve(call, 'delta'),
			fetchSecrets: (_call: unknown, callback: (error: { code: status; details: string }) => void) => {
				callback({ code: status.UNIMPLEMENTED, details: 'secrets are streamed' });
			},
		});
	}

	private serve(call: DiscoveryCall, variant: Variant): void {
		let peer: StreamPeer;
		try {
			if (this.open.size >= this.streamsMax)
				throw new WeftError('too_many_streams', `more than ${this.streamsMax} streams`);
			peer = this.options.authenticate(call);
		} catch (error) {
			fail(call, error);
			return;
		}
		const stream = new DiscoveryStream({
			variant,
			peer,
			source: this.options.source,
			clock: this.options.clock,
			encoder: this.encoder,
			observer: this.options.observer,
			sink: { write: (response) => call.write(response) },
		});
		this.open.add(stream);
		const close = (orderly: boolean) => {
			if (!this.open.delete(stream)) return;
			stream.close(orderly);
			log.debug('stream closed', { node: stream.node?.id, peer: peer.address, orderly });
		};
		call.on('data', (message: DiscoveryRequest | DeltaDiscoveryRequest) => {
			try {
				stream.onRequest(toStreamRequest(message));
			} catch (error) {
				log.warning('stream refused', { node: stream.node?.id, peer: peer.address, reason: errorMessage(error) });
				close(false);
				fail(call, error);
			}
		});
		call.on('drain', () => stream.onDrain());
		call.on('end', () => {
			// A lost connection also ends the stream, and says in the same turn that it is cancelled.
			setImmediate(() => {
				close(true);
				call.end();
			});
		});
		call.on('cancelled', () => close(false));
		call.on('error', () => close(false));
		call.on('close', () => close(false));
	}
}

function toStreamRequest(message: DiscoveryRequest | DeltaDiscoveryRequest): StreamRequest {
	const delta = message.$typeName === 'envoy.service.discovery.v3.DeltaDiscoveryRequest';
	return {
		typeUrl: message.typeUrl,
		node: message.node,
		nonce: message.responseNonce,
		error: message.errorDetail === undefined ? null : message.errorDetail.message,
		names: delta ? message.resourceNamesSubscribe : message.resourceNames,
		unsubscribe: delta ? message.resourceNamesUnsubscribe : [],
		initialVersions: delta ? message.initialResourceVersions : {},
	};
}

const STATUS_OF_CODE: Readonly<Record<string, status>> = {
	unauthenticated: status.UNAUTHENTICATED,
	permission_denied: status.PERMISSION_DENIED,
	invalid_request: status.INVALID_ARGUMENT,
	invalid_node: status.INVALID_ARGUMENT,
	too_many_resources: status.RESOURCE_EXHAUSTED,
	too_many_streams: status.RESOURCE_EXHAUSTED,
};

/** Ends the call with a status that says why; a bug's text stays here. */
function fail(call: DiscoveryCall, error: unknown): void {
	const known = error instanceof WeftError ? STATUS_OF_CODE[error.code] : undefined;
	if (known === undefined) log.error('stream failed', { error: errorMessage(error) });
	call.emit('error', {
		code: known ?? status.INTERNAL,
		details: known === undefined ? 'internal error' : errorMessage(error),
	});
}
