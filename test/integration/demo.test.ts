// The whole mesh as a user starts it: the scripted demo brings up the shop, makes its tour under 60 s
// of steady load (routes shifted, an instance killed, the control plane killed and restarted) and
// checks each step and that no request failed; nothing is left behind.

import { expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dir, '../..');

/** Processes that name `words` on their command line. */
function processesWith(words: string): string[] {
	const found: string[] = [];
	for (const pid of readdirSync('/proc')) {
		if (!/^\d+$/.test(pid)) continue;
		try {
			const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
			if (line.includes(words)) found.push(`${pid} ${line}`);
		} catch {
			// It has ended meanwhile.
		}
	}
	return found;
}

test('the scripted demo holds in every step, and leaves no process behind', async () => {
	const build = Bun.spawnSync([process.execPath, 'scripts/build.ts'], {
		cwd: root,
		stdout: 'ignore',
		stderr: 'inherit',
	});
	expect(build.exitCode).toBe(0);
	const data = mkdtempSync(join(tmpdir(), 'weft-demo-test-'));
	try {
		const words = ['examples/shop/demo.ts', '--scripted', '--load-seconds', '60', '--data', data];
		const demo = Bun.spawn([process.execPath, ...words], {
			cwd: root,
			stdin: 'ignore',
			stdout: 'pipe',
			stderr: 'inherit',
		});
		const output = await new Response(demo.stdout).text();
		expect(await demo.exited, output).toBe(0);
		expect(output).not.toContain('FAILED');
		expect(output).toMatch(/8 of 8 steps hold; \d+ requests, 0 failed/);
		expect(processesWith(data)).toEqual([]);
	} finally {
		rmSync(data, { recursive: true, force: true });
	}
}, 200_000);
