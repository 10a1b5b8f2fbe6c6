// The bearer token for writing over TCP, and a kubeconfig with which `kubectl` finds the API, trusts
// it and has that token. Both are files of their owner only, replaced whole.

import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { ExitError } from '../exit-error.ts';

const TOKEN_BYTES = 32;
const TOKEN_PATTERN = /^[\w-]{32,512}$/;

/** The same at each start; made at the first. @throws ExitError 1 when others may read it, or it is no token */
export function apiToken(file: string): string {
	let found: string | null = null;
	try {
		found = readFileSync(file, 'utf8').trim();
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
	}
	if (found === null) {
		found = randomBytes(TOKEN_BYTES).toString('base64url');
		writePrivate(file, `${found}\n`);
	}
	if ((statSync(file).mode & 0o077) !== 0)
		throw new ExitError(1, `${file} may be read by others: chmod 600 it, or delete it`);
	if (!TOKEN_PATTERN.test(found)) throw new ExitError(1, `${file} holds no token: delete it, and a new one is made`);
	return found;
}

export interface KubeconfigOptions {
	/** `https://127.0.0.1:15443` */
	readonly server: string;
	readonly rootsPem: string;
	readonly token: string;
}

/** JSON, which is YAML. */
export function writeKubeconfig(file: string, options: KubeconfigOptions): void {
	const cluster = {
		server: options.server,
		'certificate-authority-data': Buffer.from(options.rootsPem).toString('base64'),
	};
	const kubeconfig = {
		apiVersion: 'v1',
		kind: 'Config',
		clusters: [{ name: 'weft', cluster }],
		users: [{ name: 'weft', user: { token: options.token } }],
		contexts: [{ name: 'weft', context: { cluster: 'weft', user: 'weft', namespace: 'default' } }],
		'current-context': 'weft',
	};
	writePrivate(file, `${JSON.stringify(kubeconfig, null, 2)}\n`);
}

function writePrivate(file: string, text: string): void {
	const staging = `${file}.new`;
	rmSync(staging, { force: true });
	writeFileSync(staging, text, { mode: 0o600, flag: 'wx' });
	renameSync(staging, file);
}
