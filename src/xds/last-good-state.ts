// The resources that were accepted, on disk, so that a sidecar that starts while the control plane is
// away serves what it served before. Written whole and atomically, a moment after a change, readable
// by its user only. Secrets are never in it.

import { readFileSync, statSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '../std/clock.ts';
import { errorMessage } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { preparePrivateDirectory } from '../std/private-directory.ts';
import type { DiscoveredResource } from './discovery-client.ts';

export type ResourcesByType = ReadonlyMap<string, readonly DiscoveredResource[]>;

const FILE_NAME = 'last-good.json';
const FORMAT = 1;
const DEBOUNCE_MS = 500;
/** A larger state is not kept: a start without it only waits for the control plane. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

const log = new Logger('last-good');

export class LastGoodState {
	private readonly path: string;
	private readonly timer: Timer;
	private writing: Promise<void> | null = null;
	private dirty = false;

	/**
	 * @param directory made with mode 0700 when it is missing; others must not be able to write into it
	 * @param nodeId a state of another node is not used
	 * @param collect what to write, asked for when it is written
	 * @throws WeftError `directory_unsafe`
	 */
	constructor(
		directory: string,
		private readonly nodeId: string,
		clock: Clock,
		private readonly collect: () => ResourcesByType,
	) {
		preparePrivateDirectory(directory);
		this.path = join(directory, FILE_NAME);
		this.timer = clock.after(0, () => this.write());
		this.timer.cancel();
	}

	/** Null when there is none that can be used. */
	load(): ResourcesByType | null {
		try {
			if (statSync(this.path).size > FILE_BYTES_MAX) return null;
			return decode(JSON.parse(readFileSync(this.path, 'utf8')), this.nodeId);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
				log.warning('state not read', { path: this.path, reason: errorMessage(error) });
			}
			return null;
		}
	}

	/** Something changed: it is written soon. */
	touch(): void {
		this.dirty = true;
		if (!this.timer.active && this.writing === null) this.timer.restart(DEBOUNCE_MS);
	}

	/** Writes what is due now and waits for it. */
	async flush(): Promise<void> {
		this.timer.cancel();
		for (;;) {
			if (this.writing === null && this.dirty) this.write();
			if (this.writing === null) return;
			await this.writing;
		}
	}

	private write(): void {
		if (this.writing !== null || !this.dirty) return;
		this.dirty = false;
		this.writing = this.writeFile().finally(() => {
			this.writing = null;
			if (this.dirty) this.timer.restart(DEBOUNCE_MS);
		});
	}

	private async writeFile(): Promise<void> {
		const temporary = `${this.path}.new`;
		try {
			const text = encode(this.collect(), this.nodeId);
			if (Buffer.byteLength(text) > FILE_BYTES_MAX) {
				log.warning('state too large to keep', { path: this.path });
				await rm(this.path, { force: true });
				return;
			}
			await rm(temporary, { force: true });
			const file = await open(temporary, 'wx', 0o600);
			try {
				await file.writeFile(text);
				await file.sync();
			} finally {
				await file.close();
			}
			await rename(temporary, this.path);
		} catch (error) {
			log.warning('state not written', { path: this.path, reason: errorMessage(error) });
		}
	}
}

function encode(state: ResourcesByType, nodeId: string): string {
	const types: Record<string, [name: string, version: string, value: string][]> = {};
	for (const [typeUrl, resources] of state) {
		types[typeUrl] = resources.map(({ name, version, value }) => [
			name,
			version,
			Buffer.from(value).toString('base64'),
		]);
	}
	return JSON.stringify({ format: FORMAT, node: nodeId, types });
}

/** Null for another format or node. @throws for what this code did not write */
function decode(document: unknown, nodeId: string): ResourcesByType | null {
	if (!isRecord(document) || document.format !== FORMAT || document.node !== nodeId) return null;
	if (!isRecord(document.types)) throw new Error('types is missing');
	const state = new Map<string, DiscoveredResource[]>();
	for (const [typeUrl, list] of Object.entries(document.types)) {
		if (!Array.isArray(list)) throw new Error(`${typeUrl} is not a list`);
		const resources = list.map((entry: unknown) => {
			if (!Array.isArray(entry) || entry.length !== 3 || entry.some((part) => typeof part !== 'string')) {
				throw new Error(`${typeUrl} has an entry that is not [name, version, value]`);
			}
			const [name, version, value] = entry as [string, string, string];
			return { name, version, value: Uint8Array.from(Buffer.from(value, 'base64')) };
		});
		state.set(typeUrl, resources);
	}
	return state;
}

function isRecord(value: unknown): value is Record<string, unknown> {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
