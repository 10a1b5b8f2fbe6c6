// What a TLS secret is once it has been checked: a certificate chain with its key, or what to
// verify peers by. Checked when loaded, so that a pair that does not fit is refused there and not
// at the first handshake.

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import {
	type CertificateValidationContext,
	CertificateValidationContext_TrustChainVerification as ChainVerification,
	type TlsCertificate,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { parseCertificate } from '../../net/certificate.ts';
import type { EcdsaCurve } from '../../net/client-hello.ts';
import type { ChainPolicy } from '../../net/network.ts';
import { parseRevocationLists } from '../../net/revocation.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';
import { readDataSource } from './data-source.ts';
import { compileHashPins, compileKeyPins, type PeerPins } from './peer-pins.ts';
import { compileSanMatcher, type SanMatcher } from './subject-alt-names.ts';

export interface CertificateSecret {
	readonly kind: 'certificate';
	/** Leaf first. */
	readonly certificateChainPem: string;
	/** Not encrypted. Never logged, never shown. */
	readonly privateKeyPem: string;
	/** DNS names that it stands for, in lower case, `*.a.example` too; without any alternative name, the common name. */
	readonly serverNames: readonly string[];
	/** Null: its key is none for ECDSA. */
	readonly curve: EcdsaCurve | null;
	readonly notAfterMs: number;
}

export interface ValidationSecret {
	readonly kind: 'validation';
	/** Empty: the chain is not checked. */
	readonly rootsPem: string;
	/** When the first of the roots ends; null: there are none. */
	readonly rootsNotAfterMs: number | null;
	readonly chainPolicy: ChainPolicy;
	readonly acceptUntrusted: boolean;
	readonly matchers: readonly SanMatcher[];
	readonly pins: PeerPins;
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
const PEM_CRL_BEGIN = '-----BEGIN X509 CRL-----';
const RSA_BITS_MIN = 2048;
const CURVES: Readonly<Record<string, EcdsaCurve>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' };

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
	const password = config.password === undefined ? null : readDataSource(config.password, object, `${field}.password`);
	return certificateSecret(certificateChainPem, privateKeyPem, object, field, password);
}

/** `password`: of the key; null: it is not encrypted. @throws ConfigError as `compileCertificate` */
export function certificateSecret(
	certificateChainPem: string,
	privateKeyPem: string,
	object: string,
	field: string,
	password: string | null = null,
): CertificateSecret {
	const leaf = parseCertificates(certificateChainPem, object, `${field}.certificate_chain`)[0]!;
	let key: KeyObject;
	try {
		// OpenSSL asks for a password on the terminal when none is given; an empty one it takes as given.
		key = createPrivateKey({ key: privateKeyPem, passphrase: password ?? '' });
	} catch (error) {
		// The library's message names the place in it that failed, nothing of what is in the key.
		const what = password === null ? 'an unencrypted private key in PEM' : 'a private key in PEM, for this password';
		throw new ConfigError({ object, field: `${field}.private_key`, expected: `${what} (${errorMessage(error)})` });
	}
	if (!leaf.checkPrivateKey(key)) {
		throw new ConfigError({ object, field: `${field}.private_key`, expected: 'the key of the first certificate' });
	}
	return {
		kind: 'certificate',
		certificateChainPem,
		privateKeyPem: password === null ? privateKeyPem : String(key.export({ type: 'pkcs8', format: 'pem' })),
		...describeLeaf(leaf, object, `${field}.certificate_chain`),
	};
}

function describeLeaf(leaf: X509Certificate, object: string, field: string) {
	const key = leaf.publicKey;
	const bits = key.asymmetricKeyDetails?.modulusLength ?? RSA_BITS_MIN;
	if (key.asymmetricKeyType === 'rsa' && bits < RSA_BITS_MIN) {
		throw new ConfigError({ object, field, found: `an RSA key of ${bits} bits`, expected: `at least ${RSA_BITS_MIN}` });
	}
	const namedCurve = key.asymmetricKeyType === 'ec' ? (key.asymmetricKeyDetails?.namedCurve ?? '') : null;
	const curve = namedCurve === null ? null : CURVES[namedCurve];
	if (curve === undefined) {
		throw new ConfigError({ object, field, found: `a key on ${namedCurve}`, expected: 'P-256, P-384 or P-521' });
	}
	try {
		const { dnsSans, commonName, notAfterMs } = parseCertificate(new Uint8Array(leaf.raw));
		const names = leaf.subjectAltName === undefined ? [commonName] : dnsSans;
		const serverNames = names.filter((name) => name !== '').map((name) => name.toLowerCase());
		return { curve, serverNames, notAfterMs };
	} catch (error) {
		throw new ConfigError({ object, field, expected: `a certificate of RFC 5280 (${errorMessage(error)})` });
	}
}

/** @throws ConfigError when roots or lists cannot be parsed, or a matcher is wrong */
export function compileValidation(
	config: CertificateValidationContext,
	object: string,
	field: string,
): ValidationSecret {
	let rootsPem = '';
	let rootsNotAfterMs: number | null = null;
	let crlPem = '';
	if (config.trustedCa !== undefined) {
		rootsPem = readDataSource(config.trustedCa, object, `${field}.trusted_ca`);
		rootsNotAfterMs = firstEndMs(parseCertificates(rootsPem, object, `${field}.trusted_ca`));
		// Envoy reads the lists among the certificates as well.
		if (rootsPem.includes(PEM_CRL_BEGIN)) crlPem = checkedLists(rootsPem, object, `${field}.trusted_ca`);
	}
	if (config.crl !== undefined) {
		const own = readDataSource(config.crl, object, `${field}.crl`);
		crlPem += checkedLists(own, object, `${field}.crl`);
	}
	const matchers = config.matchTypedSubjectAltNames.map((matcher, i) =>
		compileSanMatcher(matcher, object, `${field}.match_typed_subject_alt_names[${i}]`),
	);
	return {
		kind: 'validation',
		rootsPem,
		rootsNotAfterMs,
		chainPolicy: {
			...(crlPem === '' ? {} : { crlPem }),
			...(config.onlyVerifyLeafCertCrl ? { crlLeafOnly: true } : {}),
			...(config.allowExpiredCertificate ? { allowExpired: true } : {}),
			...intermediatesOf(config.maxVerifyDepth),
		},
		acceptUntrusted: config.trustChainVerification === ChainVerification.ACCEPT_UNTRUSTED,
		matchers,
		pins: {
			certificates: compileHashPins(config.verifyCertificateHash, object, `${field}.verify_certificate_hash`),
			keys: compileKeyPins(config.verifyCertificateSpki, object, `${field}.verify_certificate_spki`),
		},
	};
}

/** Envoy's depth counts the trusted certificate too, and neither 0 nor 1 allows one between. */
function intermediatesOf(depth: number | undefined): ChainPolicy {
	return depth === undefined ? {} : { intermediatesMax: Math.max(0, depth - 1) };
}

/** Null: of an unset field nothing is known. */
export function rootsValidation(rootsPem: string): ValidationSecret {
	const pins: PeerPins = { certificates: [], keys: [] };
	const rootsNotAfterMs = firstEndMs((rootsPem.match(PEM_CERTIFICATE) ?? []).map((text) => new X509Certificate(text)));
	return { kind: 'validation', rootsPem, rootsNotAfterMs, chainPolicy: {}, acceptUntrusted: false, matchers: [], pins };
}

/**
 * As Envoy merges `default_validation_context` with its secret: lists are joined, what either turns on is on, and other
 * fields are the secret's if it has them.
 */
export function mergeValidation(base: ValidationSecret, secret: ValidationSecret): ValidationSecret {
	return {
		kind: 'validation',
		rootsPem: secret.rootsPem || base.rootsPem,
		rootsNotAfterMs: secret.rootsPem === '' ? base.rootsNotAfterMs : secret.rootsNotAfterMs,
		chainPolicy: { ...base.chainPolicy, ...secret.chainPolicy },
		acceptUntrusted: base.acceptUntrusted || secret.acceptUntrusted,
		matchers: [...base.matchers, ...secret.matchers],
		pins: {
			certificates: [...base.pins.certificates, ...secret.pins.certificates],
			keys: [...base.pins.keys, ...secret.pins.keys],
		},
	};
}

function firstEndMs(certificates: readonly X509Certificate[]): number | null {
	if (certificates.length === 0) return null;
	return certificates.reduce((first, one) => Math.min(first, Date.parse(one.validTo)), Number.POSITIVE_INFINITY);
}

export function hasPins({ pins }: ValidationSecret): boolean {
	return pins.certificates.length > 0 || pins.keys.length > 0;
}

function checkedLists(pem: string, object: string, field: string): string {
	let count: number;
	try {
		count = parseRevocationLists(pem).length;
	} catch (error) {
		throw new ConfigError({ object, field, expected: `revocation lists in PEM (${errorMessage(error)})` });
	}
	if (count === 0) throw new ConfigError({ object, field, found: 'none', expected: 'revocation lists in PEM' });
	return `${pem}\n`;
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
