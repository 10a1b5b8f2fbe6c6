// Certificates for tests: made in memory with throw-away keys.

import * as x509 from './x509-library.cjs';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const CLIENT_AND_SERVER = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'];
const DAY_MS = 86_400_000;

/** An extension of any kind, for certificates that should be refused. */
export function testExtension(oid: string, isCritical: boolean, value: Uint8Array<ArrayBuffer>): x509.Extension {
	return new x509.Extension(oid, isCritical, value);
}

export interface TestCertificate {
	readonly certificatePem: string;
	readonly privateKeyPem: string;
	readonly der: Uint8Array;
}

export interface TestCertificateOptions {
	readonly name?: string;
	readonly uris?: readonly string[];
	readonly dns?: readonly string[];
	readonly ips?: readonly string[];
	readonly emails?: readonly string[];
	readonly isCa?: boolean;
	readonly pathLength?: number;
	/** Default: both; null: no such extension. */
	readonly extendedKeyUsage?: readonly string[] | null;
	readonly notBeforeMs?: number;
	readonly notAfterMs?: number;
	readonly extensions?: readonly x509.Extension[];
}

let serial = 1;

export class TestAuthority implements TestCertificate {
	private constructor(
		private readonly certificate: x509.X509Certificate,
		private readonly keys: CryptoKeyPair,
		readonly privateKeyPem: string,
	) {}

	static async create(name = 'test root', parent?: TestAuthority, options: TestCertificateOptions = {}) {
		const { certificate, keys } = await generate({ isCa: true, name, ...options }, parent ?? null);
		return new TestAuthority(certificate, keys, await pemOfKey(keys));
	}

	get certificatePem(): string {
		return `${this.certificate.toString('pem')}\n`;
	}

	get der(): Uint8Array {
		return new Uint8Array(this.certificate.rawData);
	}

	async issue(options: TestCertificateOptions = {}): Promise<TestCertificate> {
		const { certificate, keys } = await generate(options, this);
		return {
			certificatePem: `${certificate.toString('pem')}\n`,
			privateKeyPem: await pemOfKey(keys),
			der: new Uint8Array(certificate.rawData),
		};
	}

	/** A list of revoked certificates, PEM; without any, an empty one. */
	async revoke(
		certificates: readonly { readonly der: Uint8Array }[],
		options: { readonly thisUpdateMs?: number; readonly nextUpdateMs?: number } = {},
	): Promise<string> {
		const list = await x509.X509CrlGenerator.create({
			issuer: this.certificate.subject,
			thisUpdate: new Date(options.thisUpdateMs ?? Date.now() - DAY_MS),
			nextUpdate: new Date(options.nextUpdateMs ?? Date.now() + DAY_MS),
			entries: certificates.map(({ der }) => ({
				serialNumber: new x509.X509Certificate(new Uint8Array(der)).serialNumber,
				revocationDate: new Date(Date.now() - 1000),
				reason: x509.X509CrlReason.keyCompromise,
			})),
			signingAlgorithm: ALGORITHM,
			signingKey: this.keys.privateKey,
		});
		// RFC 7468 §7 has another label than the library.
		return `${list.toString('pem').replaceAll(/(BEGIN|END) CRL/g, '$1 X509 CRL')}\n`;
	}

	/** @internal */
	get issuer(): { readonly subject: string; readonly signingKey: CryptoKey } {
		return { subject: this.certificate.subject, signingKey: this.keys.privateKey };
	}
}

async function generate(options: TestCertificateOptions, issuer: TestAuthority | null) {
	const keys = (await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as CryptoKeyPair;
	const subject = `CN=${options.name ?? 'leaf'}`;
	const extensions: x509.Extension[] = [
		new x509.BasicConstraintsExtension(options.isCa === true, options.pathLength, true),
	];
	if (options.isCa === true) {
		const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
		extensions.push(new x509.KeyUsagesExtension(keyCertSign | cRLSign, true));
	}
	if (options.isCa !== true && options.extendedKeyUsage !== null) {
		extensions.push(new x509.ExtendedKeyUsageExtension([...(options.extendedKeyUsage ?? CLIENT_AND_SERVER)]));
	}
	const names = [
		...(options.uris ?? []).map((value) => ({ type: 'url' as const, value })),
		...(options.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
		...(options.ips ?? []).map((value) => ({ type: 'ip' as const, value })),
		...(options.emails ?? []).map((value) => ({ type: 'email' as const, value })),
	];
	if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names));
	const certificate = await x509.X509CertificateGenerator.create({
		serialNumber: (serial++).toString(16).padStart(4, '0'),
		subject,
		issuer: issuer?.issuer.subject ?? subject,
		notBefore: new Date(options.notBeforeMs ?? Date.now() - DAY_MS),
		notAfter: new Date(options.notAfterMs ?? Date.now() + DAY_MS),
		signingAlgorithm: ALGORITHM,
		publicKey: keys.publicKey,
		signingKey: issuer?.issuer.signingKey ?? keys.privateKey,
		extensions: [...extensions, ...(options.extensions ?? [])],
	});
	return { certificate, keys };
}

async function pemOfKey(keys: CryptoKeyPair): Promise<string> {
	const der = await crypto.subtle.exportKey('pkcs8', keys.privateKey);
	const base64 = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n');
	return `-----BEGIN PRIVATE KEY-----\n${base64.trimEnd()}\n-----END PRIVATE KEY-----\n`;
}
