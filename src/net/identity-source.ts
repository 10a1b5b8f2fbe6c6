// What TLS needs of identity: our own certificate and the roots we trust, as they are now, and
// word when they change. Who obtains and renews them is in identity/.

export interface WorkloadIdentity {
	/** `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT` */
	readonly spiffeId: string;
	/** Leaf first; roots not included. */
	readonly certificateChainPem: string;
	/** PKCS#8. Never logged, never sent. */
	readonly privateKeyPem: string;
	/** All roots trusted at the moment (two during a rotation). */
	readonly rootsPem: string;
	readonly notBeforeMs: number;
	readonly notAfterMs: number;
}

/** Names by which listeners and clusters refer to these in SDS, as Istio does. */
export const IDENTITY_SECRET_NAME = 'default';
export const ROOTS_SECRET_NAME = 'ROOTCA';

export interface IdentitySource {
	/** Null until the first certificate is there. */
	current(): WorkloadIdentity | null;
	/** Called at each change, and at once when there is one already. Returns an unsubscriber. */
	subscribe(onChange: (identity: WorkloadIdentity) => void): () => void;
}
