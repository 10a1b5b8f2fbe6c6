// The file of a listening unix socket: a stale one is taken over, one that somebody listens on is
// not, and nobody connects before its mode is right.

import { chmodSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs';
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

/** Of a socket's path: `sun_path` of unix(7), with its end. */
const PATH_BYTES_MAX = 107;

/**
 * The same for a listener whose file stays in place when it is closed. `listen` is told a name: the file is made beside its place and then moved there: so it has its mode from the beginning, and whoever made
 * it (Bun removes by name at close) does not remove what may stand there later.
 * @throws WeftError `address_in_use` when somebody listens there, or the path is no socket
 */
export function listenAtSocketFile<T>(path: string, mode: number, listen: (path: string) => T): T {
	removeIfStale(path);
	const aside = `${path}~`;
	const made = Buffer.byteLength(aside) <= PATH_BYTES_MAX ? aside : path;
	return withSocketFile(made, mode, () => {
		const listener = listen(made);
		chmodSync(made, mode);
		if (made === aside) renameSync(aside, path);
		return listener;
	});
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
