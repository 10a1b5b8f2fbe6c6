// `-f FILE|DIR|-`: reads manifests, all of them before anything is done with one.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ExitError } from '../app/exit-error.ts';
import { KINDS } from '../config/kinds.ts';
import { MANIFEST_BYTES_MAX, type ManifestObject, parseManifest } from '../config/manifest.ts';
import { ConfigError, type ConfigErrorDetail, errorMessage } from '../std/errors.ts';
import { EXIT_INVALID } from './exit-codes.ts';

/** Objects of all files: what others refer to first, else as in the files. @throws ConfigError with the errors of all files, ExitError */
export async function readManifests(files: readonly string[], namespace: string): Promise<ManifestObject[]> {
	const objects: ManifestObject[] = [];
	const details: ConfigErrorDetail[] = [];
	for (const { name, text } of await readAll(files)) {
		try {
			objects.push(...parseManifest(text, { name, namespace }));
		} catch (error) {
			if (!(error instanceof ConfigError)) throw error;
			details.push(...error.details);
		}
	}
	if (details.length > 0) throw new ConfigError(details);
	if (objects.length === 0) throw new ExitError(EXIT_INVALID, `no objects in ${files.map(nameOf).join(', ')}`);
	const seen = new Map<string, ManifestObject>();
	for (const one of objects) {
		const { namespace: place, name } = one.object.metadata;
		const key = `${one.kind.kind} ${place === undefined ? '' : `${place}/`}${name}`;
		const first = seen.get(key);
		if (first !== undefined)
			throw new ExitError(EXIT_INVALID, `${one.source}: ${key} is there twice, first at ${first.source}`);
		seen.set(key, one);
	}
	return objects.toSorted((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
}

async function readAll(files: readonly string[]): Promise<{ name: string; text: string }[]> {
	const texts = [];
	for (const file of files) {
		if (file === '-') texts.push({ name: nameOf(file), text: await Bun.stdin.text() });
		else for (const path of pathsOf(file)) texts.push({ name: path, text: read(path) });
	}
	return texts;
}

function nameOf(file: string): string {
	return file === '-' ? 'standard input' : file;
}

function pathsOf(file: string): string[] {
	let isDirectory: boolean;
	try {
		isDirectory = statSync(file).isDirectory();
	} catch {
		throw new ExitError(EXIT_INVALID, `${file}: no such file or directory`);
	}
	if (!isDirectory) return [file];
	const names = readdirSync(file).filter((name) => /\.(ya?ml|json)$/.test(name));
	if (names.length === 0) throw new ExitError(EXIT_INVALID, `${file}: no .yaml, .yml or .json files in this directory`);
	return names.toSorted().map((name) => join(file, name));
}

function read(path: string): string {
	try {
		if (statSync(path).size > MANIFEST_BYTES_MAX) {
			throw new ExitError(EXIT_INVALID, `${path}: larger than ${MANIFEST_BYTES_MAX} bytes`);
		}
		return readFileSync(path, 'utf8');
	} catch (error) {
		if (error instanceof ExitError) throw error;
		throw new ExitError(EXIT_INVALID, `${path}: ${errorMessage(error)}`);
	}
}
