// Frames to bytes. Each call is one write, and DATA of many frames is one write too, up to the size
// of the buffer that all connections share: the transport takes what it is given at once.

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

const SCRATCH_BYTES = 64 * 1024;
const scratch = new Uint8Array(SCRATCH_BYTES);

export class FrameWriter {
	/** The peer's SETTINGS_MAX_FRAME_SIZE. */
	frameBytesMax = FRAME_BYTES_DEFAULT;
	/** `write` returned false and `transportDrained` has not come. */
	blocked = false;
	/** Since `blocked`. */
	framesWaiting = 0;
	controlFramesWaiting = 0;

	constructor(private readonly transport: CodecTransport) {}

	drained(): void {
		this.blocked = false;
		this.framesWaiting = 0;
		this.controlFramesWaiting = 0;
	}

	/** The preface (client), SETTINGS, and what the connection window is larger than its default. */
	opening(preface: boolean, settings: readonly (readonly [id: number, value: number])[], windowGrowth: number): void {
		let at = 0;
		if (preface) {
			scratch.set(CLIENT_PREFACE, 0);
			at = CLIENT_PREFACE.length;
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
		this.control(putHeader(0, 0, FrameType.settings, Flag.ack, 0));
	}

	ping(ack: boolean, bytes: Uint8Array, from: number): void {
		const at = putHeader(0, 8, FrameType.ping, ack ? Flag.ack : 0, 0);
		for (let i = 0; i < 8; i++) scratch[at + i] = bytes[from + i]!;
		this.control(at + 8);
	}

	windowUpdate(streamId: number, increment: number): void {
		this.control(putUint32(scratch, putHeader(0, 4, FrameType.windowUpdate, 0, streamId), increment));
	}

	rstStream(streamId: number, code: number): void {
		this.control(putUint32(scratch, putHeader(0, 4, FrameType.rstStream, 0, streamId), code));
	}

	goaway(lastStreamId: number, code: number, debug: string): void {
		const text = debug.slice(0, 256);
		let at = putHeader(0, 8 + text.length, FrameType.goaway, 0, 0);
		at = putUint32(scratch, at, lastStreamId);
		at = putUint32(scratch, at, code);
		for (let i = 0; i < text.length; i++) scratch[at++] = text.charCodeAt(i);
		this.control(at);
	}

	headers(streamId: number, block: Uint8Array, endStream: boolean): void {
		const max = this.frameBytesMax;
		const endFlag = endStream ? Flag.endStream : 0;
		const { length } = block;
		if (length <= max && length <= SCRATCH_BYTES - FRAME_HEADER_BYTES) {
			const at = putHeader(0, length, FrameType.headers, Flag.endHeaders | endFlag, streamId);
			scratch.set(block, at);
			this.put(at + length);
			return;
		}
		const part = Math.min(max, SCRATCH_BYTES - FRAME_HEADER_BYTES);
		for (let from = 0; from < length; from += part) {
			const to = Math.min(length, from + part);
			const type = from === 0 ? FrameType.headers : FrameType.continuation;
			const flags = (from === 0 ? endFlag : 0) | (to === length ? Flag.endHeaders : 0);
			const at = putHeader(0, to - from, type, flags, streamId);
			scratch.set(block.subarray(from, to), at);
			this.put(at + to - from);
		}
	}

	/** `bytes[from..to)`, in as many frames as it takes; none of it: one empty frame. */
	data(streamId: number, bytes: Uint8Array, from: number, to: number, endStream: boolean): void {
		const frameMax = Math.min(this.frameBytesMax, FRAME_BYTES_DEFAULT);
		let at = 0;
		let next = from;
		do {
			const size = Math.min(frameMax, to - next);
			if (at + FRAME_HEADER_BYTES + size > SCRATCH_BYTES) {
				this.put(at);
				at = 0;
			}
			const last = next + size === to;
			at = putHeader(at, size, FrameType.data, last && endStream ? Flag.endStream : 0, streamId);
			if (size > 0) scratch.set(next === 0 && size === bytes.length ? bytes : bytes.subarray(next, next + size), at);
			at += size;
			next += size;
		} while (next < to);
		this.put(at);
	}

	/** From the front of `queue`, which is not empty; how many bytes, at most `bytesMax`. They are to be consumed. */
	queued(streamId: number, queue: DataQueue, bytesMax: number, ends: boolean): number {
		const bytes = queue.frames(streamId, bytesMax, ends);
		const { framed } = queue;
		this.send(bytes);
		return framed;
	}

	private control(length: number): void {
		if (this.blocked) this.controlFramesWaiting++;
		this.put(length);
	}

	private put(length: number): void {
		this.send(scratch.subarray(0, length));
	}

	private send(bytes: Uint8Array): void {
		if (this.blocked) this.framesWaiting++;
		if (!this.transport.write(bytes)) this.blocked = true;
	}
}

function putHeader(at: number, length: number, type: number, flags: number, streamId: number): number {
	return putFrameHeader(scratch, at, length, type, flags, streamId);
}
