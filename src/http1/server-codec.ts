// The server's side of an HTTP/1.1 connection: requests in, one after another, responses out in
// the same order. Synchronous; knows no socket and no time.
//
//            head complete           body complete
//   waiting ──────────────▶ reading ──────────────▶ read: later bytes are held, transport paused
//     ▲                        │                      │
//     └─────────── response ended (keep-alive) ◀──────┘
//                              │ response ended early, error, drain
//                              └──▶ closed
//
// An upgrade (or CONNECT) is `read` until it is answered: 101 (2xx) turns both directions raw.

import type { CodecTransport, ServerCodec, ServerCodecEvents } from '../http/codec.ts';
import { getHeader, type HeaderList } from '../http/headers.ts';
import type { ResponseHead } from '../http/stream.ts';
import { assert } from '../std/assert.ts';
import type { WeftError } from '../std/errors.ts';
import { BodyReader, type BodySink } from './body-reader.ts';
import { Http1Error, statusOfHttp1Error } from './errors.ts';
import { HeadScanner } from './head-scanner.ts';
import { declaredLength, encodeResponseHead, type HeadFraming } from './head-writer.ts';
import { HTTP1_LIMITS_DEFAULT, type Http1Limits, type Http1ServerOptions, READ_AHEAD_BYTES_MAX } from './limits.ts';
import { type BodyFraming, MessageWriter } from './message-writer.ts';
import { ReadAhead } from './read-ahead.ts';
import { type ParsedRequest, type RequestRules, readRequest } from './request-head.ts';
import { Http1ServerStream, type ServerStreamOwner } from './server-stream.ts';

const EMPTY = new Uint8Array(0);

/** What stands for a request whose head could not be read. */
const BAD_REQUEST: ParsedRequest = {
	head: { method: '', scheme: '', authority: '', path: '', headers: [], upgrade: '' },
	bodyBytes: 0,
	http10: false,
	keepAlive: false,
};

export class Http1ServerCodec implements ServerCodec, BodySink, ServerStreamOwner {
	private readonly rules: RequestRules;
	private readonly requestsMax: number;
	private readonly scanner: HeadScanner;
	private readonly body: BodyReader;
	private readonly writer: MessageWriter;
	private readonly readAhead = new ReadAhead();
	private current: Http1ServerStream | null = null;
	private requests = 0;
	private processing = false;
	private draining = false;
	/** FIN came while a response was owed, and that is allowed. */
	private inputEnded = false;
	private readingPaused = false;
	/** The peer does not take what it is sent as fast as it is written. */
	private held = false;
	private closed = false;

	constructor(
		private readonly transport: CodecTransport,
		private readonly events: ServerCodecEvents,
		private readonly options: Http1ServerOptions = {},
	) {
		const limits: Http1Limits = { ...HTTP1_LIMITS_DEFAULT, ...options };
		this.rules = {
			scheme: options.scheme ?? 'http',
			acceptHttp10: options.acceptHttp10 ?? false,
			defaultHostForHttp10: options.defaultHostForHttp10 ?? '',
		};
		this.requestsMax = options.requestsMax ?? 0;
		this.scanner = new HeadScanner('request', limits, 'downstream');
		this.body = new BodyReader(this, limits, 'downstream');
		this.writer = new MessageWriter(transport);
	}

	get activeStreams(): number {
		return this.current === null ? 0 : 1;
	}

	receive(bytes: Uint8Array): void {
		if (this.closed || bytes.length === 0) return;
		if (this.processing || !this.readAhead.empty) {
			this.readAhead.append(bytes);
			this.boundReadAhead();
			return;
		}
		this.process(bytes, false);
	}

	receiveEnd(): void {
		if (this.closed) return;
		const stream = this.current;
		if (stream === null) {
			// Between requests, or within a head of which nobody has heard.
			this.close('flush');
			return;
		}
		if (stream.raw) {
			stream.requestEnded = true;
			stream.listener.onData(EMPTY, true);
			this.finishWhenBothEnded(stream);
			return;
		}
		if (this.body.done && this.options.allowHalfClose === true) {
			this.inputEnded = true;
			return;
		}
		const error = new Http1Error('http1_premature_close', 'the client closed before it was answered', 'downstream');
		stream.lose('connection_lost', error);
		this.close(stream.responseBegun ? 'reset' : 'flush');
	}

	transportDrained(): void {
		this.held = false;
		if (!this.closed) this.current?.listener.onDrain();
	}

	transportClosed(error: WeftError | null): void {
		this.closed = true;
		this.readAhead.clear();
		this.body.stop();
		this.current?.lose('connection_lost', error);
	}

	startDrain(keepIdle = false): void {
		this.draining = true;
		if (!keepIdle && this.current === null && !this.scanner.begun && !this.closed) this.close('flush');
	}

	onBody(bytes: Uint8Array, end: boolean): void {
		const stream = this.current;
		if (stream === null) return;
		if (end) stream.requestEnded = true;
		stream.listener.onData(bytes, end);
	}

	onBodyTrailers(trailers: HeaderList): void {
		const stream = this.current;
		if (stream === null) return;
		stream.requestEnded = true;
		stream.listener.onTrailers(trailers);
	}

	// ServerStreamOwner: what the stream calls.

	writeHead(stream: Http1ServerStream, head: ResponseHead, end: boolean): void {
		const { request } = stream;
		const status = head.status;
		if (status < 200 && status !== 101) {
			// HTTP/1.0 knows no 1xx (RFC 9110 §15.2).
			if (request.http10) return;
			const encoded = encodeResponseHead(withoutLength(head), 'none', '', '', '');
			if (encoded instanceof Http1Error) this.failLocally(stream, encoded);
			else this.transport.write(encoded);
			return;
		}
		if (status === 101 || (request.head.method === 'CONNECT' && status < 300)) {
			this.switchProtocols(stream, head, end);
			return;
		}
		assert(!stream.responseBegun, 'a response has one final head');

		const refusesUpgrade = stream.awaitsSwitch;
		const requestEnded = stream.requestEnded || refusesUpgrade;
		stream.closeAfter ||=
			!request.keepAlive ||
			this.draining ||
			(this.requestsMax > 0 && this.requests >= this.requestsMax) ||
			(end && !requestEnded) ||
			// A client that did not wait for its tunnel has sent bytes that are no request.
			request.head.method === 'CONNECT' ||
			getHeader(head.headers, 'connection') === 'close';

		const declared = declaredLength(head.headers);
		if (declared instanceof Http1Error) {
			this.failLocally(stream, declared);
			return;
		}
		let sent: HeadFraming;
		let framing: BodyFraming;
		let mustDeclare = declared;
		if (request.head.method === 'HEAD' || status === 304) {
			sent = 'none';
			framing = 'dropped';
		} else if (status === 204) {
			sent = 'none';
			framing = 'dropped';
		} else if (declared !== -1 || end) {
			sent = 'length';
			framing = 'length';
			mustDeclare = Math.max(declared, 0);
		} else if (request.http10) {
			sent = 'none';
			framing = 'until_close';
			stream.closeAfter = true;
		} else {
			sent = 'chunked';
			framing = 'chunked';
		}
		if (framing === 'length' && end && mustDeclare !== 0) {
			this.failLocally(
				stream,
				new Http1Error('http1_body_length_mismatch', 'body is shorter than its content-length', 'local'),
			);
			return;
		}
		const connection = stream.closeAfter ? 'close' : request.http10 ? 'keep-alive' : '';
		const out = status === 204 ? withoutLength(head) : head;
		const encoded = encodeResponseHead(out, sent, connection, '', this.options.date?.() ?? '');
		if (encoded instanceof Http1Error) {
			this.failLocally(stream, encoded);
			return;
		}
		stream.responseBegun = true;
		stream.awaitsSwitch = false;
		this.writer.begin(encoded, framing, mustDeclare, end);
		if (refusesUpgrade && !stream.requestEnded) {
			stream.requestEnded = true;
			stream.listener.onData(EMPTY, true);
		}
		if (end && stream === this.current) this.finish(stream);
	}

	writeData(stream: Http1ServerStream, bytes: Uint8Array, end: boolean): boolean {
		assert(stream.responseBegun && !this.writer.ended, 'data goes between the head and the end of a response');
		const result = this.writer.writeData(bytes, end);
		if (result instanceof Http1Error) {
			this.failLocally(stream, result);
			return true;
		}
		this.held = !result;
		if (end) this.finishWhenBothEnded(stream);
		return result;
	}

	writeTrailers(stream: Http1ServerStream, trailers: HeaderList): void {
		assert(stream.responseBegun && !this.writer.ended, 'trailers go between the head and the end of a response');
		const error = this.writer.writeTrailers(trailers);
		if (error !== null) this.failLocally(stream, error);
		else this.finishWhenBothEnded(stream);
	}

	/**
	 * What of the response was written still goes out where its framing shows that it broke off and the peer takes
	 * what it is sent (as Envoy, `FlushWriteAndDelay`): the last event of a stream whose server died is not lost.
	 */
	resetConnection(): void {
		const { framing } = this.writer;
		this.close((framing === 'chunked' || framing === 'length') && !this.held ? 'flush' : 'reset');
		this.leaveCurrent();
	}

	updateReading(): void {
		if (this.closed) return;
		const pause = !this.readAhead.empty || (this.current?.readingPaused ?? false);
		if (pause === this.readingPaused) return;
		this.readingPaused = pause;
		if (pause) this.transport.pauseReading();
		else this.transport.resumeReading();
	}

	/** `firstOwned`: the bytes are ours to keep, not only for this call. */
	private process(first: Uint8Array, firstOwned: boolean): void {
		this.processing = true;
		try {
			let input: Uint8Array = first;
			let owned = firstOwned;
			for (;;) {
				const taken = this.consume(input);
				if (this.closed) return;
				if (taken < input.length) this.readAhead.prepend(input.subarray(taken), owned);
				if (this.readAhead.empty || this.mustWait()) break;
				input = this.readAhead.take();
				owned = true;
			}
		} finally {
			this.processing = false;
		}
		this.boundReadAhead();
		this.closeIfInputEnded();
	}

	/** The request is read and its response is owed: nothing more is parsed until then. */
	private mustWait(): boolean {
		return this.current !== null && this.body.done;
	}

	private consume(bytes: Uint8Array): number {
		let at = 0;
		while (at < bytes.length && !this.closed) {
			if (this.current !== null) {
				if (this.body.done) return at;
				at = this.body.read(bytes, at);
				if (this.body.error !== null) this.fail(this.body.error);
				continue;
			}
			at = this.scanner.scan(bytes, at);
			if (this.scanner.error !== null) this.fail(this.scanner.error);
			else if (!this.scanner.complete) this.events.onPartialHead?.();
			else {
				const request = readRequest(this.scanner, this.rules);
				this.scanner.reset();
				if (request instanceof Http1Error) this.fail(request);
				else this.begin(request);
			}
		}
		return at;
	}

	private begin(request: ParsedRequest): void {
		this.requests++;
		const stream = new Http1ServerStream(this, request);
		this.current = stream;
		this.writer.reset();
		if (request.bodyBytes === -1) this.body.startChunked();
		else this.body.startLength(request.bodyBytes);
		stream.listener = this.events.onStream(stream);
		stream.listener.onHead(request.head, stream.requestEnded);
	}

	private switchProtocols(stream: Http1ServerStream, head: ResponseHead, end: boolean): void {
		assert(stream.awaitsSwitch, 'only an upgrade or CONNECT that is not answered yet can be switched');
		const upgrade = head.status === 101 ? stream.request.head.upgrade : '';
		const encoded = encodeResponseHead(
			withoutLength(head),
			'none',
			upgrade === '' ? '' : 'upgrade',
			upgrade,
			this.options.date?.() ?? '',
		);
		if (encoded instanceof Http1Error) {
			this.failLocally(stream, encoded);
			return;
		}
		stream.responseBegun = true;
		stream.awaitsSwitch = false;
		stream.closeAfter = true;
		stream.raw = true;
		this.body.startRaw();
		this.writer.begin(encoded, 'raw', 0, end);
		if (end) this.transport.close('flush');
		this.continueReading();
	}

	private finishWhenBothEnded(stream: Http1ServerStream): void {
		if (stream !== this.current || !this.writer.ended) return;
		if (stream.raw && !stream.requestEnded) return;
		this.finish(stream);
	}

	/** The response is written to its end. */
	private finish(stream: Http1ServerStream): void {
		const close = stream.closeAfter || !stream.requestEnded || this.draining;
		if (close) this.close('flush');
		this.leaveCurrent();
		if (!close) this.continueReading();
	}

	private leaveCurrent(): void {
		if (this.current === null) return;
		this.current.over = true;
		this.current = null;
		this.body.stop();
		this.events.onIdle();
	}

	private continueReading(): void {
		if (this.closed) return;
		if (this.processing) return;
		if (this.readAhead.empty) {
			this.updateReading();
			this.closeIfInputEnded();
		} else this.process(this.readAhead.take(), true);
	}

	private closeIfInputEnded(): void {
		if (this.inputEnded && !this.closed && this.current === null) this.close('flush');
	}

	private boundReadAhead(): void {
		if (this.readAhead.bytes > READ_AHEAD_BYTES_MAX) {
			this.fail(new Http1Error('http1_read_ahead_too_large', 'too much sent before the answer', 'downstream'));
			return;
		}
		this.updateReading();
	}

	/** The peer broke the protocol: answered where no response has begun, and closed. */
	private fail(error: Http1Error): void {
		const stream = this.current;
		const status = statusOfHttp1Error(error.code);
		if (stream === null) this.answerBadHead(status, error);
		else this.failRequest(stream, status, error);
		this.events.onProtocolError(error);
	}

	private failRequest(stream: Http1ServerStream, status: number, error: Http1Error): void {
		if (!stream.responseBegun) {
			// What is wrong with the rest of the request is no matter any more.
			stream.closeAfter = true;
			stream.listener.onBadRequest?.(status);
			if (!stream.responseBegun) this.answer(status);
			else if (this.current !== stream) return;
			stream.lose('protocol_error', error);
			this.close('flush');
			return;
		}
		stream.lose('protocol_error', error);
		this.close('reset');
	}

	private answerBadHead(status: number, error: WeftError): void {
		if (this.events.onBadHead === undefined) {
			this.answer(status);
			this.close('flush');
			return;
		}
		const stream = new Http1ServerStream(this, BAD_REQUEST);
		this.current = stream;
		this.writer.reset();
		this.events.onBadHead(stream, status, error);
		if (!stream.responseBegun) this.answer(status);
		this.close('flush');
		this.leaveCurrent();
	}

	refuseHead(status: number, error: WeftError): void {
		if (!this.closed && this.current === null) this.answerBadHead(status, error);
	}

	/** Whoever writes the response broke it. */
	private failLocally(stream: Http1ServerStream, error: Http1Error): void {
		if (!stream.responseBegun) this.answer(500);
		stream.lose('local', error);
		this.close(stream.responseBegun ? 'reset' : 'flush');
	}

	private answer(status: number): void {
		const encoded = encodeResponseHead({ status, headers: [] }, 'length', 'close', '', this.options.date?.() ?? '');
		if (!(encoded instanceof Http1Error)) this.transport.write(encoded);
	}

	private close(how: 'flush' | 'reset'): void {
		if (this.closed) return;
		this.closed = true;
		this.readAhead.clear();
		this.body.stop();
		// So that FIN or RST of a paused connection is still seen.
		if (this.readingPaused) this.transport.resumeReading();
		this.transport.close(how);
	}

	forget(stream: Http1ServerStream): void {
		if (this.current === stream) this.leaveCurrent();
	}
}

/** 1xx, 204 and switching responses have no Content-Length (RFC 9110 §8.6). */
function withoutLength(head: ResponseHead): ResponseHead {
	if (getHeader(head.headers, 'content-length') === undefined) return head;
	const headers: HeaderList = [];
	for (let i = 0; i < head.headers.length; i += 2) {
		if (head.headers[i] !== 'content-length') headers.push(head.headers[i]!, head.headers[i + 1]!);
	}
	return { status: head.status, headers };
}
