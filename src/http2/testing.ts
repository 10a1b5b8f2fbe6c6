// For tests of the HTTP/2 codecs: frames by hand, what a codec wrote as a list of frames, and a
// client and a server joined in memory.

import type { ClientCodecEvents, CodecTransport, ServerCodecEvents } from '../http/codec.ts';
import type { ClientStream, RequestHead, RequestListener, ServerStream } from '../http/stream.ts';
import { Heard } from '../http1/testing.ts';
import { VirtualClock } from '../std/clock.ts';
import type { WeftError } from '../std/errors.ts';
import { Http2ClientCodec } from './client-codec.ts';
import { CLIENT_PREFACE, ErrorCode, errorName, Flag, FrameType } from './frames.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import type { Http2ClientOptions, Http2ServerOptions } from './limits.ts';
import { Http2ServerCodec } from './server-codec.ts';

export interface WrittenFrame {
	readonly type: number;
	readonly flags: number;
	readonly streamId: number;
	readonly payload: Uint8Array;
}

export class FrameTransport implements CodecTransport {
	private parts: Uint8Array[] = [];
	writes = 0;
	totalBytes = 0;
	closed: 'flush' | 'reset' | null = null;
	/** What `write` answers. */
	room = true;

	write(bytes: Uint8Array): boolean {
		this.writes++;
		this.totalBytes += bytes.length;
		this.parts.push(bytes.slice());
		return this.room;
	}

	pauseReading(): void {}
	resumeReading(): void {}

	close(how: 'flush' | 'reset'): void {
		this.closed ??= how;
	}

	takeBytes(): Uint8Array {
		const { parts } = this;
		this.parts = [];
		return concat(...parts);
	}

	/** What was written since the last call. */
	take(): WrittenFrame[] {
		return parseFrames(this.takeBytes());
	}
}

export function parseFrames(bytes: Uint8Array): WrittenFrame[] {
	const frames: WrittenFrame[] = [];
	let at = bytes[0] === 0x50 && bytes[1] === 0x52 ? CLIENT_PREFACE.length : 0;
	while (at + 9 <= bytes.length) {
		const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
		const payload = bytes.slice(at + 9, at + 9 + length);
		const streamId = new DataView(bytes.buffer, bytes.byteOffset + at + 5, 4).getUint32(0);
		frames.push({ type: bytes[at + 3]!, flags: bytes[at + 4]!, streamId, payload });
		at += 9 + length;
	}
	return frames;
}

export function frame(
	type: number,
	flags: number,
	streamId: number,
	payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
	const bytes = new Uint8Array(9 + payload.length);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, (payload.length << 8) | type);
	bytes[4] = flags;
	view.setUint32(5, streamId);
	bytes.set(payload, 9);
	return bytes;
}

export function uint32Bytes(...values: number[]): Uint8Array {
	const bytes = new Uint8Array(values.length * 4);
	const view = new DataView(bytes.buffer);
	for (const [i, value] of values.entries()) view.setUint32(i * 4, value);
	return bytes;
}

export function settings(...pairs: (readonly [number, number])[]): Uint8Array {
	const payload = new Uint8Array(pairs.length * 6);
	const view = new DataView(payload.buffer);
	for (const [i, [id, value]] of pairs.entries()) {
		view.setUint16(i * 6, id);
		view.setUint32(i * 6 + 2, value);
	}
	return frame(FrameType.settings, 0, 0, payload);
}

export const windowUpdate = (streamId: number, increment: number): Uint8Array =>
	frame(FrameType.windowUpdate, 0, streamId, uint32Bytes(increment));
export const rstStream = (streamId: number, code: number = ErrorCode.cancel): Uint8Array =>
	frame(FrameType.rstStream, 0, streamId, uint32Bytes(code));
export const data = (streamId: number, text: string, end = false): Uint8Array =>
	frame(FrameType.data, end ? Flag.endStream : 0, streamId, new TextEncoder().encode(text));

export function concat(...parts: Uint8Array[]): Uint8Array {
	return new Uint8Array(Buffer.concat(parts));
}

/** Fields as they are, without any table: what the codec's own encoder would refuse to send can be sent. */
export function rawBlock(fields: readonly (readonly [string, string])[]): Uint8Array {
	const parts: number[] = [];
	const put = (text: string): void => {
		if (text.length < 127) parts.push(text.length);
		else {
			parts.push(127);
			let rest = text.length - 127;
			for (; rest >= 128; rest >>= 7) parts.push((rest & 127) | 128);
			parts.push(rest);
		}
		for (let i = 0; i < text.length; i++) parts.push(text.charCodeAt(i));
	};
	for (const [name, value] of fields) {
		parts.push(0);
		put(name);
		put(value);
	}
	return Uint8Array.from(parts);
}

export const GET_FIELDS: readonly (readonly [string, string])[] = [
	[':method', 'GET'],
	[':scheme', 'http'],
	[':authority', 'example.com'],
	[':path', '/'],
];
export const POST_FIELDS: readonly (readonly [string, string])[] = [[':method', 'POST'], ...GET_FIELDS.slice(1)];

export function headers(streamId: number, fields: readonly (readonly [string, string])[], end = true): Uint8Array {
	return frame(FrameType.headers, Flag.endHeaders | (end ? Flag.endStream : 0), streamId, rawBlock(fields));
}

export function getRequest(path = '/', more: Partial<RequestHead> = {}): RequestHead {
	return { method: 'GET', scheme: 'http', authority: 'example.com', path, headers: [], upgrade: '', ...more };
}

/** A server codec and a peer that writes frames by hand. */
export class ServerPeer implements ServerCodecEvents {
	readonly clock: VirtualClock;
	readonly transport = new FrameTransport();
	readonly codec: Http2ServerCodec;
	readonly requests: Heard[] = [];
	readonly streams: ServerStream[] = [];
	readonly decoder = new HpackDecoder(4096, 1 << 20, 1000);
	error: WeftError | null = null;
	idles = 0;

	/** `answer` is called at the end of each request. */
	constructor(
		options: Partial<Http2ServerOptions> = {},
		private readonly answer: ((stream: ServerStream, request: Heard) => void) | null = null,
	) {
		this.clock = (options.clock as VirtualClock | undefined) ?? new VirtualClock();
		this.codec = new Http2ServerCodec(this.transport, this, { ...options, clock: this.clock });
	}

	/** Preface and SETTINGS of the peer, and the answers to ours; what was written until then is dropped. */
	open(...pairs: (readonly [number, number])[]): this {
		this.receive(CLIENT_PREFACE, settings(...pairs), frame(FrameType.settings, Flag.ack, 0));
		this.transport.take();
		return this;
	}

	receive(...parts: Uint8Array[]): void {
		this.codec.receive(concat(...parts));
	}

	/** Status and fields of a HEADERS frame that was written. */
	fieldsOf(written: WrittenFrame): [string, string][] {
		if (!this.decoder.decode(written.payload, 0, written.payload.length)) throw new Error('not HPACK');
		const { names, values, count } = this.decoder.fields;
		return names.slice(0, count).map((name, i) => [name, values[i]!]);
	}

	/** `RST_STREAM 1 CANCEL`, `GOAWAY ENHANCE_YOUR_CALM`: what ends something, of what was written. */
	endings(): string[] {
		return endingsOf(this.transport.take());
	}

	onStream(stream: ServerStream): RequestListener {
		const heard = new Heard();
		this.requests.push(heard);
		this.streams.push(stream);
		const { answer } = this;
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

export function endingsOf(frames: readonly WrittenFrame[]): string[] {
	const endings: string[] = [];
	for (const { type, streamId, payload } of frames) {
		const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
		if (type === FrameType.rstStream) endings.push(`RST_STREAM ${streamId} ${errorName(view.getUint32(0))}`);
		if (type === FrameType.goaway) endings.push(`GOAWAY ${errorName(view.getUint32(4))}`);
	}
	return endings;
}

/** A client codec and a server written by hand. */
export class ClientPeer implements ClientCodecEvents {
	readonly clock: VirtualClock;
	readonly transport = new FrameTransport();
	readonly codec: Http2ClientCodec;
	readonly encoder = new HpackEncoder();
	availables = 0;
	unavailable = false;
	error: WeftError | null = null;

	constructor(options: Partial<Http2ClientOptions> = {}) {
		this.clock = (options.clock as VirtualClock | undefined) ?? new VirtualClock();
		this.codec = new Http2ClientCodec(this.transport, this, { ...options, clock: this.clock });
	}

	open(...pairs: (readonly [number, number])[]): this {
		this.receive(settings(...pairs), frame(FrameType.settings, Flag.ack, 0));
		this.transport.take();
		return this;
	}

	receive(...parts: Uint8Array[]): void {
		this.codec.receive(concat(...parts));
	}

	request(head: RequestHead = getRequest(), end = true): { readonly stream: ClientStream; readonly heard: Heard } {
		const heard = new Heard();
		const stream = this.codec.newStream(heard);
		stream.writeHead(head, end);
		return { stream, heard };
	}

	onAvailable(): void {
		this.availables++;
	}

	onUnavailable(error: WeftError | null): void {
		this.unavailable = true;
		this.error = error;
	}
}

/** A client and a server joined: `run` carries bytes until both are silent. */
export class Joined {
	readonly client: ClientPeer;
	readonly server: ServerPeer;

	constructor(
		serverOptions: Partial<Http2ServerOptions> = {},
		answer: ((stream: ServerStream, request: Heard) => void) | null = null,
		clientOptions: Partial<Http2ClientOptions> = {},
		/** Sizes into which what is carried is cut. */
		private readonly cut: (left: number) => number = (left) => left,
	) {
		const clock = new VirtualClock();
		this.client = new ClientPeer({ ...clientOptions, clock });
		this.server = new ServerPeer({ ...serverOptions, clock }, answer);
		this.run();
	}

	run(): void {
		for (;;) {
			const up = this.client.transport.takeBytes();
			const down = this.server.transport.takeBytes();
			if (up.length === 0 && down.length === 0) return;
			for (let at = 0; at < up.length; ) {
				const size = this.cut(up.length - at);
				this.server.codec.receive(up.subarray(at, at + size));
				at += size;
			}
			for (let at = 0; at < down.length; ) {
				const size = this.cut(down.length - at);
				this.client.codec.receive(down.subarray(at, at + size));
				at += size;
			}
		}
	}
}
