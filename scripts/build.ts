// Builds dist/weft: the command, control plane, proxy and dashboard in one executable file.

import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dir, '..');
const outfile = join(root, 'dist/weft');
mkdirSync(join(root, 'dist'), { recursive: true });

const result = await Bun.build({
	entrypoints: [join(root, 'bin/weft.ts')],
	compile: { outfile },
	target: 'bun',
	format: 'esm',
	// A command loads what it needs, compiled already: a third less time and CPU until a proxy listens.
	splitting: true,
	bytecode: true,
	minify: { whitespace: true, syntax: true, identifiers: false },
	sourcemap: 'linked',
});
if (!result.success) {
	for (const log of result.logs) console.error(String(log));
	process.exit(1);
}
// They are in the executable as well, which is where stack traces look.
for (const name of readdirSync(join(root, 'dist'))) if (name.endsWith('.map')) rmSync(join(root, 'dist', name));
console.log(`built dist/weft, ${(statSync(outfile).size / 1024 / 1024).toFixed(0)} MB`);
