// Real kubectl on the API server, over its TLS door, with a kubeconfig that holds the token.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ObjectStore } from '../../src/config/object-store.ts';
import { SERVICE } from '../../src/config/service.ts';
import { type ApiServer, startApiServer } from '../../src/control/api/api-server.ts';
import { VirtualClock } from '../../src/std/clock.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';

const kubectlPath = Bun.which('kubectl');
const withKubectl = test.skipIf(kubectlPath === null);
const folder = mkdtempSync(join(tmpdir(), 'weft-kubectl-'));
const clock = new VirtualClock(Date.now());
let server: ApiServer;
let objects: ObjectStore;

function openssl(...args: string[]): void {
	const run = Bun.spawnSync(['openssl', ...args], { cwd: folder, stderr: 'pipe' });
	if (run.exitCode !== 0) throw new Error(run.stderr.toString());
}

beforeAll(async () => {
	const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'key.pem'];
	openssl(
		'req',
		'-x509',
		...key,
		'-out',
		'cert.pem',
		'-days',
		'1',
		'-subj',
		'/CN=weft',
		'-addext',
		'subjectAltName=IP:127.0.0.1',
	);
	objects = await ObjectStore.open(new MemoryStore(), { wallMs: () => clock.wallMs() });
	server = startApiServer({
		objects,
		clock,
		version: '0.0.0',
		token: 'secret',
		tls: {
			hostname: '127.0.0.1',
			port: 0,
			certificateChainPem: await Bun.file(join(folder, 'cert.pem')).text(),
			privateKeyPem: await Bun.file(join(folder, 'key.pem')).text(),
		},
	});
	const config = {
		apiVersion: 'v1',
		kind: 'Config',
		clusters: [
			{
				name: 'weft',
				cluster: { server: `https://127.0.0.1:${server.tlsPort}`, 'certificate-authority': join(folder, 'cert.pem') },
			},
		],
		users: [{ name: 'weft', user: { token: 'secret' } }],
		contexts: [{ name: 'weft', context: { cluster: 'weft', user: 'weft' } }],
		'current-context': 'weft',
	};
	writeFileSync(join(folder, 'kubeconfig'), JSON.stringify(config));
});

afterAll(async () => {
	await server.close();
	rmSync(folder, { recursive: true, force: true });
});

function start(args: string[]) {
	return Bun.spawn([kubectlPath ?? '', ...args], {
		env: { ...process.env, KUBECONFIG: join(folder, 'kubeconfig'), HOME: folder },
		stdout: 'pipe',
		stderr: 'pipe',
	});
}

async function kubectl(...args: string[]): Promise<{ code: number; out: string; err: string }> {
	const child = start(args);
	const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
	return { code: await child.exited, out, err };
}

function manifest(name: string, object: object): string {
	const path = join(folder, name);
	writeFileSync(path, JSON.stringify(object));
	return path;
}

function service(ports: object[]): object {
	return {
		apiVersion: 'v1',
		kind: 'Service',
		metadata: { name: 'reviews' },
		spec: { ports, selector: { app: 'reviews' } },
	};
}

withKubectl('apply makes, merges and leaves a Service', async () => {
	const first = manifest(
		'1.json',
		service([
			{ name: 'a', port: 80 },
			{ name: 'b', port: 81 },
		]),
	);
	expect((await kubectl('apply', '-f', first)).out).toBe('service/reviews created\n');
	expect((await kubectl('apply', '-f', first)).out).toBe('service/reviews unchanged\n');
	const second = manifest(
		'2.json',
		service([
			{ name: 'c', port: 82 },
			{ name: 'b', port: 81, targetPort: 8081 },
		]),
	);
	expect((await kubectl('apply', '-f', second)).out).toBe('service/reviews configured\n');
	expect((await objects.get(SERVICE, 'default', 'reviews'))?.spec.ports).toMatchObject([
		{ name: 'c', port: 82 },
		{ name: 'b', port: 81, targetPort: 8081 },
	]);
});

withKubectl('get prints the columns, -w what changes, explain the fields', async () => {
	const { out } = await kubectl('get', 'services', '-A');
	expect(out).toMatch(/NAMESPACE +NAME +TYPE +CLUSTER-IP +PORT\(S\) +AGE\ndefault +reviews +ClusterIP +127\.96\.0\.1 /);
	const watching = start(['get', 'svc', '-w', '--no-headers']);
	const reader = watching.stdout.getReader();
	const decoder = new TextDecoder();
	let text = '';
	const readUntil = async (pattern: RegExp) => {
		while (!pattern.test(text)) {
			const { done, value } = await reader.read();
			if (done) throw new Error(`the watch ended after ${JSON.stringify(text)}`);
			text += decoder.decode(value);
		}
	};
	await readUntil(/reviews/);
	text = '';
	expect(
		(await kubectl('patch', 'svc', 'reviews', '--type=json', '-p', '[{"op":"remove","path":"/spec/ports/0"}]')).code,
	).toBe(0);
	await readUntil(/reviews .* 81\/TCP /);
	watching.kill();
	await watching.exited;
	expect((await kubectl('explain', 'httproute.spec.rules.backendRefs')).out).toContain('weight');
});

withKubectl('what is wrong is refused with the field; delete waits until it is gone', async () => {
	const wrong = manifest('3.json', service([{ port: 80, prot: 81 }]));
	const { code, err } = await kubectl('apply', '-f', wrong);
	expect(code).toBe(1);
	expect(err).toContain('spec.ports[0].prot');
	expect((await kubectl('delete', 'svc', 'reviews')).out).toContain('service "reviews" deleted');
	expect((await kubectl('get', 'svc', 'reviews')).err).toContain('(NotFound): services "reviews" not found');
});

withKubectl('imperative commands, which send protobuf, work on the built-in kinds', async () => {
	expect(await kubectl('create', 'namespace', 'shop')).toEqual({ code: 0, out: 'namespace/shop created\n', err: '' });
	const created = await kubectl('create', 'service', 'clusterip', 'ratings', '--tcp=9080:http', '-n', 'shop');
	expect([created.err, created.out]).toEqual(['', 'service/ratings created\n']);
	expect((await objects.get(SERVICE, 'shop', 'ratings'))?.spec).toMatchObject({
		ports: [{ port: 9080, targetPort: 'http' }],
		selector: { app: 'ratings' },
	});
	expect((await kubectl('delete', 'namespace', 'shop')).out).toContain('namespace "shop" deleted');
	expect(await objects.get(SERVICE, 'shop', 'ratings')).toBeNull();
});
