import { expect, test } from 'bun:test';
import type { EcdsaCurve } from '../../net/client-hello.ts';
import { CertificateSelector } from './certificate-selector.ts';

const certificate = (id: string, serverNames: readonly string[], curve: EcdsaCurve | null) => ({
	id,
	serverNames,
	curve,
});
const ALL = [
	certificate('first', ['x.example'], 'P-256'),
	certificate('a-rsa', ['a.example'], null),
	certificate('a-ecdsa', ['a.example'], 'P-256'),
	certificate('a-again', ['a.example'], 'P-256'),
	certificate('wild', ['*.example'], null),
	certificate('p384', ['b.example'], 'P-384'),
];
const ECDSA: readonly EcdsaCurve[] = ['P-256'];

function chosen(serverName: string, ecdsaCurves: readonly EcdsaCurve[], scansAll = false, of = ALL): string {
	return new CertificateSelector(of, scansAll).select({ serverName, alpn: [], ecdsaCurves }).id;
}

test('by name, ECDSA where the client can, RSA where not', () => {
	expect(chosen('a.example', ECDSA)).toBe('a-ecdsa');
	expect(chosen('a.example', [])).toBe('a-rsa');
});

test('an exact name comes before a wildcard, which stands for one label', () => {
	expect(chosen('c.example', ECDSA)).toBe('wild');
	expect(chosen('d.c.example', ECDSA)).toBe('first');
});

test('a name whose certificate the client cannot verify is as one that no certificate has', () => {
	expect(chosen('b.example', ['P-384'])).toBe('p384');
	expect(chosen('b.example', ECDSA)).toBe('wild');
	expect(chosen('b.example', ECDSA, false, ALL.slice(5))).toBe('p384');
});

test('a name that no certificate has: the first, or the best of all', () => {
	expect(chosen('nobody.test', [])).toBe('first');
	expect(chosen('nobody.test', [], true)).toBe('a-rsa');
	expect(chosen('nobody.test', ECDSA, true)).toBe('first');
	expect(chosen('nobody.test', ['P-384'], true)).toBe('p384');
});

test('without a name all are looked through', () => {
	expect(chosen('', ECDSA)).toBe('first');
	expect(chosen('', [])).toBe('a-rsa');
	expect(chosen('', [], false, [ALL[0]!, ALL[5]!])).toBe('first');
});
