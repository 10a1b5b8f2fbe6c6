// From a chain that an authority answered (or that was on disk) to a WorkloadIdentity, or a reason
// why it is not ours to use: each link's signature, the key, the SPIFFE ID and the time are checked.

import type { WorkloadIdentity } from '../net/identity-source.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import {
	certificateToPem,
	generateP256,
	isSelfIssued,
	P256_KEY,
	P256_SIGNATURE,
	parseCertificates,
	privateKeyToPem,
	sameBytes,
	uriNames,
	x509,
} from './x509.ts';

export interface SigningKey {
	readonly privateKeyPem: string;
	/** PKCS#10, with nothing in it but the public key and the proof that we hold the private one. */
	readonly csrPem: string;
}

export async function makeSigningKey(): Promise<SigningKey> {
	const keys = await generateP256();
	const csr = await x509.Pkcs10CertificateRequestGenerator.create({ keys, name: '', signingAlgorithm: P256_SIGNATURE });
	return { privateKeyPem: await privateKeyToPem(keys.privateKey), csrPem: csr.toString('pem') };
}

export interface IdentityParts {
	/** Leaf first; self-issued certificates after it are roots. */
	readonly chainPem: readonly string[];
	readonly privateKeyPem: string;
	/** Trusted as well; used alone when the chain brings no root. */
	readonly rootsPem: string;
}

/** @throws WeftError `identity_unusable`, with the reason. */
export async function checkedIdentity(
	parts: IdentityParts,
	expectedSpiffeId: string,
	wallMs: number,
): Promise<WorkloadIdentity> {
	try {
		return await check(parts, expectedSpiffeId, wallMs);
	} catch (error) {
		if (error instanceof WeftError) throw error;
		throw new WeftError('identity_unusable', `the certificate cannot be used: ${errorMessage(error)}`, {
			cause: error,
		});
	}
}

async function check(parts: IdentityParts, spiffeId: string, wallMs: number): Promise<WorkloadIdentity> {
	const [leaf, ...others] = parts.chainPem.flatMap((pem) => parseCertificates(pem));
	if (leaf === undefined) throw new Error('the chain is empty');
	const intermediates = others.filter((certificate) => !isSelfIssued(certificate));
	const sentRoots = others.filter(isSelfIssued);
	const roots = sentRoots.length > 0 ? sentRoots : parseCertificates(parts.rootsPem);
	if (!sameBytes(leaf.publicKey.rawData, await publicKeyOf(parts.privateKeyPem))) {
		throw new Error('it is for another key');
	}
	const names = uriNames(leaf);
	if (names.length !== 1 || names[0] !== spiffeId) {
		throw new Error(`it says ${names.join(', ') || 'no SPIFFE ID'}, expected ${spiffeId}`);
	}
	if (leaf.notAfter.getTime() <= wallMs) throw new Error(`it expired at ${leaf.notAfter.toISOString()}`);
	await checkSignatures(leaf, intermediates, roots);
	return {
		spiffeId,
		certificateChainPem: [leaf, ...intermediates].map(certificateToPem).join(''),
		privateKeyPem: parts.privateKeyPem,
		rootsPem: roots.map(certificateToPem).join(''),
		notBeforeMs: leaf.notBefore.getTime(),
		notAfterMs: leaf.notAfter.getTime(),
	};
}

async function checkSignatures(
	leaf: x509.X509Certificate,
	intermediates: readonly x509.X509Certificate[],
	roots: readonly x509.X509Certificate[],
): Promise<void> {
	let subject = leaf;
	for (const issuer of intermediates) {
		if (!(await subject.verify({ publicKey: issuer.publicKey, signatureOnly: true }))) {
			throw new Error('its chain does not hold together');
		}
		subject = issuer;
	}
	for (const root of roots) {
		if (root.subject !== subject.issuer) continue;
		if (await subject.verify({ publicKey: root.publicKey, signatureOnly: true })) return;
	}
	throw new Error('its chain ends in no root that is trusted');
}

/** SPKI of a P-256 private key. */
async function publicKeyOf(privateKeyPem: string): Promise<ArrayBuffer> {
	const pkcs8 = x509.PemConverter.decodeFirst(privateKeyPem);
	const key = await crypto.subtle.importKey('pkcs8', pkcs8, P256_KEY, true, ['sign']);
	const jwk = await crypto.subtle.exportKey('jwk', key);
	const { kty, crv, x, y } = jwk;
	const open = await crypto.subtle.importKey('jwk', { kty, crv, x, y }, P256_KEY, true, ['verify']);
	return crypto.subtle.exportKey('spki', open);
}
