// The mesh's certificate authority: one self-signed root, made at first start and kept in
// DATA/ca, and the signing of workload certificates under it. It decides what stands in a
// certificate; of a signing request it takes nothing but the public key, after checking that the
// sender has the private one. Who may have which SPIFFE ID is decided by its caller.

import { type KeyObject, X509Certificate as NodeCertificate } from 'node:crypto';
import type { Clock } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import { loadOrCreateRoot, type RootKey } from './root-store.ts';
import {
	DEFAULT_TRUST_DOMAIN,
	parseWorkloadSpiffeId,
	trustDomainFault,
	type WorkloadName,
	workloadSpiffeId,
} from './spiffe.ts';
import { certificateToPem, generateP256, P256_SIGNATURE, privateKeyToPem, x509 } from './x509.ts';

export interface CertificateAuthorityOptions {
	/** Holds `root-key.pem` (0600) and `root-cert.pem`; made when it is not there. */
	readonly directory: string;
	/** Default `cluster.local`. It must be the one that the root was made for. */
	readonly trustDomain?: string;
	readonly clock: Clock;
}

export interface SignRequest {
	/** One PKCS#10 request, PEM, at most 16 KiB. Key: P-256, P-384, Ed25519 or RSA of 2048 bits or more. */
	readonly csrPem: string;
	/** Exactly what the certificate will say; of the authority's trust domain. */
	readonly spiffeId: string;
	/** From now; default and maximum 24 h, never past the root's end. */
	readonly validityMs?: number;
}

export interface ControlPlaneCertificate {
	/** Leaf first, roots not included. */
	readonly certificateChainPem: string;
	readonly privateKeyPem: string;
	readonly notAfterMs: number;
}

export const WORKLOAD_VALIDITY_MAX_MS = 24 * 60 * 60 * 1000;
/** How far before now a certificate begins, so that a clock that is a little slow accepts it. */
export const BACKDATE_MS = 60 * 1000;
export const CONTROL_PLANE_NAME = 'weft-control-plane.weft-system.svc';
const CONTROL_PLANE_VALIDITY_MS = 365 * 24 * 60 * 60 * 1000;
const CSR_BYTES_MAX = 16 * 1024;
const RSA_BITS_MIN = 2048;
/** A larger key costs more to verify than any honest sender needs. */
const RSA_BITS_MAX = 8192;

export class CertificateAuthority {
	readonly trustDomain: string;
	/** What peers must trust, PEM. */
	readonly rootsPem: string;
	readonly rootNotAfterMs: number;
	private readonly rootForChecks: NodeCertificate;
	private readonly rootKey: KeyObject;

	private constructor(
		private readonly root: RootKey,
		trustDomain: string,
		private readonly clock: Clock,
	) {
		this.trustDomain = trustDomain;
		this.rootsPem = certificateToPem(root.certificate);
		this.rootForChecks = new NodeCertificate(this.rootsPem);
		this.rootKey = this.rootForChecks.publicKey;
		this.rootNotAfterMs = root.certificate.notAfter.getTime();
	}

	/**
	 * Opens the authority in `directory`, making its root when there is none.
	 * @throws WeftError `ca_unusable` when what is there cannot be read, does not fit together, has
	 * expired, or is of another trust domain.
	 */
	static async open(options: CertificateAuthorityOptions): Promise<CertificateAuthority> {
		const trustDomain = options.trustDomain ?? DEFAULT_TRUST_DOMAIN;
		const fault = trustDomainFault(trustDomain);
		if (fault !== null) throw new WeftError('invalid_trust_domain', `${JSON.stringify(trustDomain)}: ${fault}`);
		const root = await loadOrCreateRoot(options.directory, trustDomain, options.clock.wallMs());
		return new CertificateAuthority(root, trustDomain, options.clock);
	}

	/**
	 * Signs a workload's key. The chain is leaf first, root last.
	 * @throws WeftError `invalid_csr`, `invalid_spiffe_id`
	 */
	async signWorkload(request: SignRequest): Promise<{ readonly chainPem: string[]; readonly notAfterMs: number }> {
		const workload = parseWorkloadSpiffeId(request.spiffeId);
		if (workload === null || workload.trustDomain !== this.trustDomain) {
			throw new WeftError('invalid_spiffe_id', `${request.spiffeId} is no workload of ${this.trustDomain}`);
		}
		const validityMs = request.validityMs ?? WORKLOAD_VALIDITY_MAX_MS;
		if (!(validityMs > 0)) throw new WeftError('invalid_csr', 'the validity asked for is not above zero');
		const publicKey = await checkedPublicKey(request.csrPem);
		const leaf = await this.issue(publicKey, request.spiffeId, [], Math.min(validityMs, WORKLOAD_VALIDITY_MAX_MS));
		return { chainPem: [certificateToPem(leaf), this.rootsPem], notAfterMs: leaf.notAfter.getTime() };
	}

	/**
	 * Whose certificate this is: one of ours, unchanged, within its time, of a workload. Null: it is not.
	 * `der` is the leaf that a peer showed in a handshake, which proved that the peer has its key.
	 */
	verifyWorkload(der: Uint8Array): WorkloadName | null {
		let leaf: NodeCertificate;
		try {
			leaf = new NodeCertificate(der);
			if (!leaf.checkIssued(this.rootForChecks) || !leaf.verify(this.rootKey)) return null;
		} catch {
			// Whatever a peer sends that is no certificate is nobody's.
			return null;
		}
		const nowMs = this.clock.wallMs();
		// Written so that a time which cannot be read is never right.
		if (!(Date.parse(leaf.validFrom) <= nowMs && nowMs < Date.parse(leaf.validTo))) return null;
		// What we signed for a workload has one name, its SPIFFE ID; several would stand behind commas.
		const [, spiffeId] = /^URI:(spiffe:[^,"]+)$/.exec(leaf.subjectAltName ?? '') ?? [];
		const workload = spiffeId === undefined ? null : parseWorkloadSpiffeId(spiffeId);
		return workload !== null && workload.trustDomain === this.trustDomain ? workload : null;
	}

	/**
	 * The control plane's own: `spiffe://TD/ns/weft-system/sa/weft`, and the DNS names that clients ask for;
	 * and IP addresses, for clients that know it by one (the API over TLS).
	 */
	async issueControlPlaneCertificate(ipAddresses: readonly string[] = []): Promise<ControlPlaneCertificate> {
		const keys = await generateP256();
		const spiffeId = controlPlaneSpiffeId(this.trustDomain);
		const names: x509.JsonGeneralNames = [
			{ type: 'dns', value: CONTROL_PLANE_NAME },
			{ type: 'dns', value: 'localhost' },
			...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
		];
		const leaf = await this.issue(keys.publicKey, spiffeId, names, CONTROL_PLANE_VALIDITY_MS);
		return {
			certificateChainPem: certificateToPem(leaf),
			privateKeyPem: await privateKeyToPem(keys.privateKey),
			notAfterMs: leaf.notAfter.getTime(),
		};
	}

	private async issue(
		publicKey: x509.PublicKey | CryptoKey,
		spiffeId: string,
		otherNames: x509.JsonGeneralNames,
		validityMs: number,
	): Promise<x509.X509Certificate> {
		const nowMs = this.clock.wallMs();
		const notAfterMs = Math.min(nowMs + validityMs, this.rootNotAfterMs);
		if (notAfterMs <= nowMs) throw new WeftError('ca_unusable', 'the root certificate has expired');
		const names: x509.JsonGeneralNames = [{ type: 'url', value: spiffeId }, ...otherNames];
		return x509.X509CertificateGenerator.create({
			publicKey,
			signingKey: this.root.privateKey,
			signingAlgorithm: P256_SIGNATURE,
			issuer: this.root.certificate.subject,
			subject: '',
			notBefore: new Date(nowMs - BACKDATE_MS),
			notAfter: new Date(notAfterMs),
			extensions: [
				// RFC 5280 §4.2.1.6: critical, because the subject is empty.
				new x509.SubjectAlternativeNameExtension(names, true),
				new x509.BasicConstraintsExtension(false, undefined, true),
				new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
				new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
				await x509.AuthorityKeyIdentifierExtension.create(this.root.certificate.publicKey),
				await x509.SubjectKeyIdentifierExtension.create(publicKey),
			],
		});
	}
}

export function controlPlaneSpiffeId(trustDomain: string): string {
	return workloadSpiffeId({ trustDomain, namespace: 'weft-system', serviceAccount: 'weft' });
}

/** The request's key, when its sender has shown to hold the private one and it is of a kind that we sign. */
async function checkedPublicKey(csrPem: string): Promise<x509.PublicKey> {
	if (csrPem.length > CSR_BYTES_MAX) throw invalidCsr(`longer than ${CSR_BYTES_MAX} bytes`);
	let request: x509.Pkcs10CertificateRequest;
	try {
		const blocks = x509.PemConverter.decodeWithHeaders(csrPem);
		if (blocks.length !== 1) throw new Error(`found ${blocks.length} PEM blocks, expected 1`);
		const [block] = blocks;
		if (block!.type !== 'CERTIFICATE REQUEST' && block!.type !== 'NEW CERTIFICATE REQUEST') {
			throw new Error(`found ${block!.type}, expected CERTIFICATE REQUEST`);
		}
		request = new x509.Pkcs10CertificateRequest(block!.rawData);
	} catch (error) {
		throw invalidCsr(error instanceof Error ? error.message : String(error), error);
	}
	const fault = keyFault(request.publicKey.algorithm);
	if (fault !== null) throw invalidCsr(fault);
	let verified: boolean;
	try {
		verified = await request.verify();
	} catch (error) {
		throw invalidCsr('its signature cannot be checked', error);
	}
	if (!verified) throw invalidCsr('its signature does not hold');
	return request.publicKey;
}

/** Why a key of this kind is not signed; null when it is. */
function keyFault(algorithm: { name: string; namedCurve?: string; modulusLength?: number }): string | null {
	switch (algorithm.name) {
		case 'ECDSA': {
			const curve = algorithm.namedCurve;
			return curve === 'P-256' || curve === 'P-384' ? null : `the curve ${curve} is neither P-256 nor P-384`;
		}
		case 'Ed25519':
			return null;
		case 'RSASSA-PKCS1-v1_5':
		case 'RSA-PSS': {
			const bits = algorithm.modulusLength ?? 0;
			if (bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX) return null;
			return `an RSA key of ${bits} bits is not between ${RSA_BITS_MIN} and ${RSA_BITS_MAX}`;
		}
		default:
			return `a key of kind ${algorithm.name} is not ECDSA, Ed25519 or RSA`;
	}
}

function invalidCsr(reason: string, cause?: unknown): WeftError {
	return new WeftError('invalid_csr', `the certificate signing request is not right: ${reason}`, {
		origin: 'downstream',
		cause,
	});
}
