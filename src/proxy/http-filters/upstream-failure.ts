// Why an attempt brought no response, in the words, flags and status that Envoy gives it: the one
// place where an upstream's failure becomes an answer.

import type { ResetReason } from '../../http/stream.ts';
import type { WeftError } from '../../std/errors.ts';
import { ResponseFlag } from '../stream-info.ts';
import type { AttemptEnd } from './retry-state.ts';

export interface UpstreamFailure {
	readonly end: AttemptEnd;
	/** Bits of `ResponseFlag`. */
	readonly flags: number;
	readonly status: number;
	/** Envoy's reset reason: `connection termination`. */
	readonly reason: string;
	/** What the transport said; empty when nothing. */
	readonly transport: string;
	/** The same where only the log is told; empty: `transport` says all. */
	readonly detail?: string;
}

/** In Envoy's words. */
const REFUSED = 'delayed connect error: Connection refused';

/** No stream could be had. */
export function connectFailure(error: WeftError): UpstreamFailure {
	if (error.code === 'pool_overflow') {
		return { end: 'overflow', flags: ResponseFlag.upstreamOverflow, status: 503, reason: 'overflow', transport: '' };
	}
	const timedOut = error.code === 'connect_timeout';
	return {
		end: 'connect_failure',
		flags: ResponseFlag.upstreamConnectionFailure,
		status: 503,
		reason: timedOut ? 'connection timeout' : 'remote connection failure',
		transport: timedOut || error.code === 'connect_refused' ? '' : transportText(error),
		detail: error.code === 'connect_refused' ? REFUSED : '',
	};
}

/** A stream ended before its response began. */
export function resetFailure(reason: ResetReason, error: WeftError | null): UpstreamFailure {
	switch (reason) {
		case 'connection_lost':
			return failure(reason, ResponseFlag.upstreamConnectionTermination, 503, 'connection termination');
		case 'protocol_error': {
			// What Envoy says of HTTP/1.1; of HTTP/2 it says nothing.
			const text = error === null || error.code.startsWith('http2_') ? '' : error.code;
			return { ...failure(reason, ResponseFlag.upstreamProtocolError, 502, 'protocol error'), transport: text };
		}
		case 'refused':
			return failure(reason, ResponseFlag.upstreamRemoteReset, 503, 'remote refused stream reset');
		case 'local':
			return failure(reason, ResponseFlag.localReset, 503, 'local reset');
		case 'cancelled':
			return failure(reason, ResponseFlag.upstreamRemoteReset, 503, 'remote reset');
	}
}

/** The body of the local reply. */
export function failureText(failure: UpstreamFailure, retried: boolean): string {
	const again = retried ? 'retried and the latest ' : '';
	const transport = failure.transport === '' ? '' : `, transport failure reason: ${failure.transport}`;
	return `upstream connect error or disconnect/reset before headers. ${again}reset reason: ${failure.reason}${transport}`;
}

/** `%RESPONSE_CODE_DETAILS%`. */
export function failureDetails(failure: UpstreamFailure): string {
	const reason = failure.reason.replaceAll(' ', '_');
	const said = failure.detail || failure.transport;
	const transport = said === '' ? '' : `|${said.replaceAll(' ', '_')}`;
	return `upstream_reset_before_response_started{${reason}${transport}}`;
}

function failure(end: AttemptEnd, flags: number, status: number, reason: string): UpstreamFailure {
	return { end, flags, status, reason, transport: '' };
}

function transportText(error: WeftError): string {
	return error.message.replace(/[\r\n]+/g, ' ').slice(0, 300);
}
