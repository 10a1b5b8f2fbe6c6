// Certificates of every kind that a validation context tells apart, made once per test run.

import { createHash } from 'node:crypto';
import { parseCertificate } from '../../src/net/certificate.ts';
import {
	TestAuthority,
	type TestCertificate,
	type TestCertificateOptions,
} from '../../src/net/testing-certificates.ts';

const DAY_MS = 86_400_000;
const EKU_SERVER = '1.3.6.1.5.5.7.3.1';
const EKU_CLIENT = '1.3.6.1.5.5.7.3.2';

export interface Pki {
	readonly root: TestAuthority;
	readonly intermediate: TestAuthority;
	/** By name, with what they are. A null certificate: none is shown. */
	readonly peers: ReadonlyMap<string, TestCertificate | null>;
	readonly crl: string;
	/** Of the root alone. */
	readonly rootCrl: string;
	peer(name: string): TestCertificate;
}

const NAMES: TestCertificateOptions = {
	name: 'peer',
	uris: ['spiffe://mesh/ns/a/sa/b'],
	dns: ['a.example', '*.wild.example'],
	ips: ['127.0.0.1'],
	emails: ['a@example.com'],
};

export async function makePki(): Promise<Pki> {
	const root = await TestAuthority.create('root');
	const other = await TestAuthority.create('root');
	const intermediate = await TestAuthority.create('intermediate', root);
	const second = await TestAuthority.create('second', intermediate);
	const revokedCa = await TestAuthority.create('revoked CA', root);
	const restricted = await TestAuthority.create('restricted', root, { pathLength: 0 });
	const below = await TestAuthority.create('below', restricted);
	const noCa = await TestAuthority.create('no CA', root, { isCa: false });
	const now = Date.now();

	const peers = new Map<string, TestCertificate | null>([['none', null]]);
	const add = async (
		name: string,
		from: TestAuthority,
		more: TestCertificateOptions = {},
		chain: TestAuthority[] = [],
	) => {
		const leaf = await from.issue({ ...NAMES, ...more });
		const certificatePem = [leaf.certificatePem, ...chain.map((ca) => ca.certificatePem)].join('');
		peers.set(name, { ...leaf, certificatePem });
		return leaf;
	};
	await add('right', root);
	await add('of another CA of the same name', other);
	await add('expired', root, { notBeforeMs: now - 2 * DAY_MS, notAfterMs: now - DAY_MS });
	await add('not yet valid', root, { notBeforeMs: now + DAY_MS, notAfterMs: now + 2 * DAY_MS });
	await add('other names', root, {
		uris: ['spiffe://mesh/ns/c/sa/d'],
		dns: ['b.example', '*.example'],
		ips: ['10.0.0.1'],
		emails: ['b@example.com'],
	});
	await add('no names', root, { uris: [], dns: [], ips: [], emails: [] });
	const revoked = await add('revoked', root);
	await add('for servers only', root, { extendedKeyUsage: [EKU_SERVER] });
	await add('for clients only', root, { extendedKeyUsage: [EKU_CLIENT] });
	await add('without usage', root, { extendedKeyUsage: null });
	await add('under an intermediate', intermediate, {}, [intermediate]);
	await add('under an intermediate that is missing', intermediate);
	await add('under two', second, {}, [second, intermediate]);
	await add('under two, in the other order', second, {}, [intermediate, second]);
	await add('under a revoked CA', revokedCa, {}, [revokedCa]);
	await add('deeper than its CA allows', below, {}, [below, restricted]);
	await add('under what is no CA', noCa, {}, [noCa]);
	await add('with its root', root, {}, [root]);
	peers.set('signed by itself', await TestAuthority.create('own', undefined, { ...NAMES, isCa: false }));
	// A long tail of strangers, which leads nowhere.
	await add('under nobody that it shows', root, {}, [other, second]);

	const rootCrl = await root.revoke([revoked, revokedCa]);
	const crls = await Promise.all([intermediate, second, restricted, below, revokedCa].map((ca) => ca.revoke([])));
	const peer = (name: string): TestCertificate => {
		const found = peers.get(name);
		if (found == null) throw new Error(`no peer ${name}`);
		return found;
	};
	return { root, intermediate, peers, crl: [rootCrl, ...crls].join(''), rootCrl, peer };
}

const inline = (text: string) => ({ inline_string: text });

/** Validation contexts by name, as JSON. */
export function validationContexts(pki: Pki): ReadonlyMap<string, object> {
	const trusted_ca = inline(pki.root.certificatePem);
	const san = (san_type: string, matcher: object) => ({
		trusted_ca,
		match_typed_subject_alt_names: [{ san_type, matcher }],
	});
	const right = pki.peer('right').der;
	const hash = createHash('sha256').update(right).digest('hex');
	const colons = hash.toUpperCase().match(/../g)!.join(':');
	const spki = createHash('sha256').update(parseCertificate(right).publicKeyDer).digest('base64');
	return new Map<string, object>([
		['roots', { trusted_ca }],
		['an intermediate as root', { trusted_ca: inline(pki.intermediate.certificatePem) }],
		['a leaf as root', { trusted_ca: inline(pki.peer('of another CA of the same name').certificatePem) }],
		['URI exact', san('URI', { exact: 'spiffe://mesh/ns/a/sa/b' })],
		['URI prefix', san('URI', { prefix: 'spiffe://mesh/ns/a/' })],
		['URI suffix', san('URI', { suffix: '/sa/b' })],
		['URI regex', san('URI', { safe_regex: { regex: 'spiffe://mesh/ns/[ac]/sa/b' } })],
		['DNS exact', san('DNS', { exact: 'a.example' })],
		['DNS exact in capitals', san('DNS', { exact: 'A.EXAMPLE' })],
		['DNS under a wildcard', san('DNS', { exact: 'x.wild.example' })],
		['DNS two under a wildcard', san('DNS', { exact: 'x.y.wild.example' })],
		['DNS contains', san('DNS', { contains: 'a.ex' })],
		['DNS prefix of the wildcard', san('DNS', { prefix: '*.wild' })],
		['IP', san('IP_ADDRESS', { exact: '127.0.0.1' })],
		['EMAIL', san('EMAIL', { suffix: '@example.com' })],
		['URI that is no DNS', san('DNS', { exact: 'spiffe://mesh/ns/a/sa/b' })],
		['CRLs', { trusted_ca, crl: inline(pki.crl) }],
		['the root CRL alone', { trusted_ca, crl: inline(pki.rootCrl) }],
		['the root CRL for leaves', { trusted_ca, crl: inline(pki.rootCrl), only_verify_leaf_cert_crl: true }],
		['CRLs for leaves', { trusted_ca, crl: inline(pki.crl), only_verify_leaf_cert_crl: true }],
		['CRLs among the roots', { trusted_ca: inline(pki.root.certificatePem + pki.crl) }],
		['expired allowed', { trusted_ca, allow_expired_certificate: true }],
		['expired allowed, CRLs', { trusted_ca, allow_expired_certificate: true, crl: inline(pki.crl) }],
		['untrusted accepted', { trusted_ca, trust_chain_verification: 'ACCEPT_UNTRUSTED' }],
		[
			'untrusted accepted, URI',
			{ ...san('URI', { exact: 'spiffe://mesh/ns/a/sa/b' }), trust_chain_verification: 'ACCEPT_UNTRUSTED' },
		],
		['hash', { trusted_ca, verify_certificate_hash: [hash] }],
		['hash with colons', { trusted_ca, verify_certificate_hash: [colons] }],
		['hash without roots', { verify_certificate_hash: [hash] }],
		['key', { trusted_ca, verify_certificate_spki: [spki] }],
		['key without roots', { verify_certificate_spki: [spki] }],
		['key or hash', { trusted_ca, verify_certificate_hash: ['00'.repeat(32)], verify_certificate_spki: [spki] }],
		['depth 0', { trusted_ca, max_verify_depth: 0 }],
		['depth 1', { trusted_ca, max_verify_depth: 1 }],
		['depth 2', { trusted_ca, max_verify_depth: 2 }],
		['depth 3', { trusted_ca, max_verify_depth: 3 }],
	]);
}
