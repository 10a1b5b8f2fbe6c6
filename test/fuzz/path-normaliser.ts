// Paths into their normal form:
//
//  - no input makes it throw;
//  - a normal form is its own normal form, merged slashes or not, so that the next hop finds nothing more to do;
//  - it has no dot segment in any spelling, no backslash, and no needless encoding;
//  - the query is as it was;
//  - the platform's URL parser, where it has an opinion, comes to the same path.

import { normalizedPath, withMergedSlashes } from '../../src/proxy/network-filters/normalize-path.ts';
import type { Random } from '../../src/std/random.ts';
import { type FuzzTarget, fail, pick, same } from './fuzz.ts';

const PIECES: readonly string[] = [
	...[
		'/',
		'/',
		'/',
		'/',
		'//',
		'\\',
		'.',
		'.',
		'..',
		'..',
		'...',
		'%2e',
		'%2E',
		'%2e%2e',
		'.%2e',
		'%252e',
		'%2f',
		'%5c',
	],
	...[
		'a',
		'b',
		'index.html',
		'~',
		'-',
		'_',
		'%41',
		'%7e',
		'%61',
		'%20',
		'%c3%a9',
		'%00',
		'%',
		'%4',
		'%zz',
		'%25',
		'%3b',
	],
	...[';', ';x', ';x=1', '..;', '.;', '?', '?a=/../b', '#', '=', '&', '+', ',', ':', '@', '!', '$', "'", '(', ')', '*'],
];

export const pathNormaliser: FuzzTarget = {
	name: 'path-normaliser',
	run(random: Random): void {
		let input = '/';
		for (let i = random.below(12); i > 0; i--) input += pick(random, PIECES);
		const normal = normalizedPath(input);
		if (normal === null) {
			if (!/%(?![0-9a-fA-F]{2})|%00/.test(pathOf(input)))
				fail('it has no normal form, and nothing is wrong with it', input);
			return;
		}
		same(normalizedPath(normal), normal, 'its normal form has another', input);
		const merged = withMergedSlashes(normal);
		same(normalizedPath(merged), merged, 'its normal form, with slashes merged, has another', input);
		same(withMergedSlashes(merged), merged, 'slashes are merged twice', input);
		same(queryOf(normal), queryOf(input), 'the query changed', input);
		const path = pathOf(normal);
		if (!path.startsWith('/')) fail(`the normal form is ${normal}`, input);
		for (const segment of path.split('/')) {
			if (/^\.\.?(;|$)/.test(decoded(segment))) fail(`a dot segment stays in ${normal}`, input);
		}
		if (path.includes('\\')) fail(`a backslash stays in ${normal}`, input);
		if (decoded(path) !== path) fail(`a needless encoding stays in ${normal}`, input);
		if (pathOf(merged).includes('//')) fail(`two slashes stay in ${merged}`, input);
		// A URL knows nothing of parameters of dot segments.
		if (!/\.;|%2e;/i.test(input)) same(path, referencePath(input), 'the URL parser comes to another path', input);
	},
};

function pathOf(target: string): string {
	return target.slice(0, endOfPath(target));
}

function queryOf(target: string): string {
	return target.slice(endOfPath(target));
}

function endOfPath(target: string): number {
	for (let i = 0; i < target.length; i++) if (target[i] === '?' || target[i] === '#') return i;
	return target.length;
}

/** Unreserved characters stand for themselves. */
function decoded(path: string): string {
	let out = '';
	for (let i = 0; i < path.length; i++) {
		const character = path[i] === '%' ? String.fromCharCode(Number.parseInt(path.slice(i + 1, i + 3), 16)) : '';
		if (/^[-._~0-9A-Za-z]$/.test(character)) {
			out += character;
			i += 2;
		} else out += path[i];
	}
	return out;
}

function referencePath(input: string): string {
	return decoded(new URL(`http://a.example${pathOf(input)}`).pathname);
}
