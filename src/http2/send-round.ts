// Who sends next. Streams with data that waits take turns, one share each, as far as their windows,
// the connection's window and the transport allow. A stream without window leaves the round until
// it is given some.
//
//   write ──no room──▶ queue ──in turn──▶ frames ──queue low──▶ onDrain
//
// A writer is told to stop when its queue holds a good part of what a window takes, or all queues together hold much.

import { DataQueue } from './data-queue.ts';
import type { FrameWriter } from './frame-writer.ts';
import { FRAME_BYTES_DEFAULT, WINDOW_BYTES_DEFAULT } from './frames.ts';
import {
	CONNECTION_QUEUE_HIGH_BYTES,
	SMALL_FRAME_BYTES,
	STREAM_QUEUE_HIGH_BYTES,
	STREAM_QUEUE_LOW_BYTES,
} from './limits.ts';
import type { Http2Stream } from './stream.ts';

export interface SendRoundOwner {
	/** All data of the stream is out, and its end was written: END_STREAM went with it, or goes in trailers now. */
	endQueueSent(stream: Http2Stream): void;
	/** A window made us send a frame that is hardly worth its header. */
	smallFrameSent(): void;
	dataFramesSent(count: number): void;
}

const EMPTY = new Uint8Array(0);
/** One turn's share: with few streams, large writes; with many, everybody soon. */
const SHARE_BYTES = FRAME_BYTES_DEFAULT;
const SHARE_BYTES_ALONE = 4 * FRAME_BYTES_DEFAULT;

export class SendRound {
	/** Of the connection. */
	window = WINDOW_BYTES_DEFAULT;
	/** Bytes in all queues. */
	queuedBytes = 0;
	private round: Http2Stream[] = [];
	/** Streams whose write was taken whole, but which were told to wait for the transport. */
	private waiters: Http2Stream[] = [];
	private pumping = false;

	constructor(
		private readonly writer: FrameWriter,
		private readonly owner: SendRoundOwner,
	) {}

	/** As `Stream.writeData`. */
	send(stream: Http2Stream, bytes: Uint8Array, end: boolean): boolean {
		const { writer } = this;
		const { length } = bytes;
		let from = 0;
		if (stream.queue === null && !writer.blocked && this.round.length === 0) {
			const window = Math.min(stream.sendWindow, this.window);
			if (length <= window || length === 0) {
				if (length > 0 || end) this.write(stream, bytes, 0, length, end);
				if (end) this.owner.endQueueSent(stream);
				if (!writer.blocked) return true;
				if (!end) this.waitForTransport(stream);
				return false;
			}
			if (window > 0) {
				this.write(stream, bytes, 0, window, false);
				from = window;
			}
		}
		stream.queue ??= new DataQueue();
		stream.queue.append(bytes, from);
		this.queuedBytes += length - from;
		this.schedule(stream);
		if (stream.queue.length < STREAM_QUEUE_HIGH_BYTES && this.queuedBytes < CONNECTION_QUEUE_HIGH_BYTES) return true;
		stream.drainWanted = true;
		return false;
	}

	/** It has something to send and may have the window for it. */
	schedule(stream: Http2Stream): void {
		if (stream.scheduled || stream.queue === null) return;
		if (stream.sendWindow <= 0 && stream.queue.length > 0) return;
		stream.scheduled = true;
		this.round.push(stream);
	}

	/** A stream that is gone. */
	forget(stream: Http2Stream): void {
		if (stream.queue !== null) {
			this.queuedBytes -= stream.queue.length;
			stream.queue.clear();
			stream.queue = null;
		}
		stream.trailersQueued = null;
		stream.drainWanted = false;
		if (stream.scheduled) {
			stream.scheduled = false;
			this.round.splice(this.round.indexOf(stream), 1);
		}
	}

	/** Sends what can be sent. */
	pump(): void {
		if (this.pumping) return;
		this.pumping = true;
		try {
			while (this.round.length > 0 && !this.writer.blocked) {
				const stream = this.round[0]!;
				const queue = stream.queue!;
				if (queue.length > 0 && this.window <= 0) break;
				this.round.shift();
				stream.scheduled = false;
				this.sendShare(stream, queue, this.round.length === 0 ? SHARE_BYTES_ALONE : SHARE_BYTES);
			}
		} finally {
			this.pumping = false;
		}
	}

	/** The transport takes bytes again. */
	drained(): void {
		this.pump();
		const waiters = this.waiters;
		if (waiters.length === 0) return;
		this.waiters = [];
		for (let i = 0; i < waiters.length; i++) {
			const stream = waiters[i]!;
			if (!stream.drainWanted || (stream.queue !== null && stream.queue.length > STREAM_QUEUE_LOW_BYTES)) continue;
			if (this.writer.blocked) {
				this.waiters.push(stream);
				continue;
			}
			stream.drainWanted = false;
			if (!stream.over) stream.listener.onDrain();
		}
	}

	private sendShare(stream: Http2Stream, queue: DataQueue, shareBytes: number): void {
		let left = Math.min(shareBytes, queue.length, stream.sendWindow, this.window);
		const ends = stream.localEnded && stream.trailersQueued === null;
		if (queue.length === 0 && ends) this.write(stream, EMPTY, 0, 0, true);
		while (left > 0) {
			const size = this.writer.queued(stream.id, queue, left, ends);
			// The transport may have found out that the connection is gone.
			if (stream.queue !== queue) return;
			queue.consume(size);
			this.queuedBytes -= size;
			this.sent(stream, size, ends && queue.length === 0);
			left -= size;
		}
		if (queue.length > 0) this.schedule(stream);
		else {
			stream.queue = null;
			if (stream.localEnded) {
				stream.drainWanted = false;
				this.owner.endQueueSent(stream);
				return;
			}
		}
		if (!stream.drainWanted || stream.localEnded || queue.length > STREAM_QUEUE_LOW_BYTES) return;
		if (this.writer.blocked) this.waiters.push(stream);
		else {
			stream.drainWanted = false;
			if (!stream.over) stream.listener.onDrain();
		}
	}

	private write(stream: Http2Stream, bytes: Uint8Array, from: number, to: number, end: boolean): void {
		this.writer.data(stream.id, bytes, from, to, end);
		this.sent(stream, to - from, end);
	}

	private sent(stream: Http2Stream, size: number, end: boolean): void {
		stream.sendWindow -= size;
		this.window -= size;
		stream.sentSinceCheck += size;
		this.owner.dataFramesSent(Math.max(1, Math.ceil(size / FRAME_BYTES_DEFAULT)));
		if (size < SMALL_FRAME_BYTES && !end && Math.min(stream.sendWindow, this.window) <= 0) this.owner.smallFrameSent();
	}

	private waitForTransport(stream: Http2Stream): void {
		if (stream.drainWanted) return;
		stream.drainWanted = true;
		this.waiters.push(stream);
	}
}
