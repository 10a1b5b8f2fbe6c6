// Frames about the connection and about streams as a whole: SETTINGS, PING, WINDOW_UPDATE, RST_STREAM,
// PRIORITY, GOAWAY. Each kind that costs a peer nothing has a bound.

import type { CodecTransport } from '../http/codec.ts';
import type { Timer } from '../std/clock.ts';
import type { ErrorOrigin } from '../std/errors.ts';
import { Budget } from './budget.ts';
import { Ended } from './closed-streams.ts';
import { Http2Error } from './errors.ts';
import {
	ErrorCode,
	errorName,
	Flag,
	FRAME_BYTES_CEILING,
	FRAME_BYTES_DEFAULT,
	FrameType,
	Setting,
	WINDOW_BYTES_DEFAULT,
	WINDOW_BYTES_MAX,
} from './frames.ts';
import { KeepAlive } from './keep-alive.ts';
import { type Http2ClientOptions, type Http2ServerOptions, PINGS, SETTINGS_FRAMES, UNKNOWN_FRAMES } from './limits.ts';
import type { Http2Stream } from './stream.ts';
import { StreamTable } from './stream-table.ts';

/** What our PINGs say. */
const PING_KEEP_ALIVE = new TextEncoder().encode('weftlive');
export const PING_DRAIN: Uint8Array = new TextEncoder().encode('weftgone');

export abstract class ControlFrames extends StreamTable {
	protected peerSettingsSeen = false;
	protected peerStreamsMax = Number.POSITIVE_INFINITY;
	protected peerAllowsConnect = false;
	protected readonly keepAlive: KeepAlive | null;
	/** What is being read lets something out. */
	protected pumpWanted = false;
	private readonly settingsTimer: Timer;
	private priorityFrames = 0;
	private windowUpdates = 0;
	private readonly pings: Budget;
	private readonly settingsFrames: Budget;
	private readonly unknownFrames: Budget;

	/** `settings`: those of the role. */
	constructor(
		transport: CodecTransport,
		options: Http2ServerOptions | Http2ClientOptions,
		origin: ErrorOrigin,
		settings: readonly (readonly [number, number])[],
	) {
		super(transport, options, origin);
		const { clock, limits } = this;
		this.pings = new Budget(PINGS, clock);
		this.settingsFrames = new Budget(SETTINGS_FRAMES, clock);
		this.unknownFrames = new Budget(UNKNOWN_FRAMES, clock);
		const all: (readonly [number, number])[] = [
			...settings,
			[Setting.initialWindowSize, limits.streamWindowBytes],
			[Setting.maxHeaderListSize, limits.headerBytesMax],
		];
		if (limits.headerTableBytes !== TABLE_BYTES_DEFAULT) all.push([Setting.headerTableSize, limits.headerTableBytes]);
		this.writer.opening(origin === 'upstream', all, this.receiveWindow - WINDOW_BYTES_DEFAULT);
		this.settingsTimer = clock.after(limits.settingsAckTimeoutMs, () =>
			this.fail(ErrorCode.settingsTimeout, 'http2_settings_timeout', 'no answer to SETTINGS'),
		);
		const keepAlive = options.keepAlive ?? null;
		this.keepAlive =
			keepAlive === null
				? null
				: new KeepAlive(
						keepAlive,
						clock,
						options.random ?? (() => 0),
						() => this.writer.ping(false, PING_KEEP_ALIVE, 0),
						() => this.fail(ErrorCode.noError, 'http2_keepalive_timeout', 'no answer to PING'),
					);
	}

	/** Whether the peer may have opened that stream, or we have. */
	protected abstract wasOpened(streamId: number): boolean;
	protected abstract onGoaway(lastStreamId: number, code: number, debug: string): void;
	protected abstract onSettings(): void;
	protected abstract onDrainPing(): void;

	protected override stop(): void {
		super.stop();
		this.settingsTimer.cancel();
		this.keepAlive?.stop();
	}

	/** Any frame but DATA, HEADERS and CONTINUATION. */
	protected onControlFrame(
		type: number,
		flags: number,
		streamId: number,
		bytes: Uint8Array,
		from: number,
		to: number,
	): void {
		switch (type) {
			case FrameType.windowUpdate:
				this.onWindowUpdate(streamId, bytes, from, to);
				break;
			case FrameType.rstStream:
				this.onRstStream(streamId, bytes, from, to);
				break;
			case FrameType.settings:
				this.onSettingsFrame(flags, streamId, bytes, from, to);
				break;
			case FrameType.ping:
				this.onPing(flags, streamId, bytes, from, to);
				break;
			case FrameType.priority:
				this.onPriority(streamId, bytes, from, to);
				break;
			case FrameType.goaway:
				this.onGoawayFrame(streamId, bytes, from, to);
				break;
			case FrameType.pushPromise:
				this.failProtocol('PUSH_PROMISE, which is refused');
				break;
			default:
				if (!this.unknownFrames.take()) this.calm('http2_unknown_frame_flood', 'too many frames of unknown types');
		}
	}

	private onWindowUpdate(streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (to - from !== 4) {
			this.failSize('WINDOW_UPDATE');
			return;
		}
		const increment = uint32(bytes, from) & 0x7fffffff;
		const { windowUpdatesPerDataFrameMax } = this.limits;
		if (++this.windowUpdates > 5 + 2 * (this.opened + windowUpdatesPerDataFrameMax * this.dataFramesOut)) {
			this.calm('http2_window_update_flood', 'too many WINDOW_UPDATE frames');
			return;
		}
		if (streamId === 0) {
			if (increment === 0) this.failProtocol('WINDOW_UPDATE of 0');
			else if (this.out.window + increment > WINDOW_BYTES_MAX) {
				this.fail(ErrorCode.flowControlError, 'http2_flow_control', 'the connection window is too large');
			} else {
				this.out.window += increment;
				this.pumpWanted = true;
			}
			return;
		}
		const stream = this.streams.get(streamId);
		if (stream === undefined) {
			if (!this.wasOpened(streamId)) this.failProtocol('WINDOW_UPDATE on a stream that is idle');
			return;
		}
		if (increment === 0) {
			this.resetForFault(stream, ErrorCode.protocolError, 'http2_protocol_error', 'WINDOW_UPDATE of 0');
			return;
		}
		if (stream.sendWindow + increment > WINDOW_BYTES_MAX) {
			this.resetForFault(stream, ErrorCode.flowControlError, 'http2_flow_control', 'the stream window is too large');
			return;
		}
		stream.sendWindow += increment;
		if (stream.queue !== null) {
			this.out.schedule(stream);
			this.pumpWanted = true;
		}
	}

	private onRstStream(streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (to - from !== 4) {
			this.failSize('RST_STREAM');
			return;
		}
		if (streamId === 0 || !this.wasOpened(streamId)) {
			this.failProtocol('RST_STREAM on a stream that is idle');
			return;
		}
		const stream = this.streams.get(streamId);
		if (stream === undefined) return;
		const code = uint32(bytes, from);
		this.remove(stream, Ended.finished);
		this.onPeerReset(stream, code);
	}

	/** The stream is off the connection. */
	protected onPeerReset(stream: Http2Stream, code: number): void {
		const refused = code === ErrorCode.refusedStream;
		const message = `reset by the peer: ${errorName(code)}`;
		const error = new Http2Error('http2_stream_reset', message, this.origin, refused, code);
		// A host that finds fault with our request says so to the client as Envoy does: 502.
		const faulted = code === ErrorCode.protocolError && this.origin === 'upstream';
		stream.lose(refused ? 'refused' : faulted ? 'protocol_error' : 'cancelled', error);
	}

	private onSettingsFrame(flags: number, streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (streamId !== 0) {
			this.failProtocol('SETTINGS on a stream');
			return;
		}
		if ((flags & Flag.ack) !== 0) {
			if (!this.peerSettingsSeen)
				this.fail(ErrorCode.protocolError, 'http2_bad_preface', 'the first SETTINGS is an answer');
			else if (from !== to) this.failSize('SETTINGS');
			else {
				this.settingsAcked = true;
				this.settingsTimer.cancel();
			}
			return;
		}
		if ((to - from) % 6 !== 0) {
			this.failSize('SETTINGS');
			return;
		}
		if (!this.settingsFrames.take() || to - from > SETTINGS_BYTES_MAX) {
			this.calm('http2_settings_flood', 'too many SETTINGS');
			return;
		}
		this.peerSettingsSeen = true;
		for (let at = from; at < to; at += 6) {
			if (!this.applySetting((bytes[at]! << 8) | bytes[at + 1]!, uint32(bytes, at + 2))) return;
		}
		this.writer.settingsAck();
		this.onSettings();
		this.pumpWanted = true;
	}

	private applySetting(id: number, value: number): boolean {
		switch (id) {
			case Setting.headerTableSize:
				this.encoder.setPeerTableSize(value);
				return true;
			case Setting.enablePush:
				if (value === 0 || (value === 1 && this.origin === 'downstream')) return true;
				this.failProtocol('ENABLE_PUSH that may not be');
				return false;
			case Setting.maxConcurrentStreams:
				this.peerStreamsMax = value;
				return true;
			case Setting.initialWindowSize: {
				if (value > WINDOW_BYTES_MAX) {
					this.fail(ErrorCode.flowControlError, 'http2_flow_control', 'INITIAL_WINDOW_SIZE is too large');
					return false;
				}
				const change = value - this.peerInitialWindow;
				this.peerInitialWindow = value;
				for (const stream of this.streams.values()) {
					if (stream.sendWindow + change > WINDOW_BYTES_MAX) {
						this.fail(ErrorCode.flowControlError, 'http2_flow_control', 'INITIAL_WINDOW_SIZE makes a window too large');
						return false;
					}
					stream.sendWindow += change;
					this.out.schedule(stream);
				}
				return true;
			}
			case Setting.maxFrameSize:
				if (value < FRAME_BYTES_DEFAULT || value > FRAME_BYTES_CEILING) {
					this.failProtocol('MAX_FRAME_SIZE that may not be');
					return false;
				}
				this.writer.frameBytesMax = value;
				return true;
			case Setting.enableConnectProtocol:
				if (value > 1 || (value === 0 && this.peerAllowsConnect)) {
					this.failProtocol('ENABLE_CONNECT_PROTOCOL that may not be');
					return false;
				}
				this.peerAllowsConnect = value === 1;
				return true;
			default:
				return true;
		}
	}

	private onPing(flags: number, streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (streamId !== 0) {
			this.failProtocol('PING on a stream');
			return;
		}
		if (to - from !== 8) {
			this.failSize('PING');
			return;
		}
		if ((flags & Flag.ack) === 0) {
			if (!this.pings.take()) this.calm('http2_ping_flood', 'too many PINGs');
			else this.writer.ping(true, bytes, from);
			return;
		}
		if (isPing(PING_KEEP_ALIVE, bytes, from)) this.keepAlive?.answered();
		else if (isPing(PING_DRAIN, bytes, from)) this.onDrainPing();
		else if (!this.pings.take()) this.calm('http2_ping_flood', 'too many answers to PINGs');
	}

	private onPriority(streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (streamId === 0) {
			this.failProtocol('PRIORITY on stream 0');
			return;
		}
		if (++this.priorityFrames > this.limits.priorityFramesPerStreamMax * (1 + this.opened)) {
			this.calm('http2_priority_flood', 'too many PRIORITY frames');
			return;
		}
		const stream = this.streams.get(streamId);
		const wrongSize = to - from !== 5;
		if (!wrongSize && (uint32(bytes, from) & 0x7fffffff) !== streamId) return;
		const code = wrongSize ? ErrorCode.frameSizeError : ErrorCode.protocolError;
		const message = wrongSize ? 'PRIORITY of a wrong size' : 'a stream that depends on itself';
		if (stream !== undefined) this.resetForFault(stream, code, 'http2_protocol_error', message);
		else if (this.wasOpened(streamId)) this.writer.rstStream(streamId, code);
		else this.fail(code, 'http2_protocol_error', message);
	}

	private onGoawayFrame(streamId: number, bytes: Uint8Array, from: number, to: number): void {
		if (streamId !== 0) this.failProtocol('GOAWAY on a stream');
		else if (to - from < 8) this.failSize('GOAWAY');
		else {
			const debug = String.fromCharCode(...bytes.subarray(from + 8, Math.min(to, from + 8 + 128)));
			this.onGoaway(uint32(bytes, from) & 0x7fffffff, uint32(bytes, from + 4), debug.replace(/[^ -~]/g, '?'));
		}
	}

	protected failSize(frame: string): void {
		this.fail(ErrorCode.frameSizeError, 'http2_bad_frame_size', `${frame} of a wrong size`);
	}
}

const TABLE_BYTES_DEFAULT = 4096;
/** Of one frame: 32 settings. */
const SETTINGS_BYTES_MAX = 32 * 6;

function isPing(ours: Uint8Array, bytes: Uint8Array, from: number): boolean {
	for (let i = 0; i < 8; i++) if (bytes[from + i] !== ours[i]) return false;
	return true;
}

export function uint32(bytes: Uint8Array, at: number): number {
	return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
