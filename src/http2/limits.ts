// Bounds on what a peer may make an HTTP/2 codec hold or do, and the codecs' options.

import type { Clock } from '../std/clock.ts';

export interface Http2KeepAlive {
	/** A PING this often; 0: none. */
	readonly intervalMs: number;
	/** Each wait is lengthened by up to this share of it. Default 15. */
	readonly jitterPercent: number;
	/** How long its answer may take. */
	readonly timeoutMs: number;
	/** A stream that begins after that much silence is preceded by a PING; 0: never. */
	readonly idleIntervalMs: number;
}

export interface Http2Limits {
	/** Streams that the peer may have open at once (server), or that we open at most (client). Default 1024, as Envoy. */
	readonly concurrentStreamsMax: number;
	/** Bytes that a peer may send on a stream before they are consumed. Default 512 KiB. */
	readonly streamWindowBytes: number;
	/**
	 * The same for all streams together, at least 65535. Default 16 MiB, so that it takes 32 streams whose consumer
	 * stands still to hold up the others; also the most that is ever held for such consumers.
	 */
	readonly connectionWindowBytes: number;
	/** SETTINGS_HEADER_TABLE_SIZE. Default 4096. */
	readonly headerTableBytes: number;
	/** A header list as RFC 9113 §6.5.2 counts it, and its compressed form. Default 60 KiB. */
	readonly headerBytesMax: number;
	/** Header fields in one message; the same again for trailers. Default 100. */
	readonly headersMax: number;
	/** For the answer to our SETTINGS. Default 10000. */
	readonly settingsAckTimeoutMs: number;
	/** A stream for which the peer does not take even `STALL_BYTES_MIN` in that time is reset; 0: never. Default 300000. */
	readonly stallTimeoutMs: number;
	/** Frames in a row without content and end. Default 1, as Envoy. */
	readonly emptyFramesMax: number;
	/** PRIORITY frames per stream that was opened. Default 100, as Envoy. */
	readonly priorityFramesPerStreamMax: number;
	/** WINDOW_UPDATE frames per DATA frame that we sent, or that joined one. Default 10, as Envoy. */
	readonly windowUpdatesPerDataFrameMax: number;
	/** Answers (to PING, SETTINGS, …) waiting for a peer that does not read. Default 1000, as Envoy. */
	readonly outboundControlFramesMax: number;
	/** Frames of all kinds waiting for such a peer. Default 10000, as Envoy. */
	readonly outboundFramesMax: number;
}

export const HTTP2_LIMITS_DEFAULT: Http2Limits = {
	concurrentStreamsMax: 1024,
	streamWindowBytes: 512 * 1024,
	connectionWindowBytes: 16 * 1024 * 1024,
	headerTableBytes: 4096,
	headerBytesMax: 60 * 1024,
	headersMax: 100,
	settingsAckTimeoutMs: 10_000,
	stallTimeoutMs: 300_000,
	emptyFramesMax: 1,
	priorityFramesPerStreamMax: 100,
	windowUpdatesPerDataFrameMax: 10,
	outboundControlFramesMax: 1000,
	outboundFramesMax: 10_000,
};

/** How many at once, and how many per second in the long run. */
export interface Rate {
	readonly burst: number;
	readonly perSecond: number;
}

/**
 * Streams that end before their answer: reset by the peer (CVE-2023-44487), or by us because of what the peer
 * did (CVE-2025-8671).
 */
export const PREMATURE_RESETS: Rate = { burst: 1000, perSecond: 33 };
export const PINGS: Rate = { burst: 1000, perSecond: 100 };
export const SETTINGS_FRAMES: Rate = { burst: 100, perSecond: 10 };
export const UNKNOWN_FRAMES: Rate = { burst: 1000, perSecond: 100 };
/** DATA frames of less than `SMALL_FRAME_BYTES` that a window forced us to send. */
export const SMALL_FRAMES: Rate = { burst: 1000, perSecond: 100 };
export const SMALL_FRAME_BYTES = 256;
/** CONTINUATION frames of one block, beyond those that the size of the block makes necessary. */
export const CONTINUATIONS_MAX = 8;
/** See `Http2Limits.stallTimeoutMs`. */
export const STALL_BYTES_MIN = 1024;
/** Of one stream that wait for a window or the transport: above, its writer is told to stop; below, to go on. */
export const STREAM_QUEUE_HIGH_BYTES = 64 * 1024;
export const STREAM_QUEUE_LOW_BYTES = 16 * 1024;
/** Of all streams of a connection: above, a writer is told to stop as soon as something of its own waits. */
export const CONNECTION_QUEUE_HIGH_BYTES = 4 * 1024 * 1024;
/**
 * Of all streams of a connection, when one of them has more than `STREAM_HEEDED_BYTES_MAX`: its writer does not heed
 * `writeData`, and the connection ends.
 */
export const QUEUED_BYTES_MAX = 64 * 1024 * 1024;
/** A writer that heeds may still give what it had read when it was told to stop: one read, and its rest. */
export const STREAM_HEEDED_BYTES_MAX = 2 * 1024 * 1024;
/** The same whatever the writers do: that rest, of 256 KiB for each of 1024 streams. */
export const QUEUED_BYTES_LIMIT = 256 * 1024 * 1024;
/** Streams that a client begins before it has seen the server's SETTINGS. */
export const STREAMS_BEFORE_SETTINGS_MAX = 100;
/** Informational (1xx) responses to one request. */
export const INFORMATIONAL_RESPONSES_MAX = 32;
/** The second GOAWAY of a drain comes with the answer to a PING, and no later than this after the first. */
export const DRAIN_PING_TIMEOUT_MS = 1000;

interface Http2Options extends Partial<Http2Limits> {
	readonly clock: Clock;
	/** Default: none. */
	readonly keepAlive?: Http2KeepAlive | null;
	/** In [0, 1), for the jitter of the keep-alive. Default: none. */
	readonly random?: () => number;
}

export interface Http2ServerOptions extends Http2Options {
	/** Extended CONNECT is offered (Envoy `allow_connect`). Default false. */
	readonly allowConnect?: boolean;
	/** The connection drains after this many requests. Default 0: no bound. */
	readonly requestsMax?: number;
	/** Gives the Date header's value, added to final responses that have none. Default: none is added. */
	readonly date?: () => string;
}

export interface Http2ClientOptions extends Http2Options {
	/** The connection takes no more streams after this many. Default 0: no bound. */
	readonly requestsMax?: number;
	/**
	 * Streams that may begin before the server has said how many it takes. Default `STREAMS_BEFORE_SETTINGS_MAX`.
	 * 0: `onAvailable` tells of the server's SETTINGS.
	 */
	readonly streamsBeforeSettingsMax?: number;
}
