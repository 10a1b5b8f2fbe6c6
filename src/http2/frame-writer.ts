// Frames to bytes. They are put together in a buffer that all connections share: DATA of many frames is one write, up
// to the size of that buffer, and so are frames of all kinds that go to one connection while another (or itself) is read.
// DATA of one stream that follows DATA of the same joins its frame: small messages are not small frames for who comes next.
// The transport takes what it is given at once.

import type { CodecTransport } from '../http/codec.ts';
import type { DataQueue } from './data-queue.ts';
import {
	CLIENT_PREFACE,
	Flag,
	FRAME_BYTES_DEFAULT,
	FRAME_HEADER_BYTES,
	FrameType,
	putFrameHeader,
	putUint32,
} from './frames.ts';

/** Four full frames. */
const SCRATCH_BYTES = 4 * (FRAME_HEADER_BYTES + FRAME_BYTES_DEFAULT);
const scratch = new Uint8Array(SCRATCH_BYTES);

/** Reads of connections that are under way, one within the other. */
let reads = 0;
/** Whose frames are in `scratch`, up to `gathered`; null: nothing is. */
let gathering: FrameWriter | null = null;
let gathered = 0;
/** Where the last frame in `scratch` begins, while it is DATA without END_STREAM that more may join; else -1. */
let joinable = -1;
/** The stream of that frame. */
let joinableStream = 0;

/** What one connection reads makes many small frames, most of them for the same other one: until `endRead` they gather. */
export function beginRead(): void {
	reads++;
}

/** For each `beginRead`, whatever was thrown in between. */
export function endRead(): void {
	if (--reads === 0) gathering?.flush();
}

export class FrameWriter {
	/** The peer's SETTINGS_MAX_FRAME_SIZE. */
	frameBytesMax = FRAME_BYTES_DEFAULT;
	/** `write` returned false and `transportDrained` has not come. */
	blocked = false;
	/** Of all kinds, since `blocked`; those that were gathered then are not among them. */
	framesWaiting = 0;
	controlFramesWaiting = 0;

	constructor(private readonly transport: CodecTransport) {}

	/** Gives what was gathered to the transport: before the transport is used otherwise. */
	flush(): void {
		if (gathering !== this) return;
		const length = gathered;
		gathering = null;
		gathered = 0;
		joinable = -1;
		this.send(scratch.subarray(0, length));
	}

	drained(): void {
		this.blocked = false;
		this.framesWaiting = 0;
		this.controlFramesWaiting = 0;
	}

	/** The preface (client), SETTINGS, and what the connection window is larger than its default. */
	opening(preface: boolean, settings: readonly (readonly [id: number, value: number])[], windowGrowth: number): void {
		let at = this.room(OPENING_BYTES_MAX);
		if (preface) {
			scratch.set(CLIENT_PREFACE, at);
			at += CLIENT_PREFACE.length;
		}
		at = putHeader(at, settings.length * 6, FrameType.settings, 0, 0);
		for (const [id, value] of settings) {
			scratch[at++] = id >> 8;
			scratch[at++] = id;
			at = putUint32(scratch, at, value);
		}
		if (windowGrowth > 0) {
			at = putHeader(at, 4, FrameType.windowUpdate, 0, 0);
			at = putUint32(scratch, at, windowGrowth);
		}
		this.put(at);
	}

	settingsAck(): void {
		this.control(putHeader(this.room(FRAME_HEADER_BYTES), 0, FrameType.settings, Flag.ack, 0));
	}

	ping(ack: boolean, bytes: Uint8Array, from: number): void {
		const at = putHeader(this.room(FRAME_HEADER_BYTES + 8), 8, FrameType.ping, ack ? Flag.ack : 0, 0);
		for (let i = 0; i < 8; i++) scratch[at + i] = bytes[from + i]!;
		this.control(at + 8);
	}

	windowUpdate(streamId: number, increment: number): void {
		this.control(
			putUint32(
				scratch,
				putHeader(this.room(FRAME_HEADER_BYTES + 4), 4, FrameType.windowUpdate, 0, streamId),
				increment,
			),
		);
	}

	rstStream(streamId: number, code: number): void {
		this.control(
			putUint32(scratch, putHeader(this.room(FRAME_HEADER_BYTES + 4), 4, FrameType.rstStream, 0, streamId), code),
		);
	}

	goaway(lastStreamId: number, code: number, debug: string): void {
		const text = debug.slice(0, 256);
		let at = putHeader(this.room(FRAME_HEADER_BYTES + 8 + text.length), 8 + text.length, FrameType.goaway, 0, 0);
		at = putUint32(scratch, at, lastStreamId);
		at = putUint32(scratch, at, code);
		for (let i = 0; i < text.length; i++) scratch[at++] = text.charCodeAt(i);
		this.control(at);
	}

	headers(streamId: number, block: Uint8Array, endStream: boolean): void {
		const max = this.frameBytesMax;
		const endFlag = endStream ? Flag.endStream : 0;
		const { length } = block;
		if (length <= max && length <= FRAME_BYTES_DEFAULT) {
			const at = putHeader(
				this.room(FRAME_HEADER_BYTES + length),
				length,
				FrameType.headers,
				Flag.endHeaders | endFlag,
				streamId,
			);
			scratch.set(block, at);
			this.put(at + length);
			return;
		}
		const part = Math.min(max, FRAME_BYTES_DEFAULT);
		for (let from = 0; from < length; from += part) {
			const to = Math.min(length, from + part);
			const type = from === 0 ? FrameType.headers : FrameType.continuation;
			const flags = (from === 0 ? endFlag : 0) | (to === length ? Flag.endHeaders : 0);
			const at = putHeader(this.room(FRAME_HEADER_BYTES + to - from), to - from, type, flags, streamId);
			scratch.set(block.subarray(from, to), at);
			this.put(at + to - from);
		}
	}

	/** `bytes[from..to)`, in as many frames as it takes; none of it: one empty frame. */
	data(streamId: number, bytes: Uint8Array, from: number, to: number, endStream: boolean): void {
		const frameMax = Math.min(this.frameBytesMax, FRAME_BYTES_DEFAULT);
		if (this.join(streamId, bytes, from, to, endStream, frameMax)) return;
		let next = from;
		do {
			const size = Math.min(frameMax, to - next);
			const last = next + size === to;
			const room = this.room(FRAME_HEADER_BYTES + size);
			const at = putHeader(room, size, FrameType.data, last && endStream ? Flag.endStream : 0, streamId);
			if (size > 0) putBytes(at, bytes, next, next + size);
			next += size;
			if (last) this.put(at + size);
			else this.keep(at + size);
			if (last && !endStream && reads > 0) {
				joinable = room;
				joinableStream = streamId;
			}
		} while (next < to);
	}

	/** False: the last frame is none that it may join, or has no room. */
	private join(
		streamId: number,
		bytes: Uint8Array,
		from: number,
		to: number,
		endStream: boolean,
		frameMax: number,
	): boolean {
		if (joinable === -1 || gathering !== this || joinableStream !== streamId) return false;
		const at = gathered;
		const size = at - joinable - FRAME_HEADER_BYTES + to - from;
		if (size > frameMax || at + to - from > SCRATCH_BYTES) return false;
		putBytes(at, bytes, from, to);
		putHeader(joinable, size, FrameType.data, endStream ? Flag.endStream : 0, streamId);
		if (endStream) joinable = -1;
		gathered = at + to - from;
		return true;
	}

	/** From the front of `queue`, which is not empty; how many bytes, at most `bytesMax`. They are to be consumed. */
	queued(streamId: number, queue: DataQueue, bytesMax: number, ends: boolean): number {
		this.flush();
		// The transport may have found out that the connection is gone: nothing waits any more.
		if (queue.length === 0) return 0;
		const bytes = queue.frames(streamId, bytesMax, ends);
		const { framed } = queue;
		if (this.blocked) this.framesWaiting++;
		this.send(bytes);
		return framed;
	}

	/** Where the next frame, of so many bytes, goes in `scratch`. */
	private room(bytes: number): number {
		// When the transport finds out that a connection is gone, who hears of it may write to others, which gather in turn.
		while (gathering !== null && (gathering !== this || gathered + bytes > SCRATCH_BYTES)) gathering.flush();
		return gathered;
	}

	private control(end: number): void {
		if (this.blocked) this.controlFramesWaiting++;
		this.put(end);
	}

	/** A frame is in `scratch` up to there. */
	private put(end: number): void {
		this.keep(end);
		if (reads === 0) this.flush();
	}

	private keep(end: number): void {
		if (this.blocked) this.framesWaiting++;
		gathering = this;
		gathered = end;
		joinable = -1;
	}

	private send(bytes: Uint8Array): void {
		if (!this.transport.write(bytes)) this.blocked = true;
	}
}

/** The preface, SETTINGS with all that we say, WINDOW_UPDATE. */
const OPENING_BYTES_MAX = 256;

function putHeader(at: number, length: number, type: number, flags: number, streamId: number): number {
	return putFrameHeader(scratch, at, length, type, flags, streamId);
}

/** `bytes[from..to)`; no view is made of all of it. */
function putBytes(at: number, bytes: Uint8Array, from: number, to: number): void {
	scratch.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), at);
}
