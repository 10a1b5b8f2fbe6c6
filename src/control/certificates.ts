// The certificate service: istio.v1.auth.IstioCertificateService on the control plane's gRPC door.
// A caller proves who it is by a one-time join token (bearer), or by the workload certificate of
// its TLS connection, which it may renew for the same identity. What it asks for in the signing
// request is not looked at, but for its key.

import { X509Certificate } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { type Server, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import {
	type IstioCertificateRequest,
	type IstioCertificateResponse,
	IstioCertificateResponseSchema,
	IstioCertificateService,
} from '../generated/istio/v1/auth/ca_pb.ts';
import { serviceDefinition } from '../grpc/protobuf-methods.ts';
import type { CertificateAuthority } from '../identity/certificate-authority.ts';
import { controlPlaneSpiffeId } from '../identity/certificate-authority.ts';
import type { JoinTokens } from '../identity/join-tokens.ts';
import { workloadSpiffeId } from '../identity/spiffe.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { certificateSha256, peerOf } from './peer.ts';

const log = new Logger('certificates');

const RECORDS_MAX = 50_000;

/**
 * The certificates of one sidecar, each but the first renewed by showing the one before. So instances of
 * one account are kept apart, also those that joined before the control plane was started.
 */
interface Lineage {
	/** That the join token was for; empty when it is not known. */
	readonly instance: string;
	/** Of the newest. */
	notAfterMs: number;
}

/** What is needed of the authority; `CertificateAuthority` is one. */
export type SigningAuthority = Pick<
	CertificateAuthority,
	'trustDomain' | 'rootsPem' | 'rootNotAfterMs' | 'signWorkload' | 'verifyWorkload' | 'issueControlPlaneCertificate'
>;

interface Caller {
	readonly spiffeId: string;
	/** Empty: not known. */
	readonly instance: string;
	/** SHA-256 of the certificate that it shows; null: it joins. */
	readonly shown: string | null;
}

export interface CertificateServiceOptions {
	readonly authority: SigningAuthority;
	readonly tokens: Pick<JoinTokens, 'redeem'>;
}

export class CertificateService {
	/** By SHA-256 of each certificate that was issued or shown; those used last come last. */
	private readonly lineages = new Map<string, Lineage>();

	constructor(private readonly options: CertificateServiceOptions) {}

	register(server: Server): void {
		server.addService(serviceDefinition(IstioCertificateService), {
			createCertificate: (
				call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
				callback: sendUnaryData<IstioCertificateResponse>,
			) => {
				this.create(call).then(
					(response) => callback(null, response),
					(error: unknown) => callback(refusal(error, call.getPeer())),
				);
			},
		});
	}

	/**
	 * Who showed this certificate (its SHA-256, hex) has by now one that is good until then, wall clock. Null:
	 * it was not issued here, and not renewed here, since the control plane started.
	 */
	renewedUntilMs(sha256: string): number | null {
		return this.lineages.get(sha256)?.notAfterMs ?? null;
	}

	/** Instance that this certificate (its SHA-256, hex) was issued to; null: not known, as `renewedUntilMs`. */
	instanceOf(sha256: string): string | null {
		return this.lineages.get(sha256)?.instance || null;
	}

	private async create(
		call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
	): Promise<IstioCertificateResponse> {
		const { authority } = this.options;
		const caller = this.authenticate(call);
		const { spiffeId, instance } = caller;
		if (spiffeId === controlPlaneSpiffeId(authority.trustDomain)) {
			throw new WeftError('permission_denied', "the control plane's own identity is not given out");
		}
		const seconds = Number(call.request.validityDuration);
		const signed = await authority.signWorkload({
			csrPem: call.request.csr,
			spiffeId,
			validityMs: seconds > 0 ? seconds * 1000 : undefined,
		});
		this.record(caller, certificateSha256(new X509Certificate(signed.chainPem[0]!).raw), signed.notAfterMs);
		log.info('certificate issued', { spiffeId, instance, notAfter: new Date(signed.notAfterMs).toISOString() });
		return create(IstioCertificateResponseSchema, { certChain: signed.chainPem });
	}

	/** A token decides when there is one: it must not fall back to a certificate that happens to be there. */
	private authenticate(call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>): Caller {
		const [header] = call.metadata.get('authorization');
		if (header !== undefined) {
			const token = /^Bearer (\S+)$/i.exec(header.toString())?.[1];
			const grant = token === undefined ? null : this.options.tokens.redeem(token);
			if (grant === null) {
				throw new WeftError('unauthenticated', 'the join token is unknown, used or expired', { origin: 'downstream' });
			}
			const { trustDomain } = this.options.authority;
			return { spiffeId: workloadSpiffeId({ trustDomain, ...grant }), instance: grant.instance, shown: null };
		}
		const { spiffeId, certificateSha256: shown = null } = peerOf(call, this.options.authority);
		if (spiffeId === null) {
			throw new WeftError('unauthenticated', 'a join token or a workload certificate is needed', {
				origin: 'downstream',
			});
		}
		const instance = shown === null ? '' : (this.lineages.get(shown)?.instance ?? '');
		return { spiffeId, instance, shown };
	}

	private record({ instance, shown }: Caller, issued: string, notAfterMs: number): void {
		const lineage = (shown === null ? undefined : this.lineages.get(shown)) ?? { instance, notAfterMs };
		lineage.notAfterMs = notAfterMs;
		for (const sha256 of shown === null ? [issued] : [shown, issued]) {
			this.lineages.delete(sha256);
			this.lineages.set(sha256, lineage);
		}
		for (const oldest of this.lineages.keys()) {
			if (this.lineages.size <= RECORDS_MAX) break;
			this.lineages.delete(oldest);
		}
	}
}

const STATUS_OF_CODE: Readonly<Record<string, status>> = {
	unauthenticated: status.UNAUTHENTICATED,
	permission_denied: status.PERMISSION_DENIED,
	invalid_csr: status.INVALID_ARGUMENT,
	invalid_spiffe_id: status.INVALID_ARGUMENT,
	ca_unusable: status.UNAVAILABLE,
};

function refusal(error: unknown, peer: string): { code: status; details: string } {
	const code = error instanceof WeftError ? STATUS_OF_CODE[error.code] : undefined;
	log.warning('certificate refused', { peer, reason: errorMessage(error) });
	if (code === undefined) return { code: status.INTERNAL, details: 'internal error' };
	return { code, details: errorMessage(error) };
}
