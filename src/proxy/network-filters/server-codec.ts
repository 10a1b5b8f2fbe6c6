// Which codec serves a downstream connection: what the configuration says, what ALPN agreed on, or
// what the client's first bytes are (Envoy `codec_type` AUTO).

import type { CodecTransport, ServerCodec, ServerCodecEvents } from '../../http/codec.ts';
import { Http1ServerCodec } from '../../http1/server-codec.ts';
import { CLIENT_PREFACE } from '../../http2/frames.ts';
import { Http2ServerCodec } from '../../http2/server-codec.ts';
import type { Connection } from '../../net/network.ts';
import { type Clock, GuardedClock } from '../../std/clock.ts';
import type { Random } from '../../std/random.ts';
import type { HttpSettings } from './http-settings.ts';

export type HttpProtocol = 'HTTP/1.1' | 'HTTP/2';

export interface CodecEnvironment {
	readonly clock: Clock;
	readonly random: Random;
	/** The `date` header's value now. */
	readonly date: () => string;
}

/** Null: the first bytes decide. */
export function agreedProtocol(settings: HttpSettings, connection: Connection): HttpProtocol | null {
	if (settings.codec !== 'auto') return settings.codec === 'http2' ? 'HTTP/2' : 'HTTP/1.1';
	switch (connection.tls?.alpn ?? null) {
		case 'h2':
			return 'HTTP/2';
		case 'http/1.1':
		case 'http/1.0':
			return 'HTTP/1.1';
		default:
			return null;
	}
}

/** What a client that begins so speaks. Null: it could be either still. */
export function protocolOfFirstBytes(bytes: Uint8Array): HttpProtocol | null {
	const length = Math.min(bytes.length, CLIENT_PREFACE.length);
	for (let i = 0; i < length; i++) if (bytes[i] !== CLIENT_PREFACE[i]) return 'HTTP/1.1';
	return length === CLIENT_PREFACE.length ? 'HTTP/2' : null;
}

export function makeServerCodec(
	protocol: HttpProtocol,
	settings: HttpSettings,
	connection: Connection,
	transport: CodecTransport,
	events: ServerCodecEvents,
	environment: CodecEnvironment,
	owner: { fault(error: unknown): void },
): ServerCodec {
	if (protocol === 'HTTP/2') {
		const { limits, allowConnect, keepAlive } = settings.http2;
		return new Http2ServerCodec(transport, events, {
			...limits,
			// A timer of the codec that throws costs its connection.
			clock: new GuardedClock(environment.clock, (error) => owner.fault(error)),
			random: () => environment.random.next(),
			date: environment.date,
			allowConnect,
			keepAlive,
			headerBytesMax: settings.requestHeaderBytesMax,
			headersMax: settings.requestHeadersMax,
			requestsMax: settings.requestsPerConnectionMax,
			stallTimeoutMs: settings.streamIdleTimeoutMs,
		});
	}
	return new Http1ServerCodec(transport, events, {
		headerBytesMax: settings.requestHeaderBytesMax,
		headersMax: settings.requestHeadersMax,
		requestLineBytesMax: settings.requestHeaderBytesMax,
		scheme: connection.tls === null ? 'http' : 'https',
		acceptHttp10: settings.acceptHttp10,
		defaultHostForHttp10: settings.defaultHostForHttp10,
		requestsMax: settings.requestsPerConnectionMax,
		date: environment.date,
	});
}
