// Errors as the Kubernetes API tells them: an HTTP status and a `Status` object with a reason and,
// for what a user wrote wrong, one cause for each field.

import { ConfigError, errorMessage, formatConfigErrorDetail, WeftError } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';

const log = new Logger('api');

export interface StatusCause {
	readonly reason: string;
	readonly message: string;
	readonly field?: string;
}

export interface StatusDetails {
	readonly name?: string;
	readonly group?: string;
	readonly kind?: string;
	readonly uid?: string;
	readonly causes?: readonly StatusCause[];
}

/** Kubernetes `meta/v1` Status. */
export interface StatusObject {
	readonly kind: 'Status';
	readonly apiVersion: 'v1';
	readonly metadata: Record<string, never>;
	readonly status: 'Success' | 'Failure';
	readonly message?: string;
	readonly reason?: string;
	readonly details?: StatusDetails;
	readonly code: number;
}

export class ApiError extends Error {
	constructor(
		/** HTTP status. */
		readonly code: number,
		/** `NotFound`, `BadRequest`, … (Kubernetes `metav1.StatusReason`). */
		readonly reason: string,
		message: string,
		readonly details?: StatusDetails,
	) {
		super(message);
		this.name = 'ApiError';
	}
}

export function badRequest(message: string): ApiError {
	return new ApiError(400, 'BadRequest', message);
}

/** What is not expected becomes a 500 and a line in the log. */
export function toApiError(error: unknown): ApiError {
	if (error instanceof ApiError) return error;
	if (error instanceof ConfigError) {
		const causes = error.details.map((detail) => ({
			reason: detail.found === 'an unknown field' ? 'FieldValueNotSupported' : 'FieldValueInvalid',
			message: formatConfigErrorDetail(detail),
			field: detail.field,
		}));
		return new ApiError(422, 'Invalid', error.message, { causes });
	}
	if (error instanceof WeftError) {
		switch (error.code) {
			case 'not_found':
			case 'namespace_not_found':
				return new ApiError(404, 'NotFound', error.message);
			case 'already_exists':
				return new ApiError(409, 'AlreadyExists', error.message);
			case 'conflict':
				return new ApiError(409, 'Conflict', error.message);
			case 'forbidden':
				return new ApiError(403, 'Forbidden', error.message);
			case 'compacted':
				return new ApiError(410, 'Expired', `too old resource version: ${error.message}`);
			case 'too_large':
				return new ApiError(413, 'RequestEntityTooLarge', error.message);
			case 'store_failed':
			case 'store_closed':
				log.error('the store failed', { error: error.message });
				return new ApiError(503, 'ServiceUnavailable', error.message);
		}
	}
	log.error('a request failed', {
		error: error instanceof Error ? (error.stack ?? error.message) : errorMessage(error),
	});
	return new ApiError(500, 'InternalError', `internal error: ${errorMessage(error)}`);
}

export function statusOf(error: ApiError): StatusObject {
	return {
		kind: 'Status',
		apiVersion: 'v1',
		metadata: {},
		status: 'Failure',
		message: error.message,
		reason: error.reason,
		details: error.details,
		code: error.code,
	};
}

export function errorResponse(error: unknown): Response {
	const known = toApiError(error);
	const headers = known.code === 401 ? { 'www-authenticate': 'Bearer realm="weft"' } : undefined;
	return Response.json(statusOf(known), { status: known.code, headers });
}
