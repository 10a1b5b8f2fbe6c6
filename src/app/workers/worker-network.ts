// The network of a worker: it listens on sockets that it was handed, and where its main process has
// stopped listening it listens on nothing: a worker that starts after that has the same listeners, and
// serves the others.

import type { HandedSockets } from '../../net/handed-sockets.ts';
import type {
	Address,
	Connection,
	ConnectionHandler,
	ConnectOptions,
	Listener,
	ListenOptions,
	Network,
	ResolvedName,
} from '../../net/network.ts';
import type { SystemNetwork } from '../../net/system-network.ts';
import type { Clock } from '../../std/clock.ts';
import { addressKey } from './main-network.ts';

export class WorkerNetwork implements Network {
	private readonly stopped: ReadonlySet<string>;

	/** @param network listens on what is in `handed`, and on nothing else */
	constructor(
		private readonly network: SystemNetwork,
		private readonly handed: HandedSockets,
		stopped: readonly Address[],
	) {
		this.stopped = new Set(stopped.map(addressKey));
	}

	get clock(): Clock {
		return this.network.clock;
	}

	listen(options: ListenOptions, onConnection: (connection: Connection) => void): Listener {
		const { address } = options;
		if (this.handed.peek(address) === null && this.stopped.has(addressKey(address))) {
			return { address, pauseAccepting: () => true, resumeAccepting: () => {}, close: () => {} };
		}
		return this.network.listen(options, onConnection);
	}

	connect(options: ConnectOptions, handler: ConnectionHandler): Connection {
		return this.network.connect(options, handler);
	}

	resolve(name: string): Promise<ResolvedName> {
		return this.network.resolve(name);
	}
}
