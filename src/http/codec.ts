// What a codec is, whatever the protocol: bytes in, events out, synchronous, free of sockets.
// The owner of the connection feeds it and lends it a transport to write on.

import type { WeftError } from '../std/errors.ts';
import type { ClientStream, RequestListener, ResponseListener, ServerStream } from './stream.ts';

/** A codec's hold on its connection. */
export interface CodecTransport {
	/** As `Connection.write`. */
	write(bytes: Uint8Array): boolean;
	pauseReading(): void;
	resumeReading(): void;
	/** `flush`: FIN after what was written; `reset`: at once. */
	close(how: 'flush' | 'reset'): void;
}

interface Codec {
	/** Never throws for what a peer sent. */
	receive(bytes: Uint8Array): void;
	/** The peer will send no more (FIN). */
	receiveEnd(): void;
	/** `transport.write` may be called again. */
	transportDrained(): void;
	/** The connection is gone; open streams hear `onReset('connection_lost', error)`. */
	transportClosed(error: WeftError | null): void;
	readonly activeStreams: number;
}

export interface ServerCodec extends Codec {
	/**
	 * No new requests: HTTP/1.1 answers the next response with `connection: close` and closes after it
	 * (at once when idle), HTTP/2 sends GOAWAY. `keepIdle`: an idle HTTP/1.1 connection waits for its next request,
	 * since one may be on its way already. Default false.
	 */
	startDrain(keepIdle?: boolean): void;
	/** Gives up a head of which a part has come (`onPartialHead`): HTTP/1.1 refuses it with `status`, HTTP/2 says GOAWAY. */
	refuseHead(status: number, error: WeftError): void;
}

export interface ServerCodecEvents {
	/** A request begins; the listener gets its head next, in the same turn. */
	onStream(stream: ServerStream): RequestListener;
	/** A read ended within the head of a request. */
	onPartialHead?(): void;
	/** That head has come to its end, and its request was not taken: no `onStream` follows. */
	onHeadDropped?(): void;
	/**
	 * A request whose head cannot be taken, to be answered with `status` now. Absent: the codec answers by itself.
	 * `onProtocolError` follows where the peer is at fault.
	 */
	onBadHead?(stream: ServerStream, status: number, error: WeftError): void;
	/** The peer broke the protocol. The codec has answered (400, 431, …) and asked the transport to close. */
	onProtocolError(error: WeftError): void;
	/** `activeStreams` fell to 0. */
	onIdle(): void;
}

export interface ClientCodec extends Codec {
	/** True while `newStream` may be called. */
	readonly available: boolean;
	newStream(listener: ResponseListener): ClientStream;
	/** No new streams from now on; closes the transport once those that are open have ended. */
	startDrain(): void;
}

export interface ClientCodecEvents {
	/** `available` turned true: a stream ended and the connection can be reused. */
	onAvailable(): void;
	/** The connection must not get another stream (Connection: close, GOAWAY, protocol error). It closes by itself. */
	onUnavailable(error: WeftError | null): void;
}
