// Requests that are refused before they are whole: a head that cannot be read, or that does not
// come to its end. What they are told and what the log says of them is Envoy's.

import { ResponseFlag } from '../stream-info.ts';
import type { HttpSettings } from './http-settings.ts';
import type { HttpStats } from './http-stats.ts';

export interface BadHead {
	/** Null: the status in words. */
	readonly body: string | null;
	/** Bits of `ResponseFlag`. */
	readonly flags: number;
	/** `%RESPONSE_CODE_DETAILS%`. */
	readonly details: string;
}

interface HeadTimeout extends BadHead {
	readonly body: string;
	count(stats: HttpStats): void;
}

export const CODEC_ERROR: BadHead = broken('http1.codec_error');

const BY_CODE: Readonly<Record<string, BadHead>> = {
	http1_headers_too_large: broken('http1.headers_too_large'),
	http1_request_line_too_long: broken('http1.headers_too_large'),
	http1_too_many_headers: broken('http1.too_many_headers'),
	http1_unsupported_transfer_encoding: broken('http1.invalid_transfer_encoding'),
	http1_unsupported_version: broken('low_version'),
	http1_missing_host: { body: '', flags: 0, details: 'missing_host_header' },
};

/** By the codec's error. */
export function badHeadOf(code: string): BadHead {
	return BY_CODE[code] ?? CODEC_ERROR;
}

const HEADER_TIMEOUT: HeadTimeout = {
	body: 'request header timeout',
	flags: 0,
	details: 'request_header_timeout',
	count: (stats) => stats.headerTimeouts.inc(),
};
const REQUEST_TIMEOUT: HeadTimeout = {
	body: 'request timeout',
	flags: 0,
	details: 'request_overall_timeout',
	count: (stats) => stats.requestTimeouts.inc(),
};
const DURATION_TIMEOUT: HeadTimeout = {
	body: 'downstream duration timeout',
	flags: 0,
	details: 'max_duration_timeout',
	count: (stats) => stats.maxDurationTimeouts.inc(),
};
const IDLE_TIMEOUT: HeadTimeout = {
	body: 'stream timeout',
	flags: ResponseFlag.streamIdleTimeout,
	details: 'stream_idle_timeout',
	count: (stats) => stats.streamIdleTimeouts.inc(),
};

/** Which limit the head that began at `sinceMs`, and whose last byte came at `movedMs`, is over; null: none. */
export function headTimeout(
	settings: HttpSettings,
	sinceMs: number,
	movedMs: number,
	nowMs: number,
): HeadTimeout | null {
	const over = (limitMs: number, fromMs: number): boolean => limitMs > 0 && nowMs >= fromMs + limitMs;
	if (over(settings.requestHeadersTimeoutMs, sinceMs)) return HEADER_TIMEOUT;
	if (over(settings.requestTimeoutMs, sinceMs)) return REQUEST_TIMEOUT;
	if (over(settings.maxStreamDurationMs, sinceMs)) return DURATION_TIMEOUT;
	return over(settings.streamIdleTimeoutMs, movedMs) ? IDLE_TIMEOUT : null;
}

/** When `headTimeout` is to be asked next; Infinity: nothing limits it. */
export function headTimeoutDueMs(settings: HttpSettings, sinceMs: number, movedMs: number): number {
	const dueMs = (limitMs: number, fromMs: number): number =>
		limitMs > 0 ? fromMs + limitMs : Number.POSITIVE_INFINITY;
	return Math.min(
		dueMs(settings.requestHeadersTimeoutMs, sinceMs),
		dueMs(settings.requestTimeoutMs, sinceMs),
		dueMs(settings.maxStreamDurationMs, sinceMs),
		dueMs(settings.streamIdleTimeoutMs, movedMs),
	);
}

function broken(details: string): BadHead {
	return { body: null, flags: ResponseFlag.downstreamProtocolError, details };
}
