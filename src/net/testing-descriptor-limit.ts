// For epoll-loop.spec.ts: a process with few descriptors. While a connection waits to be accepted it takes all of them,
// later it gives them back, and ends with 0 when the connection was accepted then, and not before.

import { closeSync, openSync } from 'node:fs';
import { connect } from 'node:net';
import { EpollLoop } from './epoll-loop.ts';
import { SystemNetwork } from './system-network.ts';
import { Recorder } from './testing-recorder.ts';

const network = new SystemNetwork({ loop: EpollLoop.shared() });
const taken: number[] = [];
let isGivenBack = false;
const listener = network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: 0 } }, (connection) => {
	new Recorder().attach(connection);
	process.exit(isGivenBack ? 0 : 3);
});
if (listener.address.kind !== 'ip') throw new Error('an IP listener has an IP address');
listener.pauseAccepting();
const client = connect(listener.address.port, '127.0.0.1');
client.on('error', () => process.exit(4));
client.on('connect', () => {
	try {
		for (;;) taken.push(openSync('/dev/null', 'r'));
	} catch {
		// None is left.
	}
	listener.resumeAccepting();
	setTimeout(() => {
		isGivenBack = true;
		for (const fd of taken) closeSync(fd);
	}, 300);
});
setTimeout(() => process.exit(5), 20_000);
