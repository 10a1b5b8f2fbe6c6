// Filters that may refuse a connection, before a network filter that knows nothing of them (the HTTP
// connection manager). The TCP proxy asks its filters itself.

import type { Connection, ConnectionHandler } from '../../net/network.ts';
import { StreamInfo } from '../stream-info.ts';
import type { ConnectionInfo, NetworkFilter, ServedConnection } from './network-filter.ts';
import type { NetworkFilterContext } from './network-filter-context.ts';
import type { TcpSessionFilter } from './tcp-session-filter.ts';

export class GatedFilter implements NetworkFilter {
	readonly kind: NetworkFilter['kind'];

	constructor(
		private readonly gates: readonly TcpSessionFilter[],
		private readonly inner: NetworkFilter,
		private readonly context: NetworkFilterContext,
	) {
		this.kind = inner.kind;
	}

	get ready(): Promise<void> {
		return this.inner.ready;
	}

	serve(info: ConnectionInfo): ServedConnection {
		const { clock, listenerName } = this.context;
		const streamInfo = new StreamInfo(info.connection, listenerName, clock.nowMs(), clock.wallMs());
		streamInfo.originalDestination = info.originalDestination;
		streamInfo.requestedServerName = info.requestedServerName;
		for (const gate of this.gates) if (gate.onOpen?.(streamInfo) === false) return new Refused(info);
		return this.inner.serve(info);
	}

	/** Who was let in by the rules before goes on; new connections meet the new ones. */
	handOver(next: NetworkFilter): boolean {
		return this.inner.handOver(next instanceof GatedFilter ? next.inner : next);
	}

	release(): void {
		this.inner.release();
	}
}

class Refused implements ConnectionHandler, ServedConnection {
	private readonly connection: Connection;

	constructor(private readonly info: ConnectionInfo) {
		this.connection = info.connection;
		this.connection.handler = this;
		this.connection.reset();
	}

	drain(): void {}
	close(): void {}
	onConnect(): void {}
	onData(): void {}
	onDrain(): void {}
	onEnd(): void {}

	onClose(): void {
		this.info.onClosed();
	}
}
