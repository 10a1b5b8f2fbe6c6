import { expect, test } from 'bun:test';
import type { Address, IpAddress } from './network.ts';
import { testNetworkContract } from './network-contract.ts';
import { SimulatedNetwork } from './simulated-network.ts';
import { Recorder } from './testing-recorder.ts';

for (const seed of [1, 2, 3]) {
	testNetworkContract(`SimulatedNetwork, seed ${seed}`, () => {
		const network = new SimulatedNetwork({ seed });
		let addresses = 0;
		const newAddress = (kind: Address['kind']): Address =>
			kind === 'ip' ? { kind, host: '127.0.0.1', port: 0 } : { kind, path: `/run/${addresses++}.sock` };
		return {
			network,
			run: (promise) => network.run(promise),
			address: newAddress,
			deafAddress: () => ({ kind: 'ip', host: '127.0.0.1', port: 9 }),
		};
	});
}

const address: IpAddress = { kind: 'ip', host: '10.0.0.1', port: 80 };

async function trace(seed: number): Promise<string> {
	const network = new SimulatedNetwork({ seed });
	const cuts: string[] = [];
	const far = new Recorder();
	network.listen({ address }, (connection) => {
		far.attach(connection);
		far.onBytes = (_connection, bytes) => cuts.push(`${network.clock.nowMs().toFixed(3)}:${bytes.length}`);
	});
	const near = new Recorder();
	network.connect({ address }, near).write(new Uint8Array(300_000));
	near.connection?.end();
	await network.run(far.until(() => far.receivedBytes === 300_000));
	return cuts.join(' ');
}

test('a seed repeats itself, another one differs', async () => {
	const first = await trace(7);
	expect(await trace(7)).toBe(first);
	expect(await trace(8)).not.toBe(first);
	expect(first.split(' ').length).toBeGreaterThan(5);
});

test('a silent address runs into the connect timeout', async () => {
	const network = new SimulatedNetwork();
	network.listen({ address }, () => {});
	network.silence(address);
	const recorder = new Recorder();
	network.connect({ address, timeoutMs: 500 }, recorder);
	await network.run(recorder.closed());
	expect(recorder.error?.code).toBe('connect_timeout');
	expect(network.clock.nowMs()).toBeCloseTo(500);
});

test('a redirected connection knows where it was headed', async () => {
	const network = new SimulatedNetwork();
	const far = new Recorder();
	const listener = network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: 15001 } }, (connection) =>
		far.attach(connection),
	);
	network.redirect(address, listener.address);
	const near = new Recorder();
	network.connect({ address }, near);
	await network.run(near.until(() => near.events.includes('connect')));
	expect(far.connection!.originalDestination()).toEqual(address);
});

test('a crash breaks both ends and leaves nothing open', async () => {
	const network = new SimulatedNetwork();
	const far = new Recorder();
	network.listen({ address }, (connection) => far.attach(connection));
	const near = new Recorder();
	network.connect({ address }, near);
	await network.run(near.until(() => near.events.includes('connect')));
	expect(network.openConnections).toBe(2);
	network.resetConnectionsTo(address);
	await network.run(Promise.all([near.closed(), far.closed()]));
	expect(near.error?.code).toBe('connection_reset');
	expect(far.error?.code).toBe('connection_reset');
	expect(network.openConnections).toBe(0);
});

test('a network namespace has ports of its own', async () => {
	const network = new SimulatedNetwork();
	const far = new Recorder();
	network.listen({ address: { ...address, networkNamespace: '/proc/7/ns/net' } }, (connection) =>
		far.attach(connection),
	);
	const outside = new Recorder();
	network.connect({ address }, outside);
	const inside = new Recorder();
	network.connect({ address: { ...address, networkNamespace: '/proc/7/ns/net' } }, inside);
	await network.run(Promise.all([outside.closed(), inside.until(() => inside.events.includes('connect'))]));
	expect(outside.error?.code).toBe('connect_refused');
});
