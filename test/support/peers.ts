// Real programs that tests run against. A peer that is not installed skips its tests with one
// line that says so; with CI=true it fails them.

import { describe } from 'bun:test';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const said = new Set<string>();

/** Full path of the program, or null when it is not installed. @throws with CI=true when it is missing */
export function peerPath(name: string): string | null {
	const own = join(import.meta.dir, '../../.venv/bin', name);
	const found = existsSync(own)
		? own
		: Bun.which(name, { PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` });
	if (found !== null) return found;
	if (process.env.CI === 'true') throw new Error(`${name} is not installed; run scripts/setup --tests`);
	if (!said.has(name)) {
		said.add(name);
		console.log(`skipped: ${name} is not installed (scripts/setup --tests)`);
	}
	return null;
}

/** `describe`, or `describe.skip` when one of the peers is missing. */
export function describeWithPeers(names: readonly string[], title: string, body: () => void): void {
	const missing = names.filter((name) => peerPath(name) === null);
	(missing.length === 0 ? describe : describe.skip)(title, body);
}
