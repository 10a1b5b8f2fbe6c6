// One try to reach a server: each of its addresses in turn, until one answers as HTTP/2.

import type { Address, ClientTlsOptions, Network } from '../net/network.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { ChannelConnection, type ChannelConnectionOptions } from './channel-connection.ts';

/** An address, or a name that stands for all of its addresses. */
export type GrpcAddress = Address | { readonly kind: 'name'; readonly name: string; readonly port: number };

export interface ConnectAttemptEvents {
	/** The connection is open, and now the receiver's: it must set `events`. */
	onConnected(connection: ChannelConnection): void;
	/** With what the last address had against it. */
	onFailed(error: WeftError): void;
}

export interface ConnectAttemptOptions extends Omit<ChannelConnectionOptions, 'address' | 'tls'> {
	readonly addresses: readonly GrpcAddress[];
	/** Null: plain text. Asked at each connection. */
	readonly tls: (() => ClientTlsOptions) | null;
}

/** Of all names together. */
const ADDRESSES_MAX = 64;

export class ConnectAttempt {
	private connection: ChannelConnection | null = null;
	private over = false;
	private readonly candidates: Address[] = [];
	private lastError = new WeftError('connect_failed', 'there is no address to connect to', { origin: 'upstream' });

	/** Begins in this turn; no event comes within the constructor. */
	constructor(
		private readonly options: ConnectAttemptOptions,
		private readonly events: ConnectAttemptEvents,
	) {
		void this.start(options.network);
	}

	/** No event follows. */
	cancel(): void {
		this.over = true;
		this.connection?.closeNow();
		this.connection = null;
	}

	private async start(network: Network): Promise<void> {
		// Nothing happens within the constructor.
		await null;
		for (const address of this.options.addresses) {
			if (address.kind !== 'name') {
				this.candidates.push(address);
				continue;
			}
			try {
				const { addresses } = await network.resolve(address.name);
				for (const host of addresses) this.candidates.push({ kind: 'ip', host, port: address.port });
			} catch (error) {
				this.lastError = asWeftError(error);
			}
		}
		this.candidates.length = Math.min(this.candidates.length, ADDRESSES_MAX);
		this.next();
	}

	private next(): void {
		if (this.over) return;
		const address = this.candidates.shift();
		if (address === undefined) {
			this.over = true;
			this.events.onFailed(this.lastError);
			return;
		}
		const { addresses: _addresses, tls, ...common } = this.options;
		try {
			const connection = new ChannelConnection(
				{ ...common, address, tls: tls === null ? null : tls() },
				{
					onOpen: () => {
						this.over = true;
						this.connection = null;
						this.events.onConnected(connection);
					},
					onRoom: () => {},
					onUnusable: () => {},
					onClosed: (error) => this.failed(error),
				},
			);
			this.connection = connection;
		} catch (error) {
			this.lastError = asWeftError(error);
			queueMicrotask(() => this.next());
		}
	}

	private failed(error: WeftError | null): void {
		this.connection = null;
		if (this.over) return;
		if (error !== null) this.lastError = error;
		this.next();
	}
}

function asWeftError(error: unknown): WeftError {
	if (error instanceof WeftError) return error;
	return new WeftError('connect_failed', errorMessage(error), { origin: 'upstream', retrySafe: true, cause: error });
}
