// Bundles the page and writes it, with its fonts, as a module that the control plane imports, so
// that a compiled binary needs no files beside it. Run by `npm run generate` and by the build:
// `scripts/bun src/dashboard/build.ts`.

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';

const PAGE = join(import.meta.dir, 'page');
const OUTPUT = join(import.meta.dir, '../generated/dashboard-assets.ts');

const CONTENT_TYPES: Readonly<Record<string, string>> = {
	'.css': 'text/css; charset=utf-8',
	'.html': 'text/html; charset=utf-8',
	'.js': 'text/javascript; charset=utf-8',
	'.svg': 'image/svg+xml',
	'.woff2': 'font/woff2',
};

/** By the name that the style sheet uses. The bundler would put them into the sheet, which the page's policy forbids. */
const FONTS: Readonly<Record<string, string>> = {
	'plex-sans.woff2': '@fontsource-variable/ibm-plex-sans/files/ibm-plex-sans-latin-wght-normal.woff2',
	'plex-mono.woff2': '@fontsource/ibm-plex-mono/files/ibm-plex-mono-latin-400-normal.woff2',
};

interface BuiltFile {
	readonly path: string;
	readonly bytes: Uint8Array;
}

async function build(): Promise<void> {
	const result = await Bun.build({
		entrypoints: [join(PAGE, 'main.tsx')],
		target: 'browser',
		format: 'esm',
		minify: true,
		tsconfig: join(PAGE, 'tsconfig.json'),
		external: Object.keys(FONTS),
		define: { 'process.env.NODE_ENV': '"production"' },
	});
	const files: BuiltFile[] = [];
	const output = async (extension: string) => {
		const found = result.outputs.filter((each) => extname(each.path) === extension);
		if (found.length !== 1) throw new Error(`expected one ${extension} file of the page, found ${found.length}`);
		return found[0]!.text();
	};
	const add = (name: string, bytes: Uint8Array) => {
		const extension = extname(name);
		const path = `/assets/${basename(name, extension)}-${hashOf(bytes).slice(0, 10)}${extension}`;
		files.push({ path, bytes });
		return path;
	};
	let style = await output('.css');
	for (const [name, module] of Object.entries(FONTS)) {
		if (!style.includes(name)) throw new Error(`the style sheet does not use ${name}`);
		style = style.replaceAll(name, add(name, readFileSync(Bun.resolveSync(module, PAGE))));
	}
	const html = readFileSync(join(PAGE, 'index.html'), 'utf8')
		.replace('{{style}}', add('dashboard.css', encode(style)))
		.replace('{{script}}', add('dashboard.js', encode(await output('.js'))));
	files.push({ path: '/', bytes: encode(html) });
	files.push({ path: '/favicon.svg', bytes: readFileSync(join(PAGE, 'favicon.svg')) });
	writeModule(files);
}

function writeModule(files: readonly BuiltFile[]): void {
	const entries = files.map(({ path, bytes }) => {
		const contentType = CONTENT_TYPES[path === '/' ? '.html' : extname(path)];
		if (contentType === undefined) throw new Error(`no content type for ${path}`);
		const etag = hashOf(bytes);
		return `\t{ path: ${JSON.stringify(path)}, contentType: ${JSON.stringify(contentType)}, etag: ${JSON.stringify(etag)}, base64: ${JSON.stringify(Buffer.from(bytes).toString('base64'))} },\n`;
	});
	const text = `// Written by src/dashboard/build.ts.\nexport const DASHBOARD_ASSETS: readonly { readonly path: string; readonly contentType: string; readonly etag: string; readonly base64: string }[] = [\n${entries.join('')}];\n`;
	mkdirSync(dirname(OUTPUT), { recursive: true });
	// Whole or not at all: another process may be importing it.
	writeFileSync(`${OUTPUT}.new`, text);
	renameSync(`${OUTPUT}.new`, OUTPUT);
	const size = files.reduce((sum, file) => sum + file.bytes.length, 0);
	console.log(`dashboard: ${files.length} files, ${Math.round(size / 1024)} KB`);
}

function encode(text: string): Uint8Array {
	return new TextEncoder().encode(text);
}

function hashOf(bytes: Uint8Array): string {
	return createHash('sha256').update(bytes).digest('hex').slice(0, 24);
}

await build();
