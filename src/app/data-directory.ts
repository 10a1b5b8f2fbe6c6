// Where the control plane of this user keeps what it owns, and the names of the things in it.
// `--data`, else WEFT_DATA, else the XDG base directory specification's place.

import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

export interface DataPaths {
	readonly directory: string;
	/** Held locked by the control plane that runs on it. */
	readonly lock: string;
	readonly store: string;
	readonly authority: string;
	readonly apiSocket: string;
	readonly joinSocket: string;
	readonly token: string;
	readonly kubeconfig: string;
	/** One directory per sidecar that `weft run` started. */
	readonly sidecars: string;
}

export function dataPaths(directory: string): DataPaths {
	const absolute = resolve(directory);
	return {
		directory: absolute,
		lock: join(absolute, 'lock'),
		store: join(absolute, 'store.db'),
		authority: join(absolute, 'ca'),
		apiSocket: join(absolute, 'weft.sock'),
		joinSocket: join(absolute, 'join.sock'),
		token: join(absolute, 'token'),
		kubeconfig: join(absolute, 'kubeconfig'),
		sidecars: join(absolute, 'sidecars'),
	};
}

/** `given` is what the command line said, if it did. */
export function dataDirectory(given: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
	if (given !== undefined && given !== '') return given;
	if (env.WEFT_DATA !== undefined && env.WEFT_DATA !== '') return env.WEFT_DATA;
	const base = env.XDG_DATA_HOME;
	// The specification: a relative path there is invalid and ignored.
	if (base !== undefined && isAbsolute(base)) return join(base, 'weft');
	return join(homedir(), '.local', 'share', 'weft');
}
