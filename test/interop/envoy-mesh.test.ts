// Two real Envoys as sidecars of our control plane: instances register by connecting, and traffic
// between them is mutual TLS with the identities that the control plane gave out.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect } from 'node:net';
import { SERVICE, serviceIndex } from '../../src/config/service.ts';
import { WORKLOAD_ENTRY } from '../../src/config/workload-entry.ts';
import type { SidecarNodeMetadata } from '../../src/xds/node-metadata.ts';
import { type RunningEnvoy, startEnvoy } from '../support/envoy.ts';
import { eventually, startTestControlPlane, type TestControlPlane } from '../support/mesh-control.ts';
import { describeWithPeers } from '../support/peers.ts';

describeWithPeers(['envoy'], 'two Envoys as sidecars', () => {
	let mesh: TestControlPlane;
	let client: RunningEnvoy;
	let server: RunningEnvoy;
	let program: ReturnType<typeof Bun.serve>;
	let address: string;
	const base = (n: number) => `127.24${n}.${process.pid & 255}.0`;

	beforeAll(async () => {
		mesh = await startTestControlPlane();
		program = Bun.serve({
			hostname: '127.0.0.1',
			port: 0,
			fetch: (request) => Response.json({ path: new URL(request.url).pathname }),
		});
		const metadata = (name: string, n: number, ports: SidecarNodeMetadata['WEFT']['ports']): SidecarNodeMetadata => ({
			NAMESPACE: 'default',
			SERVICE_ACCOUNT: name,
			WORKLOAD_NAME: `${name}-v1`,
			LABELS: { app: name, version: 'v1' },
			MESH_ID: 'test',
			WEFT: {
				instance: `${name}-v1-1`,
				service: name,
				ports,
				capture: 'loopback',
				address: base(n),
				outboundBase: base(n),
			},
		});
		const start = async (name: string, n: number, ports: SidecarNodeMetadata['WEFT']['ports']) =>
			await startEnvoy({
				mesh,
				identity: await mesh.identity('default', name),
				metadata: metadata(name, n, ports),
			});
		server = await start('ratings', 2, [{ port: program.port!, protocol: 'http' }]);
		client = await start('client', 3, []);
		const service = await eventually('the service was made', () => mesh.objects.get(SERVICE, 'default', 'ratings'));
		const index = serviceIndex(service.spec.clusterIP)!;
		address = `${base(3).replace(/\d+$/, String(index))}:${program.port}`;
		await eventually('traffic flows', async () => (await fetch(`http://${address}/`)).status === 200);
	});

	afterAll(async () => {
		await client?.stop();
		await server?.stop();
		program?.stop(true);
		await mesh?.stop();
	});

	test('an instance that connects has a WorkloadEntry and a Service', async () => {
		const entry = await mesh.objects.get(WORKLOAD_ENTRY, 'default', 'ratings-v1-1');
		expect(entry?.spec).toMatchObject({ address: base(2), serviceAccount: 'ratings' });
		expect(entry?.spec.labels).toMatchObject({ app: 'ratings', version: 'v1' });
		// A client that listens on nothing is an instance, and makes no service.
		expect(await mesh.objects.get(WORKLOAD_ENTRY, 'default', 'client-v1-1')).not.toBeNull();
		expect(await mesh.objects.get(SERVICE, 'default', 'client')).toBeNull();
	});

	test('requests between them are over mutual TLS 1.3', async () => {
		const response = await fetch(`http://${address}/stars`);
		expect(await response.json()).toEqual({ path: '/stars' });
		const ssl = await server.admin('/stats?filter=ssl');
		expect(Number(/listener\..*\.ssl\.handshake: (\d+)/.exec(ssl)?.[1])).toBeGreaterThan(0);
		expect(ssl).toMatch(/ssl\.versions\.TLSv1\.3: [1-9]/);
		expect(ssl).toMatch(/ssl\.no_certificate: 0/);
	});

	test('plain text at the mesh port gets no answer', async () => {
		const answer = await new Promise<string>((resolve) => {
			let text = '';
			const socket = connect({ host: base(2), port: program.port! }, () => {
				socket.write('GET / HTTP/1.1\r\nhost: ratings\r\n\r\n');
			});
			socket.on('data', (bytes) => {
				text += bytes.toString('latin1');
			});
			socket.on('close', () => resolve(text));
			socket.on('error', () => resolve(text));
		});
		expect(answer).not.toContain('HTTP/1.1 2');
	});

	test('a certificate of another mesh is refused, one of this mesh is not', async () => {
		const other = await startTestControlPlane();
		try {
			const taken = async (from: TestControlPlane) => {
				const { certificateChainPem, privateKeyPem } = await from.identity('default', 'client');
				return await fetch(`https://${base(2)}:${program.port}/`, {
					tls: { cert: certificateChainPem, key: privateKeyPem, rejectUnauthorized: false },
				}).then(
					(response) => response.status === 200,
					() => false,
				);
			};
			expect(await taken(mesh)).toBe(true);
			expect(await taken(other)).toBe(false);
		} finally {
			await other.stop();
		}
	});

	test('an instance whose sidecar is killed leaves within two seconds', async () => {
		const started = performance.now();
		server.kill();
		await eventually('the endpoint is gone', async () => {
			const clusters = await client.admin('/clusters');
			return !clusters.includes(`${base(2)}:${program.port}`);
		});
		const tookMs = performance.now() - started;
		// It had its second of grace, in which a sidecar that restarts would have come back.
		expect(tookMs).toBeGreaterThan(900);
		expect(tookMs).toBeLessThan(2000);
		expect(await mesh.objects.get(WORKLOAD_ENTRY, 'default', 'ratings-v1-1')).toBeNull();
		// Its Service stays.
		expect(await mesh.objects.get(SERVICE, 'default', 'ratings')).not.toBeNull();
	});
});
