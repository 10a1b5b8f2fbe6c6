import { expect, test } from 'bun:test';
import { unprivilegedPortStart } from './privileges.ts';

test.each([
	['1024\n', 1024],
	['80\n', 80],
	['0\n', 1],
	['', 1024],
	['x', 1024],
	['65536\n', 65_535],
])('the kernel says %j: ports from %d', (text, port) => {
	expect(unprivilegedPortStart(text)).toBe(port);
});
