// What the authority, the agent and their tests share of X.509: the library, set up once, and PEM.

import * as x509 from '../net/x509-library.cjs';

x509.cryptoProvider.set(crypto);

export { x509 };

export const P256_KEY = { name: 'ECDSA', namedCurve: 'P-256' } as const;
export const P256_SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const;

export function generateP256(): Promise<CryptoKeyPair> {
	return crypto.subtle.generateKey(P256_KEY, true, ['sign', 'verify']) as Promise<CryptoKeyPair>;
}

/** PKCS#8, PEM, with a newline at the end. */
export async function privateKeyToPem(key: CryptoKey): Promise<string> {
	return `${x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

export function certificateToPem(certificate: x509.X509Certificate): string {
	return `${certificate.toString('pem')}\n`;
}

/** At most `countMax` certificates are read. @throws Error for what is no certificate. */
export function parseCertificates(pem: string, countMax = 16): x509.X509Certificate[] {
	const blocks = x509.PemConverter.decodeWithHeaders(pem);
	if (blocks.length > countMax) throw new Error(`more than ${countMax} certificates`);
	return blocks.map((block) => {
		if (block.type !== 'CERTIFICATE') throw new Error(`a PEM block is ${block.type}, not CERTIFICATE`);
		return new x509.X509Certificate(block.rawData);
	});
}

/** The URI names of a certificate's subject alternative name. */
export function uriNames(certificate: x509.X509Certificate): string[] {
	const extension = certificate.getExtension(x509.SubjectAlternativeNameExtension);
	if (extension === null) return [];
	return extension.names.items.filter((name) => name.type === 'url').map((name) => name.value);
}

export function isSelfIssued(certificate: x509.X509Certificate): boolean {
	return certificate.issuer === certificate.subject && certificate.subject !== '';
}

export function sameBytes(left: ArrayBuffer | Uint8Array, right: ArrayBuffer | Uint8Array): boolean {
	return Buffer.from(left as Uint8Array).equals(Buffer.from(right as Uint8Array));
}
