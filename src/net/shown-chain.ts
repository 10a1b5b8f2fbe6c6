// The certificates that we show in a handshake, made whole beforehand. To one certificate alone
// BoringSSL looks for issuers anew in every handshake: it verifies our own chain against what peers are judged by
// (a signature, and without roots four files that are not there), and shows the issuers that it finds.
// It leaves alone what is more than one certificate, and what is trusted by itself.

import { X509Certificate } from 'node:crypto';
import { hasSigned, type Issuer, parseRoots, readIssuer } from './verify-chain.ts';

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
/** A chain through the roots is not longer; more would be a circle. */
const ISSUERS_MAX = 10;

export interface ShownChain {
	readonly chainPem: string;
	/** It was, and still is, the leaf without issuers. */
	readonly isLeafAlone: boolean;
}

/**
 * The chain with those issuers that BoringSSL would find among the roots: shown is the same.
 *
 * @param chainPem leaf first
 * @param rootsPem empty: none
 */
export function shownChain(chainPem: string, rootsPem: string): ShownChain {
	const certificates = chainPem.match(PEM_CERTIFICATE) ?? [];
	if (certificates.length !== 1) return { chainPem, isLeafAlone: false };
	const issuers = rootsPem === '' ? [] : issuersAmong(certificates[0]!, rootsPem);
	if (issuers.length === 0) return { chainPem, isLeafAlone: true };
	return { chainPem: [certificates[0]!, ...issuers].join('\n'), isLeafAlone: false };
}

/** Nearest first. */
function issuersAmong(leafPem: string, rootsPem: string): string[] {
	const found: Issuer[] = [];
	try {
		const roots = parseRoots(rootsPem);
		let current = readIssuer(new Uint8Array(new X509Certificate(leafPem).raw));
		while (found.length < ISSUERS_MAX) {
			const issuer = roots.find((one) => hasSigned(one, current));
			// The last one has signed itself.
			if (issuer === undefined || isSame(issuer, current)) break;
			found.push(issuer);
			current = issuer;
		}
	} catch {
		// What cannot be read here is BoringSSL's to refuse.
		return [];
	}
	return found.map(({ x509 }) => x509.toString());
}

function isSame(a: Issuer, b: Issuer): boolean {
	return Buffer.compare(a.certificate.der, b.certificate.der) === 0;
}
