// Bytes to frames, at any split. DATA is handed on as it comes, without its padding; all other
// frames are small and are given whole. Of small DATA frames that follow each other in one read, those of one stream
// are given as if they were one.
//
//   header ──DATA──▶ [pad length] ─▶ data ─▶ padding ──▶ header
//      └──others──▶ payload, gathered when it is cut ──▶ header

import { type DataRun, findRun, JOINED_BYTES_MAX, releaseRun } from './data-run.ts';
import { Flag, FRAME_BYTES_DEFAULT, FRAME_HEADER_BYTES, FrameType, streamIdAt } from './frames.ts';

export interface FrameSink {
	/** False: the frame may not come here; reading stops. `length` counts the padding. */
	onDataFrame(streamId: number, flags: number, length: number): boolean;
	/** `bytes` may be empty in the `last` one. `padding`: bytes of the frame that are none of the data. */
	onDataPart(bytes: Uint8Array, last: boolean, padding: number): void;
	/** Any other frame, `bytes[from..to)` its payload with padding. */
	onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, from: number, to: number): void;
	onFrameTooLarge(): void;
	/** A DATA frame with more padding than it has bytes. */
	onBadPadding(): void;
	/** Nothing more is to be read. */
	readonly readingStopped: boolean;
}

const EMPTY = new Uint8Array(0);

export class FrameReader {
	/** Header and payload of a frame that was cut. */
	private partial: Uint8Array = EMPTY;
	private partialLength = 0;
	private inData = false;
	private dataPadded = false;
	private dataLeft = 0;
	private paddingLeft = 0;

	constructor(private readonly sink: FrameSink) {}

	/** Whether a frame has begun and is not complete. */
	get withinFrame(): boolean {
		return this.inData || this.partialLength > 0;
	}

	read(bytes: Uint8Array, from: number): void {
		let at = from;
		const end = bytes.length;
		const sink = this.sink;
		while (at < end && !sink.readingStopped) {
			if (this.inData) {
				at = this.readData(bytes, at, end);
				continue;
			}
			if (this.partialLength > 0 || end - at < FRAME_HEADER_BYTES) {
				at = this.gather(bytes, at, end);
				continue;
			}
			const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
			const next = at + FRAME_HEADER_BYTES + length;
			if (bytes[at + 3] === FrameType.data || length > FRAME_BYTES_DEFAULT) {
				const isFollowed = next + FRAME_HEADER_BYTES < end && bytes[next + 3] === FrameType.data;
				const run = isFollowed && length <= JOINED_BYTES_MAX ? findRun(bytes, at, end) : null;
				if (run !== null) {
					at = run.end;
					this.joined(bytes, run);
					continue;
				}
				this.begin(bytes, at, length);
				at += FRAME_HEADER_BYTES;
			} else if (next > end) at = this.gather(bytes, at, end);
			else {
				sink.onFrame(bytes[at + 3]!, bytes[at + 4]!, streamIdAt(bytes, at), bytes, at + FRAME_HEADER_BYTES, next);
				at = next;
			}
		}
	}

	/** A DATA frame, or one that is too large; the header is complete. */
	private begin(bytes: Uint8Array, at: number, length: number): void {
		if (length > FRAME_BYTES_DEFAULT) {
			this.sink.onFrameTooLarge();
			return;
		}
		const flags = bytes[at + 4]!;
		this.dataPadded = (flags & Flag.padded) !== 0;
		if (!this.sink.onDataFrame(streamIdAt(bytes, at), flags, length)) return;
		if (this.dataPadded && length === 0) {
			this.sink.onBadPadding();
			return;
		}
		this.inData = true;
		this.dataLeft = length;
		this.paddingLeft = 0;
		if (length === 0) this.endData(EMPTY, 0);
	}

	/** Gives what `run` found, stream by stream. */
	private joined(bytes: Uint8Array, run: DataRun): void {
		const { sink } = this;
		try {
			for (let slot = 0; slot < run.streams && !sink.readingStopped; slot++) {
				const data = run.dataOf(slot, bytes);
				if (!sink.onDataFrame(run.streamId(slot), 0, data.length)) return;
				sink.onDataPart(data, true, 0);
			}
		} finally {
			releaseRun(run);
		}
	}

	private readData(bytes: Uint8Array, from: number, end: number): number {
		let at = from;
		let padding = 0;
		if (this.dataPadded) {
			const padLength = bytes[at++]!;
			this.dataPadded = false;
			this.dataLeft -= 1 + padLength;
			this.paddingLeft = padLength;
			padding = 1 + padLength;
			if (this.dataLeft < 0) {
				this.sink.onBadPadding();
				return end;
			}
			if (this.dataLeft > 0) this.sink.onDataPart(EMPTY, false, padding);
			else {
				this.endData(EMPTY, padding);
				return at;
			}
		}
		if (this.dataLeft > 0) {
			if (at === end) return at;
			const stop = Math.min(end, at + this.dataLeft);
			this.dataLeft -= stop - at;
			const part = at === 0 && stop === end ? bytes : bytes.subarray(at, stop);
			if (this.dataLeft === 0) this.endData(part, 0);
			else this.sink.onDataPart(part, false, 0);
			return stop;
		}
		const skip = Math.min(end - at, this.paddingLeft);
		this.paddingLeft -= skip;
		if (this.paddingLeft === 0) this.inData = false;
		return at + skip;
	}

	/** The data is complete; its padding is skipped after. */
	private endData(part: Uint8Array, padding: number): void {
		if (this.paddingLeft === 0) this.inData = false;
		this.sink.onDataPart(part, true, padding);
	}

	/** Takes what belongs to the frame that is cut; gives the frame when it is whole. */
	private gather(bytes: Uint8Array, from: number, end: number): number {
		let at = from;
		if (this.partial.length < FRAME_HEADER_BYTES) this.partial = new Uint8Array(64);
		if (this.partialLength < FRAME_HEADER_BYTES) {
			const take = Math.min(end - at, FRAME_HEADER_BYTES - this.partialLength);
			this.partial.set(bytes.subarray(at, at + take), this.partialLength);
			this.partialLength += take;
			at += take;
			if (this.partialLength < FRAME_HEADER_BYTES) return at;
		}
		const header = this.partial;
		const length = (header[0]! << 16) | (header[1]! << 8) | header[2]!;
		if (header[3] === FrameType.data || length > FRAME_BYTES_DEFAULT) {
			this.partialLength = 0;
			this.begin(header, 0, length);
			return at;
		}
		const total = FRAME_HEADER_BYTES + length;
		if (header.length < total) {
			const grown = new Uint8Array(total);
			grown.set(header.subarray(0, this.partialLength));
			this.partial = grown;
		}
		const take = Math.min(end - at, total - this.partialLength);
		this.partial.set(bytes.subarray(at, at + take), this.partialLength);
		this.partialLength += take;
		at += take;
		if (this.partialLength < total) return at;
		const whole = this.partial;
		this.partialLength = 0;
		// Idle connections hold no buffer.
		this.partial = EMPTY;
		this.sink.onFrame(whole[3]!, whole[4]!, streamIdAt(whole, 0), whole, FRAME_HEADER_BYTES, total);
		return at;
	}
}
