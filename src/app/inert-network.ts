// A network on which nothing happens, for `--mode validate`: configuration is compiled as for real,
// but no address is taken and nobody is connected to.

import type { Address, Connection, Listener, Network, ResolvedName } from '../net/network.ts';
import type { Clock } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';

export class InertNetwork implements Network {
	constructor(readonly clock: Clock) {}

	listen({ address }: { readonly address: Address }): Listener {
		return { address, pauseAccepting: () => true, resumeAccepting: () => {}, close: () => {} };
	}

	connect(): Connection {
		throw new WeftError('not_supported', 'nothing is connected to while a configuration is validated');
	}

	/** Never answers. */
	resolve(): Promise<ResolvedName> {
		return new Promise(() => {});
	}
}
