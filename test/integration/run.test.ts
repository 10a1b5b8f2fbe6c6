// `weft run` as its user sees it: exit codes, signals, streams, capture, and what becomes of the
// sidecar and the program when one of them, or `weft run` itself, is killed.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../support/mesh-control.ts';
import { childrenOf, processGone, WeftProcess, weftOutput } from '../support/weft-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-run-test-'));
const data = join(directory, 'data');
const isRoot = process.getuid?.() === 0;
const LIMIT_MS = 60_000;
let controlPlane: WeftProcess;
const started: WeftProcess[] = [];

async function startControlPlane(): Promise<WeftProcess> {
	const addresses = ['--api-address', '127.0.0.1:0', '--api-tls-address', '127.0.0.1:0'];
	const up = new WeftProcess(['up', '--data', data, ...addresses, '--xds-address', '127.0.0.1:0']);
	await up.says(/weft is up/);
	return up;
}

beforeAll(async () => {
	controlPlane = await startControlPlane();
	const manifest = join(directory, 'service.yaml');
	writeFileSync(
		manifest,
		'apiVersion: v1\nkind: Service\nmetadata: {name: ratings}\nspec: {ports: [{port: 9080}], selector: {app: ratings}}\n',
	);
	const applied = await weftOutput('apply', '--data', data, '-f', manifest);
	expect(applied.exitCode).toBe(0);
}, LIMIT_MS);

afterEach(async () => {
	for (const one of started.splice(0)) await one.kill();
});

afterAll(async () => {
	await controlPlane.kill();
	rmSync(directory, { recursive: true, force: true });
});

function run(options: readonly string[], ...command: readonly string[]): WeftProcess {
	const process = new WeftProcess(['run', '--data', data, '--service', 'reviews', ...options, '--', ...command]);
	started.push(process);
	return process;
}

/** Those that `ip netns` knows; ours have no names. */
function namedNamespaces(): string[] {
	return existsSync('/run/netns') ? readdirSync('/run/netns') : [];
}

const shell = (script: string) => ['sh', '-c', script];
/** Stays until it is told to end; says what it gets. */
const WAITING =
	'trap "echo got TERM; exit 4" TERM; trap "echo got USR1" USR1; trap "echo got HUP" HUP; echo up; while :; do sleep 0.05; done';

describe('exit codes', () => {
	test(
		'are those of the program',
		async () => {
			expect(await run([], ...shell('exit 7')).exited).toBe(7);
			expect(await run([], ...shell('kill -9 $$')).exited).toBe(137);
		},
		LIMIT_MS,
	);

	test(
		'say what could not be started',
		async () => {
			const file = join(directory, 'not-executable');
			writeFileSync(file, '');
			chmodSync(file, 0o644);
			const missing = run([], 'no-such-command');
			expect(await missing.exited).toBe(127);
			expect(missing.output).toBe('weft run: command not found: no-such-command\n');
			expect(await run([], file).exited).toBe(126);
			const nowhere = await weftOutput('run', '--data', join(directory, 'none'), '--service', 'x', '--', 'true');
			expect(nowhere.exitCode).toBe(3);
			expect(nowhere.output).toContain('start it with: weft up');
			for (const name of ['No_Name', '9x', 'x-']) {
				expect((await weftOutput('run', '--data', data, '--service', name, '--', 'true')).exitCode).toBe(2);
			}
		},
		LIMIT_MS,
	);
});

test(
	'a door that is in use is said before anything starts',
	async () => {
		const other = createServer();
		await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
		const { port } = other.address() as { port: number };
		const busy = run(['--port', '9080', '--publish', `${port}`], ...shell('echo started'));
		expect(await busy.exited).toBe(1);
		expect(busy.output).toBe(
			`weft run: cannot publish on 127.0.0.1:${port}: it is in use (choose another by --publish)\n`,
		);
		other.close();
	},
	LIMIT_MS,
);

test(
	'the standard streams are the program’s own',
	async () => {
		const both = run([], ...shell('echo out; echo err >&2; readlink /proc/self/fd/0'));
		expect(await both.exited).toBe(0);
		for (const text of ['out\n', 'err\n', '/dev/null\n']) expect(both.output).toContain(text);
	},
	LIMIT_MS,
);

test(
	'signals are passed on, and TERM only when the instance has left the mesh',
	async () => {
		const program = run(['--port', '9080'], ...shell(WAITING));
		await program.says(/up\n/);
		const instance = (await program.says(/weft run: (\S+) in namespace default/))[1]!;
		for (const name of ['USR1', 'HUP'] as const) {
			program.signal(`SIG${name}`);
			await program.says(new RegExp(`got ${name}`));
		}
		expect((await weftOutput('get', 'workloadentries', '--data', data)).output).toContain(instance);
		program.signal('SIGTERM');
		await program.says(/got TERM/);
		expect((await weftOutput('get', 'workloadentries', '--data', data)).output).not.toContain(instance);
		expect(await program.exited).toBe(4);
		expect(existsSync(join(data, 'sidecars', instance))).toBe(false);
	},
	LIMIT_MS,
);

test(
	'a Service that was made for the program comes back when it is deleted, and the user is told',
	async () => {
		const program = run(['--port', '9080'], ...shell(WAITING));
		await program.says(/up\n/);
		const instance = (await program.says(/weft run: (\S+) in namespace default/))[1]!;
		const uid = async (): Promise<string | null> => {
			const { exitCode, output } = await weftOutput('get', 'service', 'reviews', '-o', 'json', '--data', data);
			return exitCode === 0 ? JSON.parse(output).metadata.uid : null;
		};
		const before = await uid();
		expect(before).toBeString();
		const { exitCode, output } = await weftOutput('delete', 'service', 'reviews', '--data', data);
		expect([exitCode, output]).toEqual([0, expect.stringContaining('service/reviews deleted')]);
		expect(output).toContain('Service default/reviews comes back');
		expect(output).toContain(instance);
		await eventually('a new Service', async () => ![null, before].includes(await uid()), LIMIT_MS / 2);
	},
	LIMIT_MS,
);

describe('capture', () => {
	test(
		'loopback: services have names and addresses for this program only',
		async () => {
			const program = run(
				['--capture', 'loopback'],
				...shell('getent hosts ratings; getent hosts ratings.default.svc'),
			);
			expect(await program.exited).toBe(0);
			expect(program.output).toMatch(/127\.[12]\d\d\.\d+\.1\s+ratings ratings\.default\.svc\.cluster\.local/);
			expect(Bun.spawnSync(['getent', 'hosts', 'ratings']).exitCode).not.toBe(0);
		},
		LIMIT_MS,
	);

	test(
		'explicit: services and the HTTP proxy are in the environment',
		async () => {
			const program = run(
				['--capture', 'explicit'],
				...shell('echo "$WEFT_RATINGS_URL at $WEFT_RATINGS_9080 $HTTP_PROXY not for $NO_PROXY"'),
			);
			expect(await program.exited).toBe(0);
			expect(program.output).toMatch(
				/http:\/\/(127\.\d+\.\d+\.0:\d+) at \1 http:\/\/127\.\d+\.\d+\.0:15001 not for \S*127\.0\.0\.1/,
			);
		},
		LIMIT_MS,
	);

	test(
		'a Service that comes while the program runs has a name',
		async () => {
			const program = run([], ...shell('echo up; until getent hosts later; do sleep 0.05; done; echo found'));
			await program.says(/up\n/);
			const manifest = join(directory, 'later.yaml');
			writeFileSync(manifest, 'apiVersion: v1\nkind: Service\nmetadata: {name: later}\nspec: {ports: [{port: 80}]}\n');
			await weftOutput('apply', '--data', data, '-f', manifest);
			await program.says(/found/);
			expect(await program.exited).toBe(0);
		},
		LIMIT_MS,
	);

	test.skipIf(!isRoot)(
		'transparent: nothing gets round the sidecar, and nothing stays',
		async () => {
			const namespacesBefore = namedNamespaces();
			const outside = createServer((socket) => socket.end('outside'));
			await new Promise<void>((resolve) => outside.listen(0, '127.0.0.1', resolve));
			const { port } = outside.address() as { port: number };
			const probe = `
import socket, sys
def tcp(host, port, family=socket.AF_INET):
    s = socket.socket(family); s.settimeout(3)
    try:
        s.connect((host, port)); return 'answered ' + repr(s.recv(20))
    except OSError as e: return 'refused ' + type(e).__name__
def udp(host):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.sendto(b'x', (host, 54)); return 'sent'
    except OSError as e: return 'refused'
print('loopback', tcp('127.0.0.1', ${port}))
print('v6', tcp('2001:db8::1', 80, socket.AF_INET6))
print('udp', udp('192.0.2.1'))
with open('/proc/net/dev') as f: print('devices', sorted(l.split(':')[0].strip() for l in f if ':' in l))
`;
			const program = run(['--capture', 'transparent'], 'python3', '-c', probe);
			expect(await program.exited).toBe(0);
			expect(program.output).toContain('loopback refused');
			expect(program.output).toContain('v6 refused');
			expect(program.output).toContain('udp refused');
			expect(program.output).toContain("devices ['lo']");
			outside.close();
			expect(namedNamespaces()).toEqual(namespacesBefore);
		},
		LIMIT_MS,
	);
});

describe('when something is killed', () => {
	test(
		'a sidecar is started again; the program runs on',
		async () => {
			const program = run(['--port', '9080'], ...shell(WAITING));
			await program.says(/up\n/);
			const [sidecar] = childrenOf(program.pid, ' proxy ');
			process.kill(sidecar!, 'SIGKILL');
			await program.says(/the sidecar ended \(SIGKILL\)/);
			await program.says(/the sidecar is up again/);
			expect(childrenOf(program.pid, ' proxy ')).not.toContain(sidecar!);
			expect(program.output.match(/up\n/g)).toHaveLength(1);
			program.signal('SIGTERM');
			expect(await program.exited).toBe(4);
		},
		LIMIT_MS,
	);

	test(
		'and the control plane too: the sidecar starts from what it last knew',
		async () => {
			const program = run(['--port', '9080'], ...shell(WAITING));
			await program.says(/up\n/);
			const instance = (await program.says(/weft run: (\S+) in namespace default/))[1]!;
			// What was accepted is written a moment later.
			while (!existsSync(join(data, 'sidecars', instance, 'last-good.json'))) await Bun.sleep(10);
			await controlPlane.kill();
			const [sidecar] = childrenOf(program.pid, ' proxy ');
			process.kill(sidecar!, 'SIGKILL');
			await program.says(/the sidecar starts from what it last knew/);
			await program.says(/the sidecar is up again/);
			controlPlane = await startControlPlane();
			program.signal('SIGTERM');
			expect(await program.exited).toBe(4);
		},
		LIMIT_MS,
	);

	test(
		'weft run itself, by kill -9: sidecar and program end with it, and with them their namespace',
		async () => {
			const program = run(['--port', '9080'], 'sleep', '600');
			await program.says(/capture: /);
			// The held shell becomes the program.
			while (childrenOf(program.pid, 'sleep 600 ').length === 0 || childrenOf(program.pid, ' weft-run ').length > 0) {
				await Bun.sleep(10);
			}
			const [sidecar] = childrenOf(program.pid, ' proxy ');
			const [sleeper] = childrenOf(program.pid, 'sleep 600 ');
			const namespace = readlinkSync(`/proc/${sleeper}/ns/net`);
			if (isRoot) expect(namespace).not.toBe(readlinkSync('/proc/self/ns/net'));
			program.signal('SIGKILL');
			await processGone(sleeper!);
			await processGone(sidecar!);
			const left = readdirSync('/proc').filter((pid) => {
				try {
					return /^\d+$/.test(pid) && isRoot && readlinkSync(`/proc/${pid}/ns/net`) === namespace;
				} catch {
					return false;
				}
			});
			expect(left).toEqual([]);
		},
		LIMIT_MS,
	);

	test(
		'what a killed one left on disk goes with the next',
		async () => {
			const left = readdirSync(join(data, 'sidecars'));
			expect(left.length).toBeGreaterThan(0);
			expect(await run([], 'true').exited).toBe(0);
			expect(readdirSync(join(data, 'sidecars'))).toEqual([]);
		},
		LIMIT_MS,
	);
});

test(
	'a second control plane on the same data, and a port in use, are one clear line',
	async () => {
		const second = await weftOutput('up', '--data', data);
		expect(second.exitCode).toBe(1);
		expect(second.output).toMatch(/^weft up: a control plane runs on \S+ already \(process \d+\)\n$/);
		const port = /dashboard +http:\/\/127\.0\.0\.1:(\d+)/.exec(controlPlane.output)![1];
		const other = ['--data', join(directory, 'other'), '--xds-address', '127.0.0.1:0'];
		const taken = await weftOutput('up', ...other, '--api-address', `127.0.0.1:${port}`);
		expect(taken.exitCode).toBe(1);
		expect(taken.output).toContain('--api-address');
		expect(taken.output.trim().split('\n')).toHaveLength(1);
	},
	LIMIT_MS,
);
