// What can be wrong with an HTTP/1.1 message, as stable codes, and the status that answers each.

import { type ErrorOrigin, WeftError } from '../std/errors.ts';

export type Http1ErrorCode =
	| 'http1_bad_line_end'
	| 'http1_bad_request_line'
	| 'http1_bad_status_line'
	| 'http1_bad_method'
	| 'http1_bad_target'
	| 'http1_bad_host'
	| 'http1_missing_host'
	| 'http1_duplicate_host'
	| 'http1_unsupported_version'
	| 'http1_request_line_too_long'
	| 'http1_headers_too_large'
	| 'http1_too_many_headers'
	| 'http1_bad_header_name'
	| 'http1_bad_header_value'
	| 'http1_space_before_colon'
	| 'http1_obsolete_folding'
	| 'http1_bad_connection'
	| 'http1_bad_content_length'
	| 'http1_ambiguous_framing'
	| 'http1_unsupported_transfer_encoding'
	| 'http1_bad_chunk_size'
	| 'http1_bad_chunk_extension'
	| 'http1_chunk_extension_too_large'
	| 'http1_bad_chunk_end'
	| 'http1_unexpected_upgrade'
	| 'http1_too_many_informational'
	| 'http1_read_ahead_too_large'
	/** The peer closed in the middle of a message. */
	| 'http1_premature_close'
	/** The peer closed a connection on which it had answered nothing of the request. */
	| 'http1_closed_before_response'
	/** Bytes that no request asked for. */
	| 'http1_unexpected_data'
	/** Our own side wrote more or less than the Content-Length it declared. */
	| 'http1_body_length_mismatch'
	/** The stream could not begin: the connection was closing. Nothing was written. */
	| 'http1_not_sent';

export class Http1Error extends WeftError {
	declare readonly code: Http1ErrorCode;

	constructor(code: Http1ErrorCode, message: string, origin: ErrorOrigin, retrySafe = false) {
		super(code, message, { origin, retrySafe });
		this.name = 'Http1Error';
	}
}

/** The status with which a server answers what is wrong with a request (RFC 9112 §3, RFC 6585 §5). */
export function statusOfHttp1Error(code: Http1ErrorCode): number {
	switch (code) {
		case 'http1_headers_too_large':
		case 'http1_too_many_headers':
			return 431;
		case 'http1_request_line_too_long':
			return 414;
		case 'http1_unsupported_transfer_encoding':
			return 501;
		case 'http1_unsupported_version':
			return 505;
		default:
			return 400;
	}
}
