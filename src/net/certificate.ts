// The parts of an X.509 certificate (RFC 5280) that identity rests on, read from its DER. The
// names that Bun's own objects give are strings in which one name can imitate another
// (`URI:a, URI:b`); here each name is a value of its own, and one that is malformed refuses all.

import {
	DER_BIT_STRING,
	DER_BOOLEAN,
	DER_INTEGER,
	DER_OCTET_STRING,
	DER_OID,
	DER_SEQUENCE,
	DER_SET,
	DerError,
	DerReader,
	derOid,
	derTime,
	latin1,
} from './der.ts';
import { formatIpv6 } from './linux.ts';

const CERTIFICATE_BYTES_MAX = 64 * 1024;
const EXTENSIONS_MAX = 64;
const NAMES_MAX = 256;

const OID_KEY_USAGE = '2.5.29.15';
const OID_SUBJECT_ALT_NAME = '2.5.29.17';
const OID_BASIC_CONSTRAINTS = '2.5.29.19';
const OID_EXTENDED_KEY_USAGE = '2.5.29.37';
const OID_NAME_CONSTRAINTS = '2.5.29.30';
const OID_CERTIFICATE_POLICIES = '2.5.29.32';
const OID_POLICY_CONSTRAINTS = '2.5.29.36';
const OID_INHIBIT_ANY_POLICY = '2.5.29.54';
const OID_COMMON_NAME = '2.5.4.3';

export const EKU_SERVER = '1.3.6.1.5.5.7.3.1';
export const EKU_CLIENT = '1.3.6.1.5.5.7.3.2';
export const EKU_ANY = '2.5.29.37.0';

export interface Certificate {
	readonly der: Uint8Array;
	/** Upper-case hexadecimal without leading zeros. */
	readonly serialNumber: string;
	/** DER of the names, for comparison. */
	readonly issuerDer: Uint8Array;
	readonly subjectDer: Uint8Array;
	/** RFC 2253: most specific part first, `CN=a,O=b`. */
	readonly subject: string;
	readonly notBeforeMs: number;
	readonly notAfterMs: number;
	readonly uriSans: readonly string[];
	readonly dnsSans: readonly string[];
	readonly emailSans: readonly string[];
	/** `10.0.0.1`, `2001:db8::1`. */
	readonly ipSans: readonly string[];
	/** The last common name of the subject; empty: there is none. */
	readonly commonName: string;
	/** DER of the SubjectPublicKeyInfo. */
	readonly publicKeyDer: Uint8Array;
	readonly isCa: boolean;
	/** CAs that may stand below this one; null: any number. */
	readonly pathLength: number | null;
	/** May sign certificates; true when the certificate does not restrict its key's use. */
	readonly maySign: boolean;
	/** May sign revocation lists; likewise. */
	readonly maySignCrl: boolean;
	/** Names below this CA are restricted, or what policies they are issued under: for the TLS library to judge. */
	readonly isConstrained: boolean;
	/** Object identifiers; null when not restricted. */
	readonly extendedKeyUsage: readonly string[] | null;
	/** Critical extensions that nothing here understands: whoever sees one must refuse the certificate. */
	readonly unknownCritical: readonly string[];
}

/** @throws DerError */
export function parseCertificate(der: Uint8Array): Certificate {
	if (der.length > CERTIFICATE_BYTES_MAX) throw new DerError('certificate too large');
	const outer = new DerReader(der);
	const certificate = new DerReader(outer.expect(DER_SEQUENCE).content);
	outer.finish();
	const tbs = new DerReader(certificate.expect(DER_SEQUENCE).content);
	certificate.expect(DER_SEQUENCE);
	certificate.expect(DER_BIT_STRING);
	certificate.finish();

	if (tbs.peekTag() === 0xa0) tbs.read();
	const serial = tbs.expect(DER_INTEGER).content;
	tbs.expect(DER_SEQUENCE);
	const issuer = tbs.expect(DER_SEQUENCE);
	const validity = new DerReader(tbs.expect(DER_SEQUENCE).content);
	const notBeforeMs = derTime(validity.read());
	const notAfterMs = derTime(validity.read());
	validity.finish();
	const subject = tbs.expect(DER_SEQUENCE);
	const publicKey = tbs.expect(DER_SEQUENCE);
	if (tbs.peekTag() === 0x81) tbs.read();
	if (tbs.peekTag() === 0x82) tbs.read();
	const extensions = new Extensions();
	if (!tbs.atEnd) extensions.read(tbs.expect(0xa3).content);
	tbs.finish();

	return {
		der,
		serialNumber: serialText(serial),
		issuerDer: issuer.whole,
		subjectDer: subject.whole,
		subject: formatName(subject.content),
		commonName: commonName(subject.content),
		publicKeyDer: publicKey.whole,
		notBeforeMs,
		notAfterMs,
		uriSans: extensions.uriSans,
		dnsSans: extensions.dnsSans,
		emailSans: extensions.emailSans,
		ipSans: extensions.ipSans,
		isCa: extensions.isCa,
		pathLength: extensions.pathLength,
		maySign: extensions.maySign,
		maySignCrl: extensions.maySignCrl,
		isConstrained: extensions.isConstrained,
		extendedKeyUsage: extensions.extendedKeyUsage,
		unknownCritical: extensions.unknownCritical,
	};
}

/** Upper-case hexadecimal without leading zeros. */
export function serialText(content: Uint8Array): string {
	return Buffer.from(content)
		.toString('hex')
		.toUpperCase()
		.replace(/^0+(?=.)/, '');
}

class Extensions {
	readonly uriSans: string[] = [];
	readonly dnsSans: string[] = [];
	readonly emailSans: string[] = [];
	readonly ipSans: string[] = [];
	isCa = false;
	pathLength: number | null = null;
	maySign = true;
	maySignCrl = true;
	isConstrained = false;
	extendedKeyUsage: string[] | null = null;
	readonly unknownCritical: string[] = [];

	read(wrapped: Uint8Array): void {
		const outer = new DerReader(wrapped);
		const list = new DerReader(outer.expect(DER_SEQUENCE).content);
		outer.finish();
		const seen = new Set<string>();
		while (!list.atEnd) {
			const extension = new DerReader(list.expect(DER_SEQUENCE).content);
			const oid = derOid(extension.expect(DER_OID).content);
			// RFC 5280 §4.2: at most one of each; two could mean different things to two readers.
			if (seen.has(oid) || seen.size === EXTENSIONS_MAX) throw new DerError('extensions');
			seen.add(oid);
			let critical = false;
			if (extension.peekTag() === DER_BOOLEAN) critical = extension.read().content[0] === 0xff;
			const value = extension.expect(DER_OCTET_STRING).content;
			extension.finish();
			this.readOne(oid, critical, value);
		}
	}

	private readOne(oid: string, critical: boolean, value: Uint8Array): void {
		const reader = new DerReader(value);
		switch (oid) {
			case OID_SUBJECT_ALT_NAME:
				this.readNames(reader.expect(DER_SEQUENCE).content);
				break;
			case OID_BASIC_CONSTRAINTS: {
				const constraints = new DerReader(reader.expect(DER_SEQUENCE).content);
				if (constraints.peekTag() === DER_BOOLEAN) this.isCa = constraints.read().content[0] === 0xff;
				if (!constraints.atEnd) {
					const length = constraints.expect(DER_INTEGER).content;
					if (length.length !== 1 || length[0]! >= 0x80) throw new DerError('path length');
					this.pathLength = length[0]!;
				}
				constraints.finish();
				break;
			}
			case OID_KEY_USAGE: {
				const bits = reader.expect(DER_BIT_STRING).content;
				this.maySign = bits.length >= 2 && (bits[1]! & 0x04) !== 0;
				this.maySignCrl = bits.length >= 2 && (bits[1]! & 0x02) !== 0;
				break;
			}
			case OID_EXTENDED_KEY_USAGE: {
				const usages = new DerReader(reader.expect(DER_SEQUENCE).content);
				this.extendedKeyUsage = [];
				while (!usages.atEnd) this.extendedKeyUsage.push(derOid(usages.expect(DER_OID).content));
				break;
			}
			case OID_NAME_CONSTRAINTS:
			case OID_CERTIFICATE_POLICIES:
			case OID_POLICY_CONSTRAINTS:
			case OID_INHIBIT_ANY_POLICY:
				if (critical || oid === OID_NAME_CONSTRAINTS) this.isConstrained = true;
				return;
			default:
				if (critical) this.unknownCritical.push(oid);
				return;
		}
		reader.finish();
	}

	/** RFC 5280 §4.2.1.6. Names of other kinds are passed over. */
	private readNames(content: Uint8Array): void {
		const names = new DerReader(content);
		for (let count = 0; !names.atEnd; count++) {
			if (count === NAMES_MAX) throw new DerError('too many names');
			const name = names.read();
			if (name.tag === 0x86) this.uriSans.push(ia5(name.content));
			else if (name.tag === 0x82) this.dnsSans.push(ia5(name.content));
			else if (name.tag === 0x81) this.emailSans.push(ia5(name.content));
			else if (name.tag === 0x87 && name.content.length === 4) this.ipSans.push(name.content.join('.'));
			else if (name.tag === 0x87 && name.content.length === 16) this.ipSans.push(formatIpv6(name.content, 0));
		}
	}
}

/** Printable ASCII: a NUL or a line end in a name serves only to deceive. */
function ia5(bytes: Uint8Array): string {
	for (const byte of bytes) if (byte < 0x21 || byte > 0x7e) throw new DerError('character in a name');
	return latin1(bytes);
}

function commonName(content: Uint8Array): string {
	let found = '';
	const name = new DerReader(content);
	while (!name.atEnd) {
		const set = new DerReader(name.expect(DER_SET).content);
		while (!set.atEnd) {
			const attribute = new DerReader(set.expect(DER_SEQUENCE).content);
			const oid = derOid(attribute.expect(DER_OID).content);
			const value = attribute.read();
			if (oid === OID_COMMON_NAME) found = latin1(value.content);
		}
	}
	return found;
}

const ATTRIBUTE_NAMES: Readonly<Record<string, string>> = {
	'2.5.4.3': 'CN',
	'2.5.4.6': 'C',
	'2.5.4.7': 'L',
	'2.5.4.8': 'ST',
	'2.5.4.10': 'O',
	'2.5.4.11': 'OU',
	'0.9.2342.19200300.100.1.25': 'DC',
};

/** RFC 2253, of a name's DER. @throws DerError */
export function formatDistinguishedName(der: Uint8Array): string {
	return formatName(new DerReader(der).expect(DER_SEQUENCE).content);
}

function formatName(content: Uint8Array): string {
	const parts: string[] = [];
	const name = new DerReader(content);
	while (!name.atEnd) {
		const set = new DerReader(name.expect(DER_SET).content);
		const attributes: string[] = [];
		while (!set.atEnd) {
			const attribute = new DerReader(set.expect(DER_SEQUENCE).content);
			const oid = derOid(attribute.expect(DER_OID).content);
			const value = attribute.read();
			attribute.finish();
			// UTF8String and the ASCII kinds; others are rare enough to be shown byte by byte.
			const text = value.tag === 0x0c ? Buffer.from(value.content).toString('utf8') : latin1(value.content);
			attributes.push(`${ATTRIBUTE_NAMES[oid] ?? oid}=${escapeValue(text)}`);
		}
		parts.push(attributes.join('+'));
	}
	return parts.reverse().join(',');
}

function escapeValue(text: string): string {
	return text
		.replace(/[,+"\\<>;]/g, '\\$&')
		.replace(/^[ #]| $/g, '\\$&')
		.replace(/[\u0000-\u001f\u007f]/g, (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
