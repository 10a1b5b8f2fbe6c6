import { afterAll, beforeAll, expect, test } from 'bun:test';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkloadIdentity } from '../net/identity-source.ts';
import { VirtualClock } from '../std/clock.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import { loadIdentity, saveIdentity } from './identity-file.ts';
import { makeSigningKey } from './workload-certificate.ts';

const parent = mkdtempSync(join(tmpdir(), 'weft-identity-'));
afterAll(() => rmSync(parent, { recursive: true, force: true }));
const clock = new VirtualClock();
const spiffeId = 'spiffe://cluster.local/ns/default/sa/reviews';
let identity: WorkloadIdentity;

beforeAll(async () => {
	const authority = await CertificateAuthority.open({ directory: join(parent, 'ca'), clock });
	const { privateKeyPem, csrPem } = await makeSigningKey();
	const { chainPem, notAfterMs } = await authority.signWorkload({ csrPem, spiffeId });
	identity = {
		spiffeId,
		certificateChainPem: chainPem[0]!,
		privateKeyPem,
		rootsPem: authority.rootsPem,
		notBeforeMs: clock.wallMs(),
		notAfterMs,
	};
});

async function saved(name: string): Promise<string> {
	const path = join(parent, name, 'identity.json');
	await saveIdentity(path, identity);
	return path;
}

const load = (path: string) => loadIdentity(path, spiffeId, clock.wallMs());

test('is read back, and was for its user only', async () => {
	const path = await saved('good');
	expect((await load(path))?.rootsPem).toBe(identity.rootsPem);
	expect(statSync(path).mode & 0o777).toBe(0o600);
	expect(statSync(join(parent, 'good')).mode & 0o777).toBe(0o700);
});

test('is not put where others may write, and their directory keeps its mode', async () => {
	const shared = join(parent, 'shared');
	mkdirSync(shared);
	chmodSync(shared, 0o1777);
	await expect(saveIdentity(join(shared, 'identity.json'), identity)).rejects.toMatchObject({
		code: 'directory_unsafe',
	});
	expect(statSync(shared).mode & 0o7777).toBe(0o1777);
});

test('through a link it is not read: the roots in it say whom to trust', async () => {
	const path = await saved('link');
	renameSync(path, `${path}.elsewhere`);
	symlinkSync(`${path}.elsewhere`, path);
	await expect(load(path)).rejects.toMatchObject({ code: 'identity_unusable' });
});

test.skipIf(process.geteuid?.() !== 0)('one that another user put there is not used', async () => {
	const path = await saved('planted');
	chownSync(path, 65534, 65534);
	await expect(load(path)).rejects.toThrow(/belongs to the user with id 65534/);
});
