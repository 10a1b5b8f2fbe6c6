// One control plane at a time on a data directory: flock(2) on a file in it, which the kernel takes
// back when the process ends, however it ends. The file says who has it.

import { dlopen, FFIType } from 'bun:ffi';
import {
	chmodSync,
	closeSync,
	existsSync,
	ftruncateSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	statSync,
	writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { errorMessage } from '../../std/errors.ts';
import { ownerFault } from '../../std/private-directory.ts';
import { ExitError } from '../exit-error.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

export interface DataLock {
	release(): void;
}

/**
 * Makes the directory (mode 0700) where it is missing.
 * @throws ExitError 1 when another has it, it cannot be written, or it is not ours alone
 */
export function lockData(file: string): DataLock {
	const directory = dirname(file);
	let descriptor: number;
	try {
		mkdirSync(directory, { recursive: true, mode: 0o700 });
		closeToOthers(directory, file);
		descriptor = openSync(file, 'a+', 0o600);
	} catch (error) {
		throw new ExitError(1, `the data directory ${directory} cannot be used: ${errorMessage(error)}`, { cause: error });
	}
	if (!takeLock(descriptor)) {
		closeSync(descriptor);
		const holder = readFileSync(file, 'utf8').trim();
		const who = /^\d+$/.test(holder) ? `process ${holder}` : 'another process';
		throw new ExitError(1, `a control plane runs on ${directory} already (${who})`);
	}
	ftruncateSync(descriptor, 0);
	writeSync(descriptor, `${process.pid}\n`, 0);
	return { release: () => closeSync(descriptor) };
}

/** One that was ours before, or holds nothing yet, may be closed to others; `/tmp` or a home must not be. */
function closeToOthers(directory: string, lock: string): void {
	const found = statSync(directory);
	const fault = ownerFault(found);
	if (fault !== null) throw new Error(fault);
	if ((found.mode & 0o077) === 0) return;
	const isOurs = existsSync(lock) || readdirSync(directory).length === 0;
	if (!isOurs || (found.mode & 0o1000) !== 0) {
		throw new Error('it is open to other users and holds other things; name a directory of its own');
	}
	chmodSync(directory, 0o700);
}

function takeLock(descriptor: number): boolean {
	const names =
		process.platform === 'darwin' ? ['libSystem.dylib'] : ['libc.so.6', 'libc.so', `libc.musl-${muslArch()}.so.1`];
	for (const [index, name] of names.entries()) {
		try {
			const library = dlopen(name, { flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } });
			const taken = library.symbols.flock(descriptor, LOCK_EX | LOCK_NB) === 0;
			library.close();
			return taken;
		} catch (error) {
			if (index === names.length - 1) throw error;
		}
	}
	return false;
}

function muslArch(): string {
	return process.arch === 'arm64' ? 'aarch64' : 'x86_64';
}
