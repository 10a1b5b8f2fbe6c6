import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type PeerCertificate } from 'node:tls';
import {
	CertificateAuthority,
	CONTROL_PLANE_NAME,
	type ControlPlaneCertificate,
} from '../identity/certificate-authority.ts';
import { makeSigningKey } from '../identity/workload-certificate.ts';
import { VirtualClock } from '../std/clock.ts';
import type { SigningAuthority } from './certificates.ts';
import { GrpcServer } from './grpc-server.ts';
import type { AuthenticatedCall } from './peer.ts';

const MINUTE_MS = 60_000;
const ID = 'spiffe://cluster.local/ns/shop/sa/reviews';

let directory: string;
let clock: VirtualClock;
let real: CertificateAuthority;
let authority: SigningAuthority;
let server: GrpcServer;
let port: number;
let issued: ControlPlaneCertificate[];
const issueWaiters: (() => void)[] = [];
/** Renewals that fail from now on. */
let failures: number;

beforeEach(async () => {
	directory = mkdtempSync(join(tmpdir(), 'weft-grpc-'));
	clock = new VirtualClock(Date.now());
	real = await CertificateAuthority.open({ directory, clock });
	issued = [];
	failures = 0;
	authority = {
		trustDomain: real.trustDomain,
		rootsPem: real.rootsPem,
		rootNotAfterMs: real.rootNotAfterMs,
		signWorkload: (request) => real.signWorkload(request),
		verifyWorkload: (der) => real.verifyWorkload(der),
		issueControlPlaneCertificate: async () => {
			if (failures > 0) {
				failures -= 1;
				throw new Error('the disk is full');
			}
			const certificate = await real.issueControlPlaneCertificate();
			issued.push(certificate);
			for (const wake of issueWaiters.splice(0)) wake();
			return certificate;
		},
	};
	server = new GrpcServer({ authority, clock, address: '127.0.0.1', port: 0 });
	port = await server.start();
});

afterEach(async () => {
	await server.stop();
	rmSync(directory, { recursive: true, force: true });
});

/** What a client that connects now is shown. */
function shown(): Promise<PeerCertificate> {
	return new Promise((resolve, reject) => {
		const socket = connect({
			host: '127.0.0.1',
			port,
			servername: CONTROL_PLANE_NAME,
			ca: real.rootsPem,
			ALPNProtocols: ['h2'],
			// Its times are those of the virtual clock.
			rejectUnauthorized: false,
		});
		socket.once('secureConnect', () => {
			resolve(socket.getPeerCertificate());
			socket.destroy();
		});
		socket.once('error', reject);
	});
}

/** Lets an issue that the clock set off be done, and the server take it. */
async function untilIssued(count: number): Promise<void> {
	while (issued.length < count) await new Promise<void>((resolve) => issueWaiters.push(resolve));
	expect(issued).toHaveLength(count);
	await new Promise((resolve) => setImmediate(resolve));
}

describe("the control plane's certificate", () => {
	test('is renewed at half its life, and new connections are shown the new one', async () => {
		const first = await shown();
		expect(first.subjectaltname).toContain(`DNS:${CONTROL_PLANE_NAME}`);
		const lifeMs = issued[0]!.notAfterMs - clock.wallMs();
		clock.advance(lifeMs / 2 - 1000);
		expect((await shown()).serialNumber).toBe(first.serialNumber);
		clock.advance(1000);
		await untilIssued(2);
		const second = await shown();
		expect(second.serialNumber).not.toBe(first.serialNumber);
		expect(Date.parse(second.valid_to)).toBe(issued[1]!.notAfterMs);
		// And so on.
		clock.advance((issued[1]!.notAfterMs - clock.wallMs()) / 2);
		await untilIssued(3);
		expect((await shown()).serialNumber).not.toBe(second.serialNumber);
	});

	test('stays when a renewal fails, which is tried again after a minute', async () => {
		const first = await shown();
		failures = 1;
		clock.advance((issued[0]!.notAfterMs - clock.wallMs()) / 2);
		expect(failures).toBe(0);
		await new Promise((resolve) => setImmediate(resolve));
		expect((await shown()).serialNumber).toBe(first.serialNumber);
		clock.advance(MINUTE_MS);
		await untilIssued(2);
		expect((await shown()).serialNumber).not.toBe(first.serialNumber);
	});

	test('is not renewed any more after a stop', async () => {
		await server.stop();
		clock.advance(issued[0]!.notAfterMs - clock.wallMs());
		await new Promise((resolve) => setImmediate(resolve));
		expect(issued).toHaveLength(1);
	});
});

describe('authenticate', () => {
	const call = (raw: Uint8Array | null, validTo = ''): AuthenticatedCall =>
		({
			getPeer: () => '127.0.0.1:4711',
			getAuthContext: () => (raw === null ? {} : { sslPeerCertificate: { raw, valid_to: validTo } }),
		}) as unknown as AuthenticatedCall;

	test('says who shows a workload certificate of the mesh, and until when it is good', async () => {
		const { csrPem } = await makeSigningKey();
		const { chainPem, notAfterMs } = await real.signWorkload({ csrPem, spiffeId: ID });
		const { X509Certificate } = await import('node:crypto');
		const leaf = new X509Certificate(chainPem[0]!);
		expect(server.authenticate(call(leaf.raw, leaf.validTo))).toMatchObject({
			spiffeId: ID,
			certificateNotAfterMs: notAfterMs,
			certificateSha256: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
			address: '127.0.0.1:4711',
		});
		clock.advance(notAfterMs - clock.wallMs());
		expect(() => server.authenticate(call(leaf.raw, leaf.validTo))).toThrow('a workload certificate of this mesh');
	});

	test('refuses who shows none, or another', () => {
		for (const raw of [null, new Uint8Array([1, 2, 3])]) {
			expect(() => server.authenticate(call(raw))).toThrow('a workload certificate of this mesh is needed');
		}
	});
});

test('a port that is taken is said to be', async () => {
	const second = new GrpcServer({ authority, clock, address: '127.0.0.1', port });
	await expect(second.start()).rejects.toMatchObject({ code: 'address_in_use' });
	await second.stop();
});
