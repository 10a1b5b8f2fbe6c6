// Counts the messages of a gRPC stream as its bytes pass, without keeping any: each begins with a
// flag and a length of four bytes (gRPC over HTTP/2, "Length-Prefixed-Message").

const HEAD_BYTES = 5;

export class GrpcFrameCounter {
	/** Bytes of the present head so far. */
	private headBytes = 0;
	private length = 0;
	/** Bytes of the present message that are still to come. */
	private left = 0;

	/** Messages that begin in `bytes`. */
	count(bytes: Uint8Array): number {
		let begun = 0;
		let at = 0;
		while (at < bytes.length) {
			if (this.left > 0) {
				const taken = Math.min(this.left, bytes.length - at);
				this.left -= taken;
				at += taken;
				continue;
			}
			if (this.headBytes === 0) begun++;
			else this.length = this.length * 256 + bytes[at]!;
			at++;
			if (++this.headBytes < HEAD_BYTES) continue;
			this.left = this.length;
			this.headBytes = 0;
			this.length = 0;
		}
		return begun;
	}

	/** Bytes until the present message, or its head, is complete as far as is known; 0: between two messages. */
	get pending(): number {
		return this.left > 0 ? this.left : this.headBytes === 0 ? 0 : HEAD_BYTES - this.headBytes;
	}
}
