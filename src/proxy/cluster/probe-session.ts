// One connection on which a host is checked, and how a check can come out.

import type { ClientCodec, CodecTransport } from '../../http/codec.ts';
import type { Connection, ConnectionHandler } from '../../net/network.ts';
import type { WeftError } from '../../std/errors.ts';

export type CheckOutcome =
	| { readonly kind: 'success' }
	/** The host answered, and not as expected: unhealthy at once. */
	| { readonly kind: 'refused'; readonly reason: string }
	/** The host answered with a retriable status: counts towards the threshold. */
	| { readonly kind: 'retriable'; readonly reason: string }
	| { readonly kind: 'network'; readonly reason: string };

export type Report = (outcome: CheckOutcome) => void;

/** One connection of a probe. Reports at most one outcome for each `begin`; the first begins by itself. */
export abstract class ProbeSession implements ConnectionHandler {
	protected socket: Connection | null = null;

	constructor(protected readonly report: Report) {}

	attach(socket: Connection): void {
		this.socket = socket;
	}

	close(): void {
		this.socket?.reset();
	}

	/** May take another check now. */
	abstract readonly reusable: boolean;
	abstract begin(): void;
	abstract onConnect(connection: Connection): void;
	abstract onData(connection: Connection, bytes: Uint8Array): void;
	abstract onDrain(): void;
	abstract onEnd(): void;

	onClose(_connection: Connection, error: WeftError | null): void {
		this.report({ kind: 'network', reason: error?.code ?? 'connection closed' });
	}
}

/** One whose check is a request, on the codec that `onConnect` makes. */
export abstract class CodecProbeSession<Codec extends ClientCodec> extends ProbeSession {
	protected codec: Codec | null = null;

	get reusable(): boolean {
		return this.codec?.available ?? false;
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		this.codec?.receive(bytes);
	}

	onDrain(): void {
		this.codec?.transportDrained();
	}

	onEnd(): void {
		this.codec?.receiveEnd();
	}

	override onClose(connection: Connection, error: WeftError | null): void {
		const { codec } = this;
		this.codec = null;
		codec?.transportClosed(error);
		super.onClose(connection, error);
	}
}

/** A codec's hold on a connection that is checked by. */
export function transportOf(connection: Connection): CodecTransport {
	return {
		write: (bytes) => connection.write(bytes),
		pauseReading: () => connection.pause(),
		resumeReading: () => connection.resume(),
		close: () => connection.reset(),
	};
}
