// A sidecar's identity on disk, in its own state directory, so that it can start again while the
// control plane is away. One file, mode 0600, replaced whole; read back with the same checks as an
// authority's answer.

import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { WorkloadIdentity } from '../net/identity-source.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { checkedIdentity } from './workload-certificate.ts';

const FILE_BYTES_MAX = 256 * 1024;

export async function saveIdentity(path: string, identity: WorkloadIdentity): Promise<void> {
	const { spiffeId, certificateChainPem, privateKeyPem, rootsPem } = identity;
	const directory = dirname(path);
	await mkdir(directory, { recursive: true, mode: 0o700 });
	await chmod(directory, 0o700);
	const staging = `${path}.new`;
	await rm(staging, { force: true });
	const file = await open(staging, 'wx', 0o600);
	try {
		await file.writeFile(JSON.stringify({ spiffeId, certificateChainPem, privateKeyPem, rootsPem }));
		await file.sync();
	} finally {
		await file.close();
	}
	await rename(staging, path);
}

/** Null: there is none. @throws WeftError `identity_unusable` when what is there must not or cannot be used. */
export async function loadIdentity(path: string, spiffeId: string, wallMs: number): Promise<WorkloadIdentity | null> {
	try {
		const found = await stat(path);
		if ((found.mode & 0o077) !== 0) throw new Error('it may be read by others');
		if (found.size > FILE_BYTES_MAX) throw new Error(`it is longer than ${FILE_BYTES_MAX} bytes`);
		const saved: unknown = JSON.parse(await readFile(path, 'utf8'));
		const field = (name: string): string => {
			const value = (saved as Record<string, unknown> | null)?.[name];
			if (typeof value !== 'string') throw new Error(`${name} is missing`);
			return value;
		};
		return await checkedIdentity(
			{
				chainPem: [field('certificateChainPem')],
				privateKeyPem: field('privateKeyPem'),
				rootsPem: field('rootsPem'),
			},
			spiffeId,
			wallMs,
		);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
		if (error instanceof WeftError) throw error;
		throw new WeftError('identity_unusable', `the saved identity ${path}: ${errorMessage(error)}`, { cause: error });
	}
}
