// The event loop of the proxy, in tests: what was read cannot be kept by mistake, and the test's own timers, which
// are Bun's, are not held up.

import { EpollLoop } from '../../src/net/epoll-loop.ts';

export function spoilingLoop(): EpollLoop | null {
	const loop = EpollLoop.shared();
	if (loop !== null) {
		loop.spoilsReads = true;
		loop.waitMsMax = 1;
	}
	return loop;
}
