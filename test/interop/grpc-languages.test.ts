// The gRPC project's interop cases (grpc/README.md) through two sidecars, HTTP/2 over mutual TLS between them,
// with grpc-js, Python's grpcio and Go's gRPC as client and as server, each with each.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SERVICE, serviceIndex } from '../../src/config/service.ts';
import type { SidecarNodeMetadata } from '../../src/xds/node-metadata.ts';
import type { RunningEnvoy } from '../support/envoy.ts';
import {
	CASES,
	type GrpcProgram,
	GrpcServerProcess,
	grpcPrograms,
	runInteropCases,
} from '../support/grpc-languages.ts';
import { eventually, startTestControlPlane, type TestControlPlane } from '../support/mesh-control.ts';
import { startWeftSidecar } from '../support/weft-sidecar.ts';

const LIMIT_MS = 120_000;
const programs = grpcPrograms();
const servers = new Map<string, GrpcServerProcess>();
let mesh: TestControlPlane;
let client: RunningEnvoy;
let server: RunningEnvoy;
let address: string;

const base = (n: number) => `127.210.${process.pid & 255}.${n * 64}`;

beforeAll(async () => {
	mesh = await startTestControlPlane();
	for (const program of programs) servers.set(program.language, new GrpcServerProcess(program));
	const ports = await Promise.all([...servers.values()].map(({ port }) => port));
	const sidecar = async (name: string, n: number, grpcPorts: readonly number[]): Promise<RunningEnvoy> => {
		const metadata: SidecarNodeMetadata = {
			NAMESPACE: 'default',
			SERVICE_ACCOUNT: name,
			WORKLOAD_NAME: `${name}-v1`,
			LABELS: { app: name, version: 'v1' },
			MESH_ID: 'cluster.local',
			WEFT: {
				instance: `${name}-v1-1`,
				service: name,
				ports: grpcPorts.map((port) => ({ port, protocol: 'grpc' })),
				capture: 'loopback',
				address: base(n),
				outboundBase: base(n),
			},
		};
		return await startWeftSidecar(mesh, metadata);
	};
	server = await sidecar('interop', 1, ports);
	client = await sidecar('caller', 2, []);
	const service = await eventually('the service is there', () => mesh.objects.get(SERVICE, 'default', 'interop'));
	const [a, b, c, d] = base(2).split('.').map(Number);
	address = `${a}.${b}.${c}.${d! + serviceIndex(service.spec.clusterIP)!}`;
	await eventually(
		'it is listened for, and a host is known',
		async () => {
			const clusters = await client.admin('/clusters');
			for (const port of ports) await fetch(`http://${address}:${port}/`);
			return ports.every((port) => clusters.includes(`outbound|${port}||interop.default.svc.cluster.local::127.`));
		},
		30_000,
	);
}, LIMIT_MS);

afterAll(async () => {
	for (const one of servers.values()) await one.stop();
	await client?.stop();
	await server?.stop();
	await mesh?.stop();
});

/** Of a sidecar's text of statistics: the sum of what `pattern` names. */
async function sum(sidecar: RunningEnvoy, pattern: RegExp): Promise<number> {
	const lines = (await sidecar.admin('/stats')).split('\n').filter((line) => pattern.test(line));
	if (lines.length === 0) throw new Error(`no statistic ${pattern}`);
	return lines.reduce((total, line) => total + Number(line.split(': ')[1]), 0);
}

describe.each(programs.map((program): [string, GrpcProgram] => [program.language, program]))(
	'%s calls',
	(_, caller) => {
		test.each(programs.map(({ language }) => language))(
			'%s',
			async (callee) => {
				const outcome = await runInteropCases(caller, `${address}:${await servers.get(callee)!.port}`);
				expect(outcome).toEqual(CASES.map((name) => `ok ${name}`));
			},
			LIMIT_MS,
		);
	},
);

test('nothing of a call remains, and between the sidecars they shared connections', async () => {
	for (const sidecar of [client, server]) {
		await eventually('no request is under way', async () => (await sum(sidecar, /rq_active: /)) === 0, 30_000);
	}
	const between = /^cluster\.outbound\|\d+\|\|interop\..*\.upstream_cx_total: /;
	expect(await sum(client, between)).toBeLessThanOrEqual(2 * programs.length);
	expect(await sum(client, /^cluster\.outbound\|\d+\|\|interop\..*\.upstream_cx_http1_total: /)).toBe(0);
});
