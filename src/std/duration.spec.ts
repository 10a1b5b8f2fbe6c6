import { expect, test } from 'bun:test';
import { formatDuration, humanDuration, parseDurationMs } from './duration.ts';

test('reads what GEP-2257 allows', () => {
	const cases: [string, number][] = [
		['0s', 0],
		['500ms', 500],
		['1h30m', 5_400_000],
		['1m1s1ms', 61_001],
		['10s', 10_000],
		['99999h', 99_999 * 3_600_000],
		['1s1s', 2000],
	];
	for (const [text, ms] of cases) expect([text, parseDurationMs(text)]).toEqual([text, ms]);
});

test('refuses everything else', () => {
	for (const text of ['', '1', 's', '1.5s', '-1s', '1d', '1us', '100000s', '1s 1s', '1s1s1s1s1s', ' 1s', '1S']) {
		expect([text, parseDurationMs(text)]).toEqual([text, null]);
	}
});

test('writes the shortest form, which reads back the same', () => {
	expect(formatDuration(90_000)).toBe('1m30s');
	expect(formatDuration(0)).toBe('0s');
	for (const ms of [1, 999, 1000, 61_001, 86_400_000, 5_400_500]) expect(parseDurationMs(formatDuration(ms))).toBe(ms);
});

test('ages as kubectl prints them', () => {
	const hour = 3_600_000;
	const cases: [number, string][] = [
		[5_900, '5s'],
		[119_000, '119s'],
		[192_000, '3m12s'],
		[180_000, '3m'],
		[20 * 60_000, '20m'],
		[5 * hour + 120_000, '5h2m'],
		[30 * hour, '30h'],
		[99 * hour, '4d3h'],
		[30 * 24 * hour, '30d'],
	];
	for (const [ms, text] of cases) expect(humanDuration(ms)).toBe(text);
});
