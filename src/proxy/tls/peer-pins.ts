// Peers that are known by their certificate or their key: Envoy's `verify_certificate_hash` and
// `verify_certificate_spki`. One of either suffices.

import { createHash } from 'node:crypto';
import { parseCertificate } from '../../net/certificate.ts';
import type { PeerCertificate } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';

export interface PeerPins {
	/** SHA-256 of the certificate's DER, in hexadecimal. */
	readonly certificates: readonly string[];
	/** SHA-256 of the SubjectPublicKeyInfo's DER, in base64. */
	readonly keys: readonly string[];
}

const HEX_SHA256 = /^[0-9a-f]{64}$/;
const COLONS_SHA256 = /^([0-9a-f]{2}:){31}[0-9a-f]{2}$/;
const SHA256_BYTES = 32;

/** @throws ConfigError */
export function compileHashPins(values: readonly string[], object: string, field: string): string[] {
	return values.map((value, i) => {
		const text = value.toLowerCase();
		const pin = COLONS_SHA256.test(text) ? text.replaceAll(':', '') : text;
		if (HEX_SHA256.test(pin)) return pin;
		throw new ConfigError({
			object,
			field: `${field}[${i}]`,
			found: JSON.stringify(value.slice(0, 100)),
			expected: 'a SHA-256 in hexadecimal, with or without colons',
		});
	});
}

/** @throws ConfigError */
export function compileKeyPins(values: readonly string[], object: string, field: string): string[] {
	return values.map((value, i) => {
		const bytes = Buffer.from(value, 'base64');
		if (bytes.length === SHA256_BYTES && bytes.toString('base64') === value) return value;
		throw new ConfigError({
			object,
			field: `${field}[${i}]`,
			found: JSON.stringify(value.slice(0, 100)),
			expected: 'a SHA-256 in base64',
		});
	});
}

/** Why the peer is refused, or null. */
export function verifyPins(pins: PeerPins, peer: PeerCertificate): string | null {
	const der = peer.chainDer[0];
	if (der === undefined) return 'the certificate is none of those that are pinned';
	if (pins.certificates.includes(createHash('sha256').update(der).digest('hex'))) return null;
	if (pins.keys.length > 0) {
		const key = createHash('sha256').update(parseCertificate(der).publicKeyDer).digest('base64');
		if (pins.keys.includes(key)) return null;
	}
	return 'neither certificate nor key is one of those that are pinned';
}
