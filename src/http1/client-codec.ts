// The client's side of an HTTP/1.1 connection: one request at a time, and its response.
//
//              newStream            final head, body           both ended, nothing over
//   available ───────────▶ streaming ─────────▶ answered ───────────────────────────▶ available
//                             │                    │ request not ended: waits for it
//                             │ reset, error,      │ Connection: close, bytes after the end
//                             ▼ close              ▼
//                            closed ◀──────────────┘
//
// A 101 (or 2xx to CONNECT) turns both directions raw until each has ended.

import type { ClientCodec, ClientCodecEvents, CodecTransport } from '../http/codec.ts';
import { type HeaderList, removeHeader } from '../http/headers.ts';
import type { ClientStream, RequestHead, ResponseListener } from '../http/stream.ts';
import { assert } from '../std/assert.ts';
import type { WeftError } from '../std/errors.ts';
import { BodyReader, type BodySink } from './body-reader.ts';
import { type ClientStreamOwner, Http1ClientStream } from './client-stream.ts';
import { Http1Error } from './errors.ts';
import { HeadScanner } from './head-scanner.ts';
import { declaredLength, encodeRequestHead, type HeadFraming } from './head-writer.ts';
import {
	HTTP1_LIMITS_DEFAULT,
	type Http1ClientOptions,
	type Http1Limits,
	INFORMATIONAL_RESPONSES_MAX,
} from './limits.ts';
import { type BodyFraming, MessageWriter } from './message-writer.ts';
import { BODY_CHUNKED, BODY_UNTIL_CLOSE, type ParsedResponse, readResponse } from './response-head.ts';

const EMPTY = new Uint8Array(0);

export class Http1ClientCodec implements ClientCodec, BodySink, ClientStreamOwner {
	private readonly scanner: HeadScanner;
	private readonly body: BodyReader;
	private readonly writer: MessageWriter;
	private readonly requestsMax: number;
	private current: Http1ClientStream | null = null;
	private requests = 0;
	private receiving = false;
	private draining = false;
	private readingPaused = false;
	/** No stream may begin; the transport is closed or closes with the stream that is open. */
	private unavailable = false;
	private closed = false;

	constructor(
		private readonly transport: CodecTransport,
		private readonly events: ClientCodecEvents,
		options: Http1ClientOptions = {},
	) {
		const limits: Http1Limits = { ...HTTP1_LIMITS_DEFAULT, ...options };
		this.requestsMax = options.requestsMax ?? 0;
		this.scanner = new HeadScanner('response', limits, 'upstream');
		this.body = new BodyReader(this, limits, 'upstream');
		this.writer = new MessageWriter(transport);
	}

	get available(): boolean {
		return this.current === null && !this.unavailable && !this.draining;
	}

	get activeStreams(): number {
		return this.current === null ? 0 : 1;
	}

	newStream(listener: ResponseListener): ClientStream {
		assert(this.available, 'a stream begins on an available connection');
		this.writer.reset();
		this.requests++;
		const stream = new Http1ClientStream(this, listener);
		this.current = stream;
		return stream;
	}

	receive(bytes: Uint8Array): void {
		if (this.closed || bytes.length === 0) return;
		assert(!this.receiving, 'receive is not entered again');
		this.receiving = true;
		try {
			this.consume(bytes);
		} finally {
			this.receiving = false;
		}
		const stream = this.current;
		if (stream?.responseEnded === true) this.settle(stream);
	}

	receiveEnd(): void {
		if (this.closed) return;
		const stream = this.current;
		if (stream === null) {
			this.close('flush', null);
			return;
		}
		if (stream.raw) {
			stream.responseEnded = true;
			stream.listener.onData(EMPTY, true);
			if (stream === this.current) this.settle(stream);
			return;
		}
		if (stream.untilClose) {
			this.body.stop();
			stream.responseEnded = true;
			stream.listener.onData(EMPTY, true);
			// The peer has said all; what is left of the request goes nowhere.
			this.close('flush', null);
			this.leaveCurrent();
			return;
		}
		if (stream.responseEnded) {
			this.close('flush', null);
			this.leaveCurrent();
			return;
		}
		const error = closedError(stream, this.scanner.begun);
		// Half a head is no answer that a server in order gives, as Envoy sees it too.
		const broken = this.scanner.begun && !stream.responseBegun;
		stream.lose(error.retrySafe ? 'refused' : broken ? 'protocol_error' : 'connection_lost', error);
		this.close('flush', error);
	}

	transportDrained(): void {
		if (!this.closed) this.current?.listener.onDrain();
	}

	transportClosed(error: WeftError | null): void {
		this.closed = true;
		this.body.stop();
		const stream = this.current;
		if (stream !== null) {
			if (stream.responseEnded && !stream.raw) this.leaveCurrent();
			else if (!stream.headWritten) stream.lose('refused', error ?? closedError(stream, false));
			else stream.lose('connection_lost', error ?? closedError(stream, this.scanner.begun));
		}
		this.becomeUnavailable(error);
	}

	startDrain(): void {
		if (this.draining) return;
		this.draining = true;
		if (this.current === null) this.close('flush', null);
	}

	onBody(bytes: Uint8Array, end: boolean): void {
		const stream = this.current;
		if (stream === null) return;
		if (end) stream.responseEnded = true;
		stream.listener.onData(bytes, end);
	}

	onBodyTrailers(trailers: HeaderList): void {
		const stream = this.current;
		if (stream === null) return;
		stream.responseEnded = true;
		stream.listener.onTrailers(trailers);
	}

	// ClientStreamOwner: what the stream calls.

	writeHead(stream: Http1ClientStream, head: RequestHead, end: boolean): void {
		assert(!stream.headWritten, 'a request has one head');
		stream.method = head.method;
		stream.upgrade = head.upgrade;
		stream.awaitsSwitch = head.upgrade !== '' || head.method === 'CONNECT';
		const declared = declaredLength(head.headers);
		if (declared instanceof Http1Error) {
			this.refuse(stream, declared);
			return;
		}
		let sent: HeadFraming = 'none';
		let framing: BodyFraming = 'length';
		if (stream.awaitsSwitch) {
			if (declared > 0) {
				this.refuse(stream, new Http1Error('http1_ambiguous_framing', 'an upgrade with content', 'local'));
				return;
			}
			if (head.method === 'CONNECT') sent = 'tunnel';
			framing = 'idle';
		} else if (declared !== -1) sent = 'length';
		else if (!end) {
			sent = 'chunked';
			framing = 'chunked';
		} else if (expectsContent(head.method)) sent = 'length';
		if (end && declared > 0) {
			const error = new Http1Error('http1_body_length_mismatch', 'body is shorter than its content-length', 'local');
			this.refuse(stream, error);
			return;
		}
		const encoded = encodeRequestHead(head, sent, head.upgrade === '' ? '' : 'upgrade');
		if (encoded instanceof Http1Error) {
			this.refuse(stream, encoded);
			return;
		}
		stream.headWritten = true;
		// The end of a request that awaits a switch ends the tunnel, if there will be one.
		stream.endsAfterSwitch = end && stream.awaitsSwitch;
		this.writer.begin(encoded, framing, Math.max(declared, 0), end && !stream.awaitsSwitch);
	}

	writeData(stream: Http1ClientStream, bytes: Uint8Array, end: boolean): boolean {
		assert(stream.headWritten, 'data comes after the head of a request');
		if (stream.awaitsSwitch) {
			stream.hold(bytes, end);
			return bytes.length === 0;
		}
		if (this.writer.ended) return true;
		const result = this.writer.writeData(bytes, end);
		if (result instanceof Http1Error) {
			stream.lose('local', result);
			this.close('reset', result);
			return true;
		}
		if (end) this.settleWhenAnswered(stream);
		return result;
	}

	writeTrailers(stream: Http1ClientStream, trailers: HeaderList): void {
		assert(stream.headWritten, 'trailers come after the head of a request');
		if (stream.awaitsSwitch) {
			stream.hold(EMPTY, true);
			return;
		}
		if (this.writer.ended) return;
		const error = this.writer.writeTrailers(trailers);
		if (error === null) this.settleWhenAnswered(stream);
		else {
			stream.lose('local', error);
			this.close('reset', error);
		}
	}

	resetStream(stream: Http1ClientStream): void {
		if (!stream.headWritten) {
			this.leaveCurrent();
			this.offerAgain();
			return;
		}
		this.leaveCurrent();
		this.close('reset', null);
	}

	updateReading(stream: Http1ClientStream): void {
		if (this.closed || stream.readingPaused === this.readingPaused) return;
		this.readingPaused = stream.readingPaused;
		if (this.readingPaused) this.transport.pauseReading();
		else this.transport.resumeReading();
	}

	private consume(bytes: Uint8Array): void {
		let at = 0;
		while (at < bytes.length && !this.closed) {
			const stream = this.current;
			if (stream === null || stream.responseEnded || !stream.headWritten) {
				// A connection that closes with its response may say what it likes.
				if (stream === null || stream.keepAlive || !stream.responseEnded) this.failUnexpected();
				return;
			}
			if (!this.body.done) {
				at = this.body.read(bytes, at);
				if (this.body.error !== null) this.fail(this.body.error);
				continue;
			}
			at = this.scanner.scan(bytes, at);
			if (this.scanner.error !== null) this.fail(this.scanner.error);
			else if (this.scanner.complete) {
				const response = readResponse(this.scanner, stream.method);
				this.scanner.reset();
				if (response instanceof Http1Error) this.fail(response);
				else this.begin(stream, response);
			}
		}
	}

	private begin(stream: Http1ClientStream, response: ParsedResponse): void {
		const { head } = response;
		if (head.status === 101) {
			if (stream.upgrade === '' || !stream.awaitsSwitch || response.upgrade !== stream.upgrade) {
				this.fail(new Http1Error('http1_unexpected_upgrade', 'switched to a protocol not asked for', 'upstream'));
				return;
			}
			this.switchProtocols(stream, response);
			return;
		}
		if (head.status < 200) {
			if (++stream.informational > INFORMATIONAL_RESPONSES_MAX) {
				this.fail(new Http1Error('http1_too_many_informational', 'too many 1xx responses', 'upstream'));
				return;
			}
			stream.listener.onHead(head, false);
			return;
		}
		if (stream.method === 'CONNECT' && head.status < 300) {
			this.switchProtocols(stream, response);
			return;
		}
		if (stream.awaitsSwitch) {
			// Refused: an ordinary response, and a request without content that has ended.
			stream.awaitsSwitch = false;
			stream.held = null;
			this.writer.ended = true;
		}
		stream.responseBegun = true;
		stream.keepAlive = response.keepAlive;
		if (response.bodyBytes === BODY_CHUNKED) this.body.startChunked();
		else if (response.bodyBytes === BODY_UNTIL_CLOSE) {
			stream.untilClose = true;
			this.body.startRaw();
		} else {
			this.body.startLength(response.bodyBytes);
			if (response.bodyBytes === 0) stream.responseEnded = true;
		}
		stream.listener.onHead(head, stream.responseEnded);
	}

	private switchProtocols(stream: Http1ClientStream, response: ParsedResponse): void {
		stream.responseBegun = true;
		stream.awaitsSwitch = false;
		stream.raw = true;
		stream.keepAlive = false;
		this.writer.framing = 'raw';
		this.body.startRaw();
		this.becomeUnavailable(null);
		const held = stream.held;
		stream.held = null;
		// A tunnel has no length (RFC 9110 §8.6).
		removeHeader(response.head.headers, 'content-length');
		stream.listener.onHead(response.head, false);
		if (stream.over) return;
		if (held !== null || stream.endsAfterSwitch) {
			this.writer.writeData(held ?? EMPTY, stream.endsAfterSwitch);
			if (!stream.over && !stream.endsAfterSwitch) stream.listener.onDrain();
		}
	}

	private settleWhenAnswered(stream: Http1ClientStream): void {
		// While bytes are taken in, what follows them decides whether the connection can be used again.
		if (!this.receiving && stream === this.current && stream.responseEnded) this.settle(stream);
	}

	/** The response has ended. */
	private settle(stream: Http1ClientStream): void {
		if (this.closed || stream !== this.current) return;
		if (stream.raw) {
			if (this.writer.ended) {
				this.leaveCurrent();
				this.close('flush', null);
			}
			return;
		}
		const reusable = stream.keepAlive && !this.draining && !(this.requestsMax > 0 && this.requests >= this.requestsMax);
		if (!reusable) {
			this.leaveCurrent();
			this.close(this.writer.ended ? 'flush' : 'reset', null);
			return;
		}
		if (!this.writer.ended) return;
		this.leaveCurrent();
		this.offerAgain();
	}

	private offerAgain(): void {
		if (this.draining) this.close('flush', null);
		else if (!this.unavailable) this.events.onAvailable();
	}

	private leaveCurrent(): void {
		const stream = this.current;
		if (stream === null) return;
		stream.over = true;
		this.current = null;
		this.body.stop();
		if (this.readingPaused && !this.closed) {
			this.readingPaused = false;
			this.transport.resumeReading();
		}
	}

	/** The stream could not be begun; nothing of it was written. */
	private refuse(stream: Http1ClientStream, error: Http1Error): void {
		stream.lose('local', error);
		this.offerAgain();
	}

	/** Bytes that answer nothing: whose are they? The connection cannot be trusted with another request. */
	private failUnexpected(): void {
		const error = new Http1Error('http1_unexpected_data', 'bytes that no request asked for', 'upstream');
		const stream = this.current;
		if (stream !== null && !stream.headWritten) {
			const refused = new Http1Error('http1_not_sent', error.message, 'upstream', true);
			stream.lose('refused', refused);
		} else this.leaveCurrent();
		this.close('reset', error);
	}

	private fail(error: Http1Error): void {
		this.current?.lose('protocol_error', error);
		this.close('reset', error);
	}

	private close(how: 'flush' | 'reset', error: WeftError | null): void {
		if (this.closed) return;
		this.closed = true;
		this.body.stop();
		this.transport.close(how);
		this.becomeUnavailable(error);
	}

	private becomeUnavailable(error: WeftError | null): void {
		if (this.unavailable) return;
		this.unavailable = true;
		this.events.onUnavailable(error);
	}

	forget(stream: Http1ClientStream): void {
		if (this.current === stream) this.leaveCurrent();
	}
}

/** Methods whose requests say `content-length: 0` when they have no content (RFC 9110 §8.6). */
function expectsContent(method: string): boolean {
	return method === 'POST' || method === 'PUT' || method === 'PATCH';
}

function closedError(stream: Http1ClientStream, headBegun: boolean): Http1Error {
	if (!stream.headWritten)
		return new Http1Error('http1_not_sent', 'the connection closed before the request', 'upstream', true);
	if (stream.responseBegun || headBegun) {
		return new Http1Error('http1_premature_close', 'the server closed in the middle of its response', 'upstream');
	}
	return new Http1Error('http1_closed_before_response', 'the server closed before it answered', 'upstream');
}
