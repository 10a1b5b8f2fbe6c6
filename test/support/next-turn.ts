// A turn of the event loop, in tests that run the proxy in their own process: its loop lets immediates and timers of Bun
// that follow one another wait, longer each time, but what a thread has done wakes it at once.

import { stat } from 'node:fs';

export function nextTurn(): Promise<void> {
	return new Promise((resolve) => {
		stat('/', () => resolve());
	});
}
