// Server credentials for a gRPC door at which a client certificate is asked for but may be missing:
// who joins with a token has none yet. grpc-js's own either refuse such a client or never ask.
//
// What is shown is NOT checked here: grpc-js does not say whether a chain held. Whoever reads
// `getAuthContext().sslPeerCertificate` must check it (CertificateAuthority.verifyWorkload).

import * as grpc from '@grpc/grpc-js';

export interface ServerIdentity {
	/** Sent to clients as acceptable issuers. */
	readonly rootsPem: string;
	readonly certificateChainPem: string;
	readonly privateKeyPem: string;
}

export class OptionalClientCertificateCredentials extends grpc.ServerCredentials {
	constructor(identity: ServerIdentity) {
		super({ requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' }, contextOptions(identity));
	}

	/** New connections are given this certificate; those that are open stay as they are. */
	renew(identity: ServerIdentity): void {
		this.updateSecureContextOptions(contextOptions(identity));
	}

	override _equals(other: grpc.ServerCredentials): boolean {
		return this === other;
	}
}

function contextOptions(identity: ServerIdentity) {
	return {
		ca: Buffer.from(identity.rootsPem),
		cert: Buffer.from(identity.certificateChainPem),
		key: Buffer.from(identity.privateKeyPem),
	};
}
