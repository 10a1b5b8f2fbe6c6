import { describe, expect, test } from 'bun:test';
import { shownChain } from './shown-chain.ts';
import { TestAuthority } from './testing-certificates.ts';

const count = (pem: string): number => pem.split('-----BEGIN CERTIFICATE-----').length - 1;
const body = (pem: string): string => pem.replaceAll(/\s/g, '');

describe('the chain that is shown', () => {
	test('has the issuers that are among the roots, nearest first', async () => {
		const root = await TestAuthority.create('root');
		const middle = await TestAuthority.create('middle', root);
		const leaf = await middle.issue();
		const stranger = await TestAuthority.create('stranger');
		const roots = stranger.certificatePem + root.certificatePem + middle.certificatePem;
		const { chainPem, isLeafAlone } = shownChain(leaf.certificatePem, roots);
		expect(isLeafAlone).toBe(false);
		expect(body(chainPem)).toBe(body(leaf.certificatePem + middle.certificatePem + root.certificatePem));
	});

	test('is the leaf alone when its issuer is not there, or only one of the same name', async () => {
		const root = await TestAuthority.create('root');
		const namesake = await TestAuthority.create('root');
		const leaf = await root.issue();
		for (const roots of ['', namesake.certificatePem, 'no certificate']) {
			expect(shownChain(leaf.certificatePem, roots)).toEqual({ chainPem: leaf.certificatePem, isLeafAlone: true });
		}
	});

	test('is left as it is when it has more than the leaf', async () => {
		const root = await TestAuthority.create('root');
		const middle = await TestAuthority.create('middle', root);
		const leaf = await middle.issue();
		const chainPem = leaf.certificatePem + middle.certificatePem;
		expect(shownChain(chainPem, root.certificatePem)).toEqual({ chainPem, isLeafAlone: false });
	});

	test('does not repeat a certificate that signed itself', async () => {
		const self = await TestAuthority.create('self');
		expect(count(shownChain(self.certificatePem, self.certificatePem).chainPem)).toBe(1);
	});
});
