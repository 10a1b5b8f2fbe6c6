// What an attacker inside of the mesh, or beside it, tries on the real binary: a program that wants to
// get round its sidecar, and peers that want in by the mesh ports.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeWithPeers } from '../support/peers.ts';
import { WeftProcess } from '../support/weft-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-security-test-'));
const data = join(directory, 'data');
const isRoot = process.getuid?.() === 0;
const LIMIT_MS = 60_000;
const ANY_PORTS = [
	...['--api-address', '127.0.0.1:0', '--api-tls-address', '127.0.0.1:0'],
	...['--xds-address', '127.0.0.1:0'],
];
let controlPlane: WeftProcess;

beforeAll(async () => {
	controlPlane = new WeftProcess(['up', '--data', data, ...ANY_PORTS]);
	await controlPlane.says(/weft is up/);
}, LIMIT_MS);

afterAll(async () => {
	await controlPlane.kill();
	rmSync(directory, { recursive: true, force: true });
});

/** Runs in the program's place; prints `NAME ok` for what it could do, `NAME refused` for what it could not. */
const PROBE = `
import ctypes, os, socket, subprocess, sys
data, outsider, abstract = sys.argv[1], sys.argv[2], sys.argv[3]
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, action):
    try: done = action()
    except OSError: done = False
    print(name, 'refused' if done is False else 'ok', flush=True)
def ran(*words): return subprocess.run(words, capture_output=True).returncode == 0
def unix(path):
    socket.socket(socket.AF_UNIX).connect(path)
def capture_port():
    s = socket.create_connection(('127.0.0.1', 15001), 3)
    s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    return len(s.recv(10)) > 0
def enter():
    return libc.setns(os.open('/proc/%s/ns/net' % outsider, os.O_RDONLY), 0) == 0
attempt('nothing', lambda: True)
attempt('capture-port', capture_port)
attempt('raw-socket', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255))
attempt('packet-socket', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
attempt('icmp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).sendto(b'\\x08' + bytes(7), ('192.0.2.1', 0)))
attempt('abstract-socket', lambda: unix('\\0' + abstract))
attempt('api-socket', lambda: unix(data + '/weft.sock'))
attempt('join-socket', lambda: unix(data + '/join.sock'))
attempt('root-key', lambda: open(data + '/ca/root-key.pem'))
attempt('other-sidecars', lambda: os.listdir(data + '/sidecars'))
attempt('unmount', lambda: ran('umount', data))
attempt('unmount-in-user-namespace', lambda: ran('unshare', '-Urm', 'umount', data))
attempt('other-namespace', enter)
attempt('around-by-proc', lambda: os.listdir('/proc/%s/root%s' % (outsider, data)))
attempt('parent-descriptor', lambda: [os.open('/proc/%d/fd/%s' % (os.getppid(), f), os.O_RDONLY) for f in ['0', '1', '2', '3', '4']])
attempt('parent-environment', lambda: open('/proc/%d/environ' % os.getppid()))
attempt('parent-memory', lambda: open('/proc/%d/mem' % os.getppid(), 'rb'))
attempt('nft', lambda: ran('nft', 'flush', 'ruleset'))
attempt('iptables', lambda: ran('iptables', '-t', 'nat', '-F'))
attempt('disk-device', lambda: os.mknod('/tmp/weft-disk-%d' % os.getpid(), 0o60600, os.makedev(8, 0)))
print('descriptors', sorted(f for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f)))
print('tokens', [name for name in os.environ if 'TOKEN' in name])
`;

describeWithPeers(['python3'], 'a program in transparent capture', () => {
	test.skipIf(!isRoot)(
		'run as root cannot undo the capture, nor read the keys and sockets of the control plane',
		async () => {
			const abstract = `weft-security-${process.pid}`;
			const listener = Bun.listen({ unix: `\0${abstract}`, socket: { data() {} } });
			const run = new WeftProcess([
				...['run', '--data', data, '--service', 'probe', '--capture', 'transparent', '--'],
				...['python3', '-c', PROBE, data, String(process.pid), abstract],
			]);
			expect(await run.exited).toBe(0);
			listener.stop(true);
			const outcomes = [...run.output.matchAll(/^(\S+) (ok|refused)$/gm)].map(([, name, how]) => [name, how]);
			expect(outcomes.length).toBe(20);
			expect(outcomes.filter(([, how]) => how === 'ok')).toEqual([['nothing', 'ok']]);
			expect(run.output).toContain("descriptors ['0', '1', '2']");
			expect(run.output).toContain('tokens []');
		},
		LIMIT_MS,
	);
});
