// Tells when one of a few files has been replaced, Envoy `watched_directory`, and once at first. Folders are watched and
// not files: a file that is moved over another is a new one, and a volume of Kubernetes swaps a link.

import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';

/** A certificate and its key are two files: what belongs together is read together. */
const SETTLE_MS = 50;

const log = new Logger('secrets');

export class FileWatch {
	private readonly watchers: FSWatcher[] = [];
	private timer: ReturnType<typeof setTimeout> | null = null;

	/**
	 * @param files whose change counts
	 * @param directory in which any change counts too; empty: none. The folders of `files` are watched in any case
	 */
	constructor(
		files: readonly string[],
		directory: string,
		private readonly onChange: () => void,
	) {
		const names = new Map<string, Set<string>>();
		for (const file of files) {
			const folder = dirname(file);
			const known = names.get(folder) ?? new Set();
			names.set(folder, known.add(basename(file)));
		}
		for (const [folder, wanted] of names) this.watch(folder, (name) => name === '..data' || wanted.has(name));
		if (directory !== '') this.watch(directory, () => true);
		// What was replaced after it was read and before it was watched would go unnoticed until the time after.
		this.changed();
	}

	close(): void {
		for (const watcher of this.watchers.splice(0)) watcher.close();
		if (this.timer !== null) clearTimeout(this.timer);
		this.timer = null;
	}

	private watch(folder: string, counts: (name: string) => boolean): void {
		try {
			const watcher = watch(folder, (_event, name) => {
				if (name === null || counts(name)) this.changed();
			});
			// A folder that goes away; what was read from it stays in force.
			watcher.on('error', (error) => log.warning('folder no longer watched', { folder, reason: errorMessage(error) }));
			this.watchers.push(watcher);
		} catch (error) {
			log.warning('folder not watched', { folder, reason: errorMessage(error) });
		}
	}

	private changed(): void {
		if (this.timer !== null) return;
		this.timer = setTimeout(() => {
			this.timer = null;
			try {
				this.onChange();
			} catch (error) {
				log.error('a watched file could not be taken over', { reason: errorMessage(error) });
			}
		}, SETTLE_MS);
		this.timer.unref();
	}
}
