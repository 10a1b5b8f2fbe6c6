// Envoy's `Http2ProtocolOptions`, for both sides of the proxy, as the codec's options.

import type { Http2ProtocolOptions } from '../generated/envoy/config/core/v3/protocol_pb.ts';
import { WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX } from '../http2/frames.ts';
import type { Http2KeepAlive, Http2Limits } from '../http2/limits.ts';
import { ConfigError } from '../std/errors.ts';
import { durationMs } from './duration-ms.ts';
import type { SupportedFields } from './field-check.ts';

export const HTTP2_FIELDS: SupportedFields = {
	'envoy.config.core.v3.Http2ProtocolOptions': [
		'hpack_table_size',
		'max_concurrent_streams',
		'initial_stream_window_size',
		'initial_connection_window_size',
		'allow_connect',
		'max_outbound_frames',
		'max_outbound_control_frames',
		'max_consecutive_inbound_frames_with_empty_payload',
		'max_inbound_priority_frames_per_stream',
		'max_inbound_window_update_frames_per_data_frame_sent',
		'override_stream_error_on_invalid_http_message',
		'connection_keepalive',
		'use_oghttp2_codec',
	],
	'envoy.config.core.v3.KeepaliveSettings': ['interval', 'timeout', 'interval_jitter', 'connection_idle_interval'],
};

export interface Http2Settings {
	/** What is given; the codec's defaults hold for the rest. */
	readonly limits: Partial<Http2Limits>;
	readonly allowConnect: boolean;
	readonly keepAlive: Http2KeepAlive | null;
}

export const HTTP2_SETTINGS_DEFAULT: Http2Settings = { limits: {}, allowConnect: false, keepAlive: null };

const TABLE_BYTES_MAX = 64 * 1024;

/** `object` and `field`: of the options, for errors. @throws ConfigError */
export function compileHttp2Options(
	message: Http2ProtocolOptions | undefined,
	object: string,
	field: string,
): Http2Settings {
	if (message === undefined) return HTTP2_SETTINGS_DEFAULT;
	const within = (name: string, value: number | undefined, min: number, max: number): number | undefined => {
		if (value === undefined || (value >= min && value <= max)) return value;
		throw new ConfigError({ object, field: `${field}.${name}`, found: String(value), expected: `${min} to ${max}` });
	};
	const window = (name: string, value: number | undefined) =>
		within(name, value, WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX);
	const all: { -readonly [K in keyof Http2Limits]: Http2Limits[K] | undefined } = {
		concurrentStreamsMax: within('max_concurrent_streams', message.maxConcurrentStreams, 1, WINDOW_BYTES_MAX),
		streamWindowBytes: window('initial_stream_window_size', message.initialStreamWindowSize),
		connectionWindowBytes: window('initial_connection_window_size', message.initialConnectionWindowSize),
		headerTableBytes: within('hpack_table_size', message.hpackTableSize, 0, TABLE_BYTES_MAX),
		headerBytesMax: undefined,
		headersMax: undefined,
		settingsAckTimeoutMs: undefined,
		stallTimeoutMs: undefined,
		emptyFramesMax: message.maxConsecutiveInboundFramesWithEmptyPayload,
		priorityFramesPerStreamMax: message.maxInboundPriorityFramesPerStream,
		windowUpdatesPerDataFrameMax: within(
			'max_inbound_window_update_frames_per_data_frame_sent',
			message.maxInboundWindowUpdateFramesPerDataFrameSent,
			1,
			WINDOW_BYTES_MAX,
		),
		outboundControlFramesMax: within(
			'max_outbound_control_frames',
			message.maxOutboundControlFrames,
			1,
			WINDOW_BYTES_MAX,
		),
		outboundFramesMax: within('max_outbound_frames', message.maxOutboundFrames, 1, WINDOW_BYTES_MAX),
	};
	return {
		limits: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)),
		allowConnect: message.allowConnect,
		keepAlive: compileKeepAlive(message, object, field),
	};
}

function compileKeepAlive(message: Http2ProtocolOptions, object: string, field: string): Http2KeepAlive | null {
	const keepAlive = message.connectionKeepalive;
	if (keepAlive === undefined) return null;
	const timeoutMs = durationMs(keepAlive.timeout);
	if (timeoutMs === undefined || timeoutMs === null || timeoutMs < 1) {
		throw new ConfigError({ object, field: `${field}.connection_keepalive.timeout`, expected: 'at least 1 ms' });
	}
	return {
		intervalMs: durationMs(keepAlive.interval) ?? 0,
		jitterPercent: keepAlive.intervalJitter?.value ?? 15,
		timeoutMs,
		idleIntervalMs: durationMs(keepAlive.connectionIdleInterval) ?? 0,
	};
}
