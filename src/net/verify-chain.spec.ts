import { beforeAll, expect, test } from 'bun:test';
import { EKU_CLIENT, parseCertificate } from './certificate.ts';
import { DerError } from './der.ts';
import { TestAuthority, testExtension } from './testing-certificates.ts';
import { type PeerRole, verifyChain } from './verify-chain.ts';

const now = Date.now();
let root: TestAuthority;
let otherRoot: TestAuthority;

beforeAll(async () => {
	root = await TestAuthority.create();
	otherRoot = await TestAuthority.create();
});

const verdict = (chain: Uint8Array[], rootsPem = root.certificatePem, atMs = now, role: PeerRole = 'server') =>
	verifyChain(chain, rootsPem, atMs, role);

test('a leaf of a trusted root is valid, under any of several roots', async () => {
	const leaf = await root.issue();
	expect(verdict([leaf.der])).toEqual({ kind: 'valid' });
	expect(verdict([leaf.der], otherRoot.certificatePem + root.certificatePem)).toEqual({ kind: 'valid' });
});

test('a leaf of a root with the same name and another key is not', async () => {
	const leaf = await otherRoot.issue();
	expect(verdict([leaf.der]).kind).toBe('unknown_issuer');
	expect(verdict([leaf.der], '').kind).toBe('unknown_issuer');
});

test('an intermediate leads to the root when it is there', async () => {
	const intermediate = await TestAuthority.create('intermediate', root);
	const leaf = await intermediate.issue();
	expect(verdict([leaf.der, intermediate.der])).toEqual({ kind: 'valid' });
	expect(verdict([leaf.der]).kind).toBe('unknown_issuer');
});

test('a leaf cannot act as an authority', async () => {
	const notCa = await TestAuthority.create('not a CA', root, { isCa: false });
	const leaf = await notCa.issue();
	expect(verdict([leaf.der, notCa.der]).kind).toBe('unknown_issuer');
});

test('the path length of an authority holds', async () => {
	const first = await TestAuthority.create('first', root, { pathLength: 0 });
	const second = await TestAuthority.create('second', first);
	const leaf = await second.issue();
	expect(verdict([(await first.issue()).der, first.der]).kind).toBe('valid');
	expect(verdict([leaf.der, second.der, first.der]).kind).toBe('unknown_issuer');
});

test('validity counts for the leaf and for the root', async () => {
	const leaf = await root.issue({ notBeforeMs: now - 1000, notAfterMs: now + 60_000 });
	expect(verdict([leaf.der]).kind).toBe('valid');
	expect(verdict([leaf.der], undefined, now + 120_000)).toMatchObject({ reason: expect.stringContaining('expired') });
	expect(verdict([leaf.der], undefined, now - 120_000)).toMatchObject({ reason: expect.stringContaining('only from') });
	const oldRoot = await TestAuthority.create('old', undefined, { notBeforeMs: now - 2000, notAfterMs: now - 1000 });
	expect(verdict([(await oldRoot.issue()).der], oldRoot.certificatePem).kind).toBe('unknown_issuer');
});

test('a certificate for clients only is no server', async () => {
	const leaf = await root.issue({ extendedKeyUsage: [EKU_CLIENT] });
	expect(verdict([leaf.der]).kind).toBe('refused');
	expect(verdict([leaf.der], undefined, now, 'client').kind).toBe('valid');
	const unrestricted = await root.issue({ extendedKeyUsage: null });
	expect(verdict([unrestricted.der]).kind).toBe('valid');
});

test('a leaf that was valid once is judged anew, but for its signature', async () => {
	const leaf = await root.issue({ extendedKeyUsage: [EKU_CLIENT] });
	const roots = `${root.certificatePem}\n`;
	const policy = { crlPem: await root.revoke([leaf]) };
	expect(verdict([leaf.der], roots, now, 'client')).toEqual({ kind: 'valid' });
	expect(verdict([leaf.der.slice()], roots, now, 'client')).toEqual({ kind: 'valid' });
	expect(verdict([leaf.der], roots, now, 'server').kind).toBe('refused');
	expect(verdict([leaf.der], roots, now + 2 * 86_400_000, 'client').kind).toBe('refused');
	expect(verifyChain([leaf.der], roots, now, 'client', policy).kind).toBe('refused');
	expect(verdict([leaf.der], otherRoot.certificatePem, now, 'client').kind).toBe('unknown_issuer');
	for (let at = 0; at < leaf.der.length; at++) {
		const changed = leaf.der.slice();
		changed[at]! ^= 1;
		expect(verdict([changed], roots, now, 'client').kind).not.toBe('valid');
	}
});

test('more leaves than are remembered of a root are valid all the same, and again', async () => {
	const leaves = await Promise.all(Array.from({ length: 300 }, () => root.issue()));
	for (let round = 0; round < 2; round++) {
		for (const { der } of leaves) expect(verdict([der])).toEqual({ kind: 'valid' });
	}
});

test('a critical extension that nobody here knows refuses the certificate', async () => {
	const leaf = await root.issue({ extensions: [testExtension('1.2.3.4', true, new Uint8Array([5, 0]))] });
	expect(verdict([leaf.der])).toMatchObject({ kind: 'refused', reason: expect.stringContaining('1.2.3.4') });
	const harmless = await root.issue({ extensions: [testExtension('1.2.3.4', false, new Uint8Array([5, 0]))] });
	expect(verdict([harmless.der]).kind).toBe('valid');
});

test('a name that imitates two names stays one name', async () => {
	const trick = 'spiffe://cluster.local/ns/a/sa/b,URI:spiffe://cluster.local/ns/admin/sa/root';
	const leaf = await root.issue({ uris: [trick], dns: ['a.example'] });
	const certificate = parseCertificate(leaf.der);
	expect(certificate.uriSans).toEqual([trick]);
	expect(certificate.dnsSans).toEqual(['a.example']);
	const spaced = await root.issue({ uris: ['spiffe://x/a, URI:spiffe://x/b'] });
	expect(() => parseCertificate(spaced.der)).toThrow(DerError);
});

test('a changed byte anywhere never makes a certificate valid for somebody else', async () => {
	const leaf = await root.issue({ uris: ['spiffe://cluster.local/ns/a/sa/b'] });
	for (let index = 0; index < leaf.der.length; index++) {
		const changed = leaf.der.slice();
		changed[index]! ^= 0x01;
		expect(verdict([changed]).kind, `byte ${index}`).not.toBe('valid');
	}
	for (let length = 0; length < leaf.der.length; length += 7) {
		expect(() => parseCertificate(leaf.der.subarray(0, length))).toThrow(DerError);
	}
});
