import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { MeshObject } from '../config/object.ts';
import { ObjectStore } from '../config/object-store.ts';
import { type ApiServer, startApiServer } from '../control/api/api-server.ts';
import type { MeshSnapshot, SidecarSummary } from '../control/mesh-snapshot.ts';
import { VirtualClock } from '../std/clock.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { build, main } from './main.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-cli-'));
let server: ApiServer;
let mesh: MeshSnapshot;

beforeAll(async () => {
	const objects = await ObjectStore.open(new MemoryStore());
	server = startApiServer({
		objects,
		clock: new VirtualClock(),
		version: '1.2.3',
		unixPath: join(folder, 'weft.sock'),
		token: 'secret',
		mounts: [
			{ prefix: '/weft/v1/mesh', handle: () => Response.json(mesh) },
			{
				prefix: '/weft/v1/mesh/stream',
				handle: async () => {
					const current = {
						...mesh,
						controlPlane: { ...mesh.controlPlane, storeRevision: await objects.currentRevision() },
					};
					const event = `event: mesh\ndata: ${JSON.stringify(current)}\n\n`;
					return new Response(`: hello\n\n${event}`, { headers: { 'content-type': 'text/event-stream' } });
				},
			},
		],
	});
});

afterAll(async () => {
	await server.close();
	rmSync(folder, { recursive: true, force: true });
});

/** Runs a command line on the test's control plane. */
async function weft(...args: string[]): Promise<{ code: number; out: string; err: string }> {
	const out: string[] = [];
	const err: string[] = [];
	const { stdout, stderr } = process;
	const writes = { out: stdout.write, err: stderr.write };
	const capture = (into: string[]) =>
		((chunk: string | Uint8Array) => {
			into.push(String(chunk));
			return true;
		}) as typeof stdout.write;
	stdout.write = capture(out);
	stderr.write = capture(err);
	process.exitCode = 0;
	try {
		const code = await main(['--data', folder, ...args]);
		return { code, out: out.join(''), err: err.join('') };
	} finally {
		stdout.write = writes.out;
		stderr.write = writes.err;
		process.exitCode = 0;
	}
}

test('a wrong command line is said as every other error', async () => {
	expect(await weft('stauts')).toMatchObject({
		code: 2,
		err: expect.stringMatching(/^weft: unknown command 'stauts'\n/),
	});
	expect(await weft('get')).toMatchObject({ code: 2, err: expect.stringMatching(/^weft: missing required argument/) });
	expect(await weft('apply', '-f', '-', '--bogus')).toMatchObject({
		code: 2,
		err: expect.stringMatching(/^weft: unknown/),
	});
});

let files = 0;
function manifest(text: string): string {
	const path = join(folder, `${++files}.yaml`);
	writeFileSync(path, text);
	return path;
}

function service(name: string, port = 80): string {
	return `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {ports: [{port: ${port}}]}\n`;
}

function route(name: string, parent: string, backend = parent): string {
	return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}}
spec:
  parentRefs: [{group: "", kind: Service, name: ${parent}}]
  rules: [{backendRefs: [{name: ${backend}, port: 80}]}]
`;
}

describe('weft apply', () => {
	test('makes, changes and leaves, and says which', async () => {
		const file = manifest(`${route('one', 'one')}---\n${service('one')}`);
		expect(await weft('apply', '-f', file)).toEqual({
			code: 0,
			out: 'service/one created\nhttproute/one created\n',
			err: '',
		});
		expect((await weft('apply', '-f', file)).out).toBe('service/one unchanged\nhttproute/one unchanged\n');
		const changed = await weft('apply', '-f', manifest(service('one', 81)));
		expect(changed.out).toBe('service/one configured\n');
	});

	test('changes nothing when one object of many is wrong', async () => {
		const file = manifest(`${service('two')}---\n${service('Three')}`);
		const { code, out, err } = await weft('apply', '-f', file);
		expect([code, out]).toEqual([2, '']);
		expect(err).toContain(`${file}:6: Service default/Three: metadata.name: found "Three"`);
		expect((await weft('get', 'service', 'two')).code).toBe(1);
		// Wrong only in the eyes of the server: another Service has the address.
		await weft('apply', '-f', manifest(service('owner').replace('{ports', '{clusterIP: 127.96.7.7, ports')));
		const taken = service('thief').replace('{ports', '{clusterIP: 127.96.7.7, ports');
		const late = await weft('apply', '-f', manifest(`${service('two')}---\n${taken}`));
		expect([late.code, late.out]).toEqual([2, '']);
		expect(late.err).toContain('an address that no other Service has (Service default/owner has it');
		expect((await weft('get', 'service', 'two')).code).toBe(1);
	});

	test('a route to a Service that does not exist is refused; a missing backend is a warning', async () => {
		await weft('apply', '-f', manifest(service('ratings')));
		const refused = await weft('apply', '-f', manifest(route('r', 'ratins')));
		expect([refused.code, refused.out]).toEqual([2, '']);
		expect(refused.err).toContain('spec.parentRefs[0].name: found "ratins", which does not exist in namespace default');
		expect(refused.err).toContain('did you mean "ratings"?');
		expect((await weft('get', 'httproute', 'r')).code).toBe(1);
		const warned = await weft('apply', '-f', manifest(route('r', 'ratings', 'nobody')));
		expect([warned.code, warned.out]).toEqual([0, 'httproute/r created\n']);
		expect(warned.err).toContain(
			'Service default/nobody does not exist; its share of the requests is answered with status 500',
		);
		const allowed = await weft('apply', '-f', manifest(route('early', 'later')), '--allow-missing');
		expect(allowed.code).toBe(0);
	});

	test('a dry run changes nothing, also in a namespace of the same file', async () => {
		const text = `apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n---\n${service('a').replace('name: a', 'name: a, namespace: fresh')}`;
		const dry = await weft('apply', '--dry-run', '-f', manifest(text));
		expect(dry).toEqual({ code: 0, out: 'namespace/fresh created (dry run)\nservice/a created (dry run)\n', err: '' });
		expect((await weft('get', 'namespace', 'fresh')).code).toBe(1);
		expect((await weft('apply', '-f', manifest(text))).code).toBe(0);
		const nowhere = await weft('apply', '-n', 'nowhere', '-f', manifest(service('a')));
		expect([nowhere.code, nowhere.out]).toEqual([2, '']);
		expect(nowhere.err).toContain('namespaces "nowhere" not found');
	});

	test('files that are not there, empty, or twice the same are said to be', async () => {
		expect((await weft('apply', '-f', join(folder, 'none'))).err).toContain('no such file');
		expect((await weft('apply', '-f', manifest('# nothing\n'))).err).toContain('no objects');
		expect((await weft('apply', '-f', manifest(`${service('a')}---\n${service('a')}`))).err).toContain(
			'is there twice',
		);
		expect((await weft('apply')).code).toBe(2);
	});

	test('--wait says who has acknowledged, or who has not', async () => {
		mesh = snapshot([sidecar('a-1', {})]);
		const file = manifest(service('waited'));
		expect((await weft('apply', '-f', file, '--wait')).out).toContain('acknowledged by 1 of 1 sidecars');
		mesh = snapshot([sidecar('a-1', { inSync: false })]);
		const late = await weft('apply', '-f', file, '--wait');
		expect(late.code).toBe(1);
		expect(late.err).toContain('a-1 not in sync');
		mesh = snapshot([sidecar('a-1', { rejected: [{ type: 'route', detail: 'bad route' }] })]);
		expect((await weft('apply', '-f', file, '--wait')).err).toContain('a-1 refuses its configuration: bad route');
	});
});

describe('weft get, describe, delete', () => {
	test('show and delete objects in every format', async () => {
		await weft('apply', '-f', manifest(`${service('shown')}---\n${route('shown', 'shown')}`));
		expect((await weft('get', 'svc', 'shown')).out).toMatch(
			/^NAME +TYPE +CLUSTER-IP +PORT\(S\) +AGE\nshown +ClusterIP +127\.96\.\d+\.\d+ +80\/TCP +\d+s\n$/,
		);
		expect((await weft('get', 'svc/shown', '-o', 'name')).out).toBe('service/shown\n');
		expect(JSON.parse((await weft('get', 'route', 'shown', '-o', 'json')).out).metadata.name).toBe('shown');
		expect((await weft('get', 'svc', 'shown', '-o', 'yaml')).out).toStartWith('apiVersion: v1\nkind: Service\n');
		expect(JSON.parse((await weft('get', 'svc', '-A', '-o', 'json')).out).kind).toBe('List');
		expect((await weft('get', 'svc,route', '-A')).out).toContain('httproute/shown');
		const described = (await weft('describe', 'svc', 'shown')).out;
		expect(described).toContain('Routes:      default/shown');
		expect(described).toContain('Instances: none');
		expect((await weft('get', 'svc/shown', 'route/shown', '-o', 'name')).out).toBe('service/shown\nhttproute/shown\n');
		expect(await weft('get', 'svc', 'route/shown')).toMatchObject({
			code: 2,
			err: 'weft: found "route/shown" as a name, expected KIND NAME… or KIND/NAME… throughout\n',
		});
		expect((await weft('get', 'svc/')).code).toBe(2);
		expect((await weft('delete', 'svc/shown')).out).toBe('service/shown deleted\n');
		expect(await weft('delete', 'svc', 'shown')).toEqual({ code: 1, out: '', err: 'weft: not found: service/shown\n' });
		expect((await weft('delete', 'svc', 'shown', '--ignore-not-found')).code).toBe(0);
	});

	test('delete -f takes what refers to others first, whatever the order of the file', async () => {
		const file = manifest(`
apiVersion: v1
kind: Service
metadata: { name: inside, namespace: doomed }
spec: { ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Namespace
metadata: { name: doomed }
`);
		expect((await weft('apply', '-f', file)).out).toBe('namespace/doomed created\nservice/inside created\n');
		expect(await weft('delete', '-f', file)).toEqual({
			code: 0,
			out: 'service/inside deleted\nnamespace/doomed deleted\n',
			err: '',
		});
	});

	test('unknown kinds, formats and commands are usage errors', async () => {
		expect(await weft('get', 'servces')).toMatchObject({
			code: 2,
			err: expect.stringContaining('did you mean "services"?'),
		});
		expect((await weft('get', 'svc', '-o', 'xml')).code).toBe(2);
		expect((await weft('aply')).code).toBe(2);
		expect((await weft('delete', 'svc')).code).toBe(2);
	});

	test('a control plane that is not there is one line and code 3', async () => {
		const { code, err } = await weft('get', 'svc', '--server', `unix:${folder}/none.sock`);
		expect(code).toBe(3);
		expect(err).toBe(
			`weft: cannot reach the control plane at unix:${folder}/none.sock (no such socket); start it with: weft up\n`,
		);
	});
});

describe('-o', () => {
	const LIST = { apiVersion: 'v1', kind: 'List' };
	/** Versions and dates differ from run to run. */
	const names = (objects: readonly MeshObject[]) => objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);

	test('apply shows the objects as they are now: one as itself, several as a List that apply takes again', async () => {
		const one = await weft('apply', '-f', manifest(service('shape')), '-o', 'json');
		expect(JSON.parse(one.out)).toMatchObject({ kind: 'Service', metadata: { name: 'shape', generation: 1 } });
		const file = manifest(`${service('shape', 81)}---\n${route('shape', 'shape', 'nobody')}`);
		const several = await weft('apply', '-f', file, '-o', 'json');
		// Warnings are not in the way of the data.
		expect(several.err).toContain('Service default/nobody does not exist');
		expect(JSON.parse(several.out)).toMatchObject(LIST);
		expect(names(JSON.parse(several.out).items)).toEqual(['Service shape', 'HTTPRoute shape']);
		expect(JSON.parse(several.out).items[0].spec.ports[0].port).toBe(81);
		const yaml = await weft('apply', '-f', file, '-o=yaml');
		expect(yaml.out).toStartWith('apiVersion: v1\nkind: List\nitems:\n');
		expect((await weft('apply', '-f', manifest(yaml.out))).out).toBe(
			'service/shape unchanged\nhttproute/shape unchanged\n',
		);
		expect((await weft('apply', '-f', file, '-o', 'name')).out).toBe('service/shape\nhttproute/shape\n');
		expect((await weft('apply', '-f', file, '-o', 'table')).out).toContain('service/shape unchanged\n');
		expect((await weft('apply', '-f', manifest(service('shape')), '-o', 'wide')).out).toMatch(
			/^service\/shape configured \(namespace default, generation 3, resource version \d+\)\n$/,
		);
		const dry = await weft('apply', '-f', manifest(service('dry')), '--dry-run', '-o', 'json');
		expect(JSON.parse(dry.out).spec.ports[0].port).toBe(80);
		expect((await weft('get', 'svc', 'dry')).code).toBe(1);
	});

	test('apply --wait keeps what it says out of the data', async () => {
		mesh = snapshot([sidecar('a-1', {})]);
		const { out, err } = await weft('apply', '-f', manifest(service('waited')), '--wait', '-o', 'json');
		expect(JSON.parse(out).metadata.name).toBe('waited');
		expect(err).toBe('acknowledged by 1 of 1 sidecars\n');
	});

	test('delete shows the objects as they last were', async () => {
		const file = manifest(`${service('late')}---\n${route('late', 'late')}`);
		await weft('apply', '-f', file);
		const dry = await weft('delete', 'svc', 'late', '--dry-run', '-o', 'yaml');
		expect(dry.out).toStartWith('apiVersion: v1\nkind: Service\nmetadata:\n  name: late\n');
		const both = await weft('delete', '-f', file, '-o', 'json');
		expect(JSON.parse(both.out)).toMatchObject(LIST);
		expect(names(JSON.parse(both.out).items)).toEqual(['HTTPRoute late', 'Service late']);
		// What it printed brings it back.
		expect((await weft('apply', '-f', manifest(both.out))).out).toBe('service/late created\nhttproute/late created\n');
		expect((await weft('delete', 'route', 'late', '-o', 'name')).out).toBe('httproute/late\n');
		const partly = await weft('delete', 'svc', 'late', 'never', '-o', 'json');
		expect([partly.code, partly.err]).toEqual([1, 'weft: not found: service/never\n']);
		expect(names(JSON.parse(partly.out).items)).toEqual(['Service late']);
		expect(await weft('delete', 'svc', 'late', '-o', 'json', '--ignore-not-found')).toEqual({
			code: 0,
			out: '',
			err: '',
		});
	});

	test('describe shows as data what the text shows', async () => {
		const entry = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: full-v1-1}
spec: {address: 127.128.8.0, labels: {app: full, note: ${'long'.repeat(12)}}}
`;
		const text = `${service('full').replace('spec: {', 'spec: {selector: {app: full}, ')}---\n${route('full', 'full')}---\n${entry}`;
		await weft('apply', '-f', manifest(text));
		const described = JSON.parse((await weft('describe', 'svc', 'full', '-o', 'json')).out);
		expect(described).toMatchObject({
			object: { kind: 'Service', metadata: { name: 'full' }, spec: { ports: [{ port: 80 }] } },
			instances: [{ name: 'full-v1-1', address: '127.128.8.0', healthy: 'Unknown', labels: { app: 'full' } }],
			routes: [{ kind: 'HTTPRoute', namespace: 'default', name: 'full' }],
		});
		const asYaml = (await weft('describe', 'svc', 'full', '-o', 'yaml')).out;
		expect(parse(asYaml)).toEqual(described);
		const route1 = JSON.parse((await weft('describe', 'route', 'full', '-o', 'json')).out);
		expect(Object.keys(route1)).toEqual(['object']);
		const both = JSON.parse((await weft('describe', 'svc/full', 'route/full', '-o', 'json')).out);
		expect(both).toEqual({ items: [described, route1] });
		const { isTTY, columns } = process.stdout;
		Object.assign(process.stdout, { isTTY: true, columns: 60 });
		try {
			expect((await weft('describe', 'svc', 'full')).out).not.toContain('long'.repeat(12));
			expect((await weft('describe', 'svc', 'full', '-o', 'wide')).out).toContain('long'.repeat(12));
		} finally {
			Object.assign(process.stdout, { isTTY, columns });
		}
		expect(await weft('describe', 'svc', 'nothing', '-o', 'json')).toMatchObject({ code: 1, out: '' });
	});

	test('status and top have their figures as data', async () => {
		mesh = snapshot([sidecar('a-1', {})]);
		expect(parse((await weft('status', '-o', 'yaml')).out)).toEqual(
			JSON.parse((await weft('status', '-o', 'json')).out),
		);
		expect(JSON.parse((await weft('top', '-o', 'json')).out)).toEqual({ time: mesh.time, services: [], edges: [] });
	});

	test.each([
		[['get', 'svc'], 'table, wide, json, yaml, name'],
		[['apply', '-f', 'x'], 'table, wide, json, yaml, name'],
		[['delete', 'svc', 'x'], 'table, wide, json, yaml, name'],
		[['describe', 'svc'], 'table, wide, json, yaml'],
		[['status'], 'table, json, yaml'],
		[['top'], 'table, json, yaml'],
	])('%j names what it takes when it is given something else', async (args, formats) => {
		const { code, out, err } = await weft(...args, '-o', 'xml');
		expect([code, out]).toEqual([2, '']);
		expect(err.split('\n')[0]).toBe(
			`weft: option '-o, --output <format>' argument 'xml' is invalid. Allowed choices are ${formats}.`,
		);
	});
});

describe('weft status and top', () => {
	test('all healthy is 0, anything else is 1 and said', async () => {
		mesh = snapshot([sidecar('a-1', {})]);
		const good = await weft('status');
		expect(good.code).toBe(0);
		expect(good.out).toContain('all healthy');
		expect(good.out).toContain('23h');
		const cases: [Partial<SidecarSummary>, string][] = [
			[{ connected: false }, 'sidecar a-1: not connected'],
			[{ inSync: false }, 'sidecar a-1: has not acknowledged'],
			[{ health: 'unhealthy' }, 'sidecar a-1: its program fails'],
			[
				{ certificate: { spiffeId: 'x', notAfter: '2020-01-01T00:00:00Z' } },
				'sidecar a-1: its certificate has expired',
			],
		];
		for (const [difference, problem] of cases) {
			mesh = snapshot([sidecar('a-1', difference)]);
			const bad = await weft('status');
			expect(bad.code).toBe(1);
			expect(bad.out).toContain(problem);
		}
		const json = JSON.parse((await weft('status', '-o', 'json')).out);
		expect(json).toMatchObject({ healthy: false, mesh: { trustDomain: 'cluster.local' } });
	});

	test('top shows services and edges, and keeps terminals safe from what it shows', async () => {
		const traffic = { requestRate: 12.34, successRate: 0.995, p50Ms: 1.25, p90Ms: 20, p99Ms: 12_000, byClass: {} };
		mesh = {
			...snapshot([]),
			edges: [
				{
					source: { namespace: 'default', service: 'web\x1b[2J', version: 'v1' },
					destination: { namespace: 'default', service: 'reviews', version: '' },
					traffic,
					mtls: true,
					sourcePrincipal: '',
					destinationPrincipal: '',
				},
			],
		};
		const { out } = await weft('top', '--once');
		expect(out).toMatch(/web�\[2J v1 +reviews +12\.3 +99\.50% +1\.3 ms +20 ms +12\.0 s +yes/);
		expect(out).not.toContain('\x1b');
	});
});

test('every command has a description and examples in its help', async () => {
	const program = await build();
	for (const command of program.commands) {
		if (command.name() === 'help') continue;
		let help = '';
		command.configureOutput({ writeOut: (text) => (help += text) });
		command.outputHelp();
		expect([command.name(), /examples?:/i.test(help)]).toEqual([command.name(), true]);
		expect(command.description()).not.toBe('');
	}
});

function sidecar(instance: string, difference: Partial<SidecarSummary>): SidecarSummary {
	return {
		id: `sidecar~127.128.8.0~${instance}.default~default.svc.cluster.local`,
		namespace: 'default',
		instance,
		service: 'a',
		version: 'v1',
		address: '127.128.8.0',
		agent: 'weft',
		agentVersion: '0.1.0',
		connected: true,
		connectedSince: new Date(Date.now() - 5000).toISOString(),
		resources: { listener: { sent: 2, acknowledged: 2 } },
		acknowledgedVersion: '7',
		inSync: true,
		rejected: [],
		certificate: {
			spiffeId: 'spiffe://cluster.local/ns/default/sa/a',
			notAfter: new Date(Date.now() + 23.5 * 3_600_000).toISOString(),
		},
		health: 'healthy',
		...difference,
	};
}

function snapshot(sidecars: SidecarSummary[]): MeshSnapshot {
	return {
		time: new Date().toISOString(),
		trustDomain: 'cluster.local',
		controlPlane: { version: '1.2.3', uptimeSeconds: 10, storeRevision: 1, rootNotAfter: '2090-01-01T00:00:00Z' },
		traffic: { requestRate: 0, successRate: 1, p50Ms: null, p90Ms: null, p99Ms: null, byClass: {} },
		services: [],
		edges: [],
		links: [],
		sidecars,
		routes: [],
	};
}
