import { afterAll, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NAMESPACE } from '../../config/namespace.ts';
import { ObjectStore } from '../../config/object-store.ts';
import { SERVICE } from '../../config/service.ts';
import type { SmallHandler, SmallRequest } from '../../http1/small-server.ts';
import { CertificateAuthority } from '../../identity/certificate-authority.ts';
import { JoinTokens } from '../../identity/join-tokens.ts';
import type { Connection } from '../../net/network.ts';
import { VirtualClock } from '../../std/clock.ts';
import { logSink } from '../../std/log.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import { joinAnswerSchema } from '../join-protocol.ts';
import { InstanceIndexes } from './instance-indexes.ts';
import { joinHandler } from './join-door.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-join-'));
const { level } = logSink;
logSink.level = 'off';
afterAll(() => {
	logSink.level = level;
	rmSync(directory, { recursive: true, force: true });
});

const clock = new VirtualClock();
const UID = 4711;
let tokens: JoinTokens;
let objects: ObjectStore;
let handler: SmallHandler;

beforeEach(async () => {
	const store = new MemoryStore();
	tokens = new JoinTokens(clock);
	objects = await ObjectStore.open(store);
	handler = joinHandler({
		objects,
		tokens,
		authority: await CertificateAuthority.open({ directory: join(directory, 'ca'), clock }),
		indexes: await InstanceIndexes.open(store, () => false, undefined, { first: () => 1, inUse: () => new Set() }),
		xds: { address: '127.0.0.1', port: 15012 },
		uid: UID,
	});
});

const reviews = {
	service: 'reviews',
	version: 'v2',
	namespace: 'default',
	serviceAccount: 'reviews',
	ports: [{ port: 9080, protocol: 'http' }],
};

async function ask(body: unknown, uid: number | null = UID, overrides: Partial<SmallRequest> = {}) {
	const credentials = uid === null ? null : { pid: process.pid, uid, gid: 0 };
	const response = await handler({
		method: 'POST',
		path: '/weft/v1/join',
		query: new URLSearchParams(),
		authority: 'localhost',
		headers: [],
		body: new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body)),
		connection: { peerCredentials: () => credentials } as unknown as Connection,
		...overrides,
	});
	return { status: response.status, body: JSON.parse(String(response.body)) };
}

test('gives a name, addresses and a token that is good once for exactly that', async () => {
	const { status, body } = await ask(reviews);
	expect(status).toBe(200);
	const answer = joinAnswerSchema.parse(body);
	expect(answer.instance).toMatch(/^reviews-v2-[0-9a-f]{4}$/);
	expect(answer).toMatchObject({ instanceIndex: 1, address: '127.128.8.0', trustDomain: 'cluster.local' });
	expect(answer.xds).toEqual({ address: '127.0.0.1', port: 15012, serverName: 'weft-control-plane.weft-system.svc' });
	expect(tokens.redeem(answer.token)).toEqual({
		namespace: 'default',
		serviceAccount: 'reviews',
		instance: answer.instance,
	});
	expect(joinAnswerSchema.parse((await ask(reviews)).body).instanceIndex).toBe(2);
});

test('tells of the services that there are', async () => {
	await objects.create(SERVICE, {
		apiVersion: 'v1',
		kind: 'Service',
		metadata: { name: 'ratings', namespace: 'default' },
		spec: { ports: [{ port: 80 }], selector: { app: 'ratings' } },
	});
	const { body } = await ask(reviews);
	expect(body.services).toEqual([{ host: 'ratings.default.svc.cluster.local', address: '127.96.0.1', ports: [80] }]);
});

test('makes the namespace that is not there yet', async () => {
	expect((await ask({ ...reviews, namespace: 'shop' })).status).toBe(200);
	expect(await objects.get(NAMESPACE, '', 'shop')).not.toBeNull();
});

test('another user, and one that the kernel does not vouch for, gets nothing; root does', async () => {
	expect((await ask(reviews, UID + 1)).status).toBe(403);
	expect((await ask(reviews, null)).status).toBe(403);
	expect(tokens.outstandingCount).toBe(0);
	expect((await ask(reviews, 0)).status).toBe(200);
});

test('an instance that comes again keeps its name and its addresses', async () => {
	const first = joinAnswerSchema.parse((await ask(reviews)).body);
	const again = await ask({ ...reviews, instance: { name: first.instance, index: first.instanceIndex } });
	expect(again.body).toMatchObject({ instance: first.instance, instanceIndex: 1, address: '127.128.8.0' });
	expect(again.body.token).not.toBe(first.token);
	const thief = await ask({ ...reviews, instance: { name: 'other-v1-0000', index: 1 } });
	expect(thief.status).toBe(409);
});

test.each([
	['no JSON', '{'],
	['not UTF-8', '\uD800'],
	['no service', { ...reviews, service: undefined }],
	['a service that would leave its place in a name', { ...reviews, service: 'a/b' }],
	['a namespace with a path', { ...reviews, namespace: '../default' }],
	['an unknown field', { ...reviews, admin: true }],
	['a port out of range', { ...reviews, ports: [{ port: 70_000, protocol: 'http' }] }],
	['too many ports', { ...reviews, ports: Array.from({ length: 65 }, () => ({ port: 1, protocol: 'http' })) }],
])('refuses %s', async (_name, body) => {
	const { status, body: answer } = await ask(body);
	expect(status).toBe(400);
	expect(answer.message.length).toBeGreaterThan(5);
});

test('has one path and one method', async () => {
	expect((await ask(reviews, UID, { path: '/' })).status).toBe(404);
	expect((await ask(reviews, UID, { method: 'GET' })).status).toBe(405);
});

test.each(['../../etc', 'a/b', 'Reviews', 'a\nb', ''])(
	'an instance name that is no name is refused: %j',
	async (name) => {
		const { status } = await ask({ ...reviews, instance: { name, index: 1 } });
		expect(status).toBe(400);
	},
);
