// A sidecar's identity on disk, in its own state directory, so that it can start again while the
// control plane is away. One file, mode 0600, replaced whole; read back with the same checks as an
// authority's answer.

import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { WorkloadIdentity } from '../net/identity-source.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { ownerFault, preparePrivateDirectory } from '../std/private-directory.ts';
import { checkedIdentity } from './workload-certificate.ts';

const FILE_BYTES_MAX = 256 * 1024;

/** @throws WeftError `directory_unsafe` when others may write where it is to be */
export async function saveIdentity(path: string, identity: WorkloadIdentity): Promise<void> {
	const { spiffeId, certificateChainPem, privateKeyPem, rootsPem } = identity;
	preparePrivateDirectory(dirname(path));
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
		const saved: unknown = JSON.parse(await readPrivate(path));
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

/** The roots in it decide whom we trust: it must be a file that this user, and nobody else, has written. */
async function readPrivate(path: string): Promise<string> {
	const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
	try {
		const found = await file.stat();
		const fault = found.isFile() ? ownerFault(found) : 'it is no plain file';
		if (fault !== null) throw new Error(fault);
		if ((found.mode & 0o077) !== 0) throw new Error('it may be read by others');
		if (found.size > FILE_BYTES_MAX) throw new Error(`it is longer than ${FILE_BYTES_MAX} bytes`);
		return await file.readFile('utf8');
	} finally {
		await file.close();
	}
}
