// The file of a listening unix socket: a stale one is taken over, one that somebody listens on is
// not, and nobody connects before its mode is right.

import { chmodSync, lstatSync, type Stats, unlinkSync } from 'node:fs';
import { WeftError } from '../std/errors.ts';

/**
 * Runs `listen`, which must make the socket file, with a umask that lets nobody in who should not be.
 * @throws WeftError `address_in_use` when somebody listens there, or the path is no socket
 */
export function withSocketFile<T>(path: string, mode: number, listen: () => T): T {
	removeIfStale(path);
	const umask = process.umask(0o777 & ~mode);
	try {
		return listen();
	} finally {
		process.umask(umask);
	}
}

export function setSocketFileMode(path: string, mode: number): void {
	chmodSync(path, mode);
}

/** Removes the file at close, unless another socket has been put in its place. */
export function removeSocketFile(path: string, inode: number): void {
	if (statOrNull(path)?.ino === inode) unlinkSync(path);
}

export function socketInode(path: string): number {
	return lstatSync(path).ino;
}

function removeIfStale(path: string): void {
	const stat = statOrNull(path);
	if (stat === null) return;
	if (!stat.isSocket()) throw new WeftError('address_in_use', `${path} exists and is no socket`);
	if (somebodyListens(path)) throw new WeftError('address_in_use', `unix:${path} is already in use`);
	unlinkSync(path);
}

/** For a unix socket, Bun reports a refused connection before `connect` returns. */
function somebodyListens(path: string): boolean {
	let code: unknown = null;
	Bun.connect({
		unix: path,
		socket: {
			open(socket) {
				socket.terminate();
			},
			data() {},
			connectError(_socket, error) {
				code = 'code' in error ? error.code : 'unknown';
			},
		},
	}).catch(() => {});
	return code !== 'ECONNREFUSED' && code !== 'ENOENT';
}

function statOrNull(path: string): Stats | null {
	return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}
