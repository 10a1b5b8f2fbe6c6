// A header block that comes in parts: HEADERS and its CONTINUATIONs, nothing between. Bounded in
// bytes and in frames (CVE-2024-27316 and its like).

import { FRAME_BYTES_DEFAULT } from './frames.ts';
import { CONTINUATIONS_MAX } from './limits.ts';

const EMPTY = new Uint8Array(0);

export class HeaderBlock {
	/** Of the block that is not complete; 0: there is none. */
	streamId = 0;
	end = false;
	selfDependent = false;
	/** `append` refused for the number of frames, not for their bytes. */
	tooMany = false;
	private bytes: Uint8Array = EMPTY;
	private length = 0;
	private frames = 0;
	private readonly framesMax: number;

	constructor(private readonly bytesMax: number) {
		this.framesMax = CONTINUATIONS_MAX + Math.ceil(bytesMax / FRAME_BYTES_DEFAULT);
	}

	/** False: too large. */
	begin(streamId: number, end: boolean, selfDependent: boolean, bytes: Uint8Array, from: number, to: number): boolean {
		this.streamId = streamId;
		this.end = end;
		this.selfDependent = selfDependent;
		this.frames = 0;
		this.length = 0;
		this.tooMany = false;
		return this.add(bytes, from, to);
	}

	/** False: too large, or too many. */
	append(bytes: Uint8Array, from: number, to: number): boolean {
		if (++this.frames > this.framesMax) {
			this.tooMany = true;
			return false;
		}
		return this.add(bytes, from, to);
	}

	/** The whole; the next may begin. */
	take(): Uint8Array {
		const whole = this.bytes.subarray(0, this.length);
		this.bytes = EMPTY;
		this.streamId = 0;
		return whole;
	}

	private add(bytes: Uint8Array, from: number, to: number): boolean {
		const length = this.length + to - from;
		if (length > this.bytesMax) return false;
		if (length > this.bytes.length) {
			const grown = new Uint8Array(Math.max(length, this.bytes.length * 2));
			grown.set(this.bytes.subarray(0, this.length));
			this.bytes = grown;
		}
		this.bytes.set(bytes.subarray(from, to), this.length);
		this.length = length;
		return true;
	}
}
