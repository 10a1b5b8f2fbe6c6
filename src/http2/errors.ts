// What can be wrong on an HTTP/2 connection, as stable codes, and the code of RFC 9113 §7 that the
// peer is told.

import { type ErrorOrigin, WeftError } from '../std/errors.ts';

export type Http2ErrorCode =
	| 'http2_bad_preface'
	/** A frame that may not come here, or whose fields are wrong. */
	| 'http2_protocol_error'
	| 'http2_bad_frame_size'
	| 'http2_flow_control'
	| 'http2_compression'
	| 'http2_stream_closed'
	| 'http2_settings_timeout'
	| 'http2_keepalive_timeout'
	/** A head or trailers against RFC 9113 §8. */
	| 'http2_malformed_message'
	| 'http2_headers_too_large'
	| 'http2_body_length_mismatch'
	// Abuse: one for each limit.
	| 'http2_reset_flood'
	| 'http2_continuation_flood'
	| 'http2_header_block_too_large'
	| 'http2_settings_flood'
	| 'http2_ping_flood'
	| 'http2_priority_flood'
	| 'http2_window_update_flood'
	| 'http2_empty_frame_flood'
	| 'http2_unknown_frame_flood'
	| 'http2_small_window_flood'
	| 'http2_outbound_queue_full'
	| 'http2_slow_head'
	/** The peer does not take what a stream has for it. */
	| 'http2_stalled'
	/** The peer reset a stream. */
	| 'http2_stream_reset'
	/** The peer said GOAWAY with an error. */
	| 'http2_goaway'
	/** The connection takes no more streams; nothing was sent. */
	| 'http2_not_sent'
	| 'http2_closed'
	/** The peer has no extended CONNECT (RFC 8441). */
	| 'http2_no_extended_connect'
	/** Our own side wrote what may not be sent. */
	| 'http2_bad_header_value';

export class Http2Error extends WeftError {
	declare readonly code: Http2ErrorCode;

	constructor(
		code: Http2ErrorCode,
		message: string,
		origin: ErrorOrigin,
		retrySafe = false,
		/** Of `http2_stream_reset`: the code that the peer gave (RFC 9113 §7); otherwise -1. */
		readonly resetCode = -1,
	) {
		super(code, message, { origin, retrySafe });
		this.name = 'Http2Error';
	}
}
