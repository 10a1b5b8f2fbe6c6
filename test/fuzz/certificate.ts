// Certificates and revocation lists, as a peer or a file may bring them:
//
//  - no input makes the reader throw anything but DerError;
//  - what is read is whole: bytes after it are refused;
//  - no changed certificate or list is believed: only the very bytes that the CA signed are.

import { parseCertificate } from '../../src/net/certificate.ts';
import { DerError } from '../../src/net/der.ts';
import { RevocationList } from '../../src/net/revocation.ts';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { verifyChain } from '../../src/net/verify-chain.ts';
import type { Random } from '../../src/std/random.ts';
import { type FuzzTarget, fail, grow } from './fuzz.ts';

const root = await TestAuthority.create('root');
const leaf = await root.issue({
	name: 'peer',
	uris: ['spiffe://mesh/ns/a/sa/b'],
	dns: ['a.example', '*.b.example'],
	ips: ['127.0.0.1', '::1'],
	emails: ['a@example.com'],
});
const crlPem = await root.revoke([leaf]);
const crlDer = new Uint8Array(Buffer.from(crlPem.replace(/-----[^-]+-----|\s/g, ''), 'base64'));

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
const RAWS = [text(leaf.der), text(root.der), text(crlDer)];
const SPICE = [
	'\x30\x80',
	'\x30\x00',
	'\x30\x82\xff\xff',
	'\x02\x01\x00',
	'\x06\x03\x55\x1d\x11',
	'\xa3\x00',
	'\x01\x01\xff',
];

export const certificates: FuzzTarget = {
	name: 'certificates',
	run(random: Random): void {
		const input = grow(random, RAWS, SPICE, 1);
		const bytes = new Uint8Array(Buffer.from(input, 'latin1'));
		const more = new Uint8Array([...bytes, 0]);
		if (reads(() => parseCertificate(bytes), input) && reads(() => parseCertificate(more), input)) {
			fail('bytes after a certificate are passed over', input);
		}
		if (reads(() => RevocationList.parse(bytes), input) && reads(() => RevocationList.parse(more), input)) {
			fail('bytes after a list are passed over', input);
		}
		const { kind } = verifyChain([bytes], root.certificatePem, Date.now(), 'server');
		if (kind === 'valid' && input !== RAWS[0] && input !== RAWS[1]) fail('a changed certificate is believed', input);
	},
};

/** Whether it could be read. */
function reads(read: () => unknown, input: string): boolean {
	try {
		read();
		return true;
	} catch (error) {
		if (!(error instanceof DerError)) fail(`thrown: ${String(error)}`, input);
		return false;
	}
}
