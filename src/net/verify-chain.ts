// Our own check of a peer's certificate chain (RFC 5280 §6, as far as a mesh needs it): from the
// leaf over the intermediates to one of the roots, with signatures, validity, the CA flag, path length,
// key usage and extended key usage. It stands beside the check of the TLS library, which a
// resumed session may have skipped.

import { X509Certificate } from 'node:crypto';
import { type Certificate, EKU_ANY, EKU_CLIENT, EKU_SERVER, parseCertificate } from './certificate.ts';
import { DerError } from './der.ts';

/** Certificates between leaf and root. */
const INTERMEDIATES_MAX = 6;
const ROOTS_MAX = 256;
/** Sets of roots whose parsed form is kept; two are in use during a rotation. */
const ROOT_SETS_MAX = 16;

export type PeerRole = 'server' | 'client';

interface Issuer {
	readonly certificate: Certificate;
	readonly x509: X509Certificate;
}

const rootSets = new Map<string, readonly Issuer[]>();

export type ChainVerdict =
	| { readonly kind: 'valid' }
	/** The chain is sound as far as it goes, but the issuer of its last certificate is unknown here. */
	| { readonly kind: 'unknown_issuer'; readonly reason: string }
	| { readonly kind: 'refused'; readonly reason: string };

/**
 * @param chain leaf first; what follows may be in any order
 * @param rootsPem one or more certificates; without any, nothing is valid
 * @param role what the peer is: its leaf must not be restricted to another use
 */
export function verifyChain(
	chain: readonly Uint8Array[],
	rootsPem: string,
	nowMs: number,
	role: PeerRole,
): ChainVerdict {
	try {
		return verify(chain, rootsPem, nowMs, role);
	} catch (error) {
		return refused(error instanceof DerError ? error.message : `certificate cannot be read: ${String(error)}`);
	}
}

function verify(chain: readonly Uint8Array[], rootsPem: string, nowMs: number, role: PeerRole): ChainVerdict {
	const first = chain[0];
	if (first === undefined) return refused('there is no certificate');
	if (chain.length > INTERMEDIATES_MAX + 1) return refused('the chain is too long');
	const leaf = parseCertificate(first);
	const wrong = checkCommon(leaf, nowMs) ?? checkUsage(leaf, role);
	if (wrong !== null) return refused(wrong);

	const roots = parseRoots(rootsPem);
	const intermediates = chain.slice(1).map(readIssuer);
	const used = new Set<Issuer>();
	let current: Issuer = { certificate: leaf, x509: new X509Certificate(first) };
	for (let depth = 0; depth <= INTERMEDIATES_MAX; depth++) {
		if (roots.some((root) => isIssuer(root, current, depth, nowMs))) return { kind: 'valid' };
		const next = intermediates.find((one) => !used.has(one) && isIssuer(one, current, depth, nowMs));
		if (next === undefined) {
			return { kind: 'unknown_issuer', reason: `no trusted root has signed "${current.certificate.subject}"` };
		}
		used.add(next);
		current = next;
	}
	return refused('the chain is too long');
}

/** `depth`: how many CAs stand between the issuer and the leaf. */
function isIssuer(issuer: Issuer, subject: Issuer, depth: number, nowMs: number): boolean {
	const { certificate } = issuer;
	return (
		equalBytes(certificate.subjectDer, subject.certificate.issuerDer) &&
		certificate.isCa &&
		certificate.maySign &&
		(certificate.pathLength === null || certificate.pathLength >= depth) &&
		checkCommon(certificate, nowMs) === null &&
		subject.x509.verify(issuer.x509.publicKey)
	);
}

function checkCommon(certificate: Certificate, nowMs: number): string | null {
	if (nowMs < certificate.notBeforeMs) {
		return `the certificate is valid only from ${new Date(certificate.notBeforeMs).toISOString()}`;
	}
	if (nowMs > certificate.notAfterMs) {
		return `the certificate expired at ${new Date(certificate.notAfterMs).toISOString()}`;
	}
	if (certificate.unknownCritical.length > 0) {
		return `the certificate has the unknown critical extension ${certificate.unknownCritical[0]}`;
	}
	return null;
}

function checkUsage(leaf: Certificate, role: PeerRole): string | null {
	const usages = leaf.extendedKeyUsage;
	if (usages === null || usages.includes(EKU_ANY)) return null;
	if (usages.includes(role === 'server' ? EKU_SERVER : EKU_CLIENT)) return null;
	return `the certificate is not meant for a TLS ${role}`;
}

function parseRoots(pem: string): readonly Issuer[] {
	const known = rootSets.get(pem);
	if (known !== undefined) return known;
	const roots: Issuer[] = [];
	for (const match of pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g)) {
		if (roots.length === ROOTS_MAX) throw new DerError('too many roots');
		roots.push(readIssuer(Buffer.from(match[1]!, 'base64')));
	}
	if (rootSets.size === ROOT_SETS_MAX) rootSets.delete(rootSets.keys().next().value!);
	rootSets.set(pem, roots);
	return roots;
}

function readIssuer(der: Uint8Array): Issuer {
	return { certificate: parseCertificate(der), x509: new X509Certificate(der) };
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
	return Buffer.compare(a, b) === 0;
}

function refused(reason: string): ChainVerdict {
	return { kind: 'refused', reason };
}
