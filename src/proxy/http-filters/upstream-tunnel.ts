// A CONNECT request that ends here (`connect_config`): its bytes go to a host as they are, over a
// connection of their own. To the router it is an attempt like any other, answered 200 as soon as
// the connection is there.
//
//   connecting ──onConnect──▶ open ──both directions ended──▶ over
//        └── refused ─────────┴── lost, reset ──────────────▶ over

import type { HeaderList } from '../../http/headers.ts';
import type { ClientStream, RequestHead, ResetReason } from '../../http/stream.ts';
import type { Connection, ConnectionHandler } from '../../net/network.ts';
import { WeftError } from '../../std/errors.ts';
import type { Cluster, Host, PendingStream } from '../upstream.ts';
import type { UpstreamAttempt } from './upstream-attempt.ts';

const EMPTY = new Uint8Array(0);

export class UpstreamTunnel implements ClientStream, ConnectionHandler, PendingStream {
	private readonly connection: Connection;
	private isOpen = false;
	private sentEnd = false;
	private heardEnd = false;
	private over = false;

	constructor(
		cluster: Cluster,
		private readonly host: Host,
		private readonly attempt: UpstreamAttempt,
	) {
		this.connection = cluster.connectTcp(host, this);
	}

	// The request's way.

	writeHead(_head: RequestHead, end: boolean): void {
		if (end) this.endSending();
	}

	writeData(bytes: Uint8Array, end: boolean): boolean {
		if (this.over) return true;
		const more = bytes.length === 0 ? true : this.connection.write(bytes);
		if (end) this.endSending();
		return more;
	}

	writeTrailers(_trailers: HeaderList): void {
		this.endSending();
	}

	reset(_reason: ResetReason): void {
		this.cancel();
	}

	cancel(): void {
		if (this.over) return;
		this.over = true;
		this.connection.reset();
	}

	pause(): void {
		if (!this.over) this.connection.pause();
	}

	resume(): void {
		if (!this.over) this.connection.resume();
	}

	// The host's.

	onConnect(connection: Connection): void {
		if (this.over) return;
		this.isOpen = true;
		this.attempt.onReady(this, this.host, connection.tls);
		if (!this.over) this.attempt.onHead({ status: 200, headers: [] }, false);
	}

	onData(_connection: Connection, bytes: Uint8Array): void {
		if (!this.over) this.attempt.onData(bytes, false);
	}

	onDrain(): void {
		if (!this.over) this.attempt.onDrain();
	}

	onEnd(): void {
		if (this.over || this.heardEnd) return;
		this.heardEnd = true;
		if (this.sentEnd) this.over = true;
		this.attempt.onData(EMPTY, true);
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		if (this.over) return;
		this.over = true;
		if (!this.isOpen) {
			this.attempt.onFailure(error ?? new WeftError('connect_failed', 'the host closed', { origin: 'upstream' }));
		} else if (!this.heardEnd) this.attempt.onReset('connection_lost', error);
	}

	private endSending(): void {
		if (this.over || this.sentEnd) return;
		this.sentEnd = true;
		this.connection.end();
		if (this.heardEnd) this.over = true;
	}
}
