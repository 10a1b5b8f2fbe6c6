// What the tests of the codecs listen and write with: transports and listeners that keep what they
// hear, as text. Not used outside tests and benchmarks.

import type { ClientCodecEvents, CodecTransport, ServerCodecEvents } from '../http/codec.ts';
import type { HeaderList } from '../http/headers.ts';
import type {
	RequestHead,
	RequestListener,
	ResetReason,
	ResponseHead,
	ResponseListener,
	ServerStream,
} from '../http/stream.ts';
import type { WeftError } from '../std/errors.ts';
import { Http1ClientCodec } from './client-codec.ts';
import type { Http1ClientOptions, Http1ServerOptions } from './limits.ts';
import { Http1ServerCodec } from './server-codec.ts';

export function latin1(text: string): Uint8Array {
	return new Uint8Array(Buffer.from(text, 'latin1'));
}

export function text(bytes: Uint8Array): string {
	return Buffer.from(bytes).toString('latin1');
}

export class RecordingTransport implements CodecTransport {
	written = '';
	writes = 0;
	paused = false;
	closed: 'flush' | 'reset' | null = null;
	/** What `write` answers. */
	room = true;

	write(bytes: Uint8Array): boolean {
		this.written += text(bytes);
		this.writes++;
		return this.room;
	}

	pauseReading(): void {
		this.paused = true;
	}

	resumeReading(): void {
		this.paused = false;
	}

	close(how: 'flush' | 'reset'): void {
		this.closed ??= how;
	}

	take(): string {
		const taken = this.written;
		this.written = '';
		return taken;
	}
}

/** One message as it was heard; `events` in order, data joined where it follows data. */
export class Heard implements RequestListener, ResponseListener {
	head: RequestHead | ResponseHead | null = null;
	informational: ResponseHead[] = [];
	body = '';
	trailers: HeaderList | null = null;
	ended = false;
	reset: ResetReason | null = null;
	error: WeftError | null = null;
	drains = 0;
	onEnded: () => void = () => {};
	onHeaded: () => void = () => {};

	onHead(head: RequestHead | ResponseHead, end: boolean): void {
		if ('status' in head && head.status < 200 && head.status !== 101) {
			this.informational.push(head);
			return;
		}
		this.head = head;
		this.ended ||= end;
		this.onHeaded();
		if (end) this.onEnded();
	}

	onData(bytes: Uint8Array, end: boolean): void {
		this.body += text(bytes);
		this.ended ||= end;
		if (end) this.onEnded();
	}

	onTrailers(trailers: HeaderList): void {
		this.trailers = trailers;
		this.ended = true;
		this.onEnded();
	}

	onReset(reason: ResetReason, error: WeftError | null): void {
		this.reset = reason;
		this.error = error;
	}

	onDrain(): void {
		this.drains++;
	}

	get request(): RequestHead {
		return this.head as RequestHead;
	}

	get response(): ResponseHead {
		return this.head as ResponseHead;
	}

	/** All of it, to be compared. */
	summary(): string {
		const { head, informational, body, trailers, ended, reset, error } = this;
		return JSON.stringify({ head, informational, body, trailers, ended, reset, error: error?.code ?? null });
	}
}

export class ServerPeer implements ServerCodecEvents {
	readonly transport = new RecordingTransport();
	readonly codec: Http1ServerCodec;
	readonly requests: Heard[] = [];
	readonly streams: ServerStream[] = [];
	error: WeftError | null = null;
	idles = 0;

	/** `answer` is called at the end of each request. */
	constructor(
		options: Http1ServerOptions = {},
		private readonly answer: ((stream: ServerStream, request: Heard) => void) | null = null,
	) {
		this.codec = new Http1ServerCodec(this.transport, this, options);
	}

	receive(input: string | Uint8Array): void {
		this.codec.receive(typeof input === 'string' ? latin1(input) : input);
	}

	onStream(stream: ServerStream): RequestListener {
		const heard = new Heard();
		this.requests.push(heard);
		this.streams.push(stream);
		const answer = this.answer;
		if (answer !== null) heard.onEnded = () => answer(stream, heard);
		return heard;
	}

	onProtocolError(error: WeftError): void {
		this.error = error;
	}

	onIdle(): void {
		this.idles++;
	}
}

export class ClientPeer implements ClientCodecEvents {
	readonly transport = new RecordingTransport();
	readonly codec: Http1ClientCodec;
	availables = 0;
	unavailable = false;
	error: WeftError | null = null;

	constructor(options: Http1ClientOptions = {}) {
		this.codec = new Http1ClientCodec(this.transport, this, options);
	}

	receive(input: string | Uint8Array): void {
		this.codec.receive(typeof input === 'string' ? latin1(input) : input);
	}

	onAvailable(): void {
		this.availables++;
	}

	onUnavailable(error: WeftError | null): void {
		this.unavailable = true;
		this.error = error;
	}
}

export function getRequest(path = '/', headers: HeaderList = []): RequestHead {
	return { method: 'GET', scheme: 'http', authority: 'example.com', path, headers, upgrade: '' };
}
