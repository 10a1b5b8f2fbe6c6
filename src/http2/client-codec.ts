// The client's side of an HTTP/2 connection: requests out, on as many streams as the server and we
// ourselves allow, and their responses in.
//
//   open ──limit of streams──▶ full ──one ended──▶ open
//     └──GOAWAY, startDrain, requestsMax──▶ unavailable ──last stream ended──▶ closed

import type { ClientCodec, ClientCodecEvents, CodecTransport } from '../http/codec.ts';
import { parseContentLength } from '../http/field-rules.ts';
import { getHeader, hasHeader, removeHeader } from '../http/headers.ts';
import type { ClientStream, RequestHead, ResetReason, ResponseListener } from '../http/stream.ts';
import { assert } from '../std/assert.ts';
import type { WeftError } from '../std/errors.ts';
import { type ClientStreamOwner, Http2ClientStream } from './client-stream.ts';
import { Http2Connection } from './connection.ts';
import { DataQueue } from './data-queue.ts';
import { Http2Error } from './errors.ts';
import { ErrorCode, errorName, Setting, STREAM_ID_MAX } from './frames.ts';
import { encodeRequestHead } from './head-writer.ts';
import { type Http2ClientOptions, INFORMATIONAL_RESPONSES_MAX, STREAMS_BEFORE_SETTINGS_MAX } from './limits.ts';
import { readResponse } from './response-head.ts';
import type { Http2Stream } from './stream.ts';
import { webSocketAccept } from './websocket.ts';

interface WaitingUpgrade {
	readonly stream: Http2ClientStream;
	readonly head: RequestHead;
	readonly end: boolean;
}

export class Http2ClientCodec extends Http2Connection implements ClientCodec, ClientStreamOwner {
	private nextStreamId = 1;
	/** Given out, and without a head yet. */
	private readonly reserved = new Set<Http2ClientStream>();
	/** Upgrades wait for the server's SETTINGS: it may not have them. */
	private upgrades: WaitingUpgrade[] = [];
	private requests = 0;
	private readonly requestsMax: number;
	private readonly streamsBeforeSettingsMax: number;
	private unavailable = false;
	/** `available` was false for want of streams. */
	private full = false;

	constructor(
		transport: CodecTransport,
		private readonly events: ClientCodecEvents,
		options: Http2ClientOptions,
	) {
		super(transport, options, 'upstream', [[Setting.enablePush, 0]]);
		this.requestsMax = options.requestsMax ?? 0;
		this.streamsBeforeSettingsMax = options.streamsBeforeSettingsMax ?? STREAMS_BEFORE_SETTINGS_MAX;
		// Then the server's SETTINGS make it available.
		this.full = this.streamsBeforeSettingsMax === 0;
	}

	get available(): boolean {
		if (this.unavailable || this.closed) return false;
		return this.activeStreams < this.streamsMax;
	}

	override get activeStreams(): number {
		return this.streams.size + this.reserved.size;
	}

	/** Streams that may be open at once, as far as both sides have said. */
	get streamsMax(): number {
		const peer = this.peerSettingsSeen ? this.peerStreamsMax : this.streamsBeforeSettingsMax;
		return Math.min(this.limits.concurrentStreamsMax, peer);
	}

	/** The server's SETTINGS have come: `streamsMax` is what it says. */
	get settingsSeen(): boolean {
		return this.peerSettingsSeen;
	}

	newStream(listener: ResponseListener): ClientStream {
		assert(this.available, 'a stream begins on an available connection');
		const stream = new Http2ClientStream(this, listener);
		this.reserved.add(stream);
		this.requests++;
		if (this.requestsMax > 0 && this.requests >= this.requestsMax) this.becomeUnavailable(null);
		if (!this.available) this.full = true;
		return stream;
	}

	receiveEnd(): void {
		if (this.closed) return;
		const error = new Http2Error('http2_closed', 'the server closed', 'upstream');
		this.finish();
		this.becomeUnavailable(null);
		this.loseAll('connection_lost', error);
	}

	override transportClosed(error: WeftError | null): void {
		const cause = error ?? new Http2Error('http2_closed', 'the connection closed', 'upstream');
		super.transportClosed(cause);
		this.becomeUnavailable(error);
		this.loseReserved(cause);
	}

	startDrain(): void {
		this.becomeUnavailable(null);
		if (this.activeStreams === 0) this.leave();
	}

	// ClientStreamOwner

	writeHead(stream: Http2ClientStream, head: RequestHead, end: boolean): void {
		assert(!stream.headWritten, 'a request has one head');
		if (this.closed) {
			this.refuseToSend(stream, 'the connection is closed');
			return;
		}
		if (head.upgrade !== '' && !this.peerSettingsSeen) {
			this.upgrades.push({ stream, head, end });
			return;
		}
		if (head.upgrade !== '' && !this.peerAllowsConnect) {
			this.release(stream);
			stream.lose(
				'local',
				new Http2Error('http2_no_extended_connect', 'the server has no extended CONNECT', 'upstream'),
			);
			this.onStreamGone();
			return;
		}
		if (this.nextStreamId > STREAM_ID_MAX) {
			this.becomeUnavailable(null);
			this.refuseToSend(stream, 'the numbers of streams are used up');
			return;
		}
		const length = getHeader(head.headers, 'content-length');
		const tunnel = head.upgrade !== '' || head.method === 'CONNECT';
		const declared = length === undefined || tunnel ? -1 : parseContentLength(length);
		const block = encodeRequestHead(this.encoder, head);
		if (block === null || (end && declared > 0)) {
			this.release(stream);
			const error =
				block === null
					? new Http2Error('http2_bad_header_value', 'a head has a character that may not be sent', 'local')
					: new Http2Error('http2_body_length_mismatch', 'the body is shorter than its content-length', 'local');
			stream.lose('local', error);
			this.onStreamGone();
			return;
		}
		stream.method = head.method;
		stream.upgrade = head.upgrade;
		if (head.upgrade === 'websocket') stream.webSocketKey = getHeader(head.headers, 'sec-websocket-key') ?? '';
		stream.headWritten = true;
		stream.outBytesLeft = declared;
		this.reserved.delete(stream);
		this.register(stream, this.nextStreamId);
		this.nextStreamId += 2;
		this.keepAlive?.beforeStream();
		// The end of a request that asks for a tunnel ends the tunnel, later.
		this.writeHeadBlock(stream, block, end && !tunnel);
	}

	override sendData(stream: Http2Stream, bytes: Uint8Array, end: boolean): boolean {
		if (stream.id !== 0) return super.sendData(stream, bytes, end);
		// Its head waits for the server's SETTINGS.
		stream.queue ??= new DataQueue();
		stream.queue.append(bytes);
		this.out.queuedBytes += bytes.length;
		stream.localEnded = end;
		stream.drainWanted = true;
		return false;
	}

	override resetByUs(stream: Http2Stream, reason: ResetReason): void {
		if (stream.id !== 0) {
			super.resetByUs(stream, reason);
			return;
		}
		this.release(stream as Http2ClientStream);
		this.onStreamGone();
	}

	// --- what the connection asks

	protected onHeaders(streamId: number, end: boolean, block: Uint8Array, from: number, to: number): void {
		if (!this.decodeBlock(block, from, to)) return;
		const stream = this.streams.get(streamId) as Http2ClientStream | undefined;
		if (stream === undefined || stream.remoteEnded) this.lateFrame(streamId, stream, 'HEADERS');
		else if (stream.responseBegun) this.receiveTrailers(stream, end);
		else this.receiveHead(stream, end);
	}

	protected onSelfDependent(streamId: number): void {
		const stream = this.streams.get(streamId);
		if (stream !== undefined) this.malformed(stream, 'a stream that depends on itself');
	}

	protected override dataAllowed(stream: Http2Stream): boolean {
		return (stream as Http2ClientStream).responseBegun;
	}

	protected wasOpened(streamId: number): boolean {
		return (streamId & 1) === 1 && streamId < this.nextStreamId;
	}

	/** Servers open none: push is refused. */
	protected lastPeerStream(): number {
		return 0;
	}

	protected onGoaway(lastStreamId: number, code: number, debug: string): void {
		const failed = code !== ErrorCode.noError;
		const what = `GOAWAY: ${errorName(code)}${debug === '' ? '' : `, ${debug}`}`;
		this.becomeUnavailable(failed ? new Http2Error('http2_goaway', what, 'upstream') : null);
		const refused = new Http2Error('http2_not_sent', `not processed by the server: ${what}`, 'upstream', true);
		for (const stream of [...this.streams.values()]) {
			if (stream.id <= lastStreamId) continue;
			this.streams.delete(stream.id);
			this.out.forget(stream);
			stream.lose('refused', refused);
		}
		this.loseReserved(refused);
		if (this.activeStreams === 0) this.leave();
	}

	protected onSettings(): void {
		const upgrades = this.upgrades;
		this.upgrades = [];
		for (const { stream, head, end } of upgrades) {
			if (stream.over) continue;
			this.writeHead(stream, head, end);
			if (!stream.over && stream.queue !== null) this.out.schedule(stream);
		}
		this.offerWhenAvailable();
	}

	protected onDrainPing(): void {}

	protected onStreamGone(): void {
		if (this.unavailable) {
			if (this.activeStreams === 0) this.leave();
		} else this.offerWhenAvailable();
	}

	protected onFailed(error: Http2Error): void {
		this.becomeUnavailable(error);
		this.loseReserved(error);
	}

	protected onPrematureReset(): void {}

	protected override onPeerReset(stream: Http2Stream, code: number): void {
		// The server has answered; it only wants no more of the request (RFC 9113 §8.1).
		if (stream.remoteEnded) {
			stream.localEnded = true;
			stream.endSent = true;
		} else super.onPeerReset(stream, code);
	}

	// --- inside

	private receiveHead(stream: Http2ClientStream, end: boolean): void {
		const { fields } = this.decoder;
		const response = fields.tooLarge ? 'headers are too large' : readResponse(fields);
		if (typeof response === 'string') {
			const code = fields.tooLarge ? 'http2_headers_too_large' : 'http2_malformed_message';
			this.resetForFault(stream, ErrorCode.protocolError, code, response);
			return;
		}
		const { head } = response;
		if (head.status < 200) {
			if (end || ++stream.informational > INFORMATIONAL_RESPONSES_MAX) {
				this.malformed(stream, end ? 'an informational response that ends' : 'too many informational responses');
			} else stream.listener.onHead(head, false);
			return;
		}
		stream.responseBegun = true;
		const switched = head.status < 300 && (stream.upgrade !== '' || stream.method === 'CONNECT');
		const empty = stream.method === 'HEAD' || head.status === 204 || head.status === 304;
		if (!switched) stream.inBytesLeft = empty ? 0 : response.contentLength;
		// A tunnel has no length (RFC 9110 §9.3.6).
		else removeHeader(head.headers, 'content-length');
		if (end && stream.inBytesLeft > 0) {
			this.malformed(stream, 'content-length does not agree with the data');
			return;
		}
		if (switched && stream.upgrade !== '') {
			head.status = 101;
			if (stream.webSocketKey !== '' && !hasHeader(head.headers, 'sec-websocket-accept')) {
				head.headers.push('sec-websocket-accept', webSocketAccept(stream.webSocketKey));
			}
		}
		if (end) this.endRemote(stream);
		if (end && stream.endSent) stream.over = true;
		stream.listener.onHead(head, end);
		if (end) this.settle(stream);
	}

	/** A stream that has not begun, with what was written to it. */
	private release(stream: Http2ClientStream): void {
		this.out.forget(stream);
		this.reserved.delete(stream);
	}

	private refuseToSend(stream: Http2ClientStream, why: string): void {
		this.release(stream);
		stream.lose('refused', new Http2Error('http2_not_sent', why, 'upstream', true));
	}

	private loseReserved(cause: WeftError): void {
		if (this.reserved.size === 0) return;
		const error = new Http2Error('http2_not_sent', cause.message, 'upstream', true);
		for (const stream of [...this.reserved]) {
			this.reserved.delete(stream);
			stream.lose('refused', error);
		}
	}

	private loseAll(reason: ResetReason, error: Http2Error): void {
		this.loseStreams(reason, error);
		this.loseReserved(error);
	}

	private offerWhenAvailable(): void {
		if (!this.full || !this.available) return;
		this.full = false;
		this.events.onAvailable();
	}

	private becomeUnavailable(error: WeftError | null): void {
		if (this.unavailable) return;
		this.unavailable = true;
		this.events.onUnavailable(error);
	}

	private leave(): void {
		if (this.closed) return;
		this.writer.goaway(0, ErrorCode.noError, '');
		this.finish();
	}
}
