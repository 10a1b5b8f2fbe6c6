// Against a real gRPC server over TLS, on loopback: what matters is what is on the wire.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import {
	type IstioCertificateRequest,
	IstioCertificateRequestSchema,
	type IstioCertificateResponse,
	IstioCertificateResponseSchema,
} from '../generated/istio/v1/auth/ca_pb.ts';
import { OptionalClientCertificateCredentials } from '../grpc/server-credentials.ts';
import type { IpAddress } from '../net/network.ts';
import { SystemNetwork } from '../net/system-network.ts';
import { VirtualClock } from '../std/clock.ts';
import { systemRandom } from '../std/random.ts';
import { CertificateAuthority, CONTROL_PLANE_NAME } from './certificate-authority.ts';
import { GrpcCertificateClient } from './certificate-client.ts';
import type { WorkloadName } from './spiffe.ts';
import { checkedIdentity, makeSigningKey } from './workload-certificate.ts';

const ID = 'spiffe://cluster.local/ns/shop/sa/reviews';
type Call = grpc.ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>;
type Answer = grpc.sendUnaryData<IstioCertificateResponse>;

const directory = mkdtempSync(join(tmpdir(), 'weft-ca-client-'));
const clock = new VirtualClock(Date.now());
const server = new grpc.Server();
let authority: CertificateAuthority;
let address: IpAddress;
const common = { network: new SystemNetwork(), random: systemRandom };
let handler: (call: Call, answer: Answer) => void;

beforeAll(async () => {
	authority = await CertificateAuthority.open({ directory: join(directory, 'ca'), clock });
	const own = await authority.issueControlPlaneCertificate();
	server.addService(
		{
			CreateCertificate: {
				path: '/istio.v1.auth.IstioCertificateService/CreateCertificate',
				requestStream: false,
				responseStream: false,
				requestSerialize: (value: IstioCertificateRequest) =>
					Buffer.from(toBinary(IstioCertificateRequestSchema, value)),
				requestDeserialize: (bytes: Buffer) => fromBinary(IstioCertificateRequestSchema, bytes),
				responseSerialize: (value: IstioCertificateResponse) =>
					Buffer.from(toBinary(IstioCertificateResponseSchema, value)),
				responseDeserialize: (bytes: Buffer) => fromBinary(IstioCertificateResponseSchema, bytes),
			},
		},
		{ CreateCertificate: (call: Call, answer: Answer) => handler(call, answer) },
	);
	const credentials = new OptionalClientCertificateCredentials({ rootsPem: authority.rootsPem, ...own });
	const port = await new Promise<number>((resolve, reject) => {
		server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)));
	});
	address = { kind: 'ip', host: '127.0.0.1', port };
});

afterAll(() => {
	server.forceShutdown();
	rmSync(directory, { recursive: true, force: true });
});

async function sign(call: Call, answer: Answer): Promise<void> {
	const { chainPem } = await authority.signWorkload({
		csrPem: call.request.csr,
		spiffeId: ID,
		validityMs: Number(call.request.validityDuration) * 1000,
	});
	answer(null, create(IstioCertificateResponseSchema, { certChain: chainPem }));
}

test('joins with the token as bearer, then renews over mutual TLS', async () => {
	const seen: { authorization: string | undefined; peer: WorkloadName | null }[] = [];
	handler = (call, answer) => {
		const raw = call.getAuthContext().sslPeerCertificate?.raw;
		seen.push({
			authorization: call.metadata.get('authorization')[0]?.toString(),
			peer: raw === undefined ? null : authority.verifyWorkload(raw),
		});
		void sign(call, answer);
	};
	const client = new GrpcCertificateClient({ ...common, address, serverName: CONTROL_PLANE_NAME });
	const { csrPem, privateKeyPem } = await makeSigningKey();
	const rootsPem = authority.rootsPem;
	const chainPem = await client.createCertificate(csrPem, 3_600_000, { kind: 'token', token: 'abc', rootsPem });
	const identity = await checkedIdentity({ chainPem, privateKeyPem, rootsPem }, ID, clock.wallMs());
	expect(identity.notAfterMs - clock.wallMs()).toBeLessThanOrEqual(3_600_000);
	await client.createCertificate((await makeSigningKey()).csrPem, 3_600_000, { kind: 'certificate', identity });
	expect(seen).toEqual([
		{ authorization: 'Bearer abc', peer: null },
		{ authorization: undefined, peer: { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'reviews' } },
	]);
});

test('says whether it is worth trying again', async () => {
	const client = new GrpcCertificateClient({ ...common, address, serverName: CONTROL_PLANE_NAME });
	const credential = { kind: 'token', token: 'x', rootsPem: authority.rootsPem } as const;
	handler = (_call, answer) => answer({ code: grpc.status.UNAUTHENTICATED, details: 'token is used' });
	await expect(client.createCertificate('csr', 1000, credential)).rejects.toMatchObject({
		code: 'ca_refused',
		message: 'the control plane refused to sign: token is used',
	});
	handler = (_call, answer) => answer({ code: grpc.status.UNAVAILABLE, details: 'starting' });
	await expect(client.createCertificate('csr', 1000, credential)).rejects.toMatchObject({ code: 'ca_unavailable' });
});

test('sends no token to a server whose certificate is of another root, or has another name', async () => {
	let called = false;
	handler = (_call, answer) => {
		called = true;
		answer({ code: grpc.status.INTERNAL });
	};
	const other = await CertificateAuthority.open({ directory: join(directory, 'other'), clock });
	const client = new GrpcCertificateClient({ ...common, address, serverName: CONTROL_PLANE_NAME, timeoutMs: 2000 });
	const stranger = { kind: 'token', token: 'secret', rootsPem: other.rootsPem } as const;
	await expect(client.createCertificate('csr', 1000, stranger)).rejects.toMatchObject({ code: 'ca_unavailable' });
	const misnamed = new GrpcCertificateClient({ ...common, address, serverName: 'other.example', timeoutMs: 2000 });
	const credential = { kind: 'token', token: 'secret', rootsPem: authority.rootsPem } as const;
	await expect(misnamed.createCertificate('csr', 1000, credential)).rejects.toMatchObject({ code: 'ca_unavailable' });
	expect(called).toBe(false);
});

test('says that nobody is there', async () => {
	const client = new GrpcCertificateClient({
		...common,
		address: { kind: 'ip', host: '127.0.0.1', port: 1 },
		serverName: 'x',
		timeoutMs: 2000,
	});
	const credential = { kind: 'token', token: 'x', rootsPem: authority.rootsPem } as const;
	await expect(client.createCertificate('csr', 1000, credential)).rejects.toMatchObject({
		code: 'ca_unavailable',
		retrySafe: true,
	});
});
