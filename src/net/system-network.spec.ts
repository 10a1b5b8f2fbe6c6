import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { readClientHello } from './client-hello.ts';
import { EpollLoop } from './epoll-loop.ts';
import type { Address, ClientTlsOptions, Connection, HandshakeError, IpAddress, ServerTlsOptions } from './network.ts';
import { testNetworkContract } from './network-contract.ts';
import { SystemNetwork } from './system-network.ts';
import { TestAuthority, type TestCertificate } from './testing-certificates.ts';
import { Recorder } from './testing-recorder.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-net-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
let files = 0;
const newPath = () => join(directory, `${files++}.sock`);
const loopback: Address = { kind: 'ip', host: '127.0.0.1', port: 0 };

testNetworkContract('SystemNetwork on Bun’s sockets', () => ({
	network: new SystemNetwork(),
	run: (promise) => promise,
	address: (kind) => (kind === 'ip' ? loopback : { kind: 'pipe', path: newPath() }),
	deafAddress: () => ({ kind: 'pipe', path: newPath() }),
}));

const loop = EpollLoop.shared();
// Other specs of this process live on Bun's timers.
if (loop !== null) loop.waitMsMax = 1;
testNetworkContract('SystemNetwork with a loop of our own', () => ({
	network: new SystemNetwork({ loop }),
	run: (promise) => promise,
	address: (kind) => (kind === 'ip' ? loopback : { kind: 'pipe', path: newPath() }),
	deafAddress: () => ({ kind: 'pipe', path: newPath() }),
}));

for (const [whose, events] of [
	['Bun', null],
	['a loop of our own', loop],
] as const) {
	test.skipIf(process.platform !== 'linux')(
		`the kernel takes little of what a peer does not read (${whose})`,
		async () => {
			const network = new SystemNetwork({ loop: events });
			const far = new Recorder();
			const listener = network.listen({ address: loopback }, (connection) => far.attach(connection));
			const near = new Recorder();
			near.connection = network.connect({ address: listener.address }, near);
			near.connection.write(Buffer.from('here'));
			await far.received('here');
			const chunk = new Uint8Array(16 * 1024);
			for (const [reader, writer] of [
				[near, far],
				[far, near],
			] as const) {
				reader.connection!.pause();
				let written = chunk.length;
				while (writer.connection!.write(chunk)) written += chunk.length;
				// By itself it takes 2.5 MB and more.
				expect(written - writer.connection!.bufferedBytes).toBeLessThan(1024 * 1024);
			}
			// Nothing follows: who is slow takes it from the kernel.
			for (const writer of [far, near]) {
				expect(writer.connection!.bufferedBytes).toBeGreaterThan(0);
				writer.connection!.end();
			}
			while (near.connection!.bufferedBytes + far.connection!.bufferedBytes > 0) await Bun.sleep(1);
			near.connection!.reset();
			listener.close();
		},
	);

	test.each(['select', 'received'])(
		`a client that does not speak TLS is heard of at once where its first bytes were read before (${whose}, %s)`,
		async (how) => {
			const network = new SystemNetwork({ loop: events });
			const authority = await TestAuthority.create();
			const certificate = await authority.issue({ name: 'server', dns: ['server'] });
			const options: ServerTlsOptions = {
				certificateChainPem: certificate.certificatePem,
				privateKeyPem: certificate.privateKeyPem,
				// Later than the test's.
				handshakeTimeoutMs: 60_000,
			};
			const far = new Recorder();
			const listener = network.listen({ address: loopback }, (connection) => {
				far.attach(connection);
				if (how === 'select') connection.startServerTls({ ...options, select: () => options });
				else far.onBytes = (_connection, bytes) => connection.startServerTls(options, bytes);
			});
			const near = new Recorder();
			near.connection = network.connect({ address: listener.address }, near);
			near.connection.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
			await far.closed();
			expect(far.error?.code).toBe('tls_handshake_failed');
			expect(far.error?.message).toContain('HTTP_REQUEST');
			near.connection.reset();
			listener.close();
		},
	);
}

test('a refused TCP connection says so', async () => {
	const network = new SystemNetwork();
	const listener = network.listen({ address: loopback }, () => {});
	listener.close();
	const recorder = new Recorder();
	network.connect({ address: listener.address }, recorder);
	await recorder.closed();
	expect(recorder.error?.code).toBe('connect_refused');
});

test('the memory of what was read in large pieces is given back when the call is over', async () => {
	const network = new SystemNetwork();
	const kept: Uint8Array[] = [];
	let largest = 0;
	const reader = new Recorder(false);
	reader.onBytes = (_connection, bytes) => {
		largest = Math.max(largest, bytes.length);
		kept.push(bytes);
	};
	const listener = network.listen({ address: loopback }, (connection) => reader.attach(connection));
	const client = network.connect({ address: listener.address }, new Recorder());
	client.write(new Uint8Array(1024 * 1024));
	await reader.until(() => reader.receivedBytes === 1024 * 1024);
	// Out of the call in which the last came.
	await new Promise(setImmediate);
	expect(largest).toBeGreaterThan(4096);
	expect(Math.max(...kept.map((bytes) => bytes.length))).toBeLessThan(4096);
	client.reset();
	listener.close();
});

test('a unix socket has its mode, knows its peer, and its file goes with it', async () => {
	const network = new SystemNetwork();
	const path = newPath();
	const accepted = Promise.withResolvers<Connection>();
	const listener = network.listen({ address: { kind: 'pipe', path }, mode: 0o620 }, (connection) => {
		new Recorder().attach(connection);
		accepted.resolve(connection);
	});
	expect((statSync(path).mode & 0o777).toString(8)).toBe('620');
	const client = network.connect({ address: listener.address }, new Recorder());
	const connection = await accepted.promise;
	expect(connection.peerCredentials()).toEqual({
		pid: process.pid,
		uid: process.getuid!(),
		gid: process.getgid!(),
	});
	expect(connection.originalDestination()).toBeNull();
	client.reset();
	listener.close();
	expect(() => statSync(path)).toThrow();
});

test('a stale socket file is taken over, any other file is not', async () => {
	const network = new SystemNetwork();
	const stale = newPath();
	const child = Bun.spawnSync([
		process.execPath,
		'-e',
		`Bun.listen({unix: ${JSON.stringify(stale)}, socket: {data() {}}}); process.kill(process.pid, 'SIGKILL')`,
	]);
	expect(child.signalCode).toBe('SIGKILL');
	expect(statSync(stale).isSocket()).toBe(true);
	network.listen({ address: { kind: 'pipe', path: stale } }, () => {}).close();

	const file = newPath();
	writeFileSync(file, 'precious');
	expect(() => network.listen({ address: { kind: 'pipe', path: file } }, () => {})).toThrow(
		expect.objectContaining({ code: 'address_in_use' }),
	);
	expect(statSync(file).size).toBe(8);
});

test('an address of another machine is not available', () => {
	const network = new SystemNetwork();
	expect(() => network.listen({ address: { kind: 'ip', host: '192.0.2.1', port: 0 } }, () => {})).toThrow(
		expect.objectContaining({ code: 'address_not_available' }),
	);
	expect(() => network.listen({ address: { kind: 'pipe', path: '/nonexistent/x.sock' } }, () => {})).toThrow(
		expect.objectContaining({ code: 'address_not_available' }),
	);
});

test('listeners share a port with reusePort, and only with it', () => {
	const network = new SystemNetwork();
	const first = network.listen({ address: loopback, reusePort: true }, () => {});
	const second = network.listen({ address: first.address, reusePort: true }, () => {});
	expect(second.address).toEqual(first.address);
	expect(() => network.listen({ address: first.address }, () => {})).toThrow();
	first.close();
	second.close();
});

test('the backlog is what was asked for', async () => {
	const network = new SystemNetwork();
	const listener = network.listen({ address: loopback, backlog: 2 }, () => {});
	listener.pauseAccepting();
	const clients = Array.from({ length: 6 }, () => {
		const client = new Recorder();
		client.connection = network.connect({ address: listener.address, timeoutMs: 60_000 }, client);
		return client;
	});
	// The kernel takes one more than it was told, and lets the others try again after a second.
	await Promise.all(clients.slice(0, 3).map((one) => one.until(() => one.events.length > 0)));
	expect(clients.filter((one) => one.events[0] === 'connect')).toHaveLength(3);
	for (const one of clients) one.connection?.reset();
	listener.close();
});

test('with hardly a descriptor left, connections are turned away where the listener says so', async () => {
	const network = new SystemNetwork({ descriptors: { limit: 4, acceptMax: 3, connectMax: 1e6 } });
	const asked: boolean[] = [];
	const admit = (scarce: boolean): boolean => {
		asked.push(scarce);
		return !scarce;
	};
	const listener = network.listen({ address: loopback, admit }, () => {});
	const refused = new Recorder();
	network.connect({ address: listener.address }, refused);
	await refused.ended();
	expect(asked).toEqual([true]);
	const unasked = new Recorder();
	const other = network.listen({ address: loopback }, (connection) => connection.write(Buffer.from('taken')));
	network.connect({ address: other.address }, unasked);
	await unasked.received('taken');
	listener.close();
	other.close();
	for (const one of [refused, unasked]) one.connection!.reset();
});

test('with no descriptor to spare, a new upstream connection is given up', async () => {
	const network = new SystemNetwork({ descriptors: { limit: 4, acceptMax: 1e6, connectMax: 3 } });
	const listener = network.listen({ address: loopback }, (connection) => new Recorder().attach(connection));
	const near = new Recorder();
	network.connect({ address: listener.address }, near);
	await near.closed();
	expect(near.error?.code).toBe('connect_failed');
	expect(near.error?.message).toContain('too many open files');
	listener.close();
});

test('what a callback throws is counted and told', async () => {
	const told: unknown[] = [];
	const network = new SystemNetwork({ onCaught: (error) => told.push(error) });
	const listener = network.listen({ address: loopback }, () => {
		throw new Error('a bug in a test');
	});
	const recorder = new Recorder();
	network.connect({ address: listener.address }, recorder);
	await recorder.closed();
	expect(told).toHaveLength(1);
	expect(network.caughtErrors).toBe(1);
	listener.close();
});

test('all small writes of one turn arrive in one piece', async () => {
	const network = new SystemNetwork();
	const far = new Recorder();
	const listener = network.listen({ address: loopback }, (connection) => far.attach(connection));
	const near = new Recorder();
	network.connect({ address: listener.address }, near);
	await near.until(() => near.events.includes('connect'));
	for (let index = 0; index < 100; index++) near.connection!.write(Buffer.from('0123456789'));
	await far.until(() => far.receivedBytes === 1000);
	expect(far.chunks).toHaveLength(1);
	near.connection!.reset();
	listener.close();
});

test('IPv6 works, and an IPv4 peer of a dual-stack listener is named as IPv4', async () => {
	const network = new SystemNetwork();
	const accepted = Promise.withResolvers<Connection>();
	const listener = network.listen({ address: { kind: 'ip', host: '::', port: 0 } }, (connection) => {
		new Recorder().attach(connection);
		accepted.resolve(connection);
	});
	const port = listener.address.kind === 'ip' ? listener.address.port : 0;
	const client = network.connect({ address: { kind: 'ip', host: '127.0.0.1', port } }, new Recorder());
	const connection = await accepted.promise;
	expect(connection.remote).toMatchObject({ kind: 'ip', host: '127.0.0.1' });
	client.reset();
	listener.close();
});

describe('TLS', () => {
	let root: TestAuthority;
	let leaf: TestCertificate;
	const network = new SystemNetwork();

	beforeAll(async () => {
		root = await TestAuthority.create();
		leaf = await root.issue({ name: 'first', dns: ['first'] });
	});

	function serve(optionsOf: () => ServerTlsOptions) {
		const accepted: Recorder[] = [];
		const listener = network.listen({ address: loopback }, (connection) => {
			accepted.push(new Recorder().attach(connection));
			connection.startServerTls(optionsOf());
		});
		return { listener, accepted, port: (listener.address as IpAddress).port };
	}

	const serverOptions = (certificate: TestCertificate, more: Partial<ServerTlsOptions> = {}): ServerTlsOptions => ({
		certificateChainPem: certificate.certificatePem,
		privateKeyPem: certificate.privateKeyPem,
		...more,
	});

	test('a certificate changes from one connection to the next, and open ones live on', async () => {
		let current = serverOptions(leaf);
		const { listener } = serve(() => current);
		const connect = async () => {
			const recorder = new Recorder();
			network.connect({ address: listener.address, tls: { rootsPem: root.certificatePem, serverName: 'a' } }, recorder);
			await recorder.until(() => recorder.events.length > 0);
			return recorder;
		};
		const first = await connect();
		current = serverOptions(await root.issue({ name: 'second' }));
		const second = await connect();
		expect(first.connection!.tls?.peerCertificate?.subject).toBe('CN=first');
		expect(second.connection!.tls?.peerCertificate?.subject).toBe('CN=second');
		expect(first.isClosed).toBe(false);
		listener.close();
		first.connection!.reset();
		second.connection!.reset();
	});

	test('an intermediate that the peer sends leads to the root', async () => {
		const intermediate = await TestAuthority.create('intermediate', root);
		const deep = await intermediate.issue({ name: 'deep' });
		const chain = { ...deep, certificatePem: deep.certificatePem + intermediate.certificatePem };
		const { listener } = serve(() => serverOptions(chain));
		const recorder = new Recorder();
		network.connect({ address: listener.address, tls: { rootsPem: root.certificatePem, serverName: 'a' } }, recorder);
		await recorder.until(() => recorder.events.length > 0);
		expect(recorder.error).toBeNull();

		const { listener: bare } = serve(() => serverOptions(deep));
		const refused = new Recorder();
		network.connect({ address: bare.address, tls: { rootsPem: root.certificatePem, serverName: 'a' } }, refused);
		await refused.closed();
		expect(refused.error?.code).toBe('tls_handshake_failed');
		recorder.connection!.reset();
		listener.close();
		bare.close();
	});

	for (const minVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
		test(`a TLS 1.2 client against a least version of ${minVersion}`, async () => {
			const { listener, accepted, port } = serve(() => serverOptions(leaf, { minVersion }));
			const done = Promise.withResolvers<string>();
			const options = { host: '127.0.0.1', port, maxVersion: 'TLSv1.2', rejectUnauthorized: false } as const;
			const client = tlsConnect(options, () => {
				done.resolve(client.getProtocol() ?? 'none');
			});
			client.on('error', () => done.resolve('refused'));
			expect(await done.promise).toBe(minVersion === 'TLSv1.2' ? 'TLSv1.2' : 'refused');
			client.destroy();
			accepted[0]!.connection!.end();
			await accepted[0]!.closed();
			if (minVersion === 'TLSv1.3') expect(accepted[0]!.error?.code).toBe('tls_handshake_failed');
			listener.close();
		});
	}

	test('the first bytes may be looked at before TLS begins with them', async () => {
		for (const pauses of [false, true]) {
			const far = new Recorder();
			const seen: Uint8Array[] = [];
			const listener = network.listen({ address: loopback }, (connection) => {
				connection.handler = {
					onConnect() {},
					onDrain() {},
					onEnd() {},
					onClose() {},
					onData(_, bytes) {
						seen.push(bytes.slice());
						const received = Buffer.concat(seen);
						if (typeof readClientHello(received) === 'string') return;
						if (pauses) connection.pause();
						connection.startServerTls(
							{ certificateChainPem: leaf.certificatePem, privateKeyPem: leaf.privateKeyPem },
							received,
						);
						received.fill(0);
						far.attach(connection);
					},
				};
			});
			const near = new Recorder();
			near.connection = network.connect(
				{ address: listener.address, tls: { rootsPem: root.certificatePem, serverName: 'a.example', alpn: ['h2'] } },
				near,
			);
			await near.until(() => near.events.length > 0);
			expect(near.error).toBeNull();
			expect(readClientHello(Buffer.concat(seen))).toMatchObject({ serverName: 'a.example', alpn: ['h2'] });
			near.connection.write(Buffer.from('hello'));
			await far.until(() => far.connection !== null && (pauses || far.text === 'hello'));
			if (pauses) far.connection!.resume();
			await far.received('hello');
			near.connection.reset();
			listener.close();
			await far.closed();
		}
	});

	describe('a session that is resumed', () => {
		/** One connection after another from the same client; what the server's handshake came to. */
		async function connectTwice(
			first: Partial<ServerTlsOptions>,
			second: Partial<ServerTlsOptions> | ((client: TestCertificate) => Promise<Partial<ServerTlsOptions>>),
		) {
			const client = await root.issue({ name: 'client', uris: ['spiffe://m/a'] });
			let current = serverOptions(leaf, { rootsPem: root.certificatePem, ...first });
			const { listener, accepted } = serve(() => current);
			const tls: ClientTlsOptions = {
				rootsPem: root.certificatePem,
				serverName: 'a',
				sessionsMax: 1,
				certificateChainPem: client.certificatePem,
				privateKeyPem: client.privateKeyPem,
			};
			const results: string[] = [];
			for (const options of [first, typeof second === 'function' ? await second(client) : second]) {
				current = serverOptions(leaf, { rootsPem: root.certificatePem, ...options });
				const near = new Recorder();
				const index = accepted.length;
				near.connection = network.connect({ address: listener.address, tls }, near);
				await near.until(() => near.events.length > 0);
				const far = accepted[index]!;
				await far.until(() => far.events.length > 0);
				const { tls: agreed } = far.connection!;
				if (far.isClosed) results.push((far.error as HandshakeError).failure);
				else {
					results.push(agreed?.sessionReused === true ? 'resumed' : 'new');
					// A session of TLS 1.3 comes with the first bytes.
					far.connection!.write(Buffer.from('hello'));
					await near.received('hello');
				}
				near.connection.reset();
				await far.closed();
			}
			listener.close();
			return { results };
		}

		test('is one that was begun under the same options', async () => {
			expect((await connectTwice({}, {})).results).toEqual(['new', 'resumed']);
			const old = { maxVersion: 'TLSv1.2' } as const;
			expect((await connectTwice(old, old)).results).toEqual(['new', 'resumed']);
		});

		test('is none when there are no tickets', async () => {
			expect((await connectTwice({ sessionTickets: false }, {})).results).toEqual(['new', 'new']);
			const old = { sessionTickets: false, maxVersion: 'TLSv1.2' } as const;
			expect((await connectTwice(old, old)).results).toEqual(['new', 'new']);
		});

		test('is refused when the names that are wanted have changed', async () => {
			const { results } = await connectTwice({}, { verifyPeer: () => 'not this one' });
			expect(results).toEqual(['new', 'name']);
		});

		test('is refused when the pins have changed', async () => {
			expect((await connectTwice({}, { verifyPin: () => 'not this one' })).results).toEqual(['new', 'pin']);
		});

		test('is refused when a list is there that its CA has not signed', async () => {
			const other = await TestAuthority.create('other');
			const crlPem = await other.revoke([]);
			expect((await connectTwice({}, { chainPolicy: { crlPem } })).results).toEqual(['new', 'chain']);
		});

		test('is refused when its certificate is revoked', async () => {
			const { results } = await connectTwice({}, async (client) => {
				return { chainPolicy: { crlPem: await root.revoke([client]) } };
			});
			expect(results).toEqual(['new', 'chain']);
		});

		test('is refused when the roots have changed', async () => {
			const other = await TestAuthority.create('other');
			const { results } = await connectTwice({}, { rootsPem: other.certificatePem });
			expect(results).toEqual(['new', 'chain']);
		});
	});

	test('a key that does not fit its certificate fails that connection only', async () => {
		const other = await root.issue();
		const { listener, accepted } = serve(() => ({ ...serverOptions(leaf), privateKeyPem: other.privateKeyPem }));
		const recorder = new Recorder();
		network.connect({ address: listener.address, tls: { rootsPem: '', serverName: '' } }, recorder);
		await recorder.closed();
		await accepted[0]!.closed();
		expect(accepted[0]!.error?.code).toBe('tls_handshake_failed');
		listener.close();
	});
});

// Entering a namespace takes root, and a Linux with `unshare` and `ip`.
const mayEnterNamespaces = process.getuid?.() === 0 && Bun.which('unshare') !== null && Bun.which('ip') !== null;

test.skipIf(!mayEnterNamespaces)('sockets are made in the namespace of their address', async () => {
	const network = new SystemNetwork();
	const child = Bun.spawn(['unshare', '--net', 'sh', '-c', 'ip link set lo up && echo ready && exec cat'], {
		stdin: 'pipe',
		stdout: 'pipe',
	});
	const reader = child.stdout.getReader();
	try {
		await reader.read();
		const inside: IpAddress = {
			kind: 'ip',
			host: '127.0.0.1',
			port: 0,
			networkNamespace: `/proc/${child.pid}/ns/net`,
		};
		const far = new Recorder();
		const listener = network.listen({ address: inside }, (connection) => far.attach(connection));
		const { port } = listener.address as IpAddress;
		const near = new Recorder();
		network.connect({ address: listener.address }, near).write(Buffer.from('inside'));
		await far.received('inside');
		expect(far.connection!.local).toEqual(listener.address);

		if (Bun.which('nft') !== null) await expectRedirection(network, child.pid, inside, port, far);

		// Outside it is nobody's, or somebody else's.
		const attached = far.connection;
		const outside = new Recorder();
		network.connect({ address: { kind: 'ip', host: '127.0.0.1', port } }, outside);
		await outside.until(() => outside.events.length > 0);
		if (outside.isClosed) expect(outside.error?.code).toBe('connect_refused');
		else outside.connection!.reset();
		expect(far.connection).toBe(attached);

		const missing = { ...inside, networkNamespace: '/proc/0/ns/net' };
		expect(() => network.listen({ address: missing }, () => {})).toThrow(
			expect.objectContaining({ code: 'network_namespace_failed' }),
		);
		near.connection!.reset();
		listener.close();
	} finally {
		child.kill();
		await child.exited;
	}
});

/** As transparent capture does it: the kernel redirects, and SO_ORIGINAL_DST tells where it was headed. */
async function expectRedirection(network: SystemNetwork, pid: number, inside: IpAddress, port: number, far: Recorder) {
	const rules = `table ip capture { chain output { type nat hook output priority -100; tcp dport 4321 redirect to :${port}; }; }`;
	const nft = Bun.spawnSync(['nsenter', `--net=/proc/${pid}/ns/net`, 'nft', rules]);
	expect(nft.stderr.toString()).toBe('');
	expect(far.connection!.originalDestination()?.port ?? port).toBe(port);
	const near = new Recorder();
	network.connect({ address: { ...inside, host: '127.7.7.7', port: 4321 } }, near).write(Buffer.from(' redirected'));
	await far.received('inside redirected');
	expect(far.connection!.originalDestination()).toEqual({ kind: 'ip', host: '127.7.7.7', port: 4321 });
	near.connection!.reset();
}
