// What both sides of an HTTP/2 connection have in common: the frames that make up messages. The
// server's and the client's codec add what heads mean. Synchronous; knows no socket.
//
//   opening ──peer's SETTINGS──▶ open ──startDrain, GOAWAY──▶ draining ──last stream gone──▶ closed
//      └────────────── protocol error, timeout, abuse: GOAWAY ────────────────────────────▶ closed

import type { CodecTransport } from '../http/codec.ts';
import type { ErrorOrigin } from '../std/errors.ts';
import { Ended } from './closed-streams.ts';
import { ControlFrames, uint32 } from './control-frames.ts';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import { beginRead, endRead } from './frame-writer.ts';
import { ErrorCode, Flag, FrameType } from './frames.ts';
import { HeaderBlock } from './header-block.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import type { Http2ClientOptions, Http2ServerOptions } from './limits.ts';
import { readTrailers } from './request-head.ts';
import type { Http2Stream } from './stream.ts';

const EMPTY = new Uint8Array(0);

export abstract class Http2Connection extends ControlFrames implements FrameSink {
	protected readonly decoder: HpackDecoder;
	private readonly reader: FrameReader;
	private readonly block: HeaderBlock;
	/** Of the DATA frame that is being read; null: nobody wants it. */
	private dataStream: Http2Stream | null = null;
	private dataEnd = false;
	/** Of its data, without padding as far as that is known. */
	private dataBytes = 0;
	private emptyFrames = 0;

	constructor(
		transport: CodecTransport,
		options: Http2ServerOptions | Http2ClientOptions,
		origin: ErrorOrigin,
		settings: readonly (readonly [number, number])[],
	) {
		super(transport, options, origin, settings);
		const { limits } = this;
		this.reader = new FrameReader(this);
		this.block = new HeaderBlock(limits.headerBytesMax);
		this.decoder = new HpackDecoder(limits.headerTableBytes, limits.headerBytesMax, limits.headersMax);
	}

	get readingStopped(): boolean {
		return this.closed;
	}

	receive(bytes: Uint8Array): void {
		if (this.closed || bytes.length === 0) return;
		this.keepAlive?.heard();
		beginRead();
		try {
			this.reader.read(bytes, 0);
			// Windows often come in pairs: what they let out leaves at once.
			if (this.pumpWanted && !this.closed) {
				this.pumpWanted = false;
				this.out.pump();
			}
		} finally {
			endRead();
		}
	}

	/** A whole header block of `streamId`. It must be decoded, whatever becomes of it. */
	protected abstract onHeaders(streamId: number, end: boolean, block: Uint8Array, from: number, to: number): void;
	/** A stream that depends on itself was refused. */
	protected abstract onSelfDependent(streamId: number): void;

	// --- FrameSink

	onDataFrame(streamId: number, flags: number, length: number): boolean {
		if (!this.checkFrame(FrameType.data, streamId)) return false;
		this.receiveWindow -= length;
		if (this.receiveWindow < 0) {
			this.fail(ErrorCode.flowControlError, 'http2_flow_control', 'more data than the connection window');
			return false;
		}
		const end = (flags & Flag.endStream) !== 0;
		if (length === 0 && !end) {
			if (!this.countEmptyFrame()) return false;
		} else this.emptyFrames = 0;
		const stream = this.streams.get(streamId);
		this.dataEnd = end;
		this.dataStream = null;
		if (stream === undefined || stream.remoteEnded) return this.lateFrame(streamId, stream, 'DATA');
		stream.receiveWindow -= length;
		if (stream.receiveWindow < 0) {
			this.resetForFault(stream, ErrorCode.flowControlError, 'http2_flow_control', 'more data than the stream window');
			return true;
		}
		if (!this.dataAllowed(stream)) {
			this.malformed(stream, 'data before the head, or where none may be');
			return true;
		}
		this.dataStream = stream;
		this.dataBytes = length;
		if ((flags & Flag.padded) === 0) this.checkContentLength(stream);
		return true;
	}

	onDataPart(bytes: Uint8Array, last: boolean, padding: number): void {
		if (padding > 0 && this.dataStream !== null) {
			this.credit(this.dataStream, padding);
			this.dataBytes -= padding;
			this.checkContentLength(this.dataStream);
		} else if (padding > 0) this.credit(null, padding);
		const stream = this.dataStream;
		if (stream === null || stream.over) {
			if (bytes.length > 0) this.credit(null, bytes.length);
			if (last && stream !== null && this.dataEnd) this.endRemote(stream);
			return;
		}
		const end = last && this.dataEnd;
		if (stream.inBytesLeft !== -1) stream.inBytesLeft -= bytes.length;
		if (end) this.endRemote(stream);
		if (bytes.length > 0 || end) stream.receiveData(bytes, end);
		if (end) this.settle(stream);
	}

	onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (!this.checkFrame(type, streamId)) return;
		if (type === FrameType.headers) this.onHeadersFrame(flags, streamId, bytes, from, to);
		else if (type === FrameType.continuation) this.onContinuation(flags, streamId, bytes, from, to);
		else this.onControlFrame(type, flags, streamId, bytes, from, to);
		if (this.writer.blocked && !this.closed) this.checkOutbound();
	}

	/** The stream of a header block that has begun and is not complete; 0: there is none. */
	protected get openBlock(): number {
		return this.block.streamId;
	}

	onFrameTooLarge(): void {
		this.fail(ErrorCode.frameSizeError, 'http2_bad_frame_size', 'a frame larger than SETTINGS_MAX_FRAME_SIZE');
	}

	onBadPadding(): void {
		this.failProtocol('more padding than payload');
	}

	// --- for the codecs

	protected decodeBlock(block: Uint8Array, from: number, to: number): boolean {
		if (this.decoder.decode(block, from, to)) return true;
		this.fail(ErrorCode.compressionError, 'http2_compression', 'a header block that cannot be decoded');
		return false;
	}

	/** The fields of `decoder` are the trailers of an open stream. */
	protected receiveTrailers(stream: Http2Stream, end: boolean): void {
		if (!end) {
			this.malformed(stream, 'a second head that does not end the stream');
			return;
		}
		const { fields } = this.decoder;
		const trailers = fields.tooLarge ? 'trailers are too large' : readTrailers(fields);
		if (typeof trailers === 'string') {
			this.malformed(stream, trailers);
			return;
		}
		if (stream.inBytesLeft > 0) {
			this.malformed(stream, 'content-length does not agree with the data');
			return;
		}
		this.endRemote(stream);
		if (!stream.over) {
			if (trailers.length === 0) stream.receiveData(EMPTY, true);
			else stream.receiveTrailers(trailers);
		}
		this.settle(stream);
	}

	/** HEADERS or DATA for a stream whose incoming side has ended. True: go on, ignoring it. */
	protected lateFrame(streamId: number, stream: Http2Stream | undefined, what: string): boolean {
		if (stream !== undefined) {
			this.resetForFault(stream, ErrorCode.streamClosed, 'http2_stream_closed', `${what} after the end of the stream`);
			return true;
		}
		if (!this.wasOpened(streamId)) {
			this.failProtocol(`${what} on a stream that is idle`);
			return false;
		}
		if (this.ended.find(streamId) === Ended.resetByUs) return true;
		this.fail(ErrorCode.streamClosed, 'http2_stream_closed', `${what} on a closed stream`);
		return false;
	}

	protected dataAllowed(_stream: Http2Stream): boolean {
		return true;
	}

	// --- inside

	/** A frame whose data does not fit the declared length is refused before any of it is heard. */
	private checkContentLength(stream: Http2Stream): void {
		const left = stream.inBytesLeft;
		if (left === -1 || stream.over) return;
		if (this.dataBytes <= left && !(this.dataEnd && this.dataBytes < left)) return;
		this.dataStream = null;
		this.malformed(stream, 'content-length does not agree with the data');
	}

	/** What may come at all; the first frame is SETTINGS, and a header block is not interrupted. */
	private checkFrame(type: number, streamId: number): boolean {
		if (this.block.streamId !== 0) {
			if (type === FrameType.continuation && streamId === this.block.streamId) return true;
			this.failProtocol('a header block was interrupted');
			return false;
		}
		if (!this.peerSettingsSeen && type !== FrameType.settings) {
			this.fail(ErrorCode.protocolError, 'http2_bad_preface', 'the first frame is not SETTINGS');
			return false;
		}
		if (type === FrameType.data && streamId === 0) {
			this.failProtocol('DATA on stream 0');
			return false;
		}
		return true;
	}

	private onHeadersFrame(flags: number, streamId: number, bytes: Uint8Array, start: number, stop: number): void {
		let from = start;
		let to = stop;
		if (streamId === 0) {
			this.failProtocol('HEADERS on stream 0');
			return;
		}
		if ((flags & Flag.padded) !== 0) {
			if (from === to) {
				this.failSize('HEADERS');
				return;
			}
			to -= bytes[from]!;
			from++;
		}
		let selfDependent = false;
		if ((flags & Flag.priority) !== 0) {
			if (to - from < 5) {
				if (stop - start < 5) this.failSize('HEADERS');
				else this.onBadPadding();
				return;
			}
			selfDependent = (uint32(bytes, from) & 0x7fffffff) === streamId;
			from += 5;
		}
		if (from > to) {
			this.onBadPadding();
			return;
		}
		const end = (flags & Flag.endStream) !== 0;
		if (from === to && !end) {
			if (!this.countEmptyFrame()) return;
		} else this.emptyFrames = 0;
		if ((flags & Flag.endHeaders) === 0) {
			if (!this.block.begin(streamId, end, selfDependent, bytes, from, to)) this.blockTooLarge();
			return;
		}
		this.blockComplete(streamId, end, selfDependent, bytes, from, to);
	}

	private onContinuation(flags: number, streamId: number, bytes: Uint8Array, from: number, to: number): void {
		const { block } = this;
		if (block.streamId === 0) {
			this.failProtocol('CONTINUATION without HEADERS');
			return;
		}
		if (from === to && (flags & Flag.endHeaders) === 0 && !this.countEmptyFrame()) return;
		if (!block.append(bytes, from, to)) {
			if (block.tooMany) this.calm('http2_continuation_flood', 'too many CONTINUATION frames');
			else this.blockTooLarge();
			return;
		}
		if ((flags & Flag.endHeaders) === 0) return;
		const whole = block.take();
		this.blockComplete(streamId, block.end, block.selfDependent, whole, 0, whole.length);
	}

	private blockComplete(
		streamId: number,
		end: boolean,
		selfDependent: boolean,
		block: Uint8Array,
		from: number,
		to: number,
	): void {
		if (selfDependent) {
			// RFC 7540 §5.3.1; the block must be decoded all the same.
			if (!this.decodeBlock(block, from, to)) return;
			this.writer.rstStream(streamId, ErrorCode.protocolError);
			this.ended.add(streamId, Ended.resetByUs);
			this.onSelfDependent(streamId);
			return;
		}
		this.onHeaders(streamId, end, block, from, to);
	}

	private blockTooLarge(): void {
		this.calm('http2_header_block_too_large', 'a header block larger than headers may be');
	}

	/** False: there were too many. */
	private countEmptyFrame(): boolean {
		if (++this.emptyFrames <= this.limits.emptyFramesMax) return true;
		this.calm('http2_empty_frame_flood', 'too many frames without content');
		return false;
	}
}
