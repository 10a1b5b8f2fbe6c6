// Our own check of a peer's certificate chain (RFC 5280 §6, as far as a mesh needs it): from the
// leaf over the intermediates to one of the roots, with signatures, validity, the CA flag, path length,
// key usage and extended key usage. It stands beside the check of the TLS library, which a
// resumed session may have skipped.

import { X509Certificate } from 'node:crypto';
import { type Certificate, EKU_ANY, EKU_CLIENT, EKU_SERVER, parseCertificate } from './certificate.ts';
import { DerError } from './der.ts';
import type { ChainPolicy } from './network.ts';
import { checkRevocation, parseRevocationLists } from './revocation.ts';

/** Certificates between leaf and root; what a peer may make us verify. */
export const INTERMEDIATES_MAX = 10;
/** The leaf and the root too. */
const CHAIN_MAX = INTERMEDIATES_MAX + 2;
const ROOTS_MAX = 256;
/** Sets of roots whose parsed form is kept; two are in use during a rotation. */
const ROOT_SETS_MAX = 16;

export type PeerRole = 'server' | 'client';

export interface Issuer {
	readonly certificate: Certificate;
	readonly x509: X509Certificate;
	/** Bytes of certificates whose signature by this one was verified; of a root alone, since it stays. */
	readonly signed?: Set<string>;
}

/** Certificates of peers that are remembered for each root; a peer that is forgotten costs a verification. */
const SIGNED_MAX = 256;

const rootSets = new Map<string, readonly Issuer[]>();

export type ChainVerdict =
	| { readonly kind: 'valid' }
	/** The chain is sound as far as it goes, but the issuer of its last certificate is unknown here. */
	| { readonly kind: 'unknown_issuer'; readonly reason: string }
	| { readonly kind: 'refused'; readonly reason: string };

export interface ChainOptions extends ChainPolicy {
	/** The TLS library found nothing wrong: restrictions of names and policies hold, which are not looked at here. Default false. */
	readonly libraryAgrees?: boolean;
}

/**
 * @param chain leaf first; what follows may be in any order
 * @param rootsPem one or more certificates, each of which is trusted by itself, a leaf too; without any, nothing is valid
 * @param role what the peer is: its leaf must not be restricted to another use
 */
export function verifyChain(
	chain: readonly Uint8Array[],
	rootsPem: string,
	nowMs: number,
	role: PeerRole,
	options: ChainOptions = {},
): ChainVerdict {
	try {
		return verify(chain, rootsPem, nowMs, role, options);
	} catch (error) {
		return refused(error instanceof DerError ? error.message : `certificate cannot be read: ${String(error)}`);
	}
}

function verify(
	chain: readonly Uint8Array[],
	rootsPem: string,
	nowMs: number,
	role: PeerRole,
	options: ChainOptions,
): ChainVerdict {
	const first = chain[0];
	if (first === undefined) return refused('there is no certificate');
	if (chain.length > CHAIN_MAX) return refused('the chain is too long');
	const intermediatesMax = Math.min(options.intermediatesMax ?? INTERMEDIATES_MAX, INTERMEDIATES_MAX);
	// Dates that do not count are those of any moment.
	const atMs = options.allowExpired === true ? null : nowMs;
	const leaf = parseCertificate(first);
	const wrong = checkCommon(leaf, atMs) ?? checkUsage(leaf, role);
	if (wrong !== null) return refused(wrong);

	const roots = parseRoots(rootsPem);
	const path: Issuer[] = [{ certificate: leaf, x509: new X509Certificate(first) }];
	if (roots.some((root) => equalBytes(root.certificate.der, first))) return accept(path, nowMs, options);
	const intermediates = chain.slice(1).map(readIssuer);
	const used = new Set<Issuer>();
	for (let depth = 0; ; depth++) {
		const current = path[depth]!;
		const root = roots.find((one) => isIssuer(one, current, depth, atMs));
		if (root !== undefined) {
			path.push(root);
			return accept(path, nowMs, options);
		}
		const next = intermediates.find((one) => !used.has(one) && isIssuer(one, current, depth, atMs));
		if (next === undefined) {
			return { kind: 'unknown_issuer', reason: `no trusted root has signed "${current.certificate.subject}"` };
		}
		if (depth === intermediatesMax) return refused('the chain is too long');
		used.add(next);
		path.push(next);
	}
}

/** What remains once the path to a trusted certificate is known; the last in `path` is that one. */
function accept(path: readonly Issuer[], nowMs: number, options: ChainOptions): ChainVerdict {
	if (options.libraryAgrees !== true) {
		const constrained = path.find(({ certificate }) => certificate.isConstrained);
		if (constrained !== undefined) {
			return refused(`the names under "${constrained.certificate.subject}" are restricted, which was not checked`);
		}
	}
	if (options.crlPem === undefined || options.crlPem === '') return { kind: 'valid' };
	const lists = parseRevocationLists(options.crlPem);
	const ignoreDates = options.allowExpired === true;
	const last = options.crlLeafOnly === true ? 0 : path.length - 1;
	for (let i = 0; i <= last; i++) {
		const one = path[i]!;
		// The trusted one may be its own issuer; when it is not, nobody here can vouch for it.
		const issuer = path[i + 1] ?? one;
		if (issuer === one && !isSelfSigned(one)) return refused(`the issuer of "${one.certificate.subject}" is not there`);
		const reason = checkRevocation(one.certificate, issuer, lists, nowMs, ignoreDates);
		if (reason !== null) return refused(reason);
	}
	return { kind: 'valid' };
}

function isSelfSigned({ certificate, x509 }: Issuer): boolean {
	return equalBytes(certificate.subjectDer, certificate.issuerDer) && x509.verify(x509.publicKey);
}

/** `depth`: how many CAs stand between the issuer and the leaf. */
function isIssuer(issuer: Issuer, subject: Issuer, depth: number, atMs: number | null): boolean {
	const { certificate } = issuer;
	return (
		certificate.isCa &&
		certificate.maySign &&
		(certificate.pathLength === null || certificate.pathLength >= depth) &&
		checkCommon(certificate, atMs) === null &&
		hasSigned(issuer, subject)
	);
}

/** By name and signature; whether it may is another question. */
export function hasSigned(issuer: Issuer, subject: Issuer): boolean {
	if (!equalBytes(issuer.certificate.subjectDer, subject.certificate.issuerDer)) return false;
	const { signed } = issuer;
	if (signed === undefined) return subject.x509.verify(issuer.x509.publicKey);
	// What once was signed by a key stays so. Dates, uses and revocation are looked at each time.
	const { der } = subject.certificate;
	const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('latin1');
	if (signed.has(bytes)) return true;
	if (!subject.x509.verify(issuer.x509.publicKey)) return false;
	if (signed.size === SIGNED_MAX) signed.delete(signed.values().next().value!);
	signed.add(bytes);
	return true;
}

/** `atMs` null: dates do not count. */
function checkCommon(certificate: Certificate, atMs: number | null): string | null {
	if (atMs !== null && atMs < certificate.notBeforeMs) {
		return `the certificate is valid only from ${new Date(certificate.notBeforeMs).toISOString()}`;
	}
	if (atMs !== null && atMs > certificate.notAfterMs) {
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

/** @throws DerError */
export function parseRoots(pem: string): readonly Issuer[] {
	const known = rootSets.get(pem);
	if (known !== undefined) return known;
	const roots: Issuer[] = [];
	for (const match of pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g)) {
		if (roots.length === ROOTS_MAX) throw new DerError('too many roots');
		roots.push({ ...readIssuer(Buffer.from(match[1]!, 'base64')), signed: new Set() });
	}
	if (rootSets.size === ROOT_SETS_MAX) rootSets.delete(rootSets.keys().next().value!);
	rootSets.set(pem, roots);
	return roots;
}

/** @throws DerError */
export function readIssuer(der: Uint8Array): Issuer {
	return { certificate: parseCertificate(der), x509: new X509Certificate(der) };
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
	return Buffer.compare(a, b) === 0;
}

function refused(reason: string): ChainVerdict {
	return { kind: 'refused', reason };
}
