// Certificate revocation lists (RFC 5280 §5, §6.3) as far as files of a trusted operator need them:
// whole lists, each signed by the CA whose certificates it is about. Lists that say something more,
// in a critical extension, are refused when they are loaded.

import { verify, type X509Certificate } from 'node:crypto';
import { type Certificate, serialText } from './certificate.ts';
import {
	DER_BIT_STRING,
	DER_BOOLEAN,
	DER_ENUMERATED,
	DER_GENERALIZED_TIME,
	DER_INTEGER,
	DER_OCTET_STRING,
	DER_OID,
	DER_SEQUENCE,
	DER_UTC_TIME,
	DerError,
	DerReader,
	derOid,
	derTime,
} from './der.ts';

const LISTS_MAX = 256;
const ENTRIES_MAX = 1_000_000;
/** Sets of lists whose parsed form is kept. */
const SETS_MAX = 16;

const OID_REASON_CODE = '2.5.29.21';
const REASON_REMOVE_FROM_CRL = 8;

const PEM_CRL = /-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----/g;

/** Hash of each signature algorithm; null: the algorithm has its own. SHA-1 and MD5 prove nothing any more. */
const SIGNATURE_HASHES: Readonly<Record<string, string | null>> = {
	'1.2.840.113549.1.1.11': 'sha256',
	'1.2.840.113549.1.1.12': 'sha384',
	'1.2.840.113549.1.1.13': 'sha512',
	'1.2.840.10045.4.3.2': 'sha256',
	'1.2.840.10045.4.3.3': 'sha384',
	'1.2.840.10045.4.3.4': 'sha512',
	'1.3.101.112': null,
};

export class RevocationList {
	/** Public keys (DER, base64) under which the signature holds or does not. */
	private readonly verdicts = new Map<string, boolean>();

	private constructor(
		readonly issuerDer: Uint8Array,
		readonly thisUpdateMs: number,
		/** Null: it says not when the next one comes. */
		readonly nextUpdateMs: number | null,
		private readonly revoked: ReadonlySet<string>,
		private readonly signedBytes: Uint8Array,
		private readonly signature: Uint8Array,
		private readonly hash: string | null,
	) {}

	/** @throws DerError */
	static parse(der: Uint8Array): RevocationList {
		const outer = new DerReader(der);
		const list = new DerReader(outer.expect(DER_SEQUENCE).content);
		outer.finish();
		const signed = list.expect(DER_SEQUENCE);
		const algorithm = list.expect(DER_SEQUENCE);
		const bits = list.expect(DER_BIT_STRING).content;
		list.finish();
		if (bits.length < 2 || bits[0] !== 0) throw new DerError('signature of a revocation list');

		const tbs = new DerReader(signed.content);
		if (tbs.peekTag() === DER_INTEGER && tbs.read().content[0] !== 1)
			throw new DerError('version of a revocation list');
		// RFC 5280 §5.1.2.2: the algorithm that is signed is the one that signs.
		const inner = tbs.expect(DER_SEQUENCE);
		if (Buffer.compare(inner.whole, algorithm.whole) !== 0) throw new DerError('algorithms of a revocation list');
		const oid = derOid(new DerReader(inner.content).expect(DER_OID).content);
		const hash = SIGNATURE_HASHES[oid];
		if (hash === undefined) throw new DerError(`signature algorithm ${oid} of a revocation list`);
		const issuer = tbs.expect(DER_SEQUENCE);
		const thisUpdateMs = derTime(tbs.read());
		let nextUpdateMs: number | null = null;
		if (tbs.peekTag() === DER_UTC_TIME || tbs.peekTag() === DER_GENERALIZED_TIME) nextUpdateMs = derTime(tbs.read());
		const revoked = new Set<string>();
		if (tbs.peekTag() === DER_SEQUENCE) readRevoked(new DerReader(tbs.read().content), revoked);
		if (!tbs.atEnd) {
			const wrapped = new DerReader(tbs.expect(0xa0).content);
			refuseCritical(new DerReader(wrapped.expect(DER_SEQUENCE).content));
			wrapped.finish();
		}
		tbs.finish();
		return new RevocationList(issuer.whole, thisUpdateMs, nextUpdateMs, revoked, signed.whole, bits.subarray(1), hash);
	}

	isRevoked(serialNumber: string): boolean {
		return this.revoked.has(serialNumber);
	}

	isSignedBy(issuer: Certificate, x509: X509Certificate): boolean {
		const key = Buffer.from(issuer.publicKeyDer).toString('base64');
		let verdict = this.verdicts.get(key);
		if (verdict === undefined) {
			verdict = this.verify(x509);
			// Issuers of one name are few; a peer that brings ever new ones must not fill the memory.
			if (this.verdicts.size >= SETS_MAX) this.verdicts.clear();
			this.verdicts.set(key, verdict);
		}
		return verdict;
	}

	private verify(x509: X509Certificate): boolean {
		try {
			return verify(this.hash, this.signedBytes, x509.publicKey, this.signature);
		} catch {
			// A key of another kind than the algorithm says.
			return false;
		}
	}
}

function readRevoked(list: DerReader, revoked: Set<string>): void {
	while (!list.atEnd) {
		const entry = new DerReader(list.expect(DER_SEQUENCE).content);
		const serial = serialText(entry.expect(DER_INTEGER).content);
		derTime(entry.read());
		let isRemoved = false;
		if (!entry.atEnd) {
			const extensions = new DerReader(entry.expect(DER_SEQUENCE).content);
			if (extensions.atEnd) throw new DerError('extensions of an entry');
			while (!extensions.atEnd) {
				const { oid, critical, value } = readExtension(extensions);
				if (oid === OID_REASON_CODE) {
					isRemoved = new DerReader(value).expect(DER_ENUMERATED).content[0] === REASON_REMOVE_FROM_CRL;
				} else if (critical) {
					throw new DerError(`critical extension ${oid} in a revocation list`);
				}
			}
		}
		entry.finish();
		if (revoked.size >= ENTRIES_MAX) throw new DerError('too many entries in a revocation list');
		if (!isRemoved) revoked.add(serial);
	}
}

function refuseCritical(extensions: DerReader): void {
	while (!extensions.atEnd) {
		const { oid, critical } = readExtension(extensions);
		if (critical) throw new DerError(`critical extension ${oid} of a revocation list`);
	}
}

function readExtension(list: DerReader): { oid: string; critical: boolean; value: Uint8Array } {
	const extension = new DerReader(list.expect(DER_SEQUENCE).content);
	const oid = derOid(extension.expect(DER_OID).content);
	const critical = extension.peekTag() === DER_BOOLEAN && extension.read().content[0] === 0xff;
	const value = extension.expect(DER_OCTET_STRING).content;
	extension.finish();
	return { oid, critical, value };
}

const sets = new Map<string, readonly RevocationList[]>();

/** All lists in a PEM text, parsed once. @throws DerError */
export function parseRevocationLists(pem: string): readonly RevocationList[] {
	const known = sets.get(pem);
	if (known !== undefined) return known;
	const lists: RevocationList[] = [];
	for (const match of pem.matchAll(PEM_CRL)) {
		if (lists.length === LISTS_MAX) throw new DerError('too many revocation lists');
		lists.push(RevocationList.parse(new Uint8Array(Buffer.from(match[1]!, 'base64'))));
	}
	if (sets.size === SETS_MAX) sets.delete(sets.keys().next().value!);
	sets.set(pem, lists);
	return lists;
}

export interface CrlIssuer {
	readonly certificate: Certificate;
	readonly x509: X509Certificate;
}

/**
 * Why `certificate` must not be believed; null: its issuer's list is there, in date, and has it not.
 * Of several lists of the issuer the newest that is in date counts.
 */
export function checkRevocation(
	certificate: Certificate,
	issuer: CrlIssuer,
	lists: readonly RevocationList[],
	nowMs: number,
	ignoreDates: boolean,
): string | null {
	let newest: RevocationList | null = null;
	let outdated = false;
	for (const list of lists) {
		if (Buffer.compare(list.issuerDer, issuer.certificate.subjectDer) !== 0) continue;
		if (!issuer.certificate.maySignCrl || !list.isSignedBy(issuer.certificate, issuer.x509)) continue;
		const inDate = nowMs >= list.thisUpdateMs && (list.nextUpdateMs === null || nowMs <= list.nextUpdateMs);
		if (!inDate && !ignoreDates) {
			outdated = true;
			continue;
		}
		if (newest === null || list.thisUpdateMs > newest.thisUpdateMs) newest = list;
	}
	if (newest === null) {
		const what = outdated ? 'no revocation list that is in date' : 'no revocation list';
		return `there is ${what} of "${issuer.certificate.subject}"`;
	}
	return newest.isRevoked(certificate.serialNumber) ? `the certificate "${certificate.subject}" is revoked` : null;
}
