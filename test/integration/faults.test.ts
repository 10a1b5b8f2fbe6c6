// Steady load through two sidecars while parts of the mesh are killed: the control plane, a sidecar,
// an instance. No request may fail where the mesh promises that none does.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../support/free-ports.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { childrenOf, WeftProcess, weftOutput } from '../support/weft-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-faults-test-'));
const data = join(directory, 'data');
const LIMIT_MS = 60_000;
const isRoot = process.getuid?.() === 0;
/** Says who it is; healthy while its file is there. */
const SERVER = `
const { existsSync } = require('node:fs');
const [port, name, file] = process.argv.slice(1);
require('node:http').createServer((request, response) => {
	if (request.url === '/health') response.writeHead(existsSync(file) ? 200 : 503);
	response.end(name);
}).listen(Number(port), '127.0.0.1', () => console.log('listens'));
`;
const started: WeftProcess[] = [];
let controlPlane: WeftProcess;
let client: { hostname: string; port: number; pid: number };
/** Two instances, there at the start and at the end of each test; the second has a health check. */
let stays: WeftProcess;

async function startControlPlane(): Promise<WeftProcess> {
	const any = '127.0.0.1:0';
	const up = new WeftProcess([
		'up',
		'--data',
		data,
		'--api-address',
		any,
		'--api-tls-address',
		any,
		'--xds-address',
		xds,
	]);
	started.push(up);
	await up.says(/weft is up/);
	return up;
}

let xds = '';
let port = 0;

beforeAll(async () => {
	const [xdsPort, servicePort] = freePorts(2);
	xds = `127.0.0.1:${xdsPort}`;
	port = servicePort!;
	controlPlane = await startControlPlane();
	const manifest = join(directory, 'service.yaml');
	writeFileSync(
		manifest,
		`{apiVersion: v1, kind: Service, metadata: {name: names}, spec: {ports: [{port: ${port}, appProtocol: http}], selector: {app: names}}}`,
	);
	expect((await weftOutput('apply', '--data', data, '-f', manifest)).exitCode).toBe(0);
	const run = new WeftProcess([
		...['run', '--data', data, '--service', 'client', '--capture', 'explicit', '--'],
		...['sh', '-c', 'env | grep ^WEFT_NAMES; echo that is all; exec sleep 600'],
	]);
	started.push(run);
	await run.says(/that is all/);
	const [, hostname, local] = new RegExp(`WEFT_NAMES_${port}=(.+):(\\d+)`).exec(run.output)!;
	client = { hostname: hostname!, port: Number(local), pid: run.pid };
	if (!isRoot) return;
	stays = await startInstance('stays');
	await startInstance('checked', '--health-http', '/health');
	await until(({ name }) => name === 'stays');
	await until(({ name }) => name === 'checked');
}, LIMIT_MS);

afterAll(async () => {
	for (const one of started.reverse()) await one.kill();
	rmSync(directory, { recursive: true, force: true });
});

const file = (name: string) => join(directory, name);

async function startInstance(name: string, ...options: string[]): Promise<WeftProcess> {
	writeFileSync(file(name), '');
	// In loopback capture several programs would want one port of one address.
	const run = new WeftProcess([
		...['run', '--data', data, '--service', 'names', '--port', `${port}`, ...options, '--'],
		...['node', '-e', SERVER, `${port}`, name, file(name)],
	]);
	started.push(run);
	await run.says(/listens/);
	return run;
}

interface Answer {
	readonly status: number;
	readonly name: string;
}

async function ask(): Promise<Answer> {
	const connection = new RawConnection(client.hostname, client.port);
	connection.send('GET / HTTP/1.1\r\nhost: names\r\nconnection: close\r\n\r\n');
	const answer = await connection.rest();
	connection.close();
	return { status: Number(answer.slice(9, 12)), name: answer.slice(answer.indexOf('\r\n\r\n') + 4) };
}

/** Asks until the answers are as wanted. */
async function until(wanted: (answer: Answer) => boolean, inARow = 1): Promise<void> {
	const deadline = Date.now() + 20_000;
	for (let count = 0; count < inARow; ) {
		if (Date.now() > deadline) throw new Error('it did not come to that');
		count = wanted(await ask()) ? count + 1 : 0;
	}
}

/** Three clients that ask one after the other, while `work` is done and for some requests more. */
async function underLoad(work: () => Promise<void>): Promise<Answer[]> {
	const answers: Answer[] = [];
	let over = false;
	const clients = Array.from({ length: 3 }, async () => {
		while (!over) answers.push(await ask());
	});
	const count = (more: number) => {
		const target = answers.length + more;
		return (async () => {
			while (answers.length < target) await Bun.sleep(5);
		})();
	};
	try {
		await count(30);
		await work();
		await count(100);
	} finally {
		over = true;
		await Promise.all(clients);
	}
	return answers;
}

const failed = (answers: readonly Answer[]) => answers.filter(({ status }) => status !== 200);

test.skipIf(!isRoot)(
	'an instance is killed: no request fails, and it leaves the endpoints',
	async () => {
		const dies = await startInstance('dies');
		await until(({ name }) => name === 'dies');
		const answers = await underLoad(async () => {
			dies.signal('SIGKILL');
			await dies.exited;
			await until(({ name }) => name !== 'dies', 20);
		});
		expect(failed(answers)).toEqual([]);
		const { output } = await weftOutput('get', 'we', '-l', 'app=names', '-o', 'name', '--data', data);
		expect(output.match(/names-v1-/g)).toHaveLength(2);
	},
	LIMIT_MS,
);

test.skipIf(!isRoot)(
	'one that fails its health check leaves, and comes back when it passes',
	async () => {
		const answers = await underLoad(async () => {
			rmSync(file('checked'));
			await until(({ name }) => name === 'stays', 20);
			writeFileSync(file('checked'), '');
			await until(({ name }) => name === 'checked');
		});
		expect(failed(answers)).toEqual([]);
	},
	LIMIT_MS,
);

test.skipIf(!isRoot)(
	'the control plane is killed and starts again: no request fails, sidecars come back with what they had',
	async () => {
		await until(({ status }) => status === 200);
		const before = await weftOutput('get', 'we,svc', '-o', 'name', '--data', data);
		const answers = await underLoad(async () => {
			controlPlane.signal('SIGKILL');
			await controlPlane.exited;
			await until(({ status }) => status === 200, 50);
			controlPlane = await startControlPlane();
			// A change after the restart gets through to those that were there before.
			const route = join(directory, 'route.yaml');
			writeFileSync(
				route,
				`{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: names}, spec: {parentRefs: [{group: "", kind: Service, name: names, port: ${port}}], rules: [{backendRefs: [{name: names, port: ${port}}]}]}}`,
			);
			let applied = await weftOutput('apply', '--wait', '-f', route, '--data', data);
			while (!/acknowledged by 3 of 3/.test(applied.output)) {
				expect(applied.exitCode, applied.output).toBe(0);
				applied = await weftOutput('apply', '--wait', '-f', route, '--data', data);
			}
		});
		expect(failed(answers)).toEqual([]);
		expect((await weftOutput('get', 'we,svc', '-o', 'name', '--data', data)).output).toBe(before.output);
	},
	LIMIT_MS,
);

test.skipIf(!isRoot)(
	'the sidecar of one of two instances is killed: no request fails, and it serves again',
	async () => {
		const [sidecar] = childrenOf(stays.pid, ' proxy ');
		const answers = await underLoad(async () => {
			process.kill(sidecar!, 'SIGKILL');
			await stays.says(/the sidecar is up again/);
			await until(({ name }) => name === 'stays');
			await until(({ name }) => name === 'checked');
		});
		expect(failed(answers)).toEqual([]);
	},
	LIMIT_MS,
);
