// What an attacker inside of the mesh, or beside it, tries on the real binary: a program that wants to
// get round its sidecar, and peers that want in by the mesh ports.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { CertificateAuthority } from '../../src/identity/certificate-authority.ts';
import { makeSigningKey } from '../../src/identity/workload-certificate.ts';
import { P256_SIGNATURE, x509 } from '../../src/identity/x509.ts';
import { VirtualClock } from '../../src/std/clock.ts';
import { describeWithPeers } from '../support/peers.ts';
import { WeftProcess, weftOutput } from '../support/weft-process.ts';

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
data, outsider, abstract, door = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
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
def loopback(host):
    s = socket.create_connection((host, door), 3)
    return len(s.recv(10)) > 0
def enter():
    return libc.setns(os.open('/proc/%s/ns/net' % outsider, os.O_RDONLY), 0) == 0
attempt('nothing', lambda: True)
attempt('capture-port', capture_port)
attempt('machine-loopback', lambda: loopback('127.0.0.1'))
attempt('other-sidecars-listener', lambda: loopback('127.200.8.1'))
attempt('any-address', lambda: loopback('0.0.0.0'))
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
			// On any of the machine's addresses, as the listeners of sidecars that share its loopback are on some.
			const door = createServer((socket) => socket.end('hello from outside'));
			await new Promise<void>((resolve) => door.listen(0, '0.0.0.0', resolve));
			const doorPort = String((door.address() as AddressInfo).port);
			const run = new WeftProcess([
				...['run', '--data', data, '--service', 'probe', '--capture', 'transparent', '--'],
				...['python3', '-c', PROBE, data, String(process.pid), abstract, doorPort],
			]);
			expect(await run.exited).toBe(0);
			listener.stop(true);
			door.close();
			const outcomes = [...run.output.matchAll(/^(\S+) (ok|refused)$/gm)].map(([, name, how]) => [name, how]);
			expect(outcomes.length).toBe(23);
			expect(outcomes.filter(([, how]) => how === 'ok')).toEqual([['nothing', 'ok']]);
			expect(run.output).toContain("descriptors ['0', '1', '2']");
			expect(run.output).toContain('tokens []');
		},
		LIMIT_MS,
	);
});

/** An authority on a directory, whose clock stands so far from now. */
function authorityAt(caDirectory: string, offsetMs = 0): Promise<CertificateAuthority> {
	const clock = new VirtualClock();
	return CertificateAuthority.open({
		directory: caDirectory,
		clock: { nowMs: () => 0, wallMs: () => Date.now() + offsetMs, after: (ms, run) => clock.after(ms, run) },
	});
}

interface Pair {
	readonly cert: string;
	readonly key: string;
}

async function certificateOf(authority: CertificateAuthority, serviceAccount = 'client'): Promise<Pair> {
	const { csrPem, privateKeyPem } = await makeSigningKey();
	const spiffeId = `spiffe://cluster.local/ns/default/sa/${serviceAccount}`;
	const { chainPem } = await authority.signWorkload({ csrPem, spiffeId });
	return { cert: chainPem[0]!, key: privateKeyPem };
}

/** Of the mesh's own root, but with another name in it. */
async function certificateNaming(uri: string): Promise<Pair> {
	const { csrPem, privateKeyPem } = await makeSigningKey();
	const pem = (name: string) => readFileSync(join(data, 'ca', name), 'utf8');
	const rootKey = await crypto.subtle.importKey(
		'pkcs8',
		x509.PemConverter.decodeFirst(pem('root-key.pem')),
		{ name: 'ECDSA', namedCurve: 'P-256' },
		false,
		['sign'],
	);
	const leaf = await x509.X509CertificateGenerator.create({
		publicKey: new x509.Pkcs10CertificateRequest(csrPem).publicKey,
		signingKey: rootKey,
		signingAlgorithm: P256_SIGNATURE,
		issuer: new x509.X509Certificate(pem('root-cert.pem')).subject,
		subject: '',
		notBefore: new Date(Date.now() - 60_000),
		notAfter: new Date(Date.now() + 3_600_000),
		extensions: [
			new x509.SubjectAlternativeNameExtension([{ type: 'url', value: uri }], true),
			new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
		],
	});
	return { cert: leaf.toString('pem'), key: privateKeyPem };
}

async function listening(server: Server): Promise<number> {
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	return (server.address() as AddressInfo).port;
}

/** The status line that came back; `refused` when the connection ended without one. */
function answerOf(open: () => Socket, connected: 'connect' | 'secureConnect', name: string): Promise<string> {
	return new Promise((resolve) => {
		let received = '';
		const socket = open();
		socket.once(connected, () => socket.write(`GET /${name} HTTP/1.1\r\nhost: echo\r\n\r\n`));
		socket.on('data', (bytes) => {
			received += bytes.toString('latin1');
			if (!received.includes('\r\n')) return;
			socket.destroy();
			resolve(received.slice(0, received.indexOf('\r\n')));
		});
		socket.on('error', () => {});
		socket.on('close', () => resolve('refused'));
	});
}

describe('an inbound mesh port', () => {
	const seen: string[] = [];
	const program = createServer((socket) => {
		socket.on('error', () => {});
		socket.on('data', (bytes) => {
			seen.push(bytes.toString().split(' ')[1]!);
			socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
		});
	});
	let sidecar: WeftProcess;
	let host = '';
	let port = 0;

	beforeAll(async () => {
		port = await listening(program);
		sidecar = new WeftProcess([
			...['run', '--data', data, '--service', 'echo', '--port', String(port), '--capture', 'explicit', '--'],
			...['sh', '-c', 'echo up; exec sleep 600'],
		]);
		await sidecar.says(/up\n/);
		const instance = (await sidecar.says(/weft run: (\S+) in namespace/))[1]!;
		const bootstrap = readFileSync(join(data, 'sidecars', instance, 'bootstrap.json'), 'utf8');
		host = JSON.parse(bootstrap).node.metadata.WEFT.address;
	}, LIMIT_MS);
	afterAll(async () => {
		await sidecar.kill();
		program.close();
	});

	const overTls = (name: string, options: ConnectionOptions) =>
		answerOf(() => connectTls({ host, port, rejectUnauthorized: false, ...options }), 'secureConnect', name);

	test(
		'takes a workload of the mesh over TLS 1.3, and nobody else: the program sees nothing of it',
		async () => {
			const mesh = await authorityAt(join(data, 'ca'));
			const good = await certificateOf(mesh);
			expect(await overTls('good', { ...good, ALPNProtocols: ['http/1.1'] })).toBe('HTTP/1.1 200 OK');
			const expired = await certificateOf(await authorityAt(join(data, 'ca'), -48 * 3_600_000));
			const strange = await certificateOf(await authorityAt(join(directory, 'other-ca')));
			const refused: Record<string, ConnectionOptions> = {
				'no-certificate': {},
				expired,
				'another-root': strange,
				'another-trust-domain': await certificateNaming('spiffe://other.example/ns/default/sa/client'),
				'no-spiffe-id': await certificateNaming('https://cluster.local/ns/default/sa/client'),
				'name-that-begins-alike': await certificateNaming('spiffe://cluster.local.evil.example/ns/default/sa/client'),
				'tls-1.2': { ...good, maxVersion: 'TLSv1.2' },
				'another-protocol': { ...good, ALPNProtocols: ['spdy/3'] },
			};
			for (const [name, options] of Object.entries(refused)) {
				expect([name, await overTls(name, options)]).toEqual([name, 'refused']);
			}
			expect(await answerOf(() => connect(port, host), 'connect', 'plain-text')).toBe('refused');
			expect(seen).toEqual(['/good']);
		},
		LIMIT_MS,
	);
});

test(
	'a server with another identity than its service has is sent nothing',
	async () => {
		const mesh = await authorityAt(join(data, 'ca'));
		const got: Record<string, string> = { vault: '', decoy: '' };
		const serve = async (name: string, serviceAccount: string) => {
			const options = { ...(await certificateOf(mesh, serviceAccount)), ALPNProtocols: ['http/1.1'] };
			const server = createTlsServer(options, (socket) => {
				socket.on('error', () => {});
				socket.on('data', (bytes) => {
					got[name] += bytes.toString('latin1');
					socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
				});
			});
			server.on('tlsClientError', () => {});
			return { server, port: await listening(server) };
		};
		const right = await serve('vault', 'vault');
		const wrong = await serve('decoy', 'thief');
		const manifest = join(directory, 'services.yaml');
		const objects = (name: string, serverPort: number) => `
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec: { selector: { app: ${name} }, ports: [{ port: 80, name: http }] }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}-1 }
spec:
  address: 127.0.0.1
  ports: { http: ${serverPort} }
  labels: { app: ${name}, security.istio.io/tlsMode: istio }
  serviceAccount: vault
---`;
		writeFileSync(manifest, objects('vault', right.port) + objects('decoy', wrong.port));
		expect(await weftOutput('apply', '--data', data, '-f', manifest)).toMatchObject({ exitCode: 0 });
		const ask = (name: string) =>
			`curl -s -o /dev/null -m 10 -w '${name} %{http_code}\\n' -H 'authorization: secret' -x $http_proxy http://${name}/`;
		const run = new WeftProcess([
			...['run', '--data', data, '--service', 'caller', '--capture', 'explicit', '--'],
			...['sh', '-c', `${ask('vault')}; ${ask('decoy')}`],
		]);
		await run.exited;
		expect(run.output).toContain('vault 200');
		expect(run.output).toContain('decoy 503');
		expect(got.vault).toContain('secret');
		expect(got.decoy).toBe('');
		right.server.close();
		wrong.server.close();
	},
	LIMIT_MS,
);
