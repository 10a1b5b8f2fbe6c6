// What every `Network` promises, as tests: run against the real and the simulated one.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type {
	Address,
	ClientTlsOptions,
	Connection,
	ConnectionHandler,
	Listener,
	Network,
	PeerCertificate,
	ServerTlsOptions,
} from './network.ts';
import { TestAuthority, type TestCertificate } from './testing-certificates.ts';
import { Recorder } from './testing-recorder.ts';

export interface ContractSubject {
	readonly network: Network;
	/** Lets time pass until `promise` settles; on a real network that is just waiting. */
	run<T>(promise: Promise<T>): Promise<T>;
	/** An address to listen on; each call gives a new one. */
	address(kind: Address['kind']): Address;
	/** Where nobody listens. */
	deafAddress(): Address;
}

const MEBIBYTE = 1024 * 1024;

export function testNetworkContract(name: string, makeSubject: () => ContractSubject): void {
	describe(`${name}: the contract of a network`, () => {
		let subject: ContractSubject;
		let root: TestAuthority;
		let otherRoot: TestAuthority;
		let server: TestCertificate;
		let client: TestCertificate;
		let stranger: TestCertificate;
		const listeners: Listener[] = [];

		beforeAll(async () => {
			subject = makeSubject();
			root = await TestAuthority.create();
			// The same name, another key.
			otherRoot = await TestAuthority.create();
			server = await root.issue({
				name: 'server',
				uris: ['spiffe://cluster.local/ns/shop/sa/server'],
				dns: ['server'],
			});
			client = await root.issue({ name: 'client', uris: ['spiffe://cluster.local/ns/shop/sa/client'] });
			stranger = await otherRoot.issue({ name: 'stranger' });
		});
		afterAll(() => {
			for (const listener of listeners) listener.close();
		});

		function listen(onConnection: (connection: Connection) => void, kind: Address['kind'] = 'ip'): Listener {
			const listener = subject.network.listen({ address: subject.address(kind) }, onConnection);
			listeners.push(listener);
			return listener;
		}

		/** A connected pair, both ends recorded. */
		async function pair(kind: Address['kind'] = 'ip') {
			const far = new Recorder();
			const accepted = Promise.withResolvers<void>();
			const listener = listen((connection) => {
				far.attach(connection);
				accepted.resolve();
			}, kind);
			const near = new Recorder();
			near.connection = subject.network.connect({ address: listener.address }, near);
			await subject.run(Promise.all([near.until(() => near.events.includes('connect')), accepted.promise]));
			listener.close();
			return { near, far, listener };
		}

		async function tlsPair(serverTls: Partial<ServerTlsOptions>, clientTls: Partial<ClientTlsOptions>) {
			const far = new Recorder();
			const listener = listen((connection) => {
				far.attach(connection);
				connection.startServerTls({
					certificateChainPem: server.certificatePem,
					privateKeyPem: server.privateKeyPem,
					...serverTls,
				});
			});
			const near = new Recorder();
			near.connection = subject.network.connect(
				{ address: listener.address, tls: { rootsPem: root.certificatePem, serverName: 'server', ...clientTls } },
				near,
			);
			await subject.run(
				Promise.all([near.until(() => near.events.length > 0), far.until(() => far.events.length > 0)]),
			);
			return { near, far };
		}

		for (const kind of ['ip', 'pipe'] as const) {
			describe(kind, () => {
				test('bytes go both ways, in order', async () => {
					const { near, far } = await pair(kind);
					near.connection!.write(Buffer.from('one '));
					near.connection!.write(Buffer.from('two'));
					far.connection!.write(Buffer.from('three'));
					await subject.run(Promise.all([far.received('one two'), near.received('three')]));
					near.connection!.reset();
					await subject.run(Promise.all([near.closed(), far.closed()]));
				});

				test('each direction ends by itself', async () => {
					const { near, far } = await pair(kind);
					near.connection!.write(Buffer.from('question'));
					near.connection!.end();
					await subject.run(far.ended());
					expect(far.text).toBe('question');
					expect(far.isClosed).toBe(false);
					far.connection!.write(Buffer.from('answer'));
					far.connection!.end();
					await subject.run(Promise.all([near.closed(), far.closed()]));
					expect(near.text).toBe('answer');
					expect(near.error).toBeNull();
					expect(far.error).toBeNull();
					expect(near.events).toEqual(['connect', 'data', 'end', 'close']);
				});

				test('the caller may reuse its bytes at once', async () => {
					const { near, far } = await pair(kind);
					const bytes = Buffer.alloc(40_000, 'a');
					near.connection!.write(bytes);
					bytes.fill('b');
					near.connection!.write(bytes.subarray(0, 10));
					bytes.fill('c');
					await subject.run(far.until(() => far.receivedBytes === 40_010));
					expect(far.text).toBe('a'.repeat(40_000) + 'b'.repeat(10));
				});

				test('a reader that pauses holds the writer back, and nothing is lost', async () => {
					const { near, far } = await pair(kind);
					far.connection!.pause();
					const chunk = new Uint8Array(MEBIBYTE / 4).map((_, index) => index % 251);
					let written = 0;
					while (near.connection!.write(chunk)) {
						written += chunk.length;
						expect(written).toBeLessThan(64 * MEBIBYTE);
					}
					written += chunk.length;
					expect(near.connection!.bufferedBytes).toBeGreaterThan(0);
					expect(near.events).not.toContain('drain');
					far.connection!.resume();
					near.connection!.end();
					await subject.run(far.ended());
					expect(far.receivedBytes).toBe(written);
					const all = Buffer.concat(far.chunks);
					for (let offset = 0; offset < all.length; offset += chunk.length) {
						expect(all.subarray(offset, offset + chunk.length).equals(chunk)).toBe(true);
					}
					expect(near.connection!.bufferedBytes).toBe(0);
				});

				test('a drain follows a write that returned false', async () => {
					const { near, far } = await pair(kind);
					far.connection!.pause();
					while (near.connection!.write(new Uint8Array(MEBIBYTE))) {}
					far.connection!.resume();
					await subject.run(near.until(() => near.events.includes('drain')));
					expect(near.connection!.bufferedBytes).toBeLessThan(16 * 1024);
				});

				test('how much is buffered before a writer has to wait can be set', async () => {
					const { near, far } = await pair(kind);
					far.connection!.pause();
					const chunk = new Uint8Array(MEBIBYTE / 16);
					near.connection!.highWatermarkBytes = MEBIBYTE;
					while (near.connection!.write(chunk)) {}
					expect(near.connection!.bufferedBytes).toBeGreaterThan(MEBIBYTE);
					expect(near.connection!.bufferedBytes).toBeLessThanOrEqual(MEBIBYTE + chunk.length);
					far.connection!.resume();
					await subject.run(near.until(() => near.events.includes('drain')));
					expect(near.connection!.bufferedBytes).toBeLessThan(MEBIBYTE / 4);
				});

				test('a reset closes both ends, ours without an error', async () => {
					const { near, far } = await pair(kind);
					near.connection!.write(Buffer.from('lost'));
					near.connection!.reset();
					expect(near.isClosed).toBe(false);
					await subject.run(Promise.all([near.closed(), far.closed()]));
					expect(near.error).toBeNull();
					expect(far.error?.code).toBe('connection_reset');
					expect(far.error?.origin).toBe('downstream');
					expect(near.events.filter((event) => event === 'close')).toHaveLength(1);
				});

				test('nothing is sent after an end or a close', async () => {
					const { near, far } = await pair(kind);
					near.connection!.end();
					expect(near.connection!.write(Buffer.from('late'))).toBe(true);
					await subject.run(far.ended());
					far.connection!.end();
					await subject.run(Promise.all([near.closed(), far.closed()]));
					expect(far.text).toBe('');
					near.connection!.write(Buffer.from('later'));
					near.connection!.end();
					near.connection!.reset();
					near.connection!.pause();
					near.connection!.resume();
					expect(near.events.filter((event) => event === 'close')).toHaveLength(1);
				});

				test('an address in use is refused', () => {
					const first = listen(() => {}, kind);
					expect(() => subject.network.listen({ address: first.address }, () => {})).toThrow(
						expect.objectContaining({ code: 'address_in_use' }),
					);
					first.close();
					first.close();
					const second = subject.network.listen({ address: first.address }, () => {});
					second.close();
				});
			});
		}

		test('what is written before the connection stands is sent when it does', async () => {
			const far = new Recorder();
			const listener = listen((connection) => far.attach(connection));
			const near = new Recorder();
			const connection = subject.network.connect({ address: listener.address }, near);
			connection.write(Buffer.from('early'));
			await subject.run(far.received('early'));
		});

		for (const kind of ['ip', 'pipe'] as const) {
			test(`a listener (${kind}) that pauses takes those who wait when it goes on`, async () => {
				const far = new Recorder();
				const listener = listen((connection) => far.attach(connection), kind);
				expect(listener.pauseAccepting()).toBe(true);
				expect(listener.pauseAccepting()).toBe(true);
				const near = new Recorder();
				subject.network.connect({ address: listener.address }, near).write(Buffer.from('waits'));
				// So that time passes.
				await pair(kind);
				expect(far.connection).toBeNull();
				listener.resumeAccepting();
				listener.resumeAccepting();
				await subject.run(far.received('waits'));
				expect(listener.pauseAccepting()).toBe(true);
				listener.resumeAccepting();
				listener.close();
			});

			test(`a listener (${kind}) turns away whom it does not admit`, async () => {
				let admits = false;
				const far = new Recorder();
				const options = { address: subject.address(kind), admit: () => admits };
				const listener = subject.network.listen(options, (connection) => far.attach(connection));
				const refused = new Recorder();
				refused.connection = subject.network.connect({ address: listener.address }, refused);
				await subject.run(refused.until(() => refused.isEnded || refused.isClosed));
				expect(far.connection).toBeNull();
				admits = true;
				const near = new Recorder();
				subject.network.connect({ address: listener.address }, near).write(Buffer.from('admitted'));
				await subject.run(far.received('admitted'));
				refused.connection.reset();
				listener.close();
			});
		}

		test('both ends know the addresses', async () => {
			const { near, far, listener } = await pair();
			expect(near.connection!.remote).toEqual(listener.address);
			expect(far.connection!.local).toEqual(listener.address);
			expect(far.connection!.remote).toEqual(near.connection!.local);
			expect(near.connection!.id).not.toBe(far.connection!.id);
		});

		test('a refused connection says so, once, after connect has returned', async () => {
			const near = new Recorder();
			subject.network.connect({ address: subject.deafAddress() }, near);
			expect(near.isClosed).toBe(false);
			await subject.run(near.closed());
			expect(near.error?.code).toBe('connect_refused');
			expect(near.error?.retrySafe).toBe(true);
			expect(near.error?.origin).toBe('upstream');
			expect(near.events).toEqual(['close']);
		});

		test('a connection given up before it stands closes without an error', async () => {
			const listener = listen((connection) => new Recorder().attach(connection));
			const near = new Recorder();
			subject.network.connect({ address: listener.address }, near).reset();
			await subject.run(near.closed());
			expect(near.error).toBeNull();
			expect(near.events).toEqual(['close']);
		});

		test('a handler that throws costs only its own connection', async () => {
			const first = await pair();
			const second = await pair();
			first.far.onBytes = () => {
				throw new Error('a bug in a test');
			};
			first.near.connection!.write(Buffer.from('boom'));
			await subject.run(Promise.all([first.near.closed(), first.far.closed()]));
			second.near.connection!.write(Buffer.from('still here'));
			await subject.run(second.far.received('still here'));
		});

		test('mutual TLS: both see the other, verified', async () => {
			const seen: string[] = [];
			const remember = (peer: PeerCertificate) => {
				seen.push(...peer.uriSans);
				return null;
			};
			const { near, far } = await tlsPair(
				{
					rootsPem: root.certificatePem,
					requireClientCertificate: true,
					alpn: ['h2', 'http/1.1'],
					minVersion: 'TLSv1.3',
					verifyPeer: remember,
				},
				{
					certificateChainPem: client.certificatePem,
					privateKeyPem: client.privateKeyPem,
					alpn: ['h2'],
					minVersion: 'TLSv1.3',
					verifyPeer: remember,
				},
			);
			expect(near.error).toBeNull();
			expect(far.error).toBeNull();
			expect(seen.sort()).toEqual([
				'spiffe://cluster.local/ns/shop/sa/client',
				'spiffe://cluster.local/ns/shop/sa/server',
			]);
			expect(near.connection!.tls).toMatchObject({ version: 'TLSv1.3', alpn: 'h2' });
			expect(far.connection!.tls).toMatchObject({ version: 'TLSv1.3', alpn: 'h2', serverName: 'server' });
			expect(far.connection!.tls?.peerCertificate?.subject).toBe('CN=client');
			expect(near.connection!.tls?.peerCertificate?.dnsSans).toEqual(['server']);
			expect(near.connection!.tls?.peerCertificate?.chainDer[0]).toEqual(server.der);
			near.connection!.write(Buffer.from('secret'));
			near.connection!.end();
			await subject.run(far.ended());
			expect(far.text).toBe('secret');
			far.connection!.write(Buffer.from('answer'));
			far.connection!.end();
			await subject.run(Promise.all([near.closed(), far.closed()]));
			expect(near.text).toBe('answer');
			expect([near.error, far.error]).toEqual([null, null]);
		});

		test('much data under TLS arrives whole, and a paused reader holds the writer back', async () => {
			const { near, far } = await tlsPair({}, {});
			far.connection!.pause();
			const chunk = new Uint8Array(100_000).map((_, index) => index % 253);
			let written = 0;
			while (near.connection!.write(chunk)) {
				written += chunk.length;
				expect(written).toBeLessThan(64 * MEBIBYTE);
			}
			written += chunk.length;
			far.connection!.resume();
			near.connection!.end();
			await subject.run(far.ended());
			const all = Buffer.concat(far.chunks);
			expect(all.length).toBe(written);
			for (let offset = 0; offset < all.length; offset += chunk.length) {
				expect(all.subarray(offset, offset + chunk.length).equals(chunk)).toBe(true);
			}
		});

		/** The client's handshake may be done before the server has looked at it (TLS 1.3); then it is closed. */
		async function expectServerRefuses(serverTls: Partial<ServerTlsOptions>, clientTls: Partial<ClientTlsOptions>) {
			const { near, far } = await tlsPair(serverTls, clientTls);
			near.connection!.write(Buffer.from('must not arrive'));
			await subject.run(Promise.all([near.closed(), far.closed()]));
			expect(far.error?.code).toBe('tls_handshake_failed');
			expect(far.error?.origin).toBe('downstream');
			expect(far.events).toEqual(['close']);
			expect(near.error).not.toBeNull();
			return far.error!;
		}

		async function expectClientRefuses(serverTls: Partial<ServerTlsOptions>, clientTls: Partial<ClientTlsOptions>) {
			const { near, far } = await tlsPair(serverTls, clientTls);
			await subject.run(Promise.all([near.closed(), far.closed()]));
			expect(near.error?.code).toBe('tls_handshake_failed');
			expect(near.error?.origin).toBe('upstream');
			expect(near.error?.retrySafe).toBe(true);
			expect(near.events).toEqual(['close']);
			expect(far.text).toBe('');
			return near.error!;
		}

		test('a client without the required certificate is refused', async () => {
			const error = await expectServerRefuses({ requireClientCertificate: true, rootsPem: root.certificatePem }, {});
			expect(error.message).toContain('no certificate');
		});

		test('a client of another root is refused, though the root has the same name', async () => {
			await expectServerRefuses(
				{ requireClientCertificate: true, rootsPem: root.certificatePem },
				{ certificateChainPem: stranger.certificatePem, privateKeyPem: stranger.privateKeyPem },
			);
		});

		test('a client that verifyPeer refuses is refused', async () => {
			const error = await expectServerRefuses(
				{ requireClientCertificate: true, rootsPem: root.certificatePem, verifyPeer: () => 'not on the list' },
				{ certificateChainPem: client.certificatePem, privateKeyPem: client.privateKeyPem },
			);
			expect(error.message).toContain('not on the list');
		});

		test('a server of another root is refused', async () => {
			await expectClientRefuses({}, { rootsPem: otherRoot.certificatePem });
		});

		test('names are not believed where there are no roots, though they would be the right ones', async () => {
			const error = await expectClientRefuses({}, { rootsPem: '', verifyPeer: () => null });
			expect(error.message).toContain('there are no roots');
		});

		test('a server that verifyPeer refuses is refused', async () => {
			const error = await expectClientRefuses({}, { verifyPeer: (peer) => `not ${peer.uriSans[0]}` });
			expect(error.message).toContain('not spiffe://cluster.local/ns/shop/sa/server');
		});

		test('an expired server is refused', async () => {
			const expired = await root.issue({ notBeforeMs: 0, notAfterMs: 1_000_000_000_000 });
			await expectClientRefuses(
				{ certificateChainPem: expired.certificatePem, privateKeyPem: expired.privateKeyPem },
				{},
			);
		});

		test('a server that does not speak TLS fails the handshake', async () => {
			const far = new Recorder();
			const listener = listen((connection) => {
				far.attach(connection);
				connection.write(Buffer.from('hello, this is not TLS\r\n'));
				connection.end();
			});
			const near = new Recorder();
			subject.network.connect({ address: listener.address, tls: { rootsPem: '', serverName: '' } }, near);
			await subject.run(near.closed());
			expect(near.error?.code).toBe('tls_handshake_failed');
			expect(near.events).toEqual(['close']);
		});

		test('a client that does not speak TLS fails the handshake', async () => {
			const far = new Recorder();
			const listener = listen((connection) => {
				far.attach(connection);
				connection.startServerTls({
					certificateChainPem: server.certificatePem,
					privateKeyPem: server.privateKeyPem,
				});
			});
			const near = new Recorder();
			const connection = subject.network.connect({ address: listener.address }, near);
			connection.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
			await subject.run(far.closed());
			expect(far.error?.code).toBe('tls_handshake_failed');
			expect(far.text).toBe('');
		});

		test('a server that accepts and says nothing runs into the timeout of the handshake', async () => {
			const listener = listen((connection) => new Recorder().attach(connection));
			const near = new Recorder();
			const silent: ConnectionHandler = near;
			subject.network.connect(
				{ address: listener.address, timeoutMs: 30, tls: { rootsPem: '', serverName: '' } },
				silent,
			);
			await subject.run(near.closed());
			expect(near.error?.code).toBe('connect_timeout');
		});

		test('a client that says nothing runs into the timeout of the handshake', async () => {
			const far = new Recorder();
			const listener = listen((connection) => {
				far.attach(connection);
				connection.startServerTls({
					certificateChainPem: server.certificatePem,
					privateKeyPem: server.privateKeyPem,
					handshakeTimeoutMs: 30,
				});
			});
			subject.network.connect({ address: listener.address }, new Recorder());
			await subject.run(far.closed());
			expect(far.error?.code).toBe('tls_handshake_failed');
		});

		test('localhost has addresses, a name under .invalid has none', async () => {
			const { addresses, ttlMs } = await subject.run(subject.network.resolve('localhost'));
			expect(addresses).toContain('127.0.0.1');
			expect(ttlMs).toBeGreaterThan(0);
			const missing = subject.network.resolve('no-such-name.invalid');
			await expect(subject.run(missing)).rejects.toMatchObject({ code: 'name_not_found' });
		});
	});
}
