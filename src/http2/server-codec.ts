// The server's side of an HTTP/2 connection: requests in, on as many streams as we allow, and their
// responses out.
//
//   preface ─▶ open ──startDrain──▶ GOAWAY (none refused) ──PING answered──▶ GOAWAY (last one) ──idle──▶ closed

import type { CodecTransport, ServerCodec, ServerCodecEvents } from '../http/codec.ts';
import { parseContentLength } from '../http/field-rules.ts';
import { getHeader, type HeaderList, hasHeader } from '../http/headers.ts';
import type { RequestHead, ResponseHead } from '../http/stream.ts';
import { assert } from '../std/assert.ts';
import { BlockCache } from './block-cache.ts';
import { Ended } from './closed-streams.ts';
import { Http2Connection } from './connection.ts';
import { PING_DRAIN } from './control-frames.ts';
import { Http2Error } from './errors.ts';
import { CLIENT_PREFACE, ErrorCode, Setting, STREAM_ID_MAX } from './frames.ts';
import { encodeResponseHead } from './head-writer.ts';
import { DRAIN_PING_TIMEOUT_MS, HTTP2_LIMITS_DEFAULT, type Http2ServerOptions } from './limits.ts';
import { type ParsedRequest, readRequest } from './request-head.ts';
import { Http2ServerStream, type ServerStreamOwner } from './server-stream.ts';
import type { Http2Stream } from './stream.ts';
import { newWebSocketKey } from './websocket.ts';

export class Http2ServerCodec extends Http2Connection implements ServerCodec, ServerStreamOwner {
	private readonly known = new BlockCache<ParsedRequest>();
	private readonly allowConnect: boolean;
	private readonly requestsMax: number;
	private readonly streamsMax: number;
	private prefaceBytes = 0;
	private lastStreamId = 0;
	private draining = false;
	/** The second GOAWAY is out: later streams are refused. */
	private finalGoaway = false;
	private peerLeaves = false;
	/** And no stream has begun since. */
	private partialHeadTold = false;

	constructor(
		transport: CodecTransport,
		private readonly events: ServerCodecEvents,
		private readonly options: Http2ServerOptions,
	) {
		const streamsMax = options.concurrentStreamsMax ?? HTTP2_LIMITS_DEFAULT.concurrentStreamsMax;
		const allowConnect = options.allowConnect ?? false;
		super(transport, options, 'downstream', [
			[Setting.maxConcurrentStreams, streamsMax],
			...(allowConnect ? [[Setting.enableConnectProtocol, 1] as const] : []),
		]);
		this.streamsMax = streamsMax;
		this.allowConnect = allowConnect;
		this.requestsMax = options.requestsMax ?? 0;
	}

	override receive(bytes: Uint8Array): void {
		if (this.prefaceBytes === CLIENT_PREFACE.length) {
			super.receive(bytes);
			// Trailers are of a stream that is there, and has limits of its own.
			if (this.openBlock > this.lastStreamId) this.tellPartialHead();
			else if (this.partialHeadTold) this.tellHeadDropped();
			return;
		}
		if (this.closed) return;
		let at = 0;
		while (at < bytes.length && this.prefaceBytes < CLIENT_PREFACE.length) {
			if (bytes[at++] !== CLIENT_PREFACE[this.prefaceBytes++]) {
				this.fail(ErrorCode.protocolError, 'http2_bad_preface', 'this is not the preface of HTTP/2');
				return;
			}
		}
		if (at < bytes.length) super.receive(bytes.subarray(at));
	}

	receiveEnd(): void {
		if (this.closed) return;
		this.finish();
		this.loseStreams('connection_lost', new Http2Error('http2_closed', 'the client closed', 'downstream'));
		this.events.onIdle();
	}

	refuseHead(): void {
		this.calm('http2_slow_head', 'a head that does not come to its end');
	}

	startDrain(): void {
		if (this.draining || this.closed) return;
		this.draining = true;
		// Streams that are on their way are still taken (RFC 9113 §6.8).
		this.writer.goaway(STREAM_ID_MAX, ErrorCode.noError, '');
		this.writer.ping(false, PING_DRAIN, 0);
		this.options.clock.after(DRAIN_PING_TIMEOUT_MS, () => this.onDrainPing());
	}

	// ServerStreamOwner

	writeHead(stream: Http2ServerStream, head: ResponseHead, end: boolean): void {
		const { status } = head;
		if (status < 200 && status !== 101) {
			const block = encodeResponseHead(this.encoder, status, without(head.headers, 'content-length'), '');
			if (block === null) this.failHead(stream);
			else this.writer.headers(stream.id, block, false);
			return;
		}
		assert(!stream.headWritten, 'a response has one final head');
		let { headers } = head;
		let statusOut = status;
		let declared = -1;
		if (status === 101) {
			if (!stream.extendedConnect) {
				this.failLocally(stream, 'http2_bad_header_value', 'status 101 without an upgrade');
				return;
			}
			statusOut = 200;
			headers = without(headers, 'content-length');
			if (stream.keyIsOurs) headers = without(headers, 'sec-websocket-accept');
		} else if (stream.method === 'CONNECT' && status < 300) {
			// A tunnel, which has no length (RFC 9110 §9.3.6).
			headers = without(headers, 'content-length');
		} else {
			const text = getHeader(headers, 'content-length');
			if (text !== undefined) declared = parseContentLength(text);
			stream.dropsContent = stream.method === 'HEAD' || status === 204 || status === 304;
		}
		const block = encodeResponseHead(this.encoder, statusOut, headers, this.options.date?.() ?? '');
		if (block === null) {
			this.failHead(stream);
			return;
		}
		if (!stream.dropsContent) {
			stream.outBytesLeft = declared;
			if (end && declared > 0) {
				this.failLocally(stream, 'http2_body_length_mismatch', 'the body is shorter than its content-length');
				return;
			}
		}
		stream.headWritten = true;
		this.writeHeadBlock(stream, block, end);
	}

	// --- what the connection asks

	protected onHeaders(streamId: number, end: boolean, block: Uint8Array, from: number, to: number): void {
		if ((streamId & 1) === 0) {
			this.failProtocol('a stream of a client has an odd number');
			return;
		}
		if (streamId > this.lastStreamId) {
			this.lastStreamId = streamId;
			this.begin(streamId, end, block, from, to);
			return;
		}
		const stream = this.streams.get(streamId);
		if (!this.decodeBlock(block, from, to)) return;
		if (stream !== undefined && !stream.remoteEnded) this.receiveTrailers(stream, end);
		else if (stream === undefined && this.ended.find(streamId) === Ended.unknown) {
			this.failProtocol('a stream with a number below the last');
		} else this.lateFrame(streamId, stream, 'HEADERS');
	}

	protected onSelfDependent(streamId: number): void {
		this.lastStreamId = Math.max(this.lastStreamId, streamId);
		const stream = this.streams.get(streamId);
		if (stream !== undefined) this.malformed(stream, 'a stream that depends on itself');
		else this.onPrematureReset();
	}

	protected wasOpened(streamId: number): boolean {
		return (streamId & 1) === 1 && streamId <= this.lastStreamId;
	}

	protected lastPeerStream(): number {
		return this.lastStreamId;
	}

	protected onGoaway(): void {
		this.peerLeaves = true;
		if (this.streams.size === 0) this.finish();
	}

	protected onSettings(): void {}

	protected onDrainPing(): void {
		if (!this.draining || this.finalGoaway || this.closed) return;
		this.finalGoaway = true;
		this.writer.goaway(this.lastStreamId, ErrorCode.noError, '');
		if (this.streams.size === 0) this.finish();
	}

	protected onStreamGone(): void {
		if (this.streams.size > 0) return;
		this.events.onIdle();
		if (this.finalGoaway || this.peerLeaves) this.finish();
	}

	protected onFailed(error: Http2Error): void {
		this.events.onProtocolError(error);
	}

	protected onPrematureReset(): void {
		if (!this.resets.take()) this.calm('http2_reset_flood', 'too many streams that end before their answer');
	}

	protected override onPeerReset(stream: Http2Stream, code: number): void {
		super.onPeerReset(stream, code);
		if (!stream.endSent && !this.closed) this.onPrematureReset();
	}

	/** Our answer is complete: what is left of the request is not wanted (RFC 9113 §8.1). */
	protected override endLocal(stream: Http2Stream): void {
		super.endLocal(stream);
		if (!stream.remoteEnded) {
			stream.dropHeld();
			this.abandon(stream, ErrorCode.noError);
		}
	}

	// --- inside

	private tellPartialHead(): void {
		this.partialHeadTold = true;
		this.events.onPartialHead?.();
	}

	private tellHeadDropped(): void {
		this.partialHeadTold = false;
		this.events.onHeadDropped?.();
	}

	private begin(streamId: number, end: boolean, block: Uint8Array, from: number, to: number): void {
		const { decoder } = this;
		const { version } = decoder;
		let request: ParsedRequest | string | null = this.known.find(block, from, to, version);
		const cached = request !== null;
		if (request === null) {
			if (!this.decodeBlock(block, from, to)) return;
			if (decoder.fields.tooLarge) {
				this.answer(streamId, end, 431);
				return;
			}
			request = readRequest(decoder.fields, this.allowConnect);
			if (typeof request !== 'string' && decoder.version === version) {
				this.known.keep(block, from, to, version, request);
			}
		}
		if (this.finalGoaway || this.streams.size >= this.streamsMax) {
			this.refuse(streamId, ErrorCode.refusedStream);
			return;
		}
		if (typeof request === 'string') {
			this.refuse(streamId, ErrorCode.protocolError);
			return;
		}
		if (request.head.authority === '') {
			this.answer(streamId, end, 400);
			return;
		}
		if (end && request.contentLength > 0) {
			this.refuse(streamId, ErrorCode.protocolError);
			return;
		}
		// What is kept in the cache must stay as it is: heads are changed by whoever gets them.
		this.open(streamId, request, cached || decoder.version === version ? copyOf(request.head) : request.head, end);
	}

	private open(streamId: number, request: ParsedRequest, head: RequestHead, end: boolean): void {
		const { extendedConnect } = request;
		const needsKey = extendedConnect && head.upgrade === 'websocket' && !hasHeader(head.headers, 'sec-websocket-key');
		if (needsKey) head.headers.push('sec-websocket-key', newWebSocketKey());
		const stream = new Http2ServerStream(this, head.method, extendedConnect, needsKey);
		this.register(stream, streamId);
		stream.inBytesLeft = request.contentLength;
		if (end) this.endRemote(stream);
		this.partialHeadTold = false;
		stream.listener = this.events.onStream(stream);
		stream.listener.onHead(head, end);
		if (this.requestsMax > 0 && this.opened >= this.requestsMax) this.startDrain();
	}

	/** A stream that nobody hears of. */
	private refuse(streamId: number, code: number): void {
		this.writer.rstStream(streamId, code);
		this.ended.add(streamId, Ended.resetByUs);
		this.onPrematureReset();
	}

	private answer(streamId: number, end: boolean, status: number): void {
		const block = encodeResponseHead(this.encoder, status, ['content-length', '0'], this.options.date?.() ?? '');
		assert(block !== null, 'our own answer can be sent');
		this.writer.headers(streamId, block, true);
		if (!end) this.writer.rstStream(streamId, ErrorCode.noError);
		this.ended.add(streamId, end ? Ended.finished : Ended.resetByUs);
		this.onPrematureReset();
	}

	private failHead(stream: Http2ServerStream): void {
		this.failLocally(stream, 'http2_bad_header_value', 'a header has a character that may not be sent');
	}
}

function copyOf(head: RequestHead): RequestHead {
	const { method, scheme, authority, path, headers, upgrade } = head;
	return { method, scheme, authority, path, headers: headers.slice(), upgrade };
}

function without(headers: HeaderList, name: string): HeaderList {
	if (!hasHeader(headers, name)) return headers;
	const kept: HeaderList = [];
	for (let i = 0; i < headers.length; i += 2) if (headers[i] !== name) kept.push(headers[i]!, headers[i + 1]!);
	return kept;
}
