import { expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '../../std/clock.ts';
import { SeededRandom } from '../../std/random.ts';
import { SidecarProcess } from './sidecar-process.ts';

/** Ready at its first start only; says its process id into `started`, and ends when something comes from `end`. */
const SCRIPT = `
[ -e "$0/again" ] || echo ready >&3
: >"$0/again"
echo $$ >"$0/started"
read word <"$0/end"
`;

function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch {
		return false;
	}
}

test('a sidecar that is told to leave while it is started again does not come up any more', async () => {
	const folder = mkdtempSync(join(tmpdir(), 'weft-sidecar-process-'));
	Bun.spawnSync(['mkfifo', join(folder, 'started'), join(folder, 'end')]);
	const started = async () => Number(await Bun.file(join(folder, 'started')).text());
	const clock = new VirtualClock();
	let died = () => {};
	const death = new Promise<void>((resolve) => {
		died = resolve;
	});
	let tokens = 0;
	const sidecar = new SidecarProcess({
		command: ['/bin/sh', '-c', SCRIPT, folder],
		env: { PATH: process.env.PATH },
		logFile: join(folder, 'log'),
		drainTimeMs: 0,
		joinToken: async () => `token ${++tokens}`,
		say: (line) => {
			if (line.includes('started again')) died();
		},
		clock,
		random: new SeededRandom(1),
	});
	const first = started();
	await sidecar.start('token');
	expect(await first).toBeGreaterThan(0);
	// By a program that waits for the reader, which may not be there yet.
	await Bun.spawn(['/bin/sh', '-c', 'echo now >"$0/end"', folder]).exited;
	await death;

	const second = started();
	clock.advance(1000);
	const pid = await second;
	expect(isAlive(pid)).toBe(true);
	await sidecar.leave();
	while (isAlive(pid)) await new Promise((resolve) => setImmediate(resolve));
	clock.advance(60_000);
	await sidecar.stop();
	expect(tokens).toBe(1);
	expect(readFileSync(join(folder, 'log'), 'utf8')).toBe('');
	rmSync(folder, { recursive: true });
});
