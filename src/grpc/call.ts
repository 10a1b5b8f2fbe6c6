// One call of a method: requests out, responses in, and exactly one status at the end. All four kinds
// (unary, and streams of either or both sides) are the same call with more or fewer messages.
//
//   waiting ──a connection──▶ under way ──head──▶ answered ──trailers──▶ over
//      ▲                          │ not processed by the server: begun again
//      └──────────────────────────┘ (at most RETRIES_MAX times, and only before the head)
//   over also by: cancel(), the deadline, a fault of either side, the loss of the connection
//
// What is sent waits, bounded, for a connection and for the server's window; what comes is held back
// from the server while paused.

import { getHeader, type HeaderList } from '../http/headers.ts';
import type { ClientStream, ResetReason, ResponseHead, ResponseListener } from '../http/stream.ts';
import type { Http2ClientCodec } from '../http2/client-codec.ts';
import type { Network } from '../net/network.ts';
import { assert } from '../std/assert.ts';
import type { Timer } from '../std/clock.ts';
import { errorMessage, type WeftError } from '../std/errors.ts';
import { applicationMetadata, type CallStatus, callStatus, statusOfReset, statusOfTrailers } from './call-status.ts';
import { frameMessage, MessageReader } from './message-reader.ts';
import { GrpcStatus, grpcStatusOfHttp } from './status.ts';
import { formatGrpcTimeout } from './timeout.ts';

export interface ClientMethod<Request, Response> {
	/** `/package.Service/Method` */
	readonly path: string;
	readonly encode: (message: Request) => Uint8Array;
	/** The bytes are the decoder's to keep. Throws for what is no such message. */
	readonly decode: (bytes: Uint8Array) => Response;
	/** The server may answer with any number of messages; else OK comes with exactly one. */
	readonly responseStream: boolean;
}

export interface CallOptions {
	/** What the server is told. See metadata.ts. */
	readonly metadata?: HeaderList;
	/** From now until the status, waiting included; the server is told. Default: none. */
	readonly timeoutMs?: number;
	/** While there is no connection the call waits, rather than fails. Default false. */
	readonly waitForReady?: boolean;
	/** Of one message that comes. Default 4 MiB, as everywhere in gRPC. */
	readonly messageBytesMax?: number;
}

export interface CallListener<Response> {
	/** The server's first metadata. Not called when it answers with a status only. */
	onHead?(metadata: HeaderList): void;
	onMessage(message: Response): void;
	/** `send` may be called again, after it returned false. */
	onDrain?(): void;
	/** Once, last, for every end but `cancel`. */
	onEnd(status: CallStatus): void;
}

/** The channel, as its calls see it. */
export interface CallChannel {
	readonly network: Network;
	readonly authority: string;
	readonly scheme: 'http' | 'https';
	begin(call: ChannelCall): void;
	/** It is over. */
	forget(call: ChannelCall): void;
}

/** A call, as its channel sees it. */
export interface ChannelCall {
	readonly waitForReady: boolean;
	attach(codec: Http2ClientCodec): void;
	refused(status: CallStatus): void;
}

export const MESSAGE_BYTES_MAX = 4 * 1024 * 1024;
/** What is kept of what was sent, to begin again with where the server has processed nothing. */
const REPLAY_BYTES_MAX = 256 * 1024;
/** What waits to be sent, when the caller does not heed `send`. */
const UNSENT_BYTES_MAX = 16 * 1024 * 1024;
const RETRIES_MAX = 3;
const EMPTY = new Uint8Array(0);
const USER_AGENT = 'grpc-weft';

export class GrpcCall<Request, Response> implements ChannelCall, ResponseListener {
	readonly waitForReady: boolean;
	private stream: ClientStream | null = null;
	/** All that was sent so far; null: it cannot be begun again. */
	private replay: Uint8Array[] | null = [];
	private sentBytes = 0;
	private ended = false;
	/** Written since the last drain that came to nothing. */
	private unsentBytes = 0;
	private drainOwed = false;
	private retries = 0;
	private messages = 0;
	/** The end that waits for messages to be taken. */
	private heldEnd: CallStatus | null = null;
	private paused = false;
	private over = false;
	private readonly reader: MessageReader;
	private readonly deadline: Timer | null;
	private readonly deadlineMs: number;

	/** Begins at once; no event comes within the constructor. */
	constructor(
		private readonly channel: CallChannel,
		private readonly method: ClientMethod<Request, Response>,
		private readonly options: CallOptions,
		private readonly listener: CallListener<Response>,
	) {
		this.waitForReady = options.waitForReady === true;
		this.reader = new MessageReader(options.messageBytesMax ?? MESSAGE_BYTES_MAX, (bytes) => this.onMessage(bytes));
		const { clock } = channel.network;
		const { timeoutMs } = options;
		this.deadlineMs = timeoutMs === undefined ? 0 : clock.nowMs() + timeoutMs;
		this.deadline = timeoutMs === undefined ? null : clock.after(timeoutMs, () => this.onDeadline());
		channel.begin(this);
	}

	get isOver(): boolean {
		return this.over;
	}

	/**
	 * Takes the message. False: wait for `onDrain`; always so until there is a connection. Who does not wait is
	 * ended with RESOURCE_EXHAUSTED at 16 MiB. `end`: it is the last one. Ignored once the call is over.
	 */
	send(message: Request, end = false): boolean {
		if (this.over) return true;
		assert(!this.ended, 'nothing is sent after the end');
		const framed = frameMessage(this.method.encode(message));
		this.ended = end;
		return this.write(framed);
	}

	/** No more requests; the server's answers still come. */
	end(): void {
		if (this.over || this.ended) return;
		this.ended = true;
		this.stream?.writeData(EMPTY, true);
	}

	/** Not wanted any more: the server is told, and no event follows. Idempotent. */
	cancel(): void {
		this.leave();
	}

	/** No `onMessage` until `resume`; the server is held back when windows are full. */
	pause(): void {
		if (this.over || this.paused) return;
		this.paused = true;
		this.reader.pause();
		this.stream?.pause();
	}

	resume(): void {
		if (this.over || !this.paused) return;
		this.paused = false;
		const fault = this.reader.resume();
		if (this.over) return;
		if (fault !== null) this.finish(callStatus(fault.code, fault.message));
		else if (!this.paused && !this.finishHeld()) this.stream?.resume();
	}

	// --- ChannelCall

	attach(codec: Http2ClientCodec): void {
		const { channel, method, options } = this;
		const stream = codec.newStream(this);
		this.stream = stream;
		const headers: HeaderList = ['content-type', 'application/grpc', 'te', 'trailers', 'user-agent', USER_AGENT];
		if (this.deadline !== null) {
			headers.push('grpc-timeout', formatGrpcTimeout(Math.max(1, this.deadlineMs - channel.network.clock.nowMs())));
		}
		if (options.metadata !== undefined) headers.push(...options.metadata);
		const { authority, scheme } = channel;
		stream.writeHead({ method: 'POST', scheme, authority, path: method.path, headers, upgrade: '' }, false);
		// Each write may find the stream gone, and the call begun again or over.
		const sent = this.replay!;
		const { ended } = this;
		let room = true;
		for (let i = 0; i < sent.length && this.stream === stream; i++) {
			room = stream.writeData(sent[i]!, ended && i === sent.length - 1);
		}
		if (this.stream !== stream) return;
		if (ended && sent.length === 0) stream.writeData(EMPTY, true);
		this.unsentBytes = room ? 0 : this.sentBytes;
		if (this.paused) stream.pause();
		if (room && this.drainOwed) this.onDrain();
	}

	refused(status: CallStatus): void {
		if (!this.over) this.finish(status);
	}

	// --- ResponseListener

	onHead({ status, headers }: ResponseHead, end: boolean): void {
		if (status < 200) return;
		this.replay = null;
		const contentType = getHeader(headers, 'content-type') ?? '';
		const isGrpc = /^application\/grpc(?:$|[+;])/i.test(contentType);
		const said = end ? statusOfTrailers(headers) : null;
		if (said !== null) this.conclude(said);
		else if (status !== 200) {
			this.finish(callStatus(grpcStatusOfHttp(status), `the server answered with HTTP status ${status}`));
		} else if (!isGrpc) {
			const found = contentType === '' ? 'none' : JSON.stringify(contentType.slice(0, 64));
			this.finish(callStatus(GrpcStatus.unknown, `the server's content type is ${found}, expected application/grpc`));
		} else if (end) this.finish(WITHOUT_STATUS);
		else {
			this.reader.encoding = (getHeader(headers, 'grpc-encoding') ?? 'none named').slice(0, 32);
			this.listener.onHead?.(applicationMetadata(headers));
		}
	}

	onData(bytes: Uint8Array, end: boolean): void {
		const fault = this.reader.push(bytes);
		if (this.over) return;
		if (fault !== null) this.finish(callStatus(fault.code, fault.message));
		else if (end) this.conclude(WITHOUT_STATUS);
	}

	onTrailers(trailers: HeaderList): void {
		this.conclude(statusOfTrailers(trailers) ?? WITHOUT_STATUS);
	}

	onReset(reason: ResetReason, error: WeftError | null): void {
		if (this.over) return;
		this.stream = null;
		if (reason === 'refused' && this.replay !== null && this.retries < RETRIES_MAX) {
			this.retries++;
			this.channel.forget(this);
			this.channel.begin(this);
			return;
		}
		// What had come whole is given out before; a stream that was lost says so afterwards.
		this.conclude(statusOfReset(reason, error));
	}

	onDrain(): void {
		this.unsentBytes = 0;
		if (!this.drainOwed || this.over) return;
		this.drainOwed = false;
		this.listener.onDrain?.();
	}

	// --- inside

	private write(framed: Uint8Array): boolean {
		this.sentBytes += framed.length;
		const { stream } = this;
		if (this.replay !== null) {
			if (stream !== null && this.sentBytes > REPLAY_BYTES_MAX) this.replay = null;
			else this.replay.push(framed);
		}
		let room = false;
		if (stream !== null) room = stream.writeData(framed, this.ended);
		if (room || this.over) return true;
		this.drainOwed = true;
		this.unsentBytes += framed.length;
		if (this.unsentBytes > UNSENT_BYTES_MAX) {
			this.finish(callStatus(GrpcStatus.resourceExhausted, 'too much waits to be sent to the server'));
		}
		return false;
	}

	private onMessage(bytes: Uint8Array): void {
		if (this.over) return;
		if (++this.messages > 1 && !this.method.responseStream) {
			this.finish(callStatus(GrpcStatus.internal, 'the server sent more than one response'));
			return;
		}
		let message: Response;
		try {
			message = this.method.decode(bytes);
		} catch (error) {
			this.finish(callStatus(GrpcStatus.internal, `a response that cannot be decoded: ${errorMessage(error)}`));
			return;
		}
		this.listener.onMessage(message);
	}

	private onDeadline(): void {
		this.finish(callStatus(GrpcStatus.deadlineExceeded, `no answer within ${this.options.timeoutMs} ms`));
	}

	/** The server has said its last word; messages may still wait to be taken. */
	private conclude(status: CallStatus): void {
		if (this.over || this.heldEnd !== null) return;
		if (this.reader.isHolding) {
			this.heldEnd = status;
			return;
		}
		if (status.code === GrpcStatus.ok) {
			if (!this.reader.isAtBoundary) {
				this.finish(callStatus(GrpcStatus.internal, 'the response ended within a message'));
				return;
			}
			if (!this.method.responseStream && this.messages === 0) {
				this.finish(callStatus(GrpcStatus.internal, 'the server said OK and sent no response'));
				return;
			}
		}
		this.finish(status);
	}

	private finishHeld(): boolean {
		const status = this.heldEnd;
		if (status === null) return false;
		this.heldEnd = null;
		this.conclude(status);
		return true;
	}

	private finish(status: CallStatus): void {
		if (!this.leave()) return;
		this.listener.onEnd(status);
	}

	/** False: it was over. */
	private leave(): boolean {
		if (this.over) return false;
		this.over = true;
		this.deadline?.cancel();
		this.reader.stop();
		this.replay = null;
		const { stream } = this;
		this.stream = null;
		// Nothing, where both sides have ended.
		stream?.reset('cancelled');
		this.channel.forget(this);
		return true;
	}
}

const WITHOUT_STATUS = callStatus(GrpcStatus.unknown, 'the response ended without a status');
