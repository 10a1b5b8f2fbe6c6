// Bounds on what a peer may make an HTTP/1.1 codec hold, and the codecs' options.

export interface Http1Limits {
	/** Start line, header fields and their line ends; the same again for trailers. Default 61440 (Envoy `max_request_headers_kb` 60). */
	readonly headerBytesMax: number;
	/** Header fields in one message; the same again for trailers. Default 100 (Envoy `max_headers_count`). */
	readonly headersMax: number;
	/** The request line without its end; longer ones are answered 414. Default: `headerBytesMax` alone bounds it. */
	readonly requestLineBytesMax: number;
}

export const HTTP1_LIMITS_DEFAULT: Http1Limits = {
	headerBytesMax: 60 * 1024,
	headersMax: 100,
	requestLineBytesMax: 60 * 1024,
};

/** Chunk extensions of one message, all together. They are dropped. */
export const CHUNK_EXTENSION_BYTES_MAX = 16 * 1024;

/** Informational (1xx) responses to one request. */
export const INFORMATIONAL_RESPONSES_MAX = 32;

/**
 * Bytes of later requests held while one is answered. The transport is paused at the first, so only what one or
 * two reads brought can gather; the bound is for a transport that does not obey.
 */
export const READ_AHEAD_BYTES_MAX = 2 * 1024 * 1024;

export interface Http1ServerOptions extends Partial<Http1Limits> {
	/** Scheme of the connection, for origin-form targets. Default `http`. */
	readonly scheme?: 'http' | 'https';
	/** Take HTTP/1.0 requests (Envoy `accept_http_10`). Default false: answered 505. */
	readonly acceptHttp10?: boolean;
	/** Authority of HTTP/1.0 requests without Host (Envoy `default_host_for_http_10`). Default empty: answered 400. */
	readonly defaultHostForHttp10?: string;
	/** The connection closes after this many (Envoy `max_requests_per_connection`). Default 0: no bound. */
	readonly requestsMax?: number;
	/**
	 * A peer that sends FIN while it waits still gets its answer. Default false: it is taken as gone and its
	 * request is reset, as Envoy does, since that is also how an aborting client looks.
	 */
	readonly allowHalfClose?: boolean;
	/** Gives the Date header's value, added to final responses that have none. Default: none is added. */
	readonly date?: () => string;
}

export interface Http1ClientOptions extends Partial<Http1Limits> {
	/** The connection takes no more streams after this many (Envoy `max_requests_per_connection`). Default 0: no bound. */
	readonly requestsMax?: number;
}
