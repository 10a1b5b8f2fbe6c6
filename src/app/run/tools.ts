// The system's own tools that the capture is set up with, found once, by absolute path.

import { accessSync, constants, type Stats, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where administrators' tools are, also when a user's PATH leaves them out. */
const ADMINISTRATOR_PATHS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/** Null: it is not on this machine. */
export function findTool(name: string, path = process.env.PATH ?? ''): string | null {
	for (const directory of [...path.split(delimiter), ...ADMINISTRATOR_PATHS]) {
		if (directory === '') continue;
		const file = join(directory, name);
		if (isExecutableFile(file)) return file;
	}
	return null;
}

export type CommandLookup =
	| { readonly kind: 'found'; readonly file: string }
	/** As a shell says it: 127. */
	| { readonly kind: 'not found' }
	/** It is there, but may not be run: 126. */
	| { readonly kind: 'not executable'; readonly file: string };

/** As execvp finds it: a name with a slash is a path; else the first match on PATH. */
export function findCommand(name: string, path: string): CommandLookup {
	if (name.includes('/')) {
		if (isExecutableFile(name)) return { kind: 'found', file: name };
		return exists(name) ? { kind: 'not executable', file: name } : { kind: 'not found' };
	}
	let seen: string | null = null;
	for (const directory of path.split(delimiter)) {
		const file = join(directory === '' ? '.' : directory, name);
		if (isExecutableFile(file)) return { kind: 'found', file };
		if (seen === null && isFile(file)) seen = file;
	}
	return seen === null ? { kind: 'not found' } : { kind: 'not executable', file: seen };
}

/** One word for /bin/sh. */
export function shellQuoted(word: string): string {
	return `'${word.replaceAll("'", "'\\''")}'`;
}

function isExecutableFile(file: string): boolean {
	if (!isFile(file)) return false;
	try {
		accessSync(file, constants.X_OK);
		return true;
	} catch {
		return false;
	}
}

function isFile(file: string): boolean {
	return statOrNull(file)?.isFile() ?? false;
}

function exists(file: string): boolean {
	return statOrNull(file) !== null;
}

/** Null also when a part of the path is no directory or may not be searched. */
function statOrNull(file: string): Stats | null {
	try {
		return statSync(file);
	} catch {
		return null;
	}
}
