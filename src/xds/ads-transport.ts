// What the ADS client needs of whatever carries its stream: gRPC for real, a fake in tests.

import type {
	DeltaDiscoveryRequest,
	DeltaDiscoveryResponse,
} from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import type { WeftError } from '../std/errors.ts';

export interface AdsStream {
	send(request: DeltaDiscoveryRequest): void;
	/** Half-closes: the server sees an orderly end, and ends its side. */
	end(): void;
	/** Drops the stream and its connection at once; no event follows. */
	cancel(): void;
}

export interface AdsStreamEvents {
	onResponse(response: DeltaDiscoveryResponse): void;
	/** Once, last. Null: the server ended the stream in order. */
	onEnd(error: WeftError | null): void;
}

export interface AdsTransport {
	/** A new stream on a new connection, with the certificate of the moment. Never throws: `onEnd` follows, not within the call. */
	open(events: AdsStreamEvents): AdsStream;
}
