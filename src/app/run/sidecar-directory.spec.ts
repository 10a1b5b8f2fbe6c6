import { afterEach, expect, test } from 'bun:test';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processStamp } from '../process-stamp.ts';
import { readOwner, SidecarDirectory } from './sidecar-directory.ts';

const parent = mkdtempSync(join(tmpdir(), 'weft-sidecars-'));

afterEach(() => rmSync(parent, { recursive: true, force: true }));

function existing(name: string, owner: string | null): string {
	const path = join(parent, name);
	mkdirSync(path, { recursive: true });
	if (owner !== null) writeFileSync(join(path, 'owner'), owner);
	return path;
}

test('it says whose it is, and goes with its owner', () => {
	const directory = SidecarDirectory.create(parent, 'reviews-v1-1a');
	expect(readOwner(directory.path)).toBe(processStamp(process.pid)!);
	expect(readdirSync(directory.path)).toEqual(['owner']);
	directory.remove();
	expect(existsSync(directory.path)).toBe(false);
});

test('those of owners that are gone are removed by the next, and no others', () => {
	const gone = existing('gone', '999999999:1');
	const alive = existing('alive', processStamp(process.pid)!);
	const beingMade = existing('being-made', null);
	const unknown = existing('unknown', '');
	SidecarDirectory.create(parent, 'reviews-v1-1a');
	expect([gone, alive, beingMade, unknown].map((path) => existsSync(path))).toEqual([false, true, true, true]);
});
