// Asks the authority for a certificate over gRPC: Istio's `CreateCertificate`, with a join token as
// bearer the first time and mutual TLS afterwards. One channel per call, since calls are hours apart
// and each may be with another certificate.

import { create } from '@bufbuild/protobuf';
import { IstioCertificateRequestSchema, IstioCertificateService } from '../generated/istio/v1/auth/ca_pb.ts';
import { GrpcError } from '../grpc/call-status.ts';
import { GrpcChannel } from '../grpc/channel.ts';
import { callUnary, clientMethod } from '../grpc/client-methods.ts';
import type { GrpcAddress } from '../grpc/connect-attempt.ts';
import { addMetadata } from '../grpc/metadata.ts';
import { GrpcStatus } from '../grpc/status.ts';
import type { HeaderList } from '../http/headers.ts';
import type { WorkloadIdentity } from '../net/identity-source.ts';
import type { ClientTlsOptions, Network } from '../net/network.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import type { Random } from '../std/random.ts';
import { controlPlaneTls } from './control-plane-tls.ts';

/** How the caller shows who it is. */
export type SigningCredential =
	| { readonly kind: 'token'; readonly token: string; readonly rootsPem: string }
	| { readonly kind: 'certificate'; readonly identity: WorkloadIdentity };

export interface CertificateClient {
	/**
	 * PEM certificates, leaf first, roots last.
	 * Rejects with WeftError `ca_unavailable` (try again later) or `ca_refused` (the same call will never do).
	 */
	createCertificate(csrPem: string, validityMs: number, credential: SigningCredential): Promise<string[]>;
}

export interface GrpcCertificateClientOptions {
	readonly network: Network;
	readonly random: Random;
	readonly address: GrpcAddress;
	/** DNS name that the control plane's certificate must have. */
	readonly serverName: string;
	/** Default 10000. */
	readonly timeoutMs?: number;
}

const TIMEOUT_MS = 10_000;
const RESPONSE_BYTES_MAX = 256 * 1024;

const FINAL_CODES: ReadonlySet<number> = new Set([
	GrpcStatus.unauthenticated,
	GrpcStatus.permissionDenied,
	GrpcStatus.invalidArgument,
	GrpcStatus.unimplemented,
	GrpcStatus.failedPrecondition,
]);

export class GrpcCertificateClient implements CertificateClient {
	constructor(private readonly options: GrpcCertificateClientOptions) {}

	async createCertificate(csrPem: string, validityMs: number, credential: SigningCredential): Promise<string[]> {
		const { network, random, address, serverName, timeoutMs } = this.options;
		const tls = tlsOf(credential, serverName);
		const channel = new GrpcChannel({ network, random, addresses: [address], tls: { current: () => tls } });
		const metadata: HeaderList = [];
		if (credential.kind === 'token') addMetadata(metadata, 'authorization', `Bearer ${credential.token}`);
		const request = create(IstioCertificateRequestSchema, {
			csr: csrPem,
			validityDuration: BigInt(Math.floor(validityMs / 1000)),
		});
		try {
			const method = clientMethod(IstioCertificateService.method.createCertificate);
			const response = await callUnary(channel, method, request, {
				metadata,
				timeoutMs: timeoutMs ?? TIMEOUT_MS,
				messageBytesMax: RESPONSE_BYTES_MAX,
			});
			return response.certChain;
		} catch (error) {
			throw this.translated(error);
		} finally {
			channel.close();
		}
	}

	private translated(error: unknown): WeftError {
		const status = error instanceof GrpcError ? error.status : null;
		const details = status === null || status.message === '' ? errorMessage(error) : status.message;
		if (status !== null && status.cause === null && FINAL_CODES.has(status.code)) {
			return new WeftError('ca_refused', `the control plane refused to sign: ${details}`, {
				origin: 'upstream',
				cause: error,
			});
		}
		return new WeftError('ca_unavailable', `the control plane did not sign: ${details}`, {
			origin: 'upstream',
			retrySafe: true,
			cause: error,
		});
	}
}

function tlsOf(credential: SigningCredential, serverName: string): ClientTlsOptions {
	if (credential.kind === 'token') return controlPlaneTls(serverName, credential.rootsPem, null);
	return controlPlaneTls(serverName, credential.identity.rootsPem, credential.identity);
}
