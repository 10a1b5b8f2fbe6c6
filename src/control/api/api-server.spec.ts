import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ObjectStore } from '../../config/object-store.ts';
import { VirtualClock } from '../../std/clock.ts';
import { WeftError } from '../../std/errors.ts';
import { MemoryStore } from '../../store/memory-store.ts';
import { type ApiServer, startApiServer } from './api-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-api-'));
const unixPath = join(folder, 'weft.sock');
const clock = new VirtualClock();
let server: ApiServer;
let notReady: string | null = null;

beforeAll(async () => {
	const objects = await ObjectStore.open(new MemoryStore({ historyEventsMax: 300 }), { wallMs: () => clock.wallMs() });
	server = startApiServer({
		objects,
		clock,
		version: '1.2.3',
		unixPath,
		tcp: { hostname: '127.0.0.1', port: 0 },
		token: 'secret',
		notReadyReason: () => notReady,
		mounts: [
			{
				prefix: '/weft',
				handle: (_, { url }) => (url.pathname === '/weft/none' ? null : new Response(`weft ${url.pathname}`)),
			},
			{ prefix: '/', handle: () => new Response('page') },
		],
	});
});

afterAll(async () => {
	await server.close();
	rmSync(folder, { recursive: true, force: true });
});

interface Answer {
	status: number;
	headers: Headers;
	// biome-ignore lint/suspicious/noExplicitAny: answers of many shapes, compared field by field
	body: any;
}

async function send(
	method: string,
	path: string,
	body?: unknown,
	headers: Record<string, string> = {},
): Promise<Answer> {
	const response = await fetch(`http://localhost${path}`, {
		unix: unixPath,
		method,
		headers: { 'content-type': 'application/json', ...headers },
		body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
	});
	const text = await response.text();
	const isJson = (response.headers.get('content-type') ?? '').includes('json');
	return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}

let namespaces = 0;
async function newNamespace(): Promise<string> {
	const name = `test-${++namespaces}`;
	const made = await send('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
	expect(made.status).toBe(201);
	return name;
}

function service(name: string, spec: object = {}, metadata: object = {}) {
	return {
		apiVersion: 'v1',
		kind: 'Service',
		metadata: { name, ...metadata },
		spec: { ports: [{ port: 80 }], ...spec },
	};
}

const TABLE = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };

describe('objects', () => {
	test('are made, read, replaced and deleted', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		const made = await send('POST', path, service('a'));
		expect(made.status).toBe(201);
		expect(made.body).toMatchObject({ kind: 'Service', spec: { type: 'ClusterIP' }, metadata: { generation: 1 } });
		expect((await send('GET', `${path}/a`)).body).toEqual(made.body);
		made.body.spec.ports = [{ port: 81 }];
		const replaced = await send('PUT', `${path}/a`, made.body);
		expect(replaced.body.metadata.generation).toBe(2);
		const stale = await send('PUT', `${path}/a`, made.body);
		expect([stale.status, stale.body.reason]).toEqual([409, 'Conflict']);
		const deleted = await send('DELETE', `${path}/a`, { preconditions: { uid: made.body.metadata.uid } });
		expect(deleted.body).toMatchObject({ status: 'Success', details: { name: 'a', kind: 'services' } });
		expect((await send('GET', `${path}/a`)).body).toMatchObject({ kind: 'Status', reason: 'NotFound', code: 404 });
		expect((await send('DELETE', `${path}/a`)).status).toBe(404);
	});

	test('that are wrong are refused with a cause for each field', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		const { status, body } = await send('POST', path, service('a', { ports: [{ prot: 1 }] }));
		expect([status, body.reason]).toEqual([422, 'Invalid']);
		expect(body.details.causes.map((cause: { field: string }) => cause.field)).toEqual([
			'spec.ports[0].port',
			'spec.ports[0].prot',
		]);
		expect((await send('POST', path, service('a', {}, { namespace: 'other' }))).status).toBe(400);
		expect((await send('POST', path, { ...service('a'), kind: 'Pod' })).status).toBe(400);
		expect((await send('POST', path, '{"a":')).status).toBe(400);
		expect((await send('POST', path, '[]')).status).toBe(400);
		expect((await send('POST', path, `${'['.repeat(100)}${']'.repeat(100)}`)).body.message).toContain('nested');
		expect((await send('POST', path, '{"metadata":{"__proto__":{}}}')).body.message).toContain('__proto__');
		expect((await send('POST', path, `"${'x'.repeat(4 << 20)}"`)).status).toBe(413);
		expect((await send('GET', path)).body.items).toEqual([]);
	});

	test('in a namespace that is not there are 404', async () => {
		const { status, body } = await send('POST', '/api/v1/namespaces/nowhere/services', service('a'));
		expect([status, body.message]).toEqual([404, 'namespaces "nowhere" not found']);
	});

	test('a dry run changes nothing', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		expect((await send('POST', `${path}?dryRun=All`, service('a'))).status).toBe(201);
		expect((await send('GET', path)).body.items).toEqual([]);
		expect((await send('POST', `${path}?dryRun=Some`, service('a'))).status).toBe(400);
	});

	test('that delete what weft run makes again come with a warning', async () => {
		const namespace = await newNamespace();
		const managed = { labels: { 'app.kubernetes.io/managed-by': 'weft-run' } };
		const services = `/api/v1/namespaces/${namespace}/services`;
		const made = service('a', { selector: { app: 'a' } }, managed);
		await send('POST', services, made);
		expect((await send('DELETE', `${services}/a`)).headers.get('warning')).toBeNull();
		const entry = await send('POST', `/apis/networking.istio.io/v1/namespaces/${namespace}/workloadentries`, {
			apiVersion: 'networking.istio.io/v1',
			kind: 'WorkloadEntry',
			metadata: { name: 'a-v1-1', ...managed },
			spec: { address: '127.128.8.0', labels: { app: 'a' } },
		});
		expect(entry.status).toBe(201);
		await send('POST', services, made);
		const { status, headers } = await send('DELETE', `${services}/a`);
		expect(status).toBe(200);
		expect(headers.get('warning')).toContain(`Service ${namespace}/a comes back: weft run made it`);
		expect(headers.get('warning')).toContain('(a-v1-1)');
		await send('POST', services, service('a', { selector: { app: 'a' } }));
		expect((await send('DELETE', `${services}/a`)).headers.get('warning')).toBeNull();
	});

	test('that name what is not there come with a warning', async () => {
		const namespace = await newNamespace();
		const route = {
			apiVersion: 'gateway.networking.k8s.io/v1',
			kind: 'HTTPRoute',
			metadata: { name: 'r' },
			spec: { parentRefs: [{ group: '', kind: 'Service', name: 'a' }] },
		};
		const path = `/apis/gateway.networking.k8s.io/v1/namespaces/${namespace}/httproutes`;
		const { status, headers } = await send('POST', path, route);
		expect(status).toBe(201);
		expect(headers.get('warning')).toContain(
			`299 - "HTTPRoute ${namespace}/r: spec.parentRefs[0].name: Service ${namespace}/a`,
		);
	});

	test('are served in each version of their kind', async () => {
		const base = `/namespaces/${await newNamespace()}/workloadentries`;
		const body = { kind: 'WorkloadEntry', metadata: { name: 'w' }, spec: { address: '127.0.0.1' } };
		const made = await send('POST', `/apis/networking.istio.io/v1beta1${base}`, body);
		expect(made.body.apiVersion).toBe('networking.istio.io/v1beta1');
		expect((await send('GET', `/apis/networking.istio.io/v1${base}/w`)).body.apiVersion).toBe('networking.istio.io/v1');
	});

	test('have a status of their own', async () => {
		const path = `/apis/networking.istio.io/v1/namespaces/${await newNamespace()}/workloadentries`;
		const body = { kind: 'WorkloadEntry', metadata: { name: 'w' }, spec: { address: '127.0.0.1' } };
		const made = await send('POST', path, body);
		const status = { observedGeneration: 7 };
		const written = await send('PUT', `${path}/w/status`, { ...made.body, spec: { address: '127.0.0.2' }, status });
		expect(written.body).toMatchObject({ status, spec: { address: '127.0.0.1' } });
		const merge = { 'content-type': 'application/merge-patch+json' };
		const kept = await send('PATCH', `${path}/w`, { status: { observedGeneration: 9 }, spec: { weight: 3 } }, merge);
		expect(kept.body).toMatchObject({ status, spec: { weight: 3 } });
	});
});

describe('patches', () => {
	test('of three types', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		await send(
			'POST',
			path,
			service('a', {
				ports: [
					{ port: 1, name: 'x' },
					{ port: 2, name: 'y' },
				],
			}),
		);
		const patch = async (type: string, body: unknown) =>
			await send('PATCH', `${path}/a`, body, { 'content-type': `application/${type}` });
		const ports = [{ port: 2, name: 'z' }];
		expect((await patch('strategic-merge-patch+json', { spec: { ports } })).body.spec.ports).toHaveLength(2);
		expect((await patch('merge-patch+json', { spec: { ports } })).body.spec.ports).toHaveLength(1);
		const operation = { op: 'replace', path: '/spec/ports/0/port', value: 9 };
		expect((await patch('json-patch+json', [operation])).body.spec.ports[0].port).toBe(9);
		expect((await patch('merge-patch+json', { spec: { clusterIP: '127.96.9.9' } })).status).toBe(422);
		expect((await patch('merge-patch+json', { metadata: { resourceVersion: '1' } })).status).toBe(409);
		const refused = await patch('apply-patch+yaml', {});
		expect([refused.status, refused.body.reason]).toEqual([415, 'UnsupportedMediaType']);
	});

	test('at the same time all count', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		await send('POST', path, service('a'));
		const patch = (key: string) =>
			send(
				'PATCH',
				`${path}/a`,
				{ metadata: { labels: { [key]: 'x' } } },
				{ 'content-type': 'application/merge-patch+json' },
			);
		await Promise.all(['a', 'b', 'c', 'd'].map(patch));
		expect(Object.keys((await send('GET', `${path}/a`)).body.metadata.labels).toSorted()).toEqual(['a', 'b', 'c', 'd']);
	});
});

describe('lists', () => {
	test('are selected, paged, shown as tables and deleted', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		for (const name of ['a', 'b', 'c']) {
			await send('POST', path, service(name, {}, { labels: { app: name, ...(name === 'c' ? {} : { early: 'yes' }) } }));
		}
		const names = async (query: string) =>
			(await send('GET', `${path}?${query}`)).body.items?.map(
				(item: { metadata: { name: string } }) => item.metadata.name,
			);
		expect(await names('labelSelector=early')).toEqual(['a', 'b']);
		expect(await names('labelSelector=!early')).toEqual(['c']);
		expect(await names(`labelSelector=${encodeURIComponent('app in (a, c),early=yes')}`)).toEqual(['a']);
		expect(await names('labelSelector=app!%3Da')).toEqual(['b', 'c']);
		expect(await names('fieldSelector=metadata.name%3Db')).toEqual(['b']);
		expect((await send('GET', `${path}?fieldSelector=spec.type%3Dx`)).status).toBe(400);
		const first = (await send('GET', `${path}?limit=2`)).body;
		expect(first.metadata.remainingItemCount).toBe(1);
		expect(await names(`limit=2&continue=${first.metadata.continue}`)).toEqual(['c']);
		expect((await send('GET', `${path}?continue=rubbish`)).status).toBe(400);
		clock.advance(5000);
		const table = (await send('GET', path, undefined, TABLE)).body;
		expect(table.columnDefinitions.map((column: { name: string }) => column.name)).toEqual([
			'Name',
			'Type',
			'Cluster-IP',
			'Port(s)',
			'Age',
			'Selector',
		]);
		expect(table.rows[0].cells.toSpliced(2, 1)).toEqual(['a', 'ClusterIP', '80/TCP', '5s', '<none>']);
		await send('DELETE', `${path}?labelSelector=early`);
		expect(await names('')).toEqual(['c']);
	});
});

describe('a watch', () => {
	/** Lines as they come; `next` waits for one. */
	async function watch(path: string) {
		const response = await fetch(`http://localhost${path}`, { unix: unixPath });
		const reader = (response.body ?? new ReadableStream<Uint8Array>()).getReader();
		let text = '';
		return {
			status: response.status,
			next: async () => {
				for (text = text.trimStart(); !text.includes('\n'); text = text.trimStart()) {
					const { done, value } = await reader.read();
					if (done) return null;
					text += new TextDecoder().decode(value);
				}
				const end = text.indexOf('\n');
				const event = JSON.parse(text.slice(0, end));
				text = text.slice(end + 1);
				return event;
			},
			close: () => reader.cancel(),
		};
	}

	test('streams what changes after a revision', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		await send('POST', path, service('a'));
		const { resourceVersion } = (await send('GET', path)).body.metadata;
		const events = await watch(`${path}?watch=1&resourceVersion=${resourceVersion}`);
		await send('POST', path, service('b'));
		await send('PUT', `${path}/b`, service('b', { ports: [{ port: 81 }] }));
		await send('DELETE', `${path}/b`);
		const types = [];
		for (let index = 0; index < 3; index++) {
			const event = await events.next();
			types.push(`${event.type} ${event.object.metadata.name}`);
		}
		expect(types).toEqual(['ADDED b', 'MODIFIED b', 'DELETED b']);
		await events.close();
	});

	test('without a revision begins with what there is; selectors turn changes into ADDED and DELETED', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		await send('POST', path, service('a', {}, { labels: { on: 'yes' } }));
		const events = await watch(`${path}?watch=1&labelSelector=on&allowWatchBookmarks=true`);
		expect((await events.next()).type).toBe('ADDED');
		await send('PUT', `${path}/a`, service('a'));
		expect((await events.next()).type).toBe('DELETED');
		await send('PUT', `${path}/a`, service('a', {}, { labels: { on: 'yes' } }));
		expect((await events.next()).type).toBe('ADDED');
		clock.advance(31_000);
		const bookmark = await events.next();
		expect(bookmark.type).toBe('BOOKMARK');
		expect(Number(bookmark.object.metadata.resourceVersion)).toBeGreaterThan(0);
		await events.close();
	});

	test('ends at its timeout', async () => {
		const events = await watch('/api/v1/services?watch=1&timeoutSeconds=2&resourceVersion=1&labelSelector=none%3Dsuch');
		clock.advance(2100);
		expect(await events.next()).toBeNull();
	});

	test('from before the history is 410', async () => {
		const path = `/api/v1/namespaces/${await newNamespace()}/services`;
		await send('POST', path, service('a'));
		const merge = { 'content-type': 'application/merge-patch+json' };
		for (let index = 0; index < 310; index++) {
			await send('PATCH', `${path}/a`, { metadata: { labels: { n: String(index) } } }, merge);
		}
		const { status, body } = await send('GET', `${path}?watch=1&resourceVersion=1`);
		expect([status, body.reason]).toEqual([410, 'Expired']);
	});
});

describe('access', () => {
	const base = () => `http://127.0.0.1:${server.port}`;

	test('the socket is for its owner only', () => {
		expect(statSync(unixPath).mode & 0o777).toBe(0o600);
	});

	test('over TCP reading is open and writing needs the token', async () => {
		expect((await fetch(`${base()}/api/v1/services`)).status).toBe(200);
		const write = (authorization?: string) =>
			fetch(`${base()}/api/v1/namespaces`, {
				method: 'POST',
				headers: authorization === undefined ? {} : { authorization },
				body: JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'by-token' } }),
			});
		expect((await write()).status).toBe(401);
		expect((await write('Bearer wrong')).status).toBe(401);
		expect((await write('Basic c2VjcmV0')).status).toBe(401);
		expect((await write('Bearer secret')).status).toBe(201);
	});

	test('a name that is not of the loopback gets nothing', async () => {
		const asHost = async (host: string) => (await fetch(`${base()}/version`, { headers: { host } })).status;
		expect(await asHost('localhost:15080')).toBe(200);
		expect(await asHost('[::1]:1')).toBe(200);
		for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', '192.168.1.1']) {
			expect([host, await asHost(host)]).toEqual([host, 403]);
		}
	});

	test('nothing is said to other origins', async () => {
		const response = await fetch(`${base()}/version`, { headers: { origin: 'http://evil.example' } });
		expect(response.headers.get('access-control-allow-origin')).toBeNull();
	});

	test('an address in use is said to be', () => {
		const options = { clock, version: '', token: '' };
		const open = () =>
			startApiServer({
				...options,
				objects: {} as ObjectStore,
				tcp: { hostname: '127.0.0.1', port: server.port ?? 0 },
			});
		expect(open).toThrow(WeftError);
		expect(open).toThrow(/127\.0\.0\.1:\d+: it is in use/);
	});
});

describe('besides objects', () => {
	test('discovery, version, health, OpenAPI', async () => {
		expect((await send('GET', '/api')).body.versions).toEqual(['v1']);
		const groups = (await send('GET', '/apis')).body.groups.map((group: { name: string }) => group.name);
		expect(groups).toEqual(['networking.istio.io', 'weft.dev', 'gateway.networking.k8s.io']);
		const resources = (await send('GET', '/apis/gateway.networking.k8s.io/v1')).body.resources;
		expect(resources[0]).toMatchObject({ name: 'httproutes', kind: 'HTTPRoute', namespaced: true });
		expect((await send('GET', '/version')).body.weft).toBe('1.2.3');
		expect((await send('GET', '/healthz')).status).toBe(200);
		notReady = 'the model is being read';
		expect((await send('GET', '/readyz')).status).toBe(503);
		notReady = null;
		expect((await send('GET', '/readyz')).status).toBe(200);
		const index = (await send('GET', '/openapi/v3')).body.paths;
		for (const path of Object.values<{ serverRelativeURL: string }>(index)) {
			const document = (await send('GET', path.serverRelativeURL)).body;
			expect(Object.keys(document.components.schemas).length).toBeGreaterThan(0);
		}
	});

	test('what is mounted gets its paths, the longest prefix first', async () => {
		expect((await send('GET', '/weft/v1/mesh')).body).toBe('weft /weft/v1/mesh');
		expect((await send('GET', '/weft/none')).body).toBe('page');
		expect((await send('GET', '/wefty')).body).toBe('page');
		expect((await send('GET', '/api/v1/pods')).status).toBe(404);
		expect((await send('GET', '/apis/nope/v1/x')).status).toBe(404);
	});
});
