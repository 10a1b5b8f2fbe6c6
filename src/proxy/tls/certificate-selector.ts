// Which of a context's certificates a client is shown, as Envoy chooses: by the server name it asks
// for, exact before wildcard, and then ECDSA where the client can verify it, RSA where not.

import type { ClientHello, EcdsaCurve } from '../../net/client-hello.ts';

export interface SelectableCertificate {
	readonly serverNames: readonly string[];
	/** Null: it is no ECDSA certificate. */
	readonly curve: EcdsaCurve | null;
}

export class CertificateSelector<T extends SelectableCertificate> {
	/** `*.a.example` stands under `.a.example`. For one name and kind of key the first certificate counts. */
	private readonly byName = new Map<string, Map<string, T>>();
	private readonly hasRsa: boolean;

	/**
	 * @param certificates at least one; the first is shown when no other fits better
	 * @param scansAll a name that no certificate has is as if none had been sent; false: the first is shown
	 */
	constructor(
		private readonly certificates: readonly T[],
		private readonly scansAll: boolean,
	) {
		this.hasRsa = certificates.some(({ curve }) => curve === null);
		for (const certificate of certificates) {
			for (const name of certificate.serverNames) {
				const key = name.startsWith('*.') ? name.slice(1) : name;
				const kinds = this.byName.get(key) ?? new Map<string, T>();
				this.byName.set(key, kinds);
				const kind = certificate.curve === null ? 'rsa' : 'ecdsa';
				if (!kinds.has(kind)) kinds.set(kind, certificate);
			}
		}
	}

	select({ serverName, ecdsaCurves }: ClientHello): T {
		if (serverName !== '') {
			const exact = this.named(serverName, ecdsaCurves);
			if (exact !== null) return exact;
			const dot = serverName.indexOf('.', 1);
			const wildcard = dot > 0 && dot < serverName.length - 1 ? this.named(serverName.slice(dot), ecdsaCurves) : null;
			if (wildcard !== null) return wildcard;
			if (!this.scansAll) return this.certificates[0]!;
		}
		if (ecdsaCurves.length === 0 && !this.hasRsa) return this.certificates[0]!;
		return best(this.certificates, ecdsaCurves) ?? this.certificates[0]!;
	}

	private named(name: string, curves: readonly EcdsaCurve[]): T | null {
		const kinds = this.byName.get(name);
		return kinds === undefined ? null : best([...kinds.values()], curves);
	}
}

/** ECDSA on a curve of the client's, else the first of another kind; null: none. */
function best<T extends SelectableCertificate>(certificates: readonly T[], curves: readonly EcdsaCurve[]): T | null {
	let other: T | null = null;
	for (const certificate of certificates) {
		if (certificate.curve === null) other ??= certificate;
		else if (curves.includes(certificate.curve)) return certificate;
	}
	return other;
}
