// DNS over TCP: each message after its length in two bytes (RFC 1035 §4.2.2).

export function frame(message: Uint8Array): Uint8Array {
	const framed = new Uint8Array(message.length + 2);
	framed[0] = message.length >>> 8;
	framed[1] = message.length & 255;
	framed.set(message, 2);
	return framed;
}

/** Holds at most one message that is not whole yet: 64 KiB. */
export class FrameReader {
	private buffer = new Uint8Array(0);
	private filled = 0;

	/** `onMessage` owns what it is given. */
	constructor(private readonly onMessage: (message: Uint8Array) => void) {}

	push(bytes: Uint8Array): void {
		let rest = bytes;
		while (rest.length > 0) {
			const wanted = this.filled < 2 ? 2 : 2 + ((this.buffer[0]! << 8) | this.buffer[1]!);
			if (this.buffer.length < wanted) {
				const larger = new Uint8Array(wanted);
				larger.set(this.buffer.subarray(0, this.filled));
				this.buffer = larger;
			}
			const taken = Math.min(wanted - this.filled, rest.length);
			this.buffer.set(rest.subarray(0, taken), this.filled);
			this.filled += taken;
			rest = rest.subarray(taken);
			if (this.filled < 2) return;
			const total = 2 + ((this.buffer[0]! << 8) | this.buffer[1]!);
			if (this.filled < total) continue;
			const message = this.buffer.slice(2, total);
			this.filled = 0;
			this.buffer = new Uint8Array(0);
			this.onMessage(message);
		}
	}
}
