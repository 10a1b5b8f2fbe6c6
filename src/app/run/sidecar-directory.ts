// The directory of one sidecar under `weft run`: its bootstrap, names, identity, admin socket and log.
// It goes with its owner; those whose owner was killed are removed by the next `weft run`.

import {
	chmodSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processStamp, stampIsAlive } from '../process-stamp.ts';

/** `sun_path` holds 108 bytes with its end. */
const SOCKET_PATH_BYTES_MAX = 107;
const OWNER_FILE = 'owner';

export class SidecarDirectory {
	readonly bootstrap: string;
	readonly hosts: string;
	readonly resolv: string;
	readonly log: string;
	readonly adminSocket: string;
	/** Where the admin socket is, when the path here would be too long for one. */
	private readonly shortDirectory: string | null = null;

	private constructor(readonly path: string) {
		this.bootstrap = join(path, 'bootstrap.json');
		this.hosts = join(path, 'hosts');
		this.resolv = join(path, 'resolv.conf');
		this.log = join(path, 'sidecar.log');
		const socket = join(path, 'admin.sock');
		if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) this.shortDirectory = mkdtempSync(join(tmpdir(), 'weft-'));
		this.adminSocket = this.shortDirectory === null ? socket : join(this.shortDirectory, 'admin.sock');
	}

	/** Where the admin socket is, besides `path`. */
	get elsewhere(): readonly string[] {
		return this.shortDirectory === null ? [] : [this.shortDirectory];
	}

	/** `parent` is made where it is missing. What is left of an earlier one of this name is removed. */
	static create(parent: string, instance: string): SidecarDirectory {
		mkdirSync(parent, { recursive: true, mode: 0o700 });
		removeAbandoned(parent);
		const path = join(parent, instance);
		rmSync(path, { recursive: true, force: true });
		mkdirSync(path, { mode: 0o700 });
		chmodSync(path, 0o700);
		// Whole or not at all: another `weft run` that read half a stamp would take this for abandoned.
		const staged = join(path, `.${OWNER_FILE}`);
		writeFileSync(staged, processStamp(process.pid) ?? '', { mode: 0o600 });
		renameSync(staged, join(path, OWNER_FILE));
		return new SidecarDirectory(path);
	}

	/** The end of the log, for a user who is told that the sidecar failed. */
	logTail(lineCount: number): string {
		try {
			return readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-lineCount).join('\n');
		} catch {
			return '';
		}
	}

	remove(): void {
		rmSync(this.path, { recursive: true, force: true });
		if (this.shortDirectory !== null) rmSync(this.shortDirectory, { recursive: true, force: true });
	}
}

/** The stamp of the `weft run` that a sidecar's directory belongs to. @throws when there is none */
export function readOwner(path: string): string {
	return readFileSync(join(path, OWNER_FILE), 'utf8');
}

function removeAbandoned(parent: string): void {
	for (const entry of readdirSync(parent, { withFileTypes: true })) {
		if (!entry.isDirectory()) continue;
		const path = join(parent, entry.name);
		let stamp: string;
		try {
			stamp = readOwner(path);
		} catch {
			// Being made at this moment by another `weft run`, or not ours.
			continue;
		}
		// Empty: written where processes cannot be seen, so nothing is known of its owner.
		if (stamp !== '' && !stampIsAlive(stamp)) rmSync(path, { recursive: true, force: true });
	}
}
