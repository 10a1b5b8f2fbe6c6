// For tests of the gRPC client on the simulated network: a server that a test steers, another that
// writes frames by hand, and calls that remember what they heard.

import type { HeaderList } from '../http/headers.ts';
import type { RequestHead, ResetReason, ServerStream } from '../http/stream.ts';
import type { Http2ServerOptions } from '../http2/limits.ts';
import { Http2ServerCodec } from '../http2/server-codec.ts';
import { parseFrames, settings, type WrittenFrame } from '../http2/testing.ts';
import type { Connection, IpAddress, ServerTlsOptions } from '../net/network.ts';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { SeededRandom } from '../std/random.ts';
import { type CallListener, type CallOptions, type ClientMethod, GrpcCall } from './call.ts';
import { type CallStatus, formatStatus } from './call-status.ts';
import { GrpcChannel, type GrpcChannelOptions } from './channel.ts';
import { frameMessage, MessageReader } from './message-reader.ts';

export const GRPC_HEAD = { status: 200, headers: ['content-type', 'application/grpc'] };

export function address(port: number): IpAddress {
	return { kind: 'ip', host: '127.0.0.1', port };
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Messages are text. */
export function textMethod(responseStream: boolean): ClientMethod<string, string> {
	return {
		path: '/test.Service/Method',
		encode: (message) => new TextEncoder().encode(message),
		decode: (bytes) => {
			if (bytes[0] === 0xff) throw new Error('not text');
			return text(bytes);
		},
		responseStream,
	};
}

/** What the server knows of one call. */
export class ServedCall {
	readonly messages: string[] = [];
	ended = false;
	reset: ResetReason | null = null;
	private readonly reader = new MessageReader(1 << 30, (bytes) => this.messages.push(text(bytes)));

	constructor(
		readonly head: RequestHead,
		readonly stream: ServerStream,
	) {}

	onData(bytes: Uint8Array, end: boolean): void {
		this.reader.push(bytes);
		this.ended ||= end;
	}

	begin(more: HeaderList = []): void {
		this.stream.writeHead({ status: 200, headers: ['content-type', 'application/grpc+proto', ...more] }, false);
	}

	/** False: the client takes no more. */
	send(message: string): boolean {
		return this.stream.writeData(frameMessage(new TextEncoder().encode(message)), false);
	}

	finish(code = 0, message = '', more: HeaderList = []): void {
		this.stream.writeTrailers([
			'grpc-status',
			String(code),
			...(message === '' ? [] : ['grpc-message', message]),
			...more,
		]);
	}
}

export class GrpcTestServer {
	readonly connections: Connection[] = [];
	readonly codecs: Http2ServerCodec[] = [];
	readonly calls: ServedCall[] = [];
	readonly close: () => void;

	constructor(
		network: SimulatedNetwork,
		port: number,
		options: Partial<Http2ServerOptions> = {},
		tls: ServerTlsOptions | null = null,
	) {
		const listener = network.listen({ address: address(port) }, (connection) => {
			this.connections.push(connection);
			let codec: Http2ServerCodec | null = tls === null ? this.serve(network, connection, options) : null;
			connection.handler = {
				onConnect: () => {
					codec = this.serve(network, connection, options);
				},
				onData: (_connection, bytes) => codec?.receive(bytes),
				onDrain: () => codec?.transportDrained(),
				onEnd: () => {
					codec?.receiveEnd();
					connection.end();
				},
				onClose: (_connection, error) => codec?.transportClosed(error),
			};
			if (tls !== null) connection.startServerTls(tls);
		});
		this.close = () => listener.close();
	}

	/** The last call. */
	get call(): ServedCall {
		return this.calls.at(-1)!;
	}

	private serve(
		network: SimulatedNetwork,
		connection: Connection,
		options: Partial<Http2ServerOptions>,
	): Http2ServerCodec {
		const codec = new Http2ServerCodec(
			{
				write: (bytes) => connection.write(bytes),
				pauseReading: () => connection.pause(),
				resumeReading: () => connection.resume(),
				close: (how) => (how === 'flush' ? connection.end() : connection.reset()),
			},
			{
				onStream: (stream) => {
					let call: ServedCall | null = null;
					return {
						onHead: (head, end) => {
							call = new ServedCall(head, stream);
							call.ended = end;
							this.calls.push(call);
						},
						onData: (bytes, end) => call!.onData(bytes, end),
						onTrailers() {},
						onReset: (reason) => {
							call!.reset = reason;
						},
						onDrain() {},
					};
				},
				onProtocolError() {},
				onIdle() {},
			},
			{ ...options, clock: network.clock },
		);
		this.codecs.push(codec);
		return codec;
	}
}

/** Accepts, keeps what it was sent, and says only what the test says. */
export class ScriptedServer {
	readonly connections: Connection[] = [];
	/** By connection. */
	private readonly received: Uint8Array[][] = [];

	/** `greets`: it sends its SETTINGS by itself. */
	constructor(network: SimulatedNetwork, port: number, greets = true) {
		network.listen({ address: address(port) }, (connection) => {
			this.connections.push(connection);
			const received: Uint8Array[] = [];
			this.received.push(received);
			connection.handler = {
				onConnect() {},
				onData: (_connection, bytes) => void received.push(bytes.slice()),
				onDrain() {},
				onEnd: () => connection.end(),
				onClose() {},
			};
			if (greets) connection.write(settings());
		});
	}

	/** To the last connection. */
	say(...frames: Uint8Array[]): void {
		for (const frame of frames) this.connections.at(-1)!.write(frame);
	}

	/** What came, of all connections, one after the other. */
	frames(): WrittenFrame[] {
		return this.received.flatMap((parts) => parseFrames(new Uint8Array(Buffer.concat(parts))));
	}
}

/** A call and what was heard of it. */
export class HeardCall implements CallListener<string> {
	readonly messages: string[] = [];
	metadata: HeaderList | null = null;
	status: CallStatus | null = null;
	drains = 0;
	readonly call: GrpcCall<string, string>;
	/** Called with each message. */
	onEach: () => void = () => {};

	constructor(channel: GrpcChannel, options: CallOptions = {}, method = textMethod(true)) {
		this.call = new GrpcCall(channel, method, options, this);
	}

	get end(): string | null {
		return this.status === null ? null : formatStatus(this.status);
	}

	onHead(metadata: HeaderList): void {
		this.metadata = metadata;
	}

	onMessage(message: string): void {
		if (this.status !== null) throw new Error('a message after the end');
		this.messages.push(message);
		this.onEach();
	}

	onDrain(): void {
		this.drains++;
	}

	onEnd(status: CallStatus): void {
		if (this.status !== null) throw new Error('a second end');
		this.status = status;
	}
}

export class GrpcBed {
	readonly network: SimulatedNetwork;

	constructor(seed = 1) {
		this.network = new SimulatedNetwork({ seed });
	}

	channel(port: number, options: Partial<GrpcChannelOptions> = {}): GrpcChannel {
		return new GrpcChannel({
			network: this.network,
			random: new SeededRandom(1),
			addresses: [address(port)],
			tls: null,
			...options,
		});
	}

	/** Lets things happen for that long. */
	async settle(ms = 20): Promise<void> {
		const untilMs = this.network.clock.nowMs() + ms;
		for (;;) {
			for (let round = 0; round < 20; round++) await Promise.resolve();
			const leftMs = untilMs - this.network.clock.nowMs();
			if (leftMs <= 0) return;
			const dueMs = this.network.clock.nextDueMs();
			this.network.clock.advance(Math.min(leftMs, dueMs === null ? leftMs : dueMs - this.network.clock.nowMs()));
		}
	}
}
