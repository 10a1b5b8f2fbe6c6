// How a gRPC call ends: a code, a message, and metadata. Every end is one, also those that no server
// sent: a lost connection, an HTTP answer of something that speaks no gRPC, a reset.

import type { HeaderList } from '../http/headers.ts';
import { getHeader } from '../http/headers.ts';
import type { ResetReason } from '../http/stream.ts';
import { Http2Error } from '../http2/errors.ts';
import { ErrorCode } from '../http2/frames.ts';
import { WeftError } from '../std/errors.ts';
import { GRPC_STATUS_MAX, GRPC_STATUS_NAMES, GrpcStatus, parseGrpcStatus } from './status.ts';
import { decodeGrpcMessage } from './status-message.ts';

export interface CallStatus {
	/** One of `GrpcStatus`. */
	readonly code: number;
	/** For people; may be empty. */
	readonly message: string;
	/** What came with it: the trailers without those of gRPC itself. See metadata.ts. */
	readonly metadata: HeaderList;
	/** What went wrong below gRPC; null when the server said so itself, or all is well. */
	readonly cause: WeftError | null;
}

const NONE: HeaderList = [];

export function callStatus(code: number, message: string, cause: WeftError | null = null): CallStatus {
	return { code, message, metadata: NONE, cause };
}

/** `UNAVAILABLE: no connection`, for logs. */
export function formatStatus({ code, message }: CallStatus): string {
	const name = GRPC_STATUS_NAMES[code] ?? String(code);
	return message === '' ? name : `${name}: ${message}`;
}

/** A call that did not end with OK, as an exception. */
export class GrpcError extends WeftError {
	constructor(readonly status: CallStatus) {
		super('grpc_failed', formatStatus(status), {
			origin: 'upstream',
			retrySafe: status.code === GrpcStatus.unavailable,
			...(status.cause === null ? {} : { cause: status.cause }),
		});
		this.name = 'GrpcError';
	}
}

/**
 * What trailers, or a head that is the whole response, say. Null: they do not say (`grpc-status` is missing).
 * A code that is none is UNKNOWN.
 */
export function statusOfTrailers(trailers: HeaderList): CallStatus | null {
	const text = getHeader(trailers, 'grpc-status');
	if (text === undefined) return null;
	const message = decodeGrpcMessage(getHeader(trailers, 'grpc-message') ?? '');
	const metadata = applicationMetadata(trailers);
	const code = parseGrpcStatus(text);
	if (code >= 0 && code <= GRPC_STATUS_MAX) return { code, message, metadata, cause: null };
	const what = `the server's grpc-status is ${JSON.stringify(text.slice(0, 32))}`;
	return {
		code: GrpcStatus.unknown,
		message: message === '' ? what : `${what}: ${message}`,
		metadata,
		cause: null,
	};
}

/** Without what belongs to gRPC and HTTP themselves. */
export function applicationMetadata(headers: HeaderList): HeaderList {
	const kept: HeaderList = [];
	for (let i = 0; i < headers.length; i += 2) {
		const name = headers[i]!;
		if (name === 'content-type' || (name.startsWith('grpc-') && name !== 'grpc-status-details-bin')) continue;
		kept.push(name, headers[i + 1]!);
	}
	return kept;
}

/** For a stream that was reset or lost (gRPC over HTTP2, "Errors"). */
export function statusOfReset(reason: ResetReason, error: WeftError | null): CallStatus {
	const message = error?.message ?? 'the stream was reset';
	switch (reason) {
		case 'connection_lost':
		case 'refused':
			return callStatus(GrpcStatus.unavailable, message, error);
		case 'cancelled':
			return callStatus(
				error instanceof Http2Error ? codeOfReset(error.resetCode) : GrpcStatus.cancelled,
				message,
				error,
			);
		case 'protocol_error':
			return callStatus(GrpcStatus.internal, message, error);
		case 'local': {
			// A peer that does not take what it is sent; anything else is our own fault.
			const stalled = error?.code === 'http2_stalled';
			return callStatus(stalled ? GrpcStatus.unavailable : GrpcStatus.internal, message, error);
		}
	}
}

function codeOfReset(code: number): number {
	switch (code) {
		case ErrorCode.refusedStream:
			return GrpcStatus.unavailable;
		case ErrorCode.cancel:
			return GrpcStatus.cancelled;
		case ErrorCode.enhanceYourCalm:
			return GrpcStatus.resourceExhausted;
		case ErrorCode.inadequateSecurity:
			return GrpcStatus.permissionDenied;
		default:
			return GrpcStatus.internal;
	}
}
