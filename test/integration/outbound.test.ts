// What a program under `weft run` reaches outside the mesh: a small world in namespaces of its own, with
// a resolver and a server that know nothing of the mesh.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftProcess } from '../support/weft-process.ts';

const isRoot = process.getuid?.() === 0;
const LIMIT_MS = 60_000;
const directory = mkdtempSync(join(tmpdir(), 'weft-outbound-'));
const data = join(directory, 'data');

/** The outside: names under .example are 192.0.2.9 (TEST-NET-1), where a server says hello to whoever comes. */
const WORLD = `
import socket, threading
def answer(query):
    end = query.index(b'\\0', 12) + 5
    exists = query[12:end - 4].endswith(b'\\7example\\0')
    head = query[:2] + (b'\\x81\\x80' if exists else b'\\x81\\x83') + b'\\0\\1' + (b'\\0\\1' if exists else b'\\0\\0') + b'\\0\\0\\0\\0'
    record = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x1e\\0\\4' + socket.inet_aton('192.0.2.9')
    is_a = query[end - 4:end - 2] == b'\\0\\1'
    if exists and not is_a: return query[:2] + b'\\x81\\x80\\0\\1\\0\\0\\0\\0\\0\\0' + query[12:end]
    return head + query[12:end] + (record if exists else b'')
def resolver():
    while True:
        query, client = names.recvfrom(4096)
        names.sendto(answer(query), client)
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); names.bind(('192.0.2.53', 53))
doors = []
for host in ('192.0.2.9', '127.0.0.1'):
    door = socket.socket(); door.bind((host, 8080)); door.listen(); doors.append(door)
def serve(door):
    while True:
        client, address = door.accept(); client.sendall(b'hello from outside'); client.close()
for work in (resolver, lambda: serve(doors[0]), lambda: serve(doors[1])): threading.Thread(target=work).start()
print('world', flush=True)
`;

const SERVICE = `apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {ports: [{port: 9080}], selector: {app: ratings}}
`;

/** What it is asked for, one a line: what came of it. */
const PROGRAM = `
import socket
def tcp(host, port):
    try:
        with socket.create_connection((host, port), 5) as s: return s.recv(100).decode() or 'closed'
    except OSError as e: return 'failed ' + type(e).__name__
def name(host):
    try: return socket.gethostbyname(host)
    except OSError as e: return 'failed ' + type(e).__name__
def dns(host, over_tcp=False):
    conf = [line.split() for line in open('/etc/resolv.conf')]
    server = next(words[1] for words in conf if words[0] == 'nameserver')
    search = next(words[1] for words in conf if words[0] == 'search')
    labels = (host.replace('SEARCH', search)).split('.')
    question = b''.join(bytes([len(label)]) + label.encode() for label in labels) + b'\\0\\0\\1\\0\\1'
    query = b'ab\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + question
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(5); s.connect((server, 53))
        s.sendall((len(query).to_bytes(2, 'big') if over_tcp else b'') + query)
        got = s.recv(2000)
    if over_tcp: got = got[2:]
    return socket.inet_ntoa(got[-4:]) if got[7] else 'rcode %d' % (got[3] & 15)
print('server by name:', tcp('server.example', 8080))
print('no such name:', name('nowhere.invalid'))
print('service by hosts file:', name('ratings'))
print('service by dns:', dns('ratings.SEARCH'))
print('service by tcp dns:', dns('ratings.default', over_tcp=True))
print('outside by dns:', dns('server.example'))
print('any address:', tcp('192.0.2.9', 8080))
print('zero:', tcp('0.1.2.3', 8080))
print('loopback:', tcp('127.0.0.1', 8080))
print('instance:', tcp('127.128.8.0', 8080))
print('other loopback:', tcp('127.0.0.2', 8080))
`;

let world: ChildProcess;
let controlPlane: WeftProcess;
let into: string[] = [];

function weft(...args: string[]): WeftProcess {
	return new WeftProcess(args, {}, into);
}

async function run(...options: string[]): Promise<string> {
	const program = weft('run', '--data', data, '--service', 'caller', ...options, '--', 'python3', '-c', PROGRAM);
	try {
		expect(await program.exited).toBe(0);
		return program.output;
	} finally {
		await program.kill();
	}
}

describe.skipIf(!isRoot)('outside the mesh', () => {
	beforeAll(async () => {
		const resolv = join(directory, 'resolv.conf');
		const service = join(directory, 'service.yaml');
		writeFileSync(resolv, 'nameserver 192.0.2.53\n');
		writeFileSync(service, SERVICE);
		const steps = `ip link set lo up && ip addr add 192.0.2.9/32 dev lo && ip addr add 192.0.2.53/32 dev lo &&
			mount --bind ${resolv} /etc/resolv.conf && exec python3 -c "$0"`;
		world = spawn('unshare', ['--net', '--mount', '--', 'sh', '-c', steps, WORLD], {
			stdio: ['ignore', 'pipe', 'inherit'],
		});
		await new Promise<void>((resolve, reject) => {
			world.stdout!.once('data', () => resolve());
			world.once('exit', (code) => reject(new Error(`the world ended: ${code}`)));
		});
		into = ['nsenter', '--target', String(world.pid), '--net', '--mount', '--'];
		const addresses = ['--api-address', '127.0.0.1:0', '--api-tls-address', '127.0.0.1:0'];
		controlPlane = weft('up', '--data', data, ...addresses, '--xds-address', '127.0.0.1:0');
		await controlPlane.says(/weft is up/);
		expect(await weft('apply', '--data', data, '-f', service).exited).toBe(0);
	}, LIMIT_MS);

	afterAll(async () => {
		await controlPlane?.kill();
		world?.kill('SIGKILL');
		rmSync(directory, { recursive: true, force: true });
	});

	test(
		'a captured program calls as always, but never what listens on the machine’s loopback',
		async () => {
			const output = await run('--capture', 'transparent');
			expect(output).toContain('server by name: hello from outside\n');
			expect(output).toContain('no such name: failed gaierror\n');
			expect(output).toMatch(/service by hosts file: 127\.96\.\d+\.\d+\n/);
			expect(output).toMatch(/service by dns: 127\.96\.\d+\.\d+\n/);
			expect(output).toMatch(/service by tcp dns: 127\.96\.\d+\.\d+\n/);
			expect(output).toContain('outside by dns: 192.0.2.9\n');
			expect(output).toContain('any address: hello from outside\n');
			for (const denied of ['loopback', 'zero', 'instance', 'other loopback']) {
				expect(output).toMatch(new RegExp(`^${denied}: (closed|failed Connection\\w+)$`, 'm'));
			}
		},
		LIMIT_MS,
	);

	test(
		'with --outbound registry-only it reaches the mesh and nothing else',
		async () => {
			const output = await run('--outbound', 'registry-only');
			expect(output).toContain('capture: transparent');
			expect(output).toContain('server by name: failed gaierror\n');
			expect(output).toContain('outside by dns: rcode 5\n');
			expect(output).toMatch(/service by dns: 127\.96\.\d+\.\d+\n/);
			for (const denied of ['any address', 'loopback', 'zero', 'instance']) {
				expect(output).toMatch(new RegExp(`^${denied}: (closed|failed Connection\\w+)$`, 'm'));
			}
			const loose = weft(
				'run',
				'--data',
				data,
				'--service',
				'x',
				'--outbound',
				'registry-only',
				'--capture',
				'loopback',
				'--',
				'true',
			);
			expect(await loose.exited).toBe(1);
			expect(loose.output).toContain('--outbound registry-only takes transparent capture');
		},
		LIMIT_MS,
	);
});
