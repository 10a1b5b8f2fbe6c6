// The event loop of the proxy, in tests: what was read cannot be kept by mistake.

import { EpollLoop } from '../../src/net/epoll-loop.ts';

export function spoilingLoop(): EpollLoop | null {
	const loop = EpollLoop.shared();
	if (loop !== null) loop.spoilsReads = true;
	return loop;
}
