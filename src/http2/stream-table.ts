// The streams of a connection: what they send and when, how they end, and how the connection fails.
// What the peer's frames do to them is in connection.ts.

import type { CodecTransport } from '../http/codec.ts';
import type { HeaderList } from '../http/headers.ts';
import type { ResetReason } from '../http/stream.ts';
import type { Clock, Timer } from '../std/clock.ts';
import type { ErrorOrigin, WeftError } from '../std/errors.ts';
import { Budget } from './budget.ts';
import { ClosedStreams, Ended } from './closed-streams.ts';
import { Http2Error, type Http2ErrorCode } from './errors.ts';
import { FrameWriter } from './frame-writer.ts';
import { ErrorCode, WINDOW_BYTES_DEFAULT } from './frames.ts';
import { encodeTrailers } from './head-writer.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import {
	HTTP2_LIMITS_DEFAULT,
	type Http2ClientOptions,
	type Http2Limits,
	type Http2ServerOptions,
	PREMATURE_RESETS,
	QUEUED_BYTES_LIMIT,
	QUEUED_BYTES_MAX,
	SMALL_FRAMES,
	STALL_BYTES_MIN,
	STREAM_HEEDED_BYTES_MAX,
} from './limits.ts';
import { SendRound, type SendRoundOwner } from './send-round.ts';
import type { Http2Stream, StreamOwner } from './stream.ts';

const EMPTY = new Uint8Array(0);

export abstract class StreamTable implements StreamOwner, SendRoundOwner {
	protected readonly limits: Http2Limits;
	protected readonly clock: Clock;
	protected readonly writer: FrameWriter;
	protected readonly encoder = new HpackEncoder();
	protected readonly streams = new Map<number, Http2Stream>();
	protected readonly ended = new ClosedStreams();
	protected readonly out: SendRound;
	/** Streams that began, either way. */
	protected opened = 0;
	protected closed = false;
	/** The peer's INITIAL_WINDOW_SIZE. */
	protected peerInitialWindow = WINDOW_BYTES_DEFAULT;
	/** The peer knows our SETTINGS. */
	protected settingsAcked = false;
	/** Of the connection: bytes that the peer may send. */
	protected receiveWindow: number;
	private creditOwed = 0;
	protected dataFramesOut = 0;
	protected readonly resets: Budget;
	private readonly smallFrames: Budget;
	private stallTimer: Timer | null = null;

	constructor(
		protected readonly transport: CodecTransport,
		options: Http2ServerOptions | Http2ClientOptions,
		/** Whose fault a protocol error is. */
		protected readonly origin: ErrorOrigin,
	) {
		this.limits = { ...HTTP2_LIMITS_DEFAULT, ...definedOf(options) };
		this.clock = options.clock;
		this.writer = new FrameWriter(transport);
		this.out = new SendRound(this.writer, this);
		this.receiveWindow = Math.max(WINDOW_BYTES_DEFAULT, this.limits.connectionWindowBytes);
		this.resets = new Budget(PREMATURE_RESETS, this.clock);
		this.smallFrames = new Budget(SMALL_FRAMES, this.clock);
	}

	get activeStreams(): number {
		return this.streams.size;
	}

	transportDrained(): void {
		if (this.closed) return;
		this.writer.drained();
		this.out.drained();
	}

	transportClosed(error: WeftError | null): void {
		if (!this.closed) this.stop();
		this.loseStreams('connection_lost', error);
	}

	// --- what the codecs add

	/** `streams` became smaller. */
	protected abstract onStreamGone(): void;
	/** The connection fails; nothing is to be begun on it. */
	protected abstract onFailed(error: Http2Error): void;
	/** A stream ends before its time by what the peer did. */
	protected abstract onPrematureReset(): void;
	/** For GOAWAY. */
	protected abstract lastPeerStream(): number;

	// --- from streams

	sendData(stream: Http2Stream, bytes: Uint8Array, end: boolean): boolean {
		if (stream.outBytesLeft !== -1) {
			stream.outBytesLeft -= bytes.length;
			if (stream.outBytesLeft < 0 || (end && stream.outBytesLeft > 0)) {
				this.failLocally(stream, 'http2_body_length_mismatch', 'the body is not as long as its content-length');
				return true;
			}
		}
		if (end) stream.localEnded = true;
		const more = this.out.send(stream, bytes, end);
		if (!more || stream.queue !== null) this.waitsForPeer(stream);
		return more;
	}

	sendTrailers(stream: Http2Stream, trailers: HeaderList): void {
		if (stream.outBytesLeft > 0) {
			this.failLocally(stream, 'http2_body_length_mismatch', 'the body is shorter than its content-length');
			return;
		}
		stream.localEnded = true;
		if (stream.queue === null) this.writeTrailerBlock(stream, trailers);
		else {
			stream.trailersQueued = trailers;
			this.out.schedule(stream);
		}
	}

	resetByUs(stream: Http2Stream, reason: ResetReason): void {
		this.abandon(stream, errorOfReset(reason));
	}

	credit(stream: Http2Stream | null, bytes: number): void {
		if (this.closed) return;
		this.creditOwed += bytes;
		if (this.creditOwed >= this.limits.connectionWindowBytes >> 1) {
			this.writer.windowUpdate(0, this.creditOwed);
			this.receiveWindow += this.creditOwed;
			this.creditOwed = 0;
		}
		if (stream === null || stream.remoteEnded) return;
		stream.creditOwed += bytes;
		if (stream.creditOwed >= this.limits.streamWindowBytes >> 1) {
			this.writer.windowUpdate(stream.id, stream.creditOwed);
			stream.receiveWindow += stream.creditOwed;
			stream.creditOwed = 0;
		}
	}

	// --- from the round of senders

	endQueueSent(stream: Http2Stream): void {
		const trailers = stream.trailersQueued;
		stream.trailersQueued = null;
		if (trailers !== null) this.writeTrailerBlock(stream, trailers);
		else this.endLocal(stream);
	}

	smallFrameSent(): void {
		if (!this.smallFrames.take()) this.calm('http2_small_window_flood', 'windows of a few bytes, again and again');
	}

	dataFramesSent(count: number): void {
		this.dataFramesOut += count;
	}

	// --- for the codecs

	protected register(stream: Http2Stream, streamId: number): void {
		stream.id = streamId;
		stream.sendWindow = this.peerInitialWindow;
		const { streamWindowBytes } = this.limits;
		// Before it knows our SETTINGS a peer may use the default.
		stream.receiveWindow = this.settingsAcked ? streamWindowBytes : Math.max(streamWindowBytes, WINDOW_BYTES_DEFAULT);
		this.streams.set(streamId, stream);
		this.opened++;
	}

	/** The head (or trailers) in `block` ends the stream's incoming side, or says that data follows. */
	protected endRemote(stream: Http2Stream): void {
		stream.remoteEnded = true;
	}

	/** Our END_STREAM is out. */
	protected endLocal(stream: Http2Stream): void {
		stream.endSent = true;
		this.settle(stream);
	}

	/** Takes the stream off when both ends are out. */
	protected settle(stream: Http2Stream): void {
		if (stream.endSent && stream.remoteEnded && this.streams.get(stream.id) === stream) {
			this.remove(stream, Ended.finished);
		}
	}

	protected remove(stream: Http2Stream, how: number): void {
		this.out.forget(stream);
		if (!this.streams.delete(stream.id)) return;
		this.ended.add(stream.id, how);
		this.onStreamGone();
	}

	/** RST_STREAM, and the stream is forgotten. Its listener is not told. */
	protected abandon(stream: Http2Stream, code: number): void {
		stream.over = true;
		if (this.streams.get(stream.id) !== stream) {
			this.out.forget(stream);
			return;
		}
		this.writer.rstStream(stream.id, code);
		this.remove(stream, Ended.resetByUs);
	}

	/** The peer broke the rules on one stream. */
	protected resetForFault(stream: Http2Stream, code: number, reason: Http2ErrorCode, message: string): void {
		const known = this.streams.get(stream.id) === stream;
		if (known) this.writer.rstStream(stream.id, code);
		stream.dropHeld();
		const error = new Http2Error(reason, message, this.origin);
		if (known) this.remove(stream, Ended.resetByUs);
		stream.lose('protocol_error', error);
		this.onPrematureReset();
	}

	protected malformed(stream: Http2Stream, message: string): void {
		this.resetForFault(stream, ErrorCode.protocolError, 'http2_malformed_message', message);
	}

	/** Whoever writes to the stream broke it. */
	protected failLocally(stream: Http2Stream, code: Http2ErrorCode, message: string): void {
		if (stream.over) return;
		const { listener } = stream;
		this.abandon(stream, ErrorCode.internalError);
		stream.dropHeld();
		listener.onReset('local', new Http2Error(code, message, 'local'));
	}

	/** Writes what goes beyond one frame's size too. */
	protected writeHeadBlock(stream: Http2Stream, block: Uint8Array, end: boolean): void {
		this.writer.headers(stream.id, block, end);
		if (this.writer.blocked) this.checkOutbound();
		if (end) {
			stream.localEnded = true;
			this.endLocal(stream);
		}
	}

	protected failProtocol(message: string): void {
		this.fail(ErrorCode.protocolError, 'http2_protocol_error', message);
	}

	/** Abuse. */
	protected calm(code: Http2ErrorCode, message: string): void {
		this.fail(ErrorCode.enhanceYourCalm, code, message);
	}

	/** GOAWAY, and the connection closes; every stream is lost. */
	protected fail(code: number, reason: Http2ErrorCode, message: string): void {
		if (this.closed) return;
		const error = new Http2Error(reason, message, this.origin);
		this.writer.goaway(this.lastPeerStream(), code, message);
		this.stop();
		this.writer.flush();
		this.transport.close('flush');
		this.onFailed(error);
		this.loseStreams(reason === 'http2_keepalive_timeout' ? 'connection_lost' : 'protocol_error', error);
	}

	/** Closes a connection on which nothing is under way. */
	protected finish(): void {
		if (this.closed) return;
		this.stop();
		this.writer.flush();
		this.transport.close('flush');
	}

	protected loseStreams(reason: ResetReason, error: WeftError | null): void {
		for (const stream of [...this.streams.values()]) {
			this.streams.delete(stream.id);
			this.out.forget(stream);
			stream.lose(reason, error);
		}
	}

	/** Nothing more happens on it by itself. */
	protected stop(): void {
		this.closed = true;
		this.stallTimer?.cancel();
	}

	/** After something was written to a transport that is full. */
	protected checkOutbound(): void {
		const { writer, limits } = this;
		if (
			writer.controlFramesWaiting > limits.outboundControlFramesMax ||
			writer.framesWaiting > limits.outboundFramesMax
		) {
			this.calm('http2_outbound_queue_full', 'the peer asks and does not read');
		}
	}

	private writeTrailerBlock(stream: Http2Stream, trailers: HeaderList): void {
		const block = encodeTrailers(this.encoder, trailers);
		if (block === null) {
			this.failLocally(stream, 'http2_bad_header_value', 'a trailer has a character that may not be sent');
			return;
		}
		if (block.length === 0) {
			this.writer.data(stream.id, EMPTY, 0, 0, true);
			this.endLocal(stream);
		} else this.writeHeadBlock(stream, block, true);
	}

	/** Something is queued, or the transport is full. */
	private waitsForPeer(writer: Http2Stream): void {
		if (this.closed) return;
		const { queuedBytes } = this.out;
		const heeds = writer.queue === null || writer.queue.length <= STREAM_HEEDED_BYTES_MAX;
		if (queuedBytes > QUEUED_BYTES_MAX && (!heeds || queuedBytes > QUEUED_BYTES_LIMIT)) {
			this.calm('http2_outbound_queue_full', 'too much waits for a peer that does not take it');
			return;
		}
		const { stallTimeoutMs } = this.limits;
		if (stallTimeoutMs === 0 || this.stallTimer?.active === true || queuedBytes === 0) return;
		this.stallTimer ??= this.clock.after(stallTimeoutMs, () => this.checkStalled());
		this.stallTimer.restart(stallTimeoutMs);
		for (const stream of this.streams.values()) stream.sentSinceCheck = 0;
	}

	private checkStalled(): void {
		let waiting = false;
		for (const stream of [...this.streams.values()]) {
			if (stream.queue === null) continue;
			if (stream.sentSinceCheck < STALL_BYTES_MIN) {
				const error = new Http2Error('http2_stalled', 'the peer does not take what a stream has for it', this.origin);
				this.writer.rstStream(stream.id, ErrorCode.cancel);
				this.remove(stream, Ended.resetByUs);
				stream.lose('local', error);
				this.onPrematureReset();
				if (this.closed) return;
			} else waiting = true;
			stream.sentSinceCheck = 0;
		}
		if (waiting) this.stallTimer!.restart(this.limits.stallTimeoutMs);
	}
}

function errorOfReset(reason: ResetReason): number {
	switch (reason) {
		case 'cancelled':
			return ErrorCode.cancel;
		case 'refused':
			return ErrorCode.refusedStream;
		case 'protocol_error':
			return ErrorCode.protocolError;
		default:
			return ErrorCode.internalError;
	}
}

/** Options that are given as undefined leave the default. */
function definedOf(options: Partial<Http2Limits>): Partial<Http2Limits> {
	return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
