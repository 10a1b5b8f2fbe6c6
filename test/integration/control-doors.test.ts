// The control plane's gRPC door over real TLS: who is let in, what is signed, how health and
// metrics arrive, and that it all goes on when the control plane starts again.

import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { create, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import { WORKLOAD_ENTRY } from '../../src/config/workload-entry.ts';
import { certificateSha256 } from '../../src/control/peer.ts';
import { nodeMessage } from '../../src/control/testing-mesh.ts';
import { DeltaDiscoveryRequestSchema } from '../../src/generated/envoy/service/discovery/v3/discovery_pb.ts';
import { GrpcChannel } from '../../src/grpc/channel.ts';
import { CertificateAuthority, CONTROL_PLANE_NAME } from '../../src/identity/certificate-authority.ts';
import { GrpcCertificateClient } from '../../src/identity/certificate-client.ts';
import { controlPlaneTls } from '../../src/identity/control-plane-tls.ts';
import { workloadSpiffeId } from '../../src/identity/spiffe.ts';
import { makeSigningKey } from '../../src/identity/workload-certificate.ts';
import type { WorkloadIdentity } from '../../src/net/identity-source.ts';
import { SystemNetwork } from '../../src/net/system-network.ts';
import { systemRandom } from '../../src/std/random.ts';
import { HealthReporter } from '../../src/xds/health-reporter.ts';
import { CLUSTER_TYPE } from '../../src/xds/type-urls.ts';
import { eventually, startTestControlPlane, type TestControlPlane } from '../support/mesh-control.ts';

let mesh: TestControlPlane;
const cleanups: (() => void)[] = [];

beforeEach(async () => {
	mesh = await startTestControlPlane();
});

afterEach(async () => {
	for (const cleanup of cleanups.splice(0)) cleanup();
	await mesh.stop();
});

function client(identity: Pick<WorkloadIdentity, 'certificateChainPem' | 'privateKeyPem'> | null): grpc.Client {
	const roots = Buffer.from(mesh.authority.rootsPem);
	const credentials =
		identity === null
			? grpc.credentials.createSsl(roots)
			: grpc.credentials.createSsl(
					roots,
					Buffer.from(identity.privateKeyPem),
					Buffer.from(identity.certificateChainPem),
				);
	const made = new grpc.Client(`127.0.0.1:${mesh.port}`, credentials, {
		'grpc.ssl_target_name_override': CONTROL_PLANE_NAME,
		'grpc.use_local_subchannel_pool': 1,
	});
	cleanups.push(() => made.close());
	return made;
}

/** Where weft's own gRPC client finds the door. */
function door() {
	const address = { kind: 'ip', host: '127.0.0.1', port: mesh.port } as const;
	return { network: new SystemNetwork(), random: systemRandom, address };
}

/** Opens ADS as `node`; resolves with the status of a refusal, or OK when an answer came. */
function openAds(from: grpc.Client, node = nodeMessage()): Promise<{ code: grpc.status; details: string }> {
	return new Promise((resolve) => {
		const call = from.makeBidiStreamRequest(
			'/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
			(bytes: Buffer) => bytes,
			(bytes: Buffer) => bytes,
		);
		call.on('data', () => {
			resolve({ code: grpc.status.OK, details: '' });
			call.end();
		});
		call.on('error', (error: grpc.ServiceError) => resolve({ code: error.code, details: error.details }));
		const request = create(DeltaDiscoveryRequestSchema, { typeUrl: CLUSTER_TYPE, node });
		call.write(Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)));
	});
}

describe('ADS', () => {
	test('needs a certificate of the mesh', async () => {
		expect(await openAds(client(null))).toMatchObject({ code: grpc.status.UNAUTHENTICATED });
		const other = await startTestControlPlane();
		cleanups.push(() => void other.stop());
		const stranger = await other.identity('default', 'client');
		expect(await openAds(client(stranger))).toMatchObject({ code: grpc.status.UNAUTHENTICATED });
		expect(await openAds(client(await mesh.identity('default', 'client')))).toMatchObject({ code: grpc.status.OK });
	});

	test('refuses a node that is not what its certificate says', async () => {
		const mine = client(await mesh.identity('default', 'client'));
		const refused = await openAds(mine, nodeMessage({ name: 'payments' }));
		expect(refused.code).toBe(grpc.status.PERMISSION_DENIED);
		expect(refused.details).toContain('account payments');
		expect(refused.details).toContain('spiffe://cluster.local/ns/default/sa/client');
		expect([...mesh.controlPlane.connectedProxies()]).toEqual([]);
	});

	test('refuses a certificate that has expired, and so does its renewal', async () => {
		const spiffeId = workloadSpiffeId({ trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'client' });
		const { csrPem, privateKeyPem } = await makeSigningKey();
		const wallMs = () => mesh.clock.wallMs() - 48 * 3_600_000;
		const past = await CertificateAuthority.open({
			directory: join(mesh.directory, 'ca'),
			clock: { nowMs: () => 0, wallMs, after: (ms, run) => mesh.clock.after(ms, run) },
		});
		const { chainPem, notAfterMs } = await past.signWorkload({ csrPem, spiffeId });
		const expired = { spiffeId, certificateChainPem: chainPem[0]!, privateKeyPem, rootsPem: mesh.authority.rootsPem };
		expect(await openAds(client(expired))).toMatchObject({ code: grpc.status.UNAUTHENTICATED });
		const ca = new GrpcCertificateClient({ ...door(), serverName: CONTROL_PLANE_NAME });
		const identity = { ...expired, notBeforeMs: wallMs(), notAfterMs };
		const renewal = ca.createCertificate(csrPem, 3_600_000, { kind: 'certificate', identity });
		await expect(renewal).rejects.toMatchObject({ code: 'ca_refused' });
	});

	test('refuses an instance with the certificate of another of the same account', async () => {
		const grant = { namespace: 'default', serviceAccount: 'client', instance: 'client-v1-2' };
		const { csrPem, privateKeyPem } = await makeSigningKey();
		const ca = new GrpcCertificateClient({ ...door(), serverName: CONTROL_PLANE_NAME });
		const token = mesh.tokens.issue(grant);
		const [certificateChainPem] = await ca.createCertificate(csrPem, 3_600_000, {
			kind: 'token',
			token,
			rootsPem: mesh.authority.rootsPem,
		});
		const second = client({ certificateChainPem: certificateChainPem!, privateKeyPem });
		const refused = await openAds(second, nodeMessage({ weft: { instance: 'client-v1-1' } }));
		expect(refused.code).toBe(grpc.status.PERMISSION_DENIED);
		expect(refused.details).toContain('issued to client-v1-2');
		const own = await openAds(second, nodeMessage({ weft: { instance: 'client-v1-2' } }));
		expect(own).toMatchObject({ code: grpc.status.OK });
	});

	test('refuses metadata of the wrong form by the name of the field', async () => {
		const mine = client(await mesh.identity('default', 'client'));
		const refused = await openAds(mine, nodeMessage({ weft: { address: 'nowhere' } }));
		expect(refused).toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
		expect(refused.details).toContain('metadata.WEFT.address');
	});
});

describe('certificates', () => {
	const ca = () => new GrpcCertificateClient({ ...door(), serverName: CONTROL_PLANE_NAME });
	const grant = { namespace: 'default', serviceAccount: 'client', instance: 'client-1' };

	test('are signed once for a token, and renewed under the certificate', async () => {
		const { rootsPem } = mesh.authority;
		const token = mesh.tokens.issue(grant);
		const key = await makeSigningKey();
		const chain = await ca().createCertificate(key.csrPem, 3_600_000, { kind: 'token', token, rootsPem });
		expect(chain).toHaveLength(2);
		expect(chain[1]).toBe(rootsPem);
		const spiffeId = workloadSpiffeId({ trustDomain: 'cluster.local', ...grant });
		// A second time the token is worth nothing, even with a good certificate beside it.
		const again = ca().createCertificate(key.csrPem, 3_600_000, { kind: 'token', token, rootsPem });
		await expect(again).rejects.toMatchObject({ code: 'ca_refused' });
		const identity: WorkloadIdentity = {
			spiffeId,
			certificateChainPem: chain[0]!,
			privateKeyPem: key.privateKeyPem,
			rootsPem,
			notBeforeMs: 0,
			notAfterMs: 0,
		};
		const next = await makeSigningKey();
		const renewed = await ca().createCertificate(next.csrPem, 3_600_000, { kind: 'certificate', identity });
		expect(renewed[0]).not.toBe(chain[0]);
	});

	test('of instances of one account are told apart, from renewal to renewal', async () => {
		const { rootsPem } = mesh.authority;
		const { certificates } = mesh.controlPlane;
		const spiffeId = workloadSpiffeId({ trustDomain: 'cluster.local', ...grant });
		const renewedUntilMs = (pem: string) =>
			certificates.renewedUntilMs(certificateSha256(new X509Certificate(pem).raw));
		const validToMs = (pem: string) => Date.parse(new X509Certificate(pem).validTo);
		const ask = async (validityMs: number, shown: WorkloadIdentity | null): Promise<WorkloadIdentity> => {
			const { csrPem, privateKeyPem } = await makeSigningKey();
			const token = mesh.tokens.issue(grant);
			const [leaf] = await ca().createCertificate(
				csrPem,
				validityMs,
				shown === null ? { kind: 'token', token, rootsPem } : { kind: 'certificate', identity: shown },
			);
			return { spiffeId, certificateChainPem: leaf!, privateKeyPem, rootsPem, notBeforeMs: 0, notAfterMs: 0 };
		};
		const one = await ask(3_600_000, null);
		const two = await ask(7_200_000, null);
		expect(renewedUntilMs(one.certificateChainPem)).toBe(validToMs(one.certificateChainPem));
		const second = await ask(10_800_000, one);
		const third = await ask(14_400_000, second);
		const untilMs = validToMs(third.certificateChainPem);
		expect(untilMs).toBeGreaterThan(validToMs(second.certificateChainPem));
		// A stream that was opened with the first certificate is of a sidecar that has the third by now.
		expect(renewedUntilMs(one.certificateChainPem)).toBe(untilMs);
		expect(renewedUntilMs(second.certificateChainPem)).toBe(untilMs);
		expect(renewedUntilMs(two.certificateChainPem)).toBe(validToMs(two.certificateChainPem));
		// One that was signed before this control plane was started, and is renewed now.
		const before = await mesh.identity('default', 'client');
		expect(renewedUntilMs(before.certificateChainPem)).toBeNull();
		const after = await ask(3_600_000, before);
		expect(renewedUntilMs(before.certificateChainPem)).toBe(validToMs(after.certificateChainPem));
	});

	test('are not signed for nobody, for a broken request, or in the name of the control plane', async () => {
		const { rootsPem } = mesh.authority;
		const key = await makeSigningKey();
		const none = ca().createCertificate(key.csrPem, 1000, { kind: 'token', token: 'x.y', rootsPem });
		await expect(none).rejects.toMatchObject({ code: 'ca_refused' });
		const token = mesh.tokens.issue(grant);
		const broken = ca().createCertificate('no csr', 1000, { kind: 'token', token, rootsPem });
		await expect(broken).rejects.toThrow(/signing request/);
		const own = mesh.tokens.issue({ namespace: 'weft-system', serviceAccount: 'weft', instance: 'x' });
		const taken = ca().createCertificate(key.csrPem, 1000, { kind: 'token', token: own, rootsPem });
		await expect(taken).rejects.toThrow(/not given out/);
	});
});

test('a plain-text client gets no answer', async () => {
	const plain = new grpc.Client(`127.0.0.1:${mesh.port}`, grpc.credentials.createInsecure());
	cleanups.push(() => plain.close());
	expect((await openAds(plain)).code).toBe(grpc.status.UNAVAILABLE);
});

test("the server's certificate is for its name, under the mesh's root", async () => {
	const socket = connect({
		host: '127.0.0.1',
		port: mesh.port,
		ca: mesh.authority.rootsPem,
		servername: CONTROL_PLANE_NAME,
		ALPNProtocols: ['h2'],
	});
	cleanups.push(() => socket.destroy());
	await new Promise<void>((resolve, reject) => {
		socket.on('secureConnect', () => resolve());
		socket.on('error', reject);
	});
	expect(socket.authorized).toBe(true);
	expect(socket.alpnProtocol).toBe('h2');
});

test("health of a sidecar's program takes it into the endpoints and out of them", async () => {
	let healthy = true;
	const program = Bun.serve({
		hostname: '127.0.0.1',
		port: 0,
		fetch: (request) => new Response('', { status: healthy && new URL(request.url).pathname === '/ready' ? 204 : 503 }),
	});
	cleanups.push(() => program.stop(true));
	const port = program.port!;
	const node = nodeMessage({
		name: 'reviews',
		weft: {
			service: 'reviews',
			ports: [{ port, protocol: 'http' }],
			healthCheck: { kind: 'http', path: '/ready', port, intervalMs: 100 },
		},
	});
	const identity = await mesh.identity('default', 'reviews');
	expect(await openAdsForGood(client(identity), node)).toBe('open');
	const { address, ...surroundings } = door();
	const tls = controlPlaneTls(CONTROL_PLANE_NAME, mesh.authority.rootsPem, identity);
	const channel = new GrpcChannel({ ...surroundings, addresses: [address], tls: { current: () => tls } });
	cleanups.push(() => channel.close());
	const reporter = new HealthReporter({
		channel,
		node,
		...surroundings,
	});
	cleanups.push(() => reporter.stop());
	const status = async () => {
		const entry = await mesh.objects.get(WORKLOAD_ENTRY, 'default', 'reviews-v1-1');
		return entry?.status?.conditions?.find(({ type }) => type === 'Healthy')?.status;
	};
	await eventually('it is healthy', async () => (await status()) === 'True');
	healthy = false;
	await eventually('it is unhealthy', async () => (await status()) === 'False');
	healthy = true;
	await eventually('it is healthy again', async () => (await status()) === 'True');
});

/** A stream that stays open until the test ends. */
function openAdsForGood(from: grpc.Client, node: ReturnType<typeof nodeMessage>): Promise<string> {
	return new Promise((resolve, reject) => {
		const call = from.makeBidiStreamRequest(
			'/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
			(bytes: Buffer) => bytes,
			(bytes: Buffer) => bytes,
		);
		call.on('data', () => resolve('open'));
		call.on('error', reject);
		cleanups.push(() => call.end());
		const request = create(DeltaDiscoveryRequestSchema, { typeUrl: CLUSTER_TYPE, node });
		call.write(Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)));
	});
}
