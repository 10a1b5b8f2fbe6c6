// What a TLS secret is once it has been checked: a certificate chain with its key, or what to
// verify peers by. Checked when loaded, so that a pair that does not fit is refused there and not
// at the first handshake.

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import type {
	CertificateValidationContext,
	TlsCertificate,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';
import { readDataSource } from './data-source.ts';
import { compileSanMatcher, type SanMatcher } from './subject-alt-names.ts';

export interface CertificateSecret {
	readonly kind: 'certificate';
	/** Leaf first. */
	readonly certificateChainPem: string;
	/** Never logged, never shown. */
	readonly privateKeyPem: string;
}

export interface ValidationSecret {
	readonly kind: 'validation';
	/** Empty: the chain is not checked. */
	readonly rootsPem: string;
	readonly matchers: readonly SanMatcher[];
}

export type TlsSecret = CertificateSecret | ValidationSecret;

/** One certificate as the admin interface's `/certs` shows it. */
export interface CertificateSummary {
	readonly subject: string;
	readonly serialNumber: string;
	/** As in the certificate: `URI:spiffe://…, DNS:…`. */
	readonly subjectAltName: string;
	readonly notBeforeMs: number;
	readonly notAfterMs: number;
}

const CERTIFICATES_MAX = 1000;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** @throws ConfigError when the chain or the key cannot be parsed, or they do not belong together */
export function compileCertificate(config: TlsCertificate, object: string, field: string): CertificateSecret {
	if (config.certificateChain === undefined) {
		throw new ConfigError({ object, field: `${field}.certificate_chain`, expected: 'a certificate chain in PEM' });
	}
	if (config.privateKey === undefined) {
		throw new ConfigError({ object, field: `${field}.private_key`, expected: 'a private key in PEM' });
	}
	const certificateChainPem = readDataSource(config.certificateChain, object, `${field}.certificate_chain`);
	const privateKeyPem = readDataSource(config.privateKey, object, `${field}.private_key`);
	return certificateSecret(certificateChainPem, privateKeyPem, object, field);
}

/** @throws ConfigError as `compileCertificate` */
export function certificateSecret(
	certificateChainPem: string,
	privateKeyPem: string,
	object: string,
	field: string,
): CertificateSecret {
	const chain = parseCertificates(certificateChainPem, object, `${field}.certificate_chain`);
	let key: KeyObject;
	try {
		key = createPrivateKey(privateKeyPem);
	} catch (error) {
		throw new ConfigError({
			object,
			field: `${field}.private_key`,
			expected: `an unencrypted private key in PEM (${errorMessage(error)})`,
		});
	}
	if (!chain[0]!.checkPrivateKey(key)) {
		throw new ConfigError({ object, field: `${field}.private_key`, expected: 'the key of the first certificate' });
	}
	return { kind: 'certificate', certificateChainPem, privateKeyPem };
}

/** @throws ConfigError when the roots cannot be parsed or a matcher is wrong */
export function compileValidation(
	config: CertificateValidationContext,
	object: string,
	field: string,
): ValidationSecret {
	let rootsPem = '';
	if (config.trustedCa !== undefined) {
		rootsPem = readDataSource(config.trustedCa, object, `${field}.trusted_ca`);
		parseCertificates(rootsPem, object, `${field}.trusted_ca`);
	}
	const matchers = config.matchTypedSubjectAltNames.map((matcher, i) =>
		compileSanMatcher(matcher, object, `${field}.match_typed_subject_alt_names[${i}]`),
	);
	return { kind: 'validation', rootsPem, matchers };
}

export function summarizeCertificates(pem: string): CertificateSummary[] {
	return (pem.match(PEM_CERTIFICATE) ?? []).slice(0, CERTIFICATES_MAX).map((text) => {
		const certificate = new X509Certificate(text);
		return {
			subject: certificate.subject,
			serialNumber: certificate.serialNumber.toLowerCase(),
			subjectAltName: certificate.subjectAltName ?? '',
			notBeforeMs: Date.parse(certificate.validFrom),
			notAfterMs: Date.parse(certificate.validTo),
		};
	});
}

function parseCertificates(pem: string, object: string, field: string): X509Certificate[] {
	const found = pem.match(PEM_CERTIFICATE) ?? [];
	if (found.length === 0 || found.length > CERTIFICATES_MAX) {
		const expected = `between 1 and ${CERTIFICATES_MAX} certificates in PEM`;
		throw new ConfigError({ object, field, found: `${found.length}`, expected });
	}
	try {
		return found.map((text) => new X509Certificate(text));
	} catch (error) {
		throw new ConfigError({ object, field, expected: `certificates in PEM (${errorMessage(error)})` });
	}
}
