// A connection handler for tests: writes down what happens and lets a test wait for it.

import type { WeftError } from '../std/errors.ts';
import type { Connection, ConnectionHandler } from './network.ts';

export class Recorder implements ConnectionHandler {
	/** `connect`, `data`, `drain`, `end`, `close` in the order they came; `data` in a row counts once. */
	readonly events: string[] = [];
	readonly chunks: Uint8Array[] = [];
	connection: Connection | null = null;
	receivedBytes = 0;
	error: WeftError | null = null;
	isClosed = false;
	isEnded = false;
	/** For the test to hook in. */
	onBytes: ((connection: Connection, bytes: Uint8Array) => void) | null = null;
	private waiting: { readonly holds: () => boolean; readonly resolve: () => void }[] = [];

	constructor(private readonly keepBytes = true) {}

	attach(connection: Connection): this {
		this.connection = connection;
		connection.handler = this;
		return this;
	}

	get text(): string {
		return Buffer.concat(this.chunks).toString('latin1');
	}

	/** Resolves when `holds` does; it is asked after each event. */
	until(holds: () => boolean): Promise<void> {
		if (holds()) return Promise.resolve();
		return new Promise((resolve) => this.waiting.push({ holds, resolve }));
	}

	received(text: string): Promise<void> {
		return this.until(() => this.text === text);
	}

	ended(): Promise<void> {
		return this.until(() => this.isEnded);
	}

	closed(): Promise<void> {
		return this.until(() => this.isClosed);
	}

	onConnect(connection: Connection): void {
		this.connection = connection;
		this.happened('connect');
	}

	onData(connection: Connection, bytes: Uint8Array): void {
		this.receivedBytes += bytes.length;
		if (this.keepBytes) this.chunks.push(bytes.slice());
		this.onBytes?.(connection, bytes);
		this.happened('data');
	}

	onDrain(): void {
		this.happened('drain');
	}

	onEnd(): void {
		this.isEnded = true;
		this.happened('end');
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		this.error = error;
		this.isClosed = true;
		this.happened('close');
	}

	private happened(event: string): void {
		if (event !== 'data' || this.events[this.events.length - 1] !== 'data') this.events.push(event);
		this.waiting = this.waiting.filter((one) => {
			if (!one.holds()) return true;
			one.resolve();
			return false;
		});
	}
}
