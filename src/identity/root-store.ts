// The authority's root on disk: `root-key.pem` and `root-cert.pem` in one directory, which appears
// whole or not at all (made beside its place, then renamed), so that a crash in the middle never
// leaves a key without its certificate, and of two that start at once one wins.

import { chmod, mkdir, mkdtemp, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorMessage, WeftError } from '../std/errors.ts';
import { certificateToPem, generateP256, P256_KEY, P256_SIGNATURE, privateKeyToPem, uriNames, x509 } from './x509.ts';

export interface RootKey {
	readonly certificate: x509.X509Certificate;
	readonly privateKey: CryptoKey;
}

const ROOT_VALIDITY_MS = 10 * 365 * 24 * 60 * 60 * 1000;
const KEY_FILE = 'root-key.pem';
const CERTIFICATE_FILE = 'root-cert.pem';

/** @throws WeftError `ca_unusable` */
export async function loadOrCreateRoot(directory: string, trustDomain: string, wallMs: number): Promise<RootKey> {
	try {
		const found = await load(directory);
		if (found !== null) return checked(found, directory, trustDomain, wallMs);
		await create(directory, trustDomain, wallMs);
		const made = await load(directory);
		if (made === null) throw new Error('it vanished after it was made');
		return await checked(made, directory, trustDomain, wallMs);
	} catch (error) {
		if (error instanceof WeftError) throw error;
		throw unusable(directory, errorMessage(error), error);
	}
}

async function load(directory: string): Promise<RootKey | null> {
	const keyPath = join(directory, KEY_FILE);
	const mode = await stat(keyPath).then(
		(found) => found.mode & 0o777,
		(error: NodeJS.ErrnoException) => {
			if (error.code === 'ENOENT') return null;
			throw error;
		},
	);
	if (mode === null) {
		// A certificate whose key is gone must not be replaced in silence: every workload trusts it.
		const orphan = await stat(join(directory, CERTIFICATE_FILE)).catch(() => null);
		if (orphan !== null) throw new Error(`${CERTIFICATE_FILE} is there, but ${KEY_FILE} is not`);
		return null;
	}
	if ((mode & 0o077) !== 0)
		throw new Error(`${KEY_FILE} may be read by others (mode ${mode.toString(8)}, must be 600)`);
	const certificatePem = await readFile(join(directory, CERTIFICATE_FILE), 'utf8');
	const certificate = read(CERTIFICATE_FILE, 'one certificate', () => new x509.X509Certificate(certificatePem));
	const keyPem = await readFile(keyPath, 'utf8');
	const pkcs8 = read(KEY_FILE, 'one private key', () => x509.PemConverter.decodeFirst(keyPem));
	return { certificate, privateKey: await crypto.subtle.importKey('pkcs8', pkcs8, P256_KEY, false, ['sign']) };
}

/** What libraries say of text that is no PEM helps nobody. */
function read<T>(file: string, expected: string, parse: () => T): T {
	try {
		return parse();
	} catch (cause) {
		throw new Error(`${file}: expected ${expected} in PEM`, { cause });
	}
}

async function checked(root: RootKey, directory: string, trustDomain: string, wallMs: number): Promise<RootKey> {
	const { certificate } = root;
	const challenge = crypto.getRandomValues(new Uint8Array(32));
	const publicKey = await certificate.publicKey.export(P256_KEY, ['verify']);
	const signature = await crypto.subtle.sign(P256_SIGNATURE, root.privateKey, challenge);
	if (!(await crypto.subtle.verify(P256_SIGNATURE, publicKey, signature, challenge))) {
		throw unusable(directory, `${KEY_FILE} is not the key of ${CERTIFICATE_FILE}`);
	}
	if (certificate.notAfter.getTime() <= wallMs) {
		throw unusable(directory, `the root certificate expired at ${certificate.notAfter.toISOString()}`);
	}
	const owner = uriNames(certificate)[0];
	if (owner !== `spiffe://${trustDomain}`) {
		throw unusable(directory, `its root is of ${owner ?? 'no trust domain'}, not of spiffe://${trustDomain}`);
	}
	return root;
}

async function create(directory: string, trustDomain: string, wallMs: number): Promise<void> {
	const keys = await generateP256();
	const certificate = await x509.X509CertificateGenerator.createSelfSigned({
		keys,
		name: [{ O: [trustDomain] }, { CN: ['weft root'] }],
		signingAlgorithm: P256_SIGNATURE,
		notBefore: new Date(wallMs - 60_000),
		notAfter: new Date(wallMs + ROOT_VALIDITY_MS),
		extensions: [
			new x509.BasicConstraintsExtension(true, undefined, true),
			new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
			new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
			await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
		],
	});
	await mkdir(dirname(directory), { recursive: true, mode: 0o700 });
	const staging = await mkdtemp(`${directory}.new-`);
	try {
		await chmod(staging, 0o700);
		await writeSynced(join(staging, KEY_FILE), await privateKeyToPem(keys.privateKey), 0o600);
		await writeSynced(join(staging, CERTIFICATE_FILE), certificateToPem(certificate), 0o644);
		await syncDirectory(staging);
		await rename(staging, directory);
		await syncDirectory(dirname(directory));
	} catch (error) {
		await rm(staging, { recursive: true, force: true });
		const code = (error as NodeJS.ErrnoException).code;
		// Another start was quicker; what it made is loaded.
		if (code === 'ENOTEMPTY' || code === 'EEXIST') return;
		throw error;
	}
}

async function writeSynced(path: string, text: string, mode: number): Promise<void> {
	const file = await open(path, 'wx', mode);
	try {
		await file.writeFile(text);
		await file.sync();
	} finally {
		await file.close();
	}
}

async function syncDirectory(path: string): Promise<void> {
	const directory = await open(path, 'r');
	try {
		await directory.sync();
	} finally {
		await directory.close();
	}
}

function unusable(directory: string, reason: string, cause?: unknown): WeftError {
	return new WeftError('ca_unusable', `the certificate authority in ${directory} cannot be used: ${reason}`, { cause });
}
