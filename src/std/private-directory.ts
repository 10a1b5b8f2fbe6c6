// Directories in which a process keeps what others must not put there or take away: keys, and the
// state that it starts from. Whoever may write into one could give the process an identity or a
// configuration of their own.

import { mkdirSync, type Stats, statSync } from 'node:fs';
import { errorMessage, WeftError } from './errors.ts';

/**
 * Made with mode 0700 (and what is missing above it) when it is not there; one that is there stays as it is.
 * @throws WeftError `directory_unsafe` when it is another user's, or others may write into it
 */
export function preparePrivateDirectory(path: string): Stats {
	let found: Stats;
	try {
		mkdirSync(path, { recursive: true, mode: 0o700 });
		found = statSync(path);
	} catch (error) {
		throw new WeftError('directory_unsafe', `the directory ${path} cannot be used: ${errorMessage(error)}`, {
			cause: error,
		});
	}
	const fault = ownerFault(found) ?? ((found.mode & 0o022) !== 0 ? 'others may write into it' : null);
	if (fault !== null) throw new WeftError('directory_unsafe', `the directory ${path} cannot be used: ${fault}`);
	return found;
}

/** Why what `found` describes is not ours; null: it is. */
export function ownerFault(found: Stats): string | null {
	const uid = process.geteuid?.();
	return uid === undefined || found.uid === uid ? null : `it belongs to the user with id ${found.uid}`;
}
