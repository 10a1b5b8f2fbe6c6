import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BunNetwork } from './bun-network.ts';
import type { Address, Connection } from './network.ts';
import { testNetworkContract } from './network-contract.ts';
import { Recorder } from './testing-recorder.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-net-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
let files = 0;
const newPath = () => join(directory, `${files++}.sock`);
const loopback: Address = { kind: 'ip', host: '127.0.0.1', port: 0 };

testNetworkContract('BunNetwork', () => ({
	network: new BunNetwork(),
	run: (promise) => promise,
	address: (kind) => (kind === 'ip' ? loopback : { kind: 'pipe', path: newPath() }),
	deafAddress: () => ({ kind: 'pipe', path: newPath() }),
}));

test('a refused TCP connection says so', async () => {
	const network = new BunNetwork();
	const listener = network.listen({ address: loopback }, () => {});
	listener.close();
	const recorder = new Recorder();
	network.connect({ address: listener.address }, recorder);
	await recorder.closed();
	expect(recorder.error?.code).toBe('connect_refused');
});

test('a unix socket has its mode, knows its peer, and its file goes with it', async () => {
	const network = new BunNetwork();
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
	const network = new BunNetwork();
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
	const network = new BunNetwork();
	expect(() => network.listen({ address: { kind: 'ip', host: '192.0.2.1', port: 0 } }, () => {})).toThrow(
		expect.objectContaining({ code: 'address_not_available' }),
	);
	expect(() => network.listen({ address: { kind: 'pipe', path: '/nonexistent/x.sock' } }, () => {})).toThrow(
		expect.objectContaining({ code: 'address_not_available' }),
	);
});

test('listeners share a port with reusePort, and only with it', () => {
	const network = new BunNetwork();
	const first = network.listen({ address: loopback, reusePort: true }, () => {});
	const second = network.listen({ address: first.address, reusePort: true }, () => {});
	expect(second.address).toEqual(first.address);
	expect(() => network.listen({ address: first.address }, () => {})).toThrow();
	first.close();
	second.close();
});

test('what a callback throws is counted and told', async () => {
	const told: unknown[] = [];
	const network = new BunNetwork({ onCaught: (error) => told.push(error) });
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
	const network = new BunNetwork();
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
	const network = new BunNetwork();
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
