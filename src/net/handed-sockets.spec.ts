import { afterAll, afterEach, describe, expect, test } from 'bun:test';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeGroup, encodeMessage, HandedReader, HandedSockets, type SocketGroup } from './handed-sockets.ts';
import type { Address, Connection, Network } from './network.ts';
import { closeDescriptor, makeSocketPair, receiveDescriptors, sendDescriptors } from './socket-passing.ts';
import { SystemNetwork } from './system-network.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-handed-'));
const closers: (() => void)[] = [];

afterEach(() => {
	for (const close of closers.splice(0)) close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Says its name to whoever connects. */
function serve(network: Network, address: Address, name: string): { readonly address: Address; close(): void } {
	const listener = network.listen({ address }, (connection: Connection) => {
		connection.handler = { onConnect() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} };
		connection.write(Buffer.from(name));
		connection.end();
	});
	closers.push(() => listener.close());
	return listener;
}

/** What it says; `refused` when nobody does. */
function ask(network: Network, address: Address): Promise<string> {
	return new Promise((resolve) => {
		let said = '';
		network.connect(
			{ address },
			{
				onConnect() {},
				onDrain() {},
				onData: (_connection, bytes) => {
					said += Buffer.from(bytes).toString();
				},
				onEnd: (connection) => connection.end(),
				onClose: (_connection, error) => resolve(error === null ? said : 'refused'),
			},
		);
	});
}

/** As between two processes: through a socket, cut as the kernel likes. */
function handOver(groups: readonly SocketGroup[]): HandedSockets {
	const [near, far] = makeSocketPair();
	const handed = new HandedSockets();
	const reader = new HandedReader((group) => handed.add(group));
	for (const group of groups) {
		const { bytes, fds } = encodeGroup(group);
		expect(sendDescriptors(near, bytes, fds, true)).toBe(bytes.byteLength);
		const received = receiveDescriptors(far, false)!;
		reader.push(received.bytes, received.fds);
	}
	closeDescriptor(near);
	closeDescriptor(far);
	return handed;
}

describe('a listening socket in other hands', () => {
	test('accepts there what was connected before it was handed over, and keeps its port', async () => {
		const old = new SystemNetwork();
		const asked: Address = { kind: 'ip', host: '127.0.0.1', port: 0 };
		const group = old.makeSockets({ address: asked }, 1);
		expect(group.bound).toMatchObject({ host: '127.0.0.1' });
		const early = ask(old, group.bound);
		const handed = handOver([group]);
		for (const fd of group.fds) closeDescriptor(fd);
		const network = new SystemNetwork({ handed });
		const listener = serve(network, asked, 'new');
		expect(listener.address).toEqual(group.bound);
		expect(await early).toBe('new');
		expect(await ask(old, group.bound)).toBe('new');
		listener.close();
		expect(await ask(old, group.bound)).toBe('refused');
	});

	test('is not closed by the old hands', async () => {
		const old = new SystemNetwork();
		const asked: Address = { kind: 'ip', host: '127.0.0.1', port: 0 };
		const first = serve(old, asked, 'old');
		const network = new SystemNetwork({ handed: handOver(old.listening()) });
		serve(network, asked, 'new');
		first.close();
		for (let i = 0; i < 20; i++) expect(await ask(old, first.address)).toBe('new');
	});

	test('shares a port with others of its group', async () => {
		const network = new SystemNetwork();
		const asked: Address = { kind: 'ip', host: '127.0.0.1', port: 0 };
		const group = network.makeSockets({ address: asked }, 3);
		expect(group.fds).toHaveLength(3);
		expect(() => network.listen({ address: group.bound }, () => {})).toThrow('already in use');
		const heard = new Set<string>();
		group.fds.forEach((fd, index) => {
			const handed = handOver([{ ...group, fds: [fd] }]);
			serve(new SystemNetwork({ handed, handedOnly: true }), asked, `worker ${index}`);
			closeDescriptor(fd);
		});
		for (let i = 0; i < 200 && heard.size < 3; i++) heard.add(await ask(network, group.bound));
		expect([...heard].sort()).toEqual(['worker 0', 'worker 1', 'worker 2']);
	});

	test('of a unix file keeps its file when the old hands close', async () => {
		const path = join(directory, 'a.sock');
		const old = new SystemNetwork();
		const address: Address = { kind: 'pipe', path };
		const first = serve(old, address, 'old');
		expect(await ask(old, address)).toBe('old');
		const network = new SystemNetwork({ handed: handOver(old.listening()) });
		const second = serve(network, address, 'new');
		old.leaveSocketFiles();
		first.close();
		expect(existsSync(path)).toBe(true);
		expect(await ask(old, address)).toBe('new');
		second.close();
		expect(existsSync(path)).toBe(false);
	});

	test('is the only one that a worker takes', () => {
		const network = new SystemNetwork({ handed: new HandedSockets(), handedOnly: true });
		const address: Address = { kind: 'ip', host: '127.0.0.1', port: 0 };
		expect(() => network.listen({ address }, () => {})).toThrow('was handed over');
	});

	test('an address in use is refused for several sockets too', () => {
		const network = new SystemNetwork();
		const taken = serve(network, { kind: 'ip', host: '127.0.0.1', port: 0 }, 'x');
		expect(() => network.makeSockets({ address: taken.address }, 2)).toThrow('already in use');
	});
});

describe('reading what was handed over', () => {
	const message = encodeMessage({ epoch: 3 });

	test('any cut gives the same', () => {
		for (let cut = 0; cut <= message.byteLength; cut++) {
			const heard: unknown[] = [];
			const reader = new HandedReader(
				() => {},
				(one) => heard.push(one),
			);
			reader.push(message.subarray(0, cut), []);
			reader.push(message.subarray(cut), []);
			expect(heard).toEqual([{ epoch: 3 }]);
		}
	});

	test.each([
		['no JSON', Uint8Array.from([2, 0, 0, 0, 0x7b, 0x7b])],
		['no object', encodeMessage([1].slice(1, 1) as object).fill(0x20, 4)],
		['a message of 4294967295 bytes', Uint8Array.from([255, 255, 255, 255])],
		['no group of sockets', encodeMessage({ count: 1, asked: { kind: 'ip' }, bound: {} })],
		['no group of sockets', encodeMessage({ count: 0.5 })],
		[
			'fewer sockets than it says',
			encodeMessage({ count: 1, asked: { kind: 'pipe', path: 'x' }, bound: { kind: 'pipe', path: 'x' } }),
		],
	])('%s is refused', (why, bytes) => {
		const reader = new HandedReader(() => {});
		const expected = why === 'no object' ? 'no JSON' : why;
		expect(() => reader.push(bytes, [])).toThrow(expected);
	});
});
