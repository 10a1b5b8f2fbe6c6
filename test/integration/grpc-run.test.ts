// gRPC under `weft run`: programs that say so with --grpc-port are called through their sidecars, and a
// GRPCRoute shares their calls out.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import { freePorts } from '../support/free-ports.ts';
import { CASES, grpcPrograms, runInteropCases } from '../support/grpc-languages.ts';
import { WeftProcess, weftOutput } from '../support/weft-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-grpc-test-'));
const data = join(directory, 'data');
const program = join(import.meta.dir, '../fixtures/grpc-server.mjs');
const LIMIT_MS = 90_000;
const started: WeftProcess[] = [];
/** Of each version; where they share the machine's loopback they cannot have the same. */
let ports: readonly [number, number];
let client: Client;

beforeAll(async () => {
	const any = '127.0.0.1:0';
	const up = start('up', '--data', data, '--api-address', any, '--api-tls-address', any, '--xds-address', any);
	await up.says(/weft is up/);
	ports = freePorts(2) as [number, number];
	for (const [index, version] of ['v1', 'v2'].entries()) {
		const port = ports[index];
		const options = ['--service', `prices-${version}`, '--version', version, '--grpc-port', `${port}`];
		await run(options, [process.execPath, program, `${port}`, version]).says(/^up$/m);
	}
	const service = `
apiVersion: v1
kind: Service
metadata: { name: prices }
spec: { selector: { app: none }, ports: [{ name: grpc, port: 50051 }] }
`;
	await apply('service', service);
	const caller = run(
		['--service', 'caller', '--capture', 'explicit'],
		['sh', '-c', 'env | grep ^WEFT_PRICES; echo that is all; exec sleep 600'],
	);
	await caller.says(/that is all/);
	const [, address] = /^WEFT_PRICES_50051=(.+)$/m.exec(caller.output)!;
	client = new Client(address!, credentials.createInsecure());
}, LIMIT_MS);

afterAll(async () => {
	client?.close();
	for (const one of started.reverse()) await one.kill();
	rmSync(directory, { recursive: true, force: true });
});

function start(...args: string[]): WeftProcess {
	const process = new WeftProcess(args);
	started.push(process);
	return process;
}

function run(options: readonly string[], command: readonly string[]): WeftProcess {
	return start('run', '--data', data, ...options, '--', ...command);
}

async function apply(name: string, yaml: string): Promise<string> {
	const file = join(directory, `${name}.yaml`);
	writeFileSync(file, yaml);
	const { exitCode, output } = await weftOutput('apply', '--data', data, '--wait', '-f', file);
	expect([exitCode, output]).toEqual([0, expect.any(String)]);
	return output;
}

function unary(text: string): Promise<string> {
	const bytes = (value: Buffer): Buffer => value;
	return new Promise((resolve, reject) => {
		const options = { deadline: Date.now() + 20_000 };
		client.makeUnaryRequest('/test.Echo/Unary', bytes, bytes, Buffer.from(text), options, (error, value) =>
			error === null ? resolve(String(value)) : reject(error),
		);
	});
}

test(
	'calls go where the GRPCRoute says, in its shares',
	async () => {
		const route = (v1: number, v2: number) => `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: prices }
spec:
  parentRefs: [{ group: "", kind: Service, name: prices }]
  rules:
    - matches: [{ method: { service: test.Echo, method: Unary } }]
      backendRefs:
        - { name: prices-v1, port: ${ports[0]}, weight: ${v1} }
        - { name: prices-v2, port: ${ports[1]}, weight: ${v2} }
`;
		const first = await apply('route', route(1, 0));
		expect(first).toContain('grpcroute');
		expect(await unary('a')).toBe('v1 a');
		await apply('route', route(0, 1));
		expect(await unary('b')).toBe('v2 b');
		await apply('route', route(1, 1));
		const answers = await Promise.all(Array.from({ length: 100 }, () => unary('c')));
		expect(new Set(answers)).toEqual(new Set(['v1 c', 'v2 c']));
	},
	LIMIT_MS,
);

test(
	'the interop cases pass between programs of two languages',
	async () => {
		const programs = grpcPrograms();
		const callee = programs.find(({ language }) => language === 'Python') ?? programs[0]!;
		const caller = programs.find(({ language }) => language === 'Go') ?? programs[0]!;
		const [port] = freePorts(1) as [number];
		const options = ['--service', 'interop', '--grpc-port', `${port}`];
		await run(options, [...callee.server, `${port}`]).says(new RegExp(`^${port}$`, 'm'));
		const beside = run(
			['--service', 'interop-caller', '--capture', 'explicit'],
			['sh', '-c', 'env | grep ^WEFT_INTEROP; echo that is all; exec sleep 600'],
		);
		await beside.says(/that is all/);
		const [, address] = new RegExp(`^WEFT_INTEROP_${port}=(.+)$`, 'm').exec(beside.output)!;
		expect(await runInteropCases(caller, address!)).toEqual(CASES.map((name) => `ok ${name}`));
	},
	LIMIT_MS,
);

test(
	'the commands show it',
	async () => {
		const { output: table } = await weftOutput('get', '--data', data, 'grpcroutes');
		expect(table).toMatch(/prices +prices +prices-v1:\d+=1,prices-v2:\d+=1 +True/);
		const { output: details } = await weftOutput('describe', '--data', data, 'grpcroute/prices');
		expect(details).toContain('Programmed');
		const { output: service } = await weftOutput('describe', '--data', data, 'service', 'prices');
		expect(service).toMatch(/Routes: +default\/prices/);
		const refused = await weftOutput(
			'run',
			'--data',
			data,
			'--service',
			'x',
			'--grpc-port',
			'1',
			'--health-http',
			'/',
			'--',
			'true',
		);
		expect([refused.exitCode, refused.output]).toEqual([2, expect.stringContaining('--health-http needs --port')]);
	},
	LIMIT_MS,
);
