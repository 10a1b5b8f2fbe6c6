// Who is on the other end of a gRPC call, by the certificate that its TLS connection showed. A
// certificate counts when TLS accepted its chain and the authority knows it for a workload's of ours.

import type { AuthContext } from '@grpc/grpc-js/build/src/auth-context';
import { workloadSpiffeId } from '../identity/spiffe.ts';
import type { StreamPeer } from '../xds/resource-view.ts';
import type { SigningAuthority } from './certificates.ts';

/** The part of a grpc-js call that this reads. */
export interface AuthenticatedCall {
	getPeer(): string;
	getAuthContext(): AuthContext;
}

/** `spiffeId` null: no certificate, or none that counts. */
export function peerOf(call: AuthenticatedCall, authority: SigningAuthority): StreamPeer {
	const address = call.getPeer();
	const certificate = call.getAuthContext().sslPeerCertificate;
	const workload = certificate?.raw === undefined ? null : authority.verifyWorkload(certificate.raw);
	if (workload === null) return { spiffeId: null, certificateNotAfterMs: null, address };
	return {
		spiffeId: workloadSpiffeId(workload),
		certificateNotAfterMs: Date.parse(certificate!.valid_to),
		certificateSha256: certificateSha256(certificate!.raw),
		address,
	};
}

/** Of a certificate's DER, hex. */
export function certificateSha256(der: Uint8Array): string {
	return new Bun.CryptoHasher('sha256').update(der).digest('hex');
}
