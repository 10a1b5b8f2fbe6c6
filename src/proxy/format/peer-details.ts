// What access logs say of a peer's certificate beyond its names: read from it when somebody asks, once
// per connection.

import { createHash } from 'node:crypto';
import { type Certificate, formatDistinguishedName, parseCertificate } from '../../net/certificate.ts';
import type { PeerCertificate, TlsInfo } from '../../net/network.ts';

const known = new WeakMap<PeerCertificate, Certificate>();

function certificateOf(tls: TlsInfo | null): Certificate | null {
	const peer = tls?.peerCertificate;
	const der = peer?.chainDer[0];
	if (peer == null || der === undefined) return null;
	let found = known.get(peer);
	if (found === undefined) {
		found = parseCertificate(der);
		known.set(peer, found);
	}
	return found;
}

/** RFC 2253, as the subject. */
export function peerIssuer(tls: TlsInfo | null): string | null {
	const certificate = certificateOf(tls);
	return certificate === null ? null : formatDistinguishedName(certificate.issuerDer);
}

/** Hexadecimal, of the certificate's DER. */
export function peerFingerprint(tls: TlsInfo | null, hash: 'sha1' | 'sha256'): string | null {
	const certificate = certificateOf(tls);
	return certificate === null ? null : createHash(hash).update(certificate.der).digest('hex');
}

/** `2026-11-21T16:00:00.000Z`. */
export function peerValidity(tls: TlsInfo | null, end: 'notBeforeMs' | 'notAfterMs'): string | null {
	const certificate = certificateOf(tls);
	return certificate === null ? null : new Date(certificate[end]).toISOString();
}

export function peerNames(tls: TlsInfo | null, kind: 'ipSans' | 'emailSans'): readonly string[] | undefined {
	return certificateOf(tls)?.[kind];
}
