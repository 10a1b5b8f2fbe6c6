// What the doors of a hot restart do where names are taken; processes: test/integration/hot-restart.test.ts.

import { expect, test } from 'bun:test';
import { VirtualClock } from '../std/clock.ts';
import { logSink } from '../std/log.ts';
import { HotRestart, type HotRestartOptions } from './hot-restart.ts';

const PROCESS = { listening: () => [], retire: () => {}, end: () => {} };

function hotRestart(options: Partial<HotRestartOptions> = {}): HotRestart {
	return new HotRestart({
		baseId: null,
		restartEpoch: null,
		replacePid: null,
		parentShutdownMs: 1000,
		clock: new VirtualClock(),
		...options,
	});
}

test('a process with the same id in the same network name space, as of another container, is no reason not to start', () => {
	const other = Bun.listen({ unix: `\0weft-hot-restart-pid-${process.pid}`, socket: { data() {} } });
	const { write } = logSink;
	const lines: string[] = [];
	logSink.write = (line) => void lines.push(line);
	try {
		const restart = hotRestart();
		restart.open(PROCESS);
		restart.close();
		expect(lines.join('')).toContain('another process has the name');
	} finally {
		logSink.write = write;
		other.stop();
	}
});
