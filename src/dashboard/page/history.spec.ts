import { expect, test } from 'bun:test';
import { HISTORY_LENGTH, History } from './history.ts';

test('history is bounded, and forgets what is no longer fed', () => {
	const history = new History();
	const sample = { rate: 1, success: 1, p99Ms: null };
	for (let i = 0; i < HISTORY_LENGTH + 30; i++) {
		history.record(new Map([['a', { ...sample, rate: i }], ...(i < 5 ? [['b', sample] as const] : [])]));
	}
	expect(history.of('a')).toHaveLength(HISTORY_LENGTH);
	expect(history.of('a').at(-1)!.rate).toBe(HISTORY_LENGTH + 29);
	expect(history.of('b')).toEqual([]);
});
