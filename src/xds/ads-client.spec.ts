// The client against a fake management server on real gRPC: what it says, and what it keeps.

import { afterEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { NodeSchema } from '../generated/envoy/config/core/v3/base_pb.ts';
import { DeltaDiscoveryResponseSchema } from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import type { Address } from '../net/network.ts';
import { SystemNetwork } from '../net/system-network.ts';
import { TestAuthority } from '../net/testing-certificates.ts';
import { VirtualClock } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { AdsClient } from './ads-client.ts';
import type { AdsStreamEvents } from './ads-transport.ts';
import type { DiscoveryUpdate } from './discovery-client.ts';
import { GrpcAdsTransport, type GrpcAdsTransportOptions } from './grpc-ads-transport.ts';
import { FakeManagementServer } from './testing-management-server.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, SECRET_TYPE } from './type-urls.ts';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
	for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServer(options: ConstructorParameters<typeof FakeManagementServer>[0] = {}) {
	const server = new FakeManagementServer(options);
	await server.start();
	cleanups.push(() => server.stop());
	return server;
}

function startClient(
	target: Address,
	options: { stateDirectory?: string; transport?: Partial<GrpcAdsTransportOptions> } = {},
) {
	const clock = new VirtualClock();
	const client = new AdsClient({
		transport: new GrpcAdsTransport({
			addresses: [target],
			authority: '',
			tls: null,
			network: new SystemNetwork(),
			random: new SeededRandom(1),
			...options.transport,
		}),
		node: create(NodeSchema, { id: 'sidecar~127.0.0.1~a~b', cluster: 'c' }),
		clock,
		random: new SeededRandom(1),
		stateDirectory: options.stateDirectory ?? null,
	});
	cleanups.push(async () => {
		const closed = client.close();
		clock.advance(2000);
		await closed;
	});
	return { client, clock };
}

function temporaryDirectory(): string {
	const directory = mkdtempSync(join(tmpdir(), 'weft-ads-'));
	cleanups.push(() => rmSync(directory, { recursive: true }));
	return directory;
}

/** A subscriber that remembers, and refuses resources whose content is `bad`. */
class Subscriber {
	readonly content = new Map<string, string>();
	readonly updates: DiscoveryUpdate[] = [];
	private waiting: (() => void)[] = [];

	onUpdate(update: DiscoveryUpdate): string | null {
		this.updates.push(update);
		let reason: string | null = null;
		for (const { name, value } of update.updated) {
			const text = Buffer.from(value).toString();
			if (text.startsWith('bad')) reason = `${name}: is bad`;
			else this.content.set(name, text);
		}
		for (const name of update.removed) this.content.delete(name);
		for (const wake of this.waiting.splice(0)) wake();
		return reason;
	}

	async until(holds: () => boolean): Promise<void> {
		while (!holds()) await new Promise<void>((resolve) => this.waiting.push(resolve));
	}
}

describe('the delta ADS client', () => {
	test('asks in push order, says its node once, and acknowledges with the nonce', async () => {
		const server = await startServer();
		const { client } = startClient(server.target);
		const listeners = new Subscriber();
		const clusters = new Subscriber();
		client.subscribe(LISTENER_TYPE, null, listeners);
		client.subscribe(CLUSTER_TYPE, null, clusters);
		client.start();
		const first = await server.request();
		expect(first).toMatchObject({ typeUrl: CLUSTER_TYPE, resourceNamesSubscribe: [], responseNonce: '' });
		expect(first.node?.id).toBe('sidecar~127.0.0.1~a~b');
		const second = await server.request();
		expect(second.typeUrl).toBe(LISTENER_TYPE);
		expect(second.node).toBeUndefined();

		server.respond(CLUSTER_TYPE, { a: ['1', 'one'], b: ['1', 'two'] }, [], 'n1');
		const ack = await server.request();
		expect(ack).toMatchObject({ typeUrl: CLUSTER_TYPE, responseNonce: 'n1' });
		expect(ack.errorDetail).toBeUndefined();
		expect([...clusters.content]).toEqual([
			['a', 'one'],
			['b', 'two'],
		]);
		expect(client.status().state).toBe('connected');
		expect(client.status().types.find((type) => type.typeUrl === CLUSTER_TYPE)).toMatchObject({
			resources: 2,
			acks: 1,
			acknowledgedVersion: 'system-n1',
		});
	});

	test('a refusal is a NACK with the reason, and the last good state stays', async () => {
		const server = await startServer();
		const { client } = startClient(server.target);
		const clusters = new Subscriber();
		client.subscribe(CLUSTER_TYPE, null, clusters);
		client.start();
		await server.request();
		server.respond(CLUSTER_TYPE, { a: ['1', 'good'] }, [], 'n1');
		await server.request();
		server.respond(CLUSTER_TYPE, { a: ['2', 'bad'] }, [], 'n2');
		const nack = await server.request();
		expect(nack).toMatchObject({ responseNonce: 'n2', errorDetail: { message: 'a: is bad' } });
		expect(clusters.content.get('a')).toBe('good');
		expect(client.status().types[0]!.lastError).toBe('a: is bad');
		server.respond(CLUSTER_TYPE, { a: ['3', 'better'] }, [], 'n3');
		expect((await server.request()).errorDetail).toBeUndefined();
		expect(client.status().types[0]!.lastError).toBeNull();
	});

	test('a resource of another type than its response is refused', async () => {
		const server = await startServer();
		const { client } = startClient(server.target);
		const clusters = new Subscriber();
		client.subscribe(CLUSTER_TYPE, null, clusters);
		client.start();
		await server.request();
		server.respond(CLUSTER_TYPE, { a: ['1', 'x'] }, [], 'n1', LISTENER_TYPE);
		expect((await server.request()).errorDetail?.message).toContain(LISTENER_TYPE);
		expect(clusters.content.size).toBe(0);
	});

	test('names that come and go are told as deltas, many of one turn as one', async () => {
		const server = await startServer();
		const { client } = startClient(server.target);
		const one = new Subscriber();
		const two = new Subscriber();
		client.subscribe(ENDPOINT_TYPE, ['x'], one);
		client.start();
		expect((await server.request()).resourceNamesSubscribe).toEqual(['x']);
		const subscription = client.subscribe(ENDPOINT_TYPE, ['x', 'y'], two);
		client.subscribe(ENDPOINT_TYPE, ['z'], new Subscriber());
		expect(await server.request()).toMatchObject({ resourceNamesSubscribe: ['y', 'z'], resourceNamesUnsubscribe: [] });
		server.respond(ENDPOINT_TYPE, { x: ['1', 'ex'] }, ['z'], 'n1');
		await server.request();
		expect(one.content.get('x')).toBe('ex');
		expect(two.content.get('x')).toBe('ex');
		subscription.setNames(['w']);
		expect(await server.request()).toMatchObject({ resourceNamesSubscribe: ['w'], resourceNamesUnsubscribe: ['y'] });
	});

	test('who subscribes late is given at once what is known, also that there is nothing', async () => {
		const server = await startServer();
		const { client } = startClient(server.target);
		client.subscribe(ENDPOINT_TYPE, ['x', 'gone'], new Subscriber());
		client.start();
		await server.request();
		server.respond(ENDPOINT_TYPE, { x: ['1', 'ex'] }, ['gone'], 'n1');
		await server.request();
		const late = new Subscriber();
		client.subscribe(ENDPOINT_TYPE, ['x', 'gone'], late);
		expect(late.content.get('x')).toBe('ex');
		expect(late.updates[0]!.removed).toEqual(['gone']);
	});

	test('after a restart of the server it comes back, tells its versions, and takes what changed', async () => {
		const server = await startServer();
		const { client, clock } = startClient(server.target);
		const clusters = new Subscriber();
		client.subscribe(CLUSTER_TYPE, null, clusters);
		client.start();
		await server.request();
		server.respond(CLUSTER_TYPE, { a: ['7', 'one'], b: ['8', 'two'] }, [], 'n1');
		await server.request();
		await server.stop();
		await waitFor(() => client.status().state === 'backing_off');
		expect(clusters.content.size).toBe(2);
		await server.start();
		clock.advance(500);
		const again = await server.request();
		expect(again.initialResourceVersions).toEqual({ a: '7', b: '8' });
		expect(again.node?.id).toBe('sidecar~127.0.0.1~a~b');
		server.respond(CLUSTER_TYPE, {}, ['b'], 'n2');
		await server.request();
		expect([...clusters.content.keys()]).toEqual(['a']);
	});

	test('pauses grow between attempts that fail', async () => {
		const { client, clock } = startClient({ kind: 'ip', host: '127.0.0.1', port: 1 });
		client.start();
		const pauses: number[] = [];
		for (let attempt = 0; attempt < 9; attempt++) {
			await waitFor(() => client.status().state === 'backing_off');
			const dueMs = clock.nextDueMs()!;
			pauses.push(dueMs - clock.nowMs());
			clock.advance(dueMs - clock.nowMs());
			expect(client.status().state).toBe('connecting');
		}
		for (const [i, pause] of pauses.entries()) expect(pause).toBeLessThanOrEqual(Math.min(30_000, 500 * 2 ** i));
		expect(Math.max(...pauses)).toBeGreaterThan(500);
		expect(client.status().lastError).toContain('UNAVAILABLE');
	});

	test('closing is seen by the server as an orderly end', async () => {
		const server = await startServer();
		const { client } = startClient(server.target);
		client.subscribe(CLUSTER_TYPE, null, new Subscriber());
		client.start();
		await server.request();
		await client.close();
		expect(await server.streamEnd()).toBe('orderly');
		expect(client.status().state).toBe('closed');
	});
});

describe('the last good state', () => {
	test('is used when the server does not answer, and corrected when it does', async () => {
		const stateDirectory = temporaryDirectory();
		const server = await startServer();
		const before = startClient(server.target, { stateDirectory });
		before.client.subscribe(CLUSTER_TYPE, null, new Subscriber());
		before.client.subscribe(SECRET_TYPE, ['s'], new Subscriber());
		before.client.start();
		await server.request();
		await server.request();
		server.respond(CLUSTER_TYPE, { a: ['1', 'one'], b: ['1', 'two'] }, [], 'n1');
		await server.request();
		server.respond(SECRET_TYPE, { s: ['1', 'very secret'] }, [], 'n2');
		await server.request();
		await before.client.close();
		const path = join(stateDirectory, 'last-good.json');
		expect(statSync(path).mode & 0o777).toBe(0o600);
		expect(readFileSync(path, 'utf8')).not.toContain(Buffer.from('very secret').toString('base64'));
		await server.stop();

		const after = startClient(server.target, { stateDirectory });
		const clusters = new Subscriber();
		after.client.subscribe(CLUSTER_TYPE, null, clusters);
		after.client.start();
		after.clock.advance(999);
		expect(clusters.content.size).toBe(0);
		after.clock.advance(1);
		expect([...clusters.content.values()]).toEqual(['one', 'two']);
		expect(after.client.status().restored).toBe(true);

		await server.start();
		await waitFor(() => after.client.status().state === 'backing_off');
		after.clock.advance(30_000);
		const request = await server.request();
		expect(request.initialResourceVersions).toEqual({ a: '1', b: '1' });
		server.respond(CLUSTER_TYPE, {}, ['a'], 'n3');
		await server.request();
		expect([...clusters.content.keys()]).toEqual(['b']);
		expect(after.client.status().restored).toBe(false);
	});

	test('is written soon after a change, without being asked', async () => {
		const stateDirectory = temporaryDirectory();
		const server = await startServer();
		const { client, clock } = startClient(server.target, { stateDirectory });
		client.subscribe(CLUSTER_TYPE, null, new Subscriber());
		client.start();
		await server.request();
		server.respond(CLUSTER_TYPE, { a: ['1', 'one'] }, [], 'n1');
		await server.request();
		clock.advance(500);
		await waitFor(() => {
			try {
				return readFileSync(join(stateDirectory, 'last-good.json'), 'utf8').includes('"a"');
			} catch {
				return false;
			}
		});
	});
});

describe('TLS to the control plane', () => {
	test('shows its certificate, and refuses a server that the matchers refuse', async () => {
		const authority = await TestAuthority.create();
		const serverCertificate = await authority.issue({ uris: ['spiffe://mesh/control'], dns: ['control.weft'] });
		const clientCertificate = await authority.issue({ uris: ['spiffe://mesh/ns/a/sa/b'] });
		const server = await startServer({
			tls: { ...serverCertificate, rootsPem: authority.certificatePem },
		});
		const tlsOptions = (accept: string) => ({
			serverName: 'control.weft',
			rootsPem: authority.certificatePem,
			certificateChainPem: clientCertificate.certificatePem,
			privateKeyPem: clientCertificate.privateKeyPem,
			verifyPeer: (peer: { uriSans: readonly string[] }) => (peer.uriSans.includes(accept) ? null : 'not who I want'),
		});
		const good = startClient(server.target, {
			transport: { tls: { current: () => tlsOptions('spiffe://mesh/control') } },
		});
		good.client.subscribe(CLUSTER_TYPE, null, new Subscriber());
		good.client.start();
		expect((await server.request()).typeUrl).toBe(CLUSTER_TYPE);
		expect(server.peerUris()).toContain('URI:spiffe://mesh/ns/a/sa/b');

		const wary = startClient(server.target, {
			transport: { tls: { current: () => tlsOptions('spiffe://mesh/other') } },
		});
		wary.client.subscribe(CLUSTER_TYPE, null, new Subscriber());
		wary.client.start();
		await waitFor(() => wary.client.status().state === 'backing_off');
		expect(wary.client.status().lastError).toContain('UNAVAILABLE');

		const stranger = await TestAuthority.create('stranger');
		const wrongRoot = { ...tlsOptions('spiffe://mesh/control'), rootsPem: stranger.certificatePem };
		const lost = startClient(server.target, { transport: { tls: { current: () => wrongRoot } } });
		lost.client.subscribe(CLUSTER_TYPE, null, new Subscriber());
		lost.client.start();
		await waitFor(() => lost.client.status().state === 'backing_off');
	});

	test('without a secret nothing is sent, and it is tried again', async () => {
		const { client } = startClient(
			{ kind: 'ip', host: '127.0.0.1', port: 1 },
			{ transport: { tls: { current: () => null } } },
		);
		client.start();
		await waitFor(() => client.status().state === 'backing_off');
		expect(client.status().lastError).toContain('TLS secret');
	});
});

/** For what has no event to wait for: looks again after each turn of the event loop. */
async function waitFor(holds: () => boolean): Promise<void> {
	while (!holds()) await new Promise<void>((resolve) => setImmediate(resolve));
}

test('a response that crosses the end of the stream is neither applied nor acknowledged', async () => {
	const said: string[] = [];
	let events: AdsStreamEvents | null = null;
	const client = new AdsClient({
		transport: {
			open: (opened) => {
				events = opened;
				return {
					send: ({ typeUrl }) => said.push(typeUrl),
					end: () => said.push('end'),
					cancel: () => said.push('cancel'),
				};
			},
		},
		node: create(NodeSchema, { id: 'n' }),
		clock: new VirtualClock(),
		random: new SeededRandom(1),
	});
	const clusters = new Subscriber();
	client.subscribe(CLUSTER_TYPE, null, clusters);
	client.start();
	const closed = client.close();
	const resources = [{ name: 'a', version: '1', resource: { typeUrl: CLUSTER_TYPE, value: Buffer.from('one') } }];
	events!.onResponse(create(DeltaDiscoveryResponseSchema, { typeUrl: CLUSTER_TYPE, nonce: '1', resources }));
	events!.onEnd(null);
	await closed;
	expect(said).toEqual([CLUSTER_TYPE, 'end']);
	expect(clusters.updates).toEqual([]);
});
