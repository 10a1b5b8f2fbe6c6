// The C library, for what Bun has no call for. Who needs some of it opens just that, on first use.

import { dlopen, type FFIFunction } from 'bun:ffi';
import { WeftError } from '../std/errors.ts';

/** @throws WeftError `not_supported` where there is no such library, or it has no such function */
export function openLibc<T extends Record<string, FFIFunction>>(symbols: T) {
	const names = ['libc.so.6', `libc.musl-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`];
	let failure: unknown = null;
	for (const name of names) {
		try {
			return dlopen(name, symbols).symbols;
		} catch (error) {
			failure = error;
		}
	}
	throw new WeftError('not_supported', `no C library could be opened (${names.join(', ')})`, { cause: failure });
}
