// Imports point downwards and never in a circle (docs/architecture.md, "Layers").

import { expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const root = import.meta.dir;

/** From the top down. A file imports its own layer and those below. */
const LAYERS = [
	['cli'],
	['app'],
	['dashboard'],
	['kubernetes'],
	['control'],
	['config'],
	['store'],
	['identity'],
	['proxy'],
	['xds'],
	['telemetry'],
	['grpc'],
	['http1', 'http2'],
	['http'],
	['net'],
	['protobuf'],
	['std'],
];
/** Messages and bundles that a build step makes: below everything that may use protobuf. */
const GENERATED_FROM = [
	'cli',
	'app',
	'dashboard',
	'control',
	'identity',
	'proxy',
	'xds',
	'telemetry',
	'grpc',
	'protobuf',
];

const files = readdirSync(root, { recursive: true })
	.map(String)
	.filter((file) => /\.tsx?$/.test(file) && !file.startsWith('generated/') && !file.startsWith('dashboard/page/'));

/** `withTypes`: also what is imported for its types only, which is gone when the program runs. */
function importsOf(file: string, withTypes = true): string[] {
	const text = readFileSync(join(root, file), 'utf8');
	const found: string[] = [];
	for (const match of text.matchAll(
		/^(?:import|export)\b[^'"]*?from\s+['"](\.[^'"]+)['"]|^import\s+['"](\.[^'"]+)['"]/gm,
	)) {
		if (!withTypes && /^(?:import|export) type\b/.test(match[0])) continue;
		found.push(relative(root, join(root, dirname(file), (match[1] ?? match[2])!)));
	}
	return found;
}

function layerOf(file: string): number {
	const folder = file.split('/')[0]!;
	return LAYERS.findIndex((names) => names.includes(folder));
}

test('a file imports only its own layer and those below it', () => {
	const wrong: string[] = [];
	for (const file of files) {
		const folder = file.split('/')[0]!;
		if (!file.includes('/')) continue;
		expect(layerOf(file), `src/${folder} is not in the list of layers`).toBeGreaterThanOrEqual(0);
		for (const target of importsOf(file)) {
			if (target.startsWith('..')) {
				if (!file.endsWith('.spec.ts') && target !== '../package.json') wrong.push(`${file} → ${target} (outside src)`);
			} else if (target.startsWith('generated/')) {
				if (!GENERATED_FROM.includes(folder)) wrong.push(`${file} → ${target}`);
			} else if (layerOf(target) < layerOf(file)) wrong.push(`${file} → ${target}`);
		}
	}
	expect(wrong).toEqual([]);
});

test('no circle of imports', () => {
	const state = new Map<string, 'open' | 'done'>();
	const circles: string[] = [];
	const visit = (file: string, path: readonly string[]) => {
		if (state.get(file) === 'done') return;
		if (state.get(file) === 'open') {
			circles.push([...path.slice(path.indexOf(file)), file].join(' → '));
			return;
		}
		state.set(file, 'open');
		for (const target of importsOf(file, false)) if (files.includes(target)) visit(target, [...path, file]);
		state.set(file, 'done');
	};
	for (const file of files) visit(file, []);
	expect(circles).toEqual([]);
});
