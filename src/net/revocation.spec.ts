import { beforeAll, describe, expect, test } from 'bun:test';
import { DerError } from './der.ts';
import type { ChainPolicy } from './network.ts';
import { parseRevocationLists, RevocationList } from './revocation.ts';
import { TestAuthority, type TestCertificate } from './testing-certificates.ts';
import { verifyChain } from './verify-chain.ts';

const now = Date.now();
const HOUR_MS = 3_600_000;
let root: TestAuthority;
let intermediate: TestAuthority;
let good: TestCertificate;
let bad: TestCertificate;
let deep: TestCertificate;

beforeAll(async () => {
	root = await TestAuthority.create('root');
	intermediate = await TestAuthority.create('intermediate', root);
	[good, bad, deep] = await Promise.all([root.issue(), root.issue(), intermediate.issue()]);
});

const verdict = (chain: readonly Uint8Array[], policy: ChainPolicy, roots = root.certificatePem) =>
	verifyChain(chain, roots, now, 'server', { ...policy, libraryAgrees: true });
const reason = (text: string) => ({ kind: 'refused', reason: expect.stringContaining(text) });

describe('revocation lists', () => {
	test('what is on the list is refused, what is not is valid', async () => {
		const crlPem = await root.revoke([bad]);
		expect(verdict([bad.der], { crlPem })).toMatchObject(reason('revoked'));
		expect(verdict([good.der], { crlPem })).toEqual({ kind: 'valid' });
	});

	test('an empty list revokes nothing', async () => {
		expect(verdict([good.der], { crlPem: await root.revoke([]) })).toEqual({ kind: 'valid' });
	});

	test('each CA of the chain needs its list, or only the one of the leaf', async () => {
		const chain = [deep.der, intermediate.der];
		const ofRoot = await root.revoke([]);
		const ofIntermediate = await intermediate.revoke([]);
		expect(verdict(chain, { crlPem: ofRoot })).toMatchObject(reason('no revocation list of "CN=intermediate"'));
		expect(verdict(chain, { crlPem: ofIntermediate })).toMatchObject(reason('no revocation list of "CN=root"'));
		expect(verdict(chain, { crlPem: ofRoot + ofIntermediate })).toEqual({ kind: 'valid' });
		expect(verdict(chain, { crlPem: ofIntermediate, crlLeafOnly: true })).toEqual({ kind: 'valid' });
		expect(verdict(chain, { crlPem: ofRoot, crlLeafOnly: true })).toMatchObject(reason('no revocation list'));
	});

	test('a revoked CA takes what it signed with it, unless only the leaf counts', async () => {
		const chain = [deep.der, intermediate.der];
		const crlPem = (await root.revoke([intermediate])) + (await intermediate.revoke([]));
		expect(verdict(chain, { crlPem })).toMatchObject(reason('"CN=intermediate" is revoked'));
		expect(verdict(chain, { crlPem, crlLeafOnly: true })).toEqual({ kind: 'valid' });
	});

	test('a list counts while it is in date, unless dates do not count', async () => {
		const old = await root.revoke([], { thisUpdateMs: now - 2 * HOUR_MS, nextUpdateMs: now - HOUR_MS });
		const future = await root.revoke([], { thisUpdateMs: now + HOUR_MS, nextUpdateMs: now + 2 * HOUR_MS });
		expect(verdict([good.der], { crlPem: old })).toMatchObject(reason('in date'));
		expect(verdict([good.der], { crlPem: future })).toMatchObject(reason('in date'));
		expect(verdict([good.der], { crlPem: old, allowExpired: true })).toEqual({ kind: 'valid' });
	});

	test('of several lists of one CA the newest counts', async () => {
		const older = await root.revoke([good], { thisUpdateMs: now - 2 * HOUR_MS });
		const newer = await root.revoke([bad], { thisUpdateMs: now - HOUR_MS });
		for (const crlPem of [older + newer, newer + older]) {
			expect(verdict([good.der], { crlPem })).toEqual({ kind: 'valid' });
			expect(verdict([bad.der], { crlPem })).toMatchObject(reason('revoked'));
		}
	});

	test('a list of another CA with the same name counts for nothing', async () => {
		const imposter = await TestAuthority.create('root');
		expect(verdict([good.der], { crlPem: await imposter.revoke([good]) })).toMatchObject(reason('no revocation list'));
	});

	test('a CA that is trusted by itself is not looked up, since its issuer is not there', async () => {
		const crlPem = await intermediate.revoke([]);
		expect(verdict([deep.der], { crlPem }, intermediate.certificatePem)).toMatchObject(reason('is not there'));
		expect(verdict([deep.der], { crlPem, crlLeafOnly: true }, intermediate.certificatePem)).toEqual({ kind: 'valid' });
	});

	test('a changed byte is no list of this CA, or no list at all', async () => {
		const pem = await root.revoke([bad]);
		const der = new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64'));
		for (let index = 0; index < der.length; index++) {
			const changed = der.slice();
			changed[index]! ^= 0x01;
			const crlPem = `-----BEGIN X509 CRL-----\n${Buffer.from(changed).toString('base64')}\n-----END X509 CRL-----\n`;
			expect(verdict([bad.der], { crlPem }).kind, `byte ${index}`).toBe('refused');
		}
		for (let length = 0; length < der.length; length++) {
			expect(() => RevocationList.parse(der.subarray(0, length))).toThrow(DerError);
		}
	});

	test('text without a list has none', () => {
		expect(parseRevocationLists('nothing')).toEqual([]);
	});
});

describe('what else a chain may be held to', () => {
	test('dates may be left out', async () => {
		const expired = await root.issue({ notBeforeMs: now - 2 * HOUR_MS, notAfterMs: now - HOUR_MS });
		expect(verdict([expired.der], {}).kind).toBe('refused');
		expect(verdict([expired.der], { allowExpired: true })).toEqual({ kind: 'valid' });
	});

	test('the number of CAs between leaf and root', () => {
		expect(verdict([deep.der, intermediate.der], { intermediatesMax: 1 })).toEqual({ kind: 'valid' });
		expect(verdict([deep.der, intermediate.der], { intermediatesMax: 0 })).toMatchObject(reason('too long'));
		expect(verdict([good.der], { intermediatesMax: 0 })).toEqual({ kind: 'valid' });
	});

	test('a leaf that is itself among the roots is trusted', async () => {
		const other = await TestAuthority.create('other');
		expect(verdict([good.der], {}, other.certificatePem + good.certificatePem)).toEqual({ kind: 'valid' });
	});
});
