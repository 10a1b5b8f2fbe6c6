// Bytes in, messages out: the length-prefixed messages of a gRPC body, however it was cut.
//
//   1 byte flag (compressed: 0 or 1) │ 4 bytes length │ length bytes of message │ …
//
// What is held is at most one message and, while paused, one read. Memory follows what came, not what
// a prefix announces.

import { GrpcStatus } from './status.ts';

export interface MessageFault {
	readonly code: number;
	readonly message: string;
}

export const PREFIX_BYTES = 5;
const GROWTH_BYTES_MIN = 1024;

export class MessageReader {
	/** The encoding that the peer named for compressed messages. For the error only: none is supported. */
	encoding = 'identity';
	private readonly prefix = new Uint8Array(PREFIX_BYTES);
	private prefixBytes = 0;
	/** Of the message that is being read; null: between messages, or in a prefix. */
	private body: Uint8Array | null = null;
	private bodyBytes = 0;
	private bodyLength = 0;
	private paused = false;
	private rest: Uint8Array | null = null;
	private fault: MessageFault | null = null;

	constructor(
		/** Of one message. */
		private readonly messageBytesMax: number,
		/** The bytes are the receiver's to keep. May pause the reader. */
		private readonly onMessage: (bytes: Uint8Array) => void,
	) {}

	/** Between messages, and nothing waits. */
	get isAtBoundary(): boolean {
		return this.prefixBytes === 0 && this.body === null && this.rest === null;
	}

	/** Read, and not given out because of the pause. */
	get isHolding(): boolean {
		return this.rest !== null;
	}

	pause(): void {
		this.paused = true;
	}

	/** Gives out what was held, until paused again. As `push`. */
	resume(): MessageFault | null {
		this.paused = false;
		const { rest } = this;
		this.rest = null;
		return rest === null ? this.fault : this.read(rest);
	}

	/** No more messages, whatever comes. */
	stop(): void {
		this.fault = STOPPED;
		this.rest = null;
		this.body = null;
		this.prefixBytes = 0;
	}

	/** `bytes` may be reused afterwards. Not null: the peer broke the rules, and nothing is read any more. */
	push(bytes: Uint8Array): MessageFault | null {
		if (this.fault !== null) return this.fault;
		if (!this.paused) return this.read(bytes);
		if (bytes.length > 0) {
			this.rest = this.rest === null ? bytes.slice() : new Uint8Array(Buffer.concat([this.rest, bytes]));
		}
		return null;
	}

	private read(bytes: Uint8Array): MessageFault | null {
		let at = 0;
		while (at < bytes.length && this.fault === null) {
			if (this.paused) {
				this.rest = bytes.slice(at);
				return null;
			}
			if (this.prefixBytes < PREFIX_BYTES) at = this.readPrefix(bytes, at);
			else at = this.readBody(bytes, at);
			if (this.prefixBytes === PREFIX_BYTES && this.bodyBytes === this.bodyLength) this.deliver();
		}
		return this.fault;
	}

	private readPrefix(bytes: Uint8Array, from: number): number {
		const { prefix } = this;
		let at = from;
		while (at < bytes.length && this.prefixBytes < PREFIX_BYTES) prefix[this.prefixBytes++] = bytes[at++]!;
		if (this.prefixBytes < PREFIX_BYTES) return at;
		const flag = prefix[0]!;
		this.bodyLength = ((prefix[1]! << 24) | (prefix[2]! << 16) | (prefix[3]! << 8) | prefix[4]!) >>> 0;
		this.bodyBytes = 0;
		if (flag > 1) this.fail(GrpcStatus.internal, `a message begins with ${flag}, not with 0 or 1`);
		else if (flag === 1) {
			this.fail(
				GrpcStatus.internal,
				`a message is compressed (grpc-encoding: ${this.encoding}), which was not offered`,
			);
		} else if (this.bodyLength > this.messageBytesMax) {
			const what = `a message of ${this.bodyLength} bytes is larger than ${this.messageBytesMax}`;
			this.fail(GrpcStatus.resourceExhausted, what);
		}
		return at;
	}

	private readBody(bytes: Uint8Array, from: number): number {
		const take = Math.min(bytes.length - from, this.bodyLength - this.bodyBytes);
		this.reserve(this.bodyBytes + take).set(bytes.subarray(from, from + take), this.bodyBytes);
		this.bodyBytes += take;
		return from + take;
	}

	private reserve(bytes: number): Uint8Array {
		const { body } = this;
		if (body !== null && body.length >= bytes) return body;
		// The whole at once where it is all there; else in doubling steps.
		const size = Math.min(this.bodyLength, Math.max(bytes, 2 * (body?.length ?? 0), GROWTH_BYTES_MIN));
		const grown = new Uint8Array(size);
		if (body !== null) grown.set(body.subarray(0, this.bodyBytes));
		this.body = grown;
		return grown;
	}

	private deliver(): void {
		const message = this.body ?? new Uint8Array(0);
		this.body = null;
		this.prefixBytes = 0;
		this.bodyBytes = 0;
		this.bodyLength = 0;
		this.onMessage(message);
	}

	private fail(code: number, message: string): void {
		this.stop();
		this.fault = { code, message };
	}
}

const STOPPED: MessageFault = { code: GrpcStatus.cancelled, message: 'the call is over' };

/** A message with its prefix. */
export function frameMessage(message: Uint8Array): Uint8Array {
	const framed = new Uint8Array(PREFIX_BYTES + message.length);
	const { length } = message;
	framed[1] = length >>> 24;
	framed[2] = length >>> 16;
	framed[3] = length >>> 8;
	framed[4] = length;
	framed.set(message, PREFIX_BYTES);
	return framed;
}
