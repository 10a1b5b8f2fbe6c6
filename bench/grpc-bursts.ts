// Load of streams as gRPC of Go sends them: the streams of a connection take turns, a frame for each message, all in
// one write. Each sends 100 small messages and waits for the end of its answers; then the next ones follow.
//
//   grpc-bursts.ts PORT AT_ONCE SECONDS      prints one line of JSON: streams, seconds, failures, milliseconds of each

import { connect } from 'node:net';
import { FrameReader, type FrameSink } from '../src/http2/frame-reader.ts';
import { CLIENT_PREFACE, Flag, FrameType, WINDOW_BYTES_MAX } from '../src/http2/frames.ts';
import { concat, frame, rawBlock, settings, uint32Bytes } from '../src/http2/testing.ts';

const MESSAGES = 100;
const MESSAGE = new Uint8Array(5 + 32);
MESSAGE[4] = 32;
const CONNECTIONS = 4;
const HEAD = rawBlock([
	[':method', 'POST'],
	[':scheme', 'http'],
	[':path', '/bench.Echo/Stream'],
	[':authority', 'bench'],
	['content-type', 'application/grpc'],
	['te', 'trailers'],
]);

const [port, atOnce, seconds] = process.argv.slice(2).map(Number) as [number, number, number];
const durations: number[] = [];
let failures = 0;

/** One connection; its streams of one burst, until time is up. */
class Bursts implements FrameSink {
	readonly done = Promise.withResolvers<void>();
	readingStopped = false;
	private readonly socket = connect(port, '127.0.0.1');
	private readonly reader = new FrameReader(this);
	private nextId = 1;
	private startedMs = 0;
	/** All of its streams are over, by our will. */
	private hasEnded = false;
	/** Bytes that came, by stream. */
	private readonly open = new Map<number, number>();

	constructor(
		private readonly streams: number,
		private readonly untilMs: number,
	) {
		this.socket.on('connect', () => {
			const window = frame(FrameType.windowUpdate, 0, 0, uint32Bytes(WINDOW_BYTES_MAX >> 1));
			this.socket.write(concat(CLIENT_PREFACE, settings(), window));
			this.send();
		});
		this.socket.on('data', (bytes: Buffer) => this.reader.read(bytes, 0));
		this.socket.on('error', () => undefined);
		this.socket.on('close', () => {
			failures += this.hasEnded ? 0 : Math.max(1, this.open.size);
			this.done.resolve();
		});
	}

	onDataFrame(streamId: number, flags: number, length: number): boolean {
		this.open.set(streamId, (this.open.get(streamId) ?? 0) + length);
		if ((flags & Flag.endStream) !== 0) this.over(streamId);
		return true;
	}

	onDataPart(): void {}

	onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (type === FrameType.settings && (flags & Flag.ack) === 0) {
			this.socket.write(frame(FrameType.settings, Flag.ack, 0));
		} else if (type === FrameType.ping && (flags & Flag.ack) === 0) {
			this.socket.write(frame(FrameType.ping, Flag.ack, 0, bytes.slice(from, to)));
		} else if (type === FrameType.headers && (flags & Flag.endStream) !== 0) this.over(streamId);
		else if (type === FrameType.rstStream) this.over(streamId);
	}

	onFrameTooLarge(): void {
		this.socket.destroy();
	}

	onBadPadding(): void {
		this.socket.destroy();
	}

	private send(): void {
		if (performance.now() >= this.untilMs) {
			this.hasEnded = true;
			this.socket.end();
			return;
		}
		const ids = Array.from({ length: this.streams }, (_, index) => this.nextId + 2 * index);
		this.nextId += 2 * this.streams;
		const frames = ids.map((id) => frame(FrameType.headers, Flag.endHeaders, id, HEAD));
		for (let message = 1; message <= MESSAGES; message++) {
			const flags = message === MESSAGES ? Flag.endStream : 0;
			for (const id of ids) frames.push(frame(FrameType.data, flags, id, MESSAGE));
		}
		for (const id of ids) this.open.set(id, 0);
		this.startedMs = performance.now();
		this.socket.write(concat(...frames));
	}

	private over(streamId: number): void {
		const bytes = this.open.get(streamId);
		if (!this.open.delete(streamId)) return;
		durations.push(performance.now() - this.startedMs);
		if (bytes !== MESSAGES * MESSAGE.length) failures++;
		if (this.open.size === 0) this.send();
	}
}

const started = performance.now();
const connections = Array.from(
	{ length: CONNECTIONS },
	() => new Bursts(Math.ceil(atOnce / CONNECTIONS), started + seconds * 1000),
);
await Promise.all(connections.map((one) => one.done.promise));
const took = (performance.now() - started) / 1000;
console.log(JSON.stringify({ streams: durations.length, seconds: took, failures, durations }));
