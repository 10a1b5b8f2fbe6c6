import { afterEach, beforeEach, expect, test } from 'bun:test';
import { Logger, logSink } from './log.ts';

const { level, format, write } = logSink;
let lines: string[];
beforeEach(() => {
	lines = [];
	logSink.level = 'info';
	logSink.format = 'text';
	logSink.write = (line) => {
		lines.push(line);
	};
});
afterEach(() => Object.assign(logSink, { level, format, write }));

test('a line says when, how bad, where and what', () => {
	new Logger('ads').warning('disconnected', { reason: 'gone away', attempt: 2, node: undefined });
	expect(lines).toEqual([expect.stringMatching(/^\S+Z warning ads: disconnected reason="gone away" attempt=2$/)]);
});

test('what came over the wire begins no line of its own and moves no cursor', () => {
	const hostile = 'a\n2026-01-01T00:00:00Z error   main: forged\r\x1b[2J\x9b2J\u2028';
	new Logger('x').info(hostile, { node: hostile });
	expect(lines).toHaveLength(1);
	expect(lines[0]).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028]/);
	expect(lines[0]).toContain('a\\n2026');
	logSink.format = 'json';
	new Logger('x').info(hostile);
	expect(lines[1]).not.toContain('\n');
});
