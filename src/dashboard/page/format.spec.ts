import { describe, expect, test } from 'bun:test';
import { formatDuration, formatMs, formatPart, formatRate, formatShare } from './format.ts';

describe('figures as people read them', () => {
	test('no failure is rounded away', () => {
		expect([1, 0.99999, 0.9996, 0.995, 0.9, 0.0004, 0].map(formatShare)).toEqual([
			'100 %',
			'99.99 %',
			'99.96 %',
			'99.50 %',
			'90.0 %',
			'0.04 %',
			'0.0 %',
		]);
		expect([0.004, 0.104, 1].map(formatPart)).toEqual(['<1 %', '10 %', '100 %']);
	});

	test('rates, times and durations', () => {
		expect([0, 0.02, 3.44, 412.6, 12_345, 123_456].map(formatRate)).toEqual([
			'0',
			'<0.1',
			'3.4',
			'413',
			'12.3k',
			'123k',
		]);
		expect([null, 0.5, 41.4, 12_000].map(formatMs)).toEqual(['–', '0.5', '41', '12.0k']);
		expect([-5, 59, 3599, 86_399, 86_400 * 3].map(formatDuration)).toEqual([
			'0 s',
			'59 s',
			'59 min',
			'23 h 59 m',
			'3 d',
		]);
	});
});
