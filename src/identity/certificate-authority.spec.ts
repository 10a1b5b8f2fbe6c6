import { afterAll, describe, expect, test } from 'bun:test';
import { X509Certificate as NodeCertificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '../std/clock.ts';
import { CertificateAuthority, WORKLOAD_VALIDITY_MAX_MS } from './certificate-authority.ts';
import { P256_KEY, P256_SIGNATURE, parseCertificates, uriNames, x509 } from './x509.ts';

const made: string[] = [];
afterAll(() => {
	for (const directory of made) rmSync(directory, { recursive: true, force: true });
});

function freshDirectory(): string {
	const directory = mkdtempSync(join(tmpdir(), 'weft-ca-'));
	made.push(directory);
	return join(directory, 'ca');
}

function open(directory = freshDirectory(), clock = new VirtualClock(), trustDomain?: string) {
	return CertificateAuthority.open({ directory, clock, trustDomain });
}

const ID = 'spiffe://cluster.local/ns/shop/sa/reviews';
type KeyAlgorithm = typeof P256_KEY | { name: string; [key: string]: unknown };

async function request(
	algorithm: KeyAlgorithm = P256_KEY,
	signature: { name: string; hash?: string } = P256_SIGNATURE,
) {
	const keys = (await crypto.subtle.generateKey(algorithm as typeof P256_KEY, true, [
		'sign',
		'verify',
	])) as CryptoKeyPair;
	const csr = await x509.Pkcs10CertificateRequestGenerator.create({
		name: 'CN=admin,O=system:masters',
		keys,
		signingAlgorithm: signature as typeof P256_SIGNATURE,
		extensions: [
			new x509.SubjectAlternativeNameExtension([{ type: 'url', value: 'spiffe://cluster.local/ns/x/sa/root' }]),
		],
	});
	return { csrPem: csr.toString('pem'), keys, csr };
}

describe('the root', () => {
	test('is made once, its key readable by its owner only, and is the same at the next start', async () => {
		const directory = freshDirectory();
		const first = await open(directory);
		expect(statSync(join(directory, 'root-key.pem')).mode & 0o777).toBe(0o600);
		expect(statSync(directory).mode & 0o777).toBe(0o700);
		const second = await open(directory);
		expect(second.rootsPem).toBe(first.rootsPem);
		expect(readFileSync(join(directory, 'root-cert.pem'), 'utf8')).toBe(first.rootsPem);
	});

	test('is one when several start at once', async () => {
		const directory = freshDirectory();
		const all = await Promise.all(Array.from({ length: 5 }, () => open(directory)));
		expect(new Set(all.map((authority) => authority.rootsPem)).size).toBe(1);
		expect(readdirSync(join(directory, '..'))).toEqual(['ca']);
	});

	test('is refused when others may read its key', async () => {
		const directory = freshDirectory();
		await open(directory);
		chmodSync(join(directory, 'root-key.pem'), 0o640);
		await expect(open(directory)).rejects.toThrow('may be read by others');
	});

	test('is refused when the key is gone, rather than replaced', async () => {
		const directory = freshDirectory();
		await open(directory);
		rmSync(join(directory, 'root-key.pem'));
		await expect(open(directory)).rejects.toThrow('root-key.pem is not');
	});

	test.each(['root-key.pem', 'root-cert.pem'])('is refused, by its name, when %s is no PEM', async (file) => {
		const directory = freshDirectory();
		await open(directory);
		writeFileSync(join(directory, file), 'no PEM');
		await expect(open(directory)).rejects.toThrow(`${file}: expected one`);
	});

	test('is refused for another trust domain', async () => {
		const directory = freshDirectory();
		await open(directory, undefined, 'one.example');
		await expect(open(directory, undefined, 'two.example')).rejects.toThrow('not of spiffe://two.example');
	});

	test('is refused when it has expired', async () => {
		const directory = freshDirectory();
		const clock = new VirtualClock();
		await open(directory, clock);
		clock.advance(11 * 365 * 24 * 3600 * 1000);
		await expect(open(directory, clock)).rejects.toThrow('expired at');
	});
});

describe('a workload certificate', () => {
	test('says exactly what was authorised, whatever the request asks for', async () => {
		const authority = await open();
		const { csrPem, keys } = await request();
		const { chainPem } = await authority.signWorkload({ csrPem, spiffeId: ID });
		const [leaf, root] = chainPem.flatMap((pem) => parseCertificates(pem));
		expect(uriNames(leaf!)).toEqual([ID]);
		expect(leaf!.subject).toBe('');
		const names = leaf!.getExtension(x509.SubjectAlternativeNameExtension)!;
		expect(names.critical).toBe(true);
		expect(names.names.items).toHaveLength(1);
		expect(leaf!.getExtension(x509.ExtendedKeyUsageExtension)!.usages).toEqual([
			x509.ExtendedKeyUsage.serverAuth,
			x509.ExtendedKeyUsage.clientAuth,
		]);
		expect(leaf!.getExtension(x509.KeyUsagesExtension)!.usages).toBe(x509.KeyUsageFlags.digitalSignature);
		expect(leaf!.getExtension(x509.BasicConstraintsExtension)!.ca).toBe(false);
		expect(Buffer.from(leaf!.publicKey.rawData)).toEqual(
			Buffer.from(await crypto.subtle.exportKey('spki', keys.publicKey)),
		);
		// BoringSSL's opinion, which is the one that counts in a handshake.
		const nodeLeaf = new NodeCertificate(chainPem[0]!);
		const nodeRoot = new NodeCertificate(chainPem[1]!);
		expect(nodeLeaf.checkIssued(nodeRoot)).toBe(true);
		expect(nodeLeaf.verify(nodeRoot.publicKey)).toBe(true);
		expect(nodeRoot.ca).toBe(true);
		expect(root!.subject).toBe(leaf!.issuer);
	});

	test('begins a minute ago and lasts 24 h, or less where less is asked for', async () => {
		const clock = new VirtualClock();
		const authority = await open(undefined, clock);
		const { csrPem } = await request();
		const life = async (validityMs?: number) => {
			const { chainPem } = await authority.signWorkload({ csrPem, spiffeId: ID, validityMs });
			const [leaf] = parseCertificates(chainPem[0]!);
			return [leaf!.notBefore.getTime() - clock.wallMs(), leaf!.notAfter.getTime() - clock.wallMs()];
		};
		expect(await life()).toEqual([-60_000, WORKLOAD_VALIDITY_MAX_MS]);
		expect(await life(3_600_000)).toEqual([-60_000, 3_600_000]);
		expect(await life(WORKLOAD_VALIDITY_MAX_MS * 100)).toEqual([-60_000, WORKLOAD_VALIDITY_MAX_MS]);
		await expect(life(0)).rejects.toThrow('not above zero');
		await expect(life(Number.NaN)).rejects.toThrow('not above zero');
	});

	test('never outlives the root', async () => {
		const clock = new VirtualClock();
		const authority = await open(undefined, clock);
		clock.advance(authority.rootNotAfterMs - clock.wallMs() - 3_600_000);
		const { csrPem } = await request();
		const { notAfterMs } = await authority.signWorkload({ csrPem, spiffeId: ID });
		expect(notAfterMs).toBe(authority.rootNotAfterMs);
		clock.advance(3_600_000);
		await expect(authority.signWorkload({ csrPem, spiffeId: ID })).rejects.toThrow('root certificate has expired');
	});

	test.each([
		['P-256', P256_KEY, P256_SIGNATURE],
		['P-384', { name: 'ECDSA', namedCurve: 'P-384' }, { name: 'ECDSA', hash: 'SHA-384' }],
		['Ed25519', { name: 'Ed25519' }, { name: 'Ed25519' }],
		[
			'RSA 2048',
			{ name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' },
			{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
		],
	])('is made for a key of %s', async (_name, algorithm, signature) => {
		const { csrPem } = await request(algorithm, signature);
		const { chainPem } = await (await open()).signWorkload({ csrPem, spiffeId: ID });
		expect(uriNames(parseCertificates(chainPem[0]!)[0]!)).toEqual([ID]);
	});

	test('is refused for a weak key', async () => {
		const rsa = {
			name: 'RSASSA-PKCS1-v1_5',
			modulusLength: 1024,
			publicExponent: new Uint8Array([1, 0, 1]),
			hash: 'SHA-256',
		};
		const { csrPem } = await request(rsa, { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' });
		await expect((await open()).signWorkload({ csrPem, spiffeId: ID })).rejects.toThrow('1024 bits');
	});

	test('is refused when the sender has not the private key', async () => {
		const { csr } = await request();
		const der = new Uint8Array(csr.rawData);
		// The signature stands last.
		der[der.length - 1]! ^= 1;
		const csrPem = x509.PemConverter.encode(der, 'CERTIFICATE REQUEST');
		await expect((await open()).signWorkload({ csrPem, spiffeId: ID })).rejects.toMatchObject({ code: 'invalid_csr' });
	});

	test.each([
		['nothing', ''],
		['no PEM', 'hello'],
		['another kind of PEM', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----'],
		['broken DER', '-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----'],
		['too much', 'A'.repeat(20_000)],
	])('is refused for %s', async (_name, csrPem) => {
		await expect((await open()).signWorkload({ csrPem, spiffeId: ID })).rejects.toMatchObject({ code: 'invalid_csr' });
	});

	test('is refused for an ID that is no workload of the trust domain', async () => {
		const authority = await open();
		const { csrPem } = await request();
		for (const spiffeId of ['spiffe://other/ns/a/sa/b', 'spiffe://cluster.local/x', 'spiffe://cluster.local']) {
			await expect(authority.signWorkload({ csrPem, spiffeId })).rejects.toMatchObject({ code: 'invalid_spiffe_id' });
		}
	});
});

describe('verifyWorkload', () => {
	test("knows the authority's own certificates, within their time", async () => {
		const clock = new VirtualClock();
		const authority = await open(undefined, clock);
		const { csrPem } = await request();
		const { chainPem } = await authority.signWorkload({ csrPem, spiffeId: ID, validityMs: 3_600_000 });
		const leaf = new Uint8Array(parseCertificates(chainPem[0]!)[0]!.rawData);
		const workload = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'reviews' };
		expect(authority.verifyWorkload(leaf)).toEqual(workload);
		clock.advance(3_600_000);
		expect(authority.verifyWorkload(leaf)).toBeNull();
	});

	test("takes the control plane's own for no workload's", async () => {
		const authority = await open();
		const { certificateChainPem } = await authority.issueControlPlaneCertificate();
		expect(authority.verifyWorkload(new NodeCertificate(certificateChainPem).raw)).toBeNull();
	});

	test('knows nobody else', async () => {
		const authority = await open();
		const { csrPem } = await request();
		const stranger = await (await open()).signWorkload({ csrPem, spiffeId: ID });
		const ours = await authority.signWorkload({ csrPem, spiffeId: ID });
		const changed = new Uint8Array(parseCertificates(ours.chainPem[0]!)[0]!.rawData);
		changed[changed.length - 1]! ^= 1;
		const [root] = parseCertificates(authority.rootsPem);
		for (const der of [
			new Uint8Array(parseCertificates(stranger.chainPem[0]!)[0]!.rawData),
			changed,
			new Uint8Array(root!.rawData),
			new Uint8Array(),
			new TextEncoder().encode('hello'),
		]) {
			expect(authority.verifyWorkload(der)).toBeNull();
		}
	});
});

test("the control plane's certificate has its SPIFFE ID and its DNS names", async () => {
	const authority = await open();
	const { certificateChainPem } = await authority.issueControlPlaneCertificate();
	const leaf = new NodeCertificate(certificateChainPem);
	expect(leaf.subjectAltName).toBe(
		'URI:spiffe://cluster.local/ns/weft-system/sa/weft, DNS:weft-control-plane.weft-system.svc, DNS:localhost',
	);
	expect(leaf.checkHost('weft-control-plane.weft-system.svc')).toBeDefined();
	const withAddress = await authority.issueControlPlaneCertificate(['127.0.0.1']);
	expect(new NodeCertificate(withAddress.certificateChainPem).checkIP('127.0.0.1')).toBe('127.0.0.1');
});
