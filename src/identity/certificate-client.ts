// Asks the authority for a certificate over gRPC: Istio's `CreateCertificate`, with a join token as
// bearer the first time and mutual TLS afterwards. One channel per call, since calls are hours apart
// and each may be with another certificate.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import * as grpc from '@grpc/grpc-js';
import {
	IstioCertificateRequestSchema,
	type IstioCertificateResponse,
	IstioCertificateResponseSchema,
} from '../generated/istio/v1/auth/ca_pb.ts';
import type { WorkloadIdentity } from '../net/identity-source.ts';
import { errorMessage, WeftError } from '../std/errors.ts';

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
	/** `127.0.0.1:15012` */
	readonly address: string;
	/** DNS name that the control plane's certificate must have. */
	readonly serverName: string;
	/** Default 10000. */
	readonly timeoutMs?: number;
}

export const CREATE_CERTIFICATE_PATH = '/istio.v1.auth.IstioCertificateService/CreateCertificate';
const TIMEOUT_MS = 10_000;
const RESPONSE_BYTES_MAX = 256 * 1024;

const FINAL_CODES: ReadonlySet<grpc.status> = new Set([
	grpc.status.UNAUTHENTICATED,
	grpc.status.PERMISSION_DENIED,
	grpc.status.INVALID_ARGUMENT,
	grpc.status.UNIMPLEMENTED,
	grpc.status.FAILED_PRECONDITION,
]);

export class GrpcCertificateClient implements CertificateClient {
	constructor(private readonly options: GrpcCertificateClientOptions) {}

	async createCertificate(csrPem: string, validityMs: number, credential: SigningCredential): Promise<string[]> {
		const client = new grpc.Client(this.options.address, channelCredentials(credential), {
			'grpc.ssl_target_name_override': this.options.serverName,
			'grpc.default_authority': this.options.serverName,
			'grpc.max_receive_message_length': RESPONSE_BYTES_MAX,
			// The sidecar's own calls never go through a proxy that the environment names.
			'grpc.enable_http_proxy': 0,
			'grpc.use_local_subchannel_pool': 1,
		});
		const metadata = new grpc.Metadata();
		if (credential.kind === 'token') metadata.set('authorization', `Bearer ${credential.token}`);
		const request = create(IstioCertificateRequestSchema, {
			csr: csrPem,
			validityDuration: BigInt(Math.floor(validityMs / 1000)),
		});
		try {
			return await new Promise<string[]>((resolve, reject) => {
				client.makeUnaryRequest(
					CREATE_CERTIFICATE_PATH,
					(value: typeof request) => Buffer.from(toBinary(IstioCertificateRequestSchema, value)),
					(bytes: Buffer): IstioCertificateResponse => fromBinary(IstioCertificateResponseSchema, bytes),
					request,
					metadata,
					{ deadline: Date.now() + (this.options.timeoutMs ?? TIMEOUT_MS) },
					(error, response) => {
						if (error !== null) reject(translated(error, this.options.address));
						else resolve(response?.certChain ?? []);
					},
				);
			});
		} finally {
			client.close();
		}
	}
}

function channelCredentials(credential: SigningCredential): grpc.ChannelCredentials {
	if (credential.kind === 'token') return grpc.credentials.createSsl(Buffer.from(credential.rootsPem));
	const { rootsPem, privateKeyPem, certificateChainPem } = credential.identity;
	return grpc.credentials.createSsl(
		Buffer.from(rootsPem),
		Buffer.from(privateKeyPem),
		Buffer.from(certificateChainPem),
	);
}

function translated(error: grpc.ServiceError, address: string): WeftError {
	const details = error.details || errorMessage(error);
	if (FINAL_CODES.has(error.code)) {
		return new WeftError('ca_refused', `the control plane refused to sign: ${details}`, {
			origin: 'upstream',
			cause: error,
		});
	}
	return new WeftError('ca_unavailable', `the control plane at ${address} did not sign: ${details}`, {
		origin: 'upstream',
		retrySafe: true,
		cause: error,
	});
}
