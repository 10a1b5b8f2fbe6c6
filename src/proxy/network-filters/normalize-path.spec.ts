import { expect, test } from 'bun:test';
import { normalizedPath, withMergedSlashes } from './normalize-path.ts';

test('a path in its normal form is the same string', () => {
	for (const path of ['/', '/a/b', '/a//b?c=%41', '/x.y/z']) expect(normalizedPath(path)).toBe(path);
});

test('dot segments, needless encodings and backslashes go', () => {
	expect(normalizedPath('/a/./b/../c')).toBe('/a/c');
	expect(normalizedPath('/a/..')).toBe('/');
	expect(normalizedPath('/../../etc')).toBe('/etc');
	expect(normalizedPath('/a/.')).toBe('/a/');
	expect(normalizedPath('/%61%2Db%7E')).toBe('/a-b~');
	expect(normalizedPath('/a/%2e%2e/b')).toBe('/b');
	expect(normalizedPath('/a\\b')).toBe('/a/b');
});

test('a dot segment with parameters is a dot segment', () => {
	expect(normalizedPath('/a/..;/b')).toBe('/b');
	expect(normalizedPath('/a/%2e%2e;x=1/b')).toBe('/b');
	expect(normalizedPath('/a/.;x/b')).toBe('/a/b');
	expect(normalizedPath('/a/b/..;')).toBe('/a/');
	expect(normalizedPath('/a;x/...;y/.b;z')).toBe('/a;x/...;y/.b;z');
});

test('what is encoded for a reason stays, and so does the query', () => {
	expect(normalizedPath('/a%2Fb%20c')).toBe('/a%2Fb%20c');
	expect(normalizedPath('/a/./b?x=/../%61')).toBe('/a/b?x=/../%61');
});

test('broken encodings have no normal form', () => {
	expect(normalizedPath('/%zz')).toBeNull();
	expect(normalizedPath('/%4')).toBeNull();
	expect(normalizedPath('/a%00b')).toBeNull();
});

test('slashes are merged before the query', () => {
	expect(withMergedSlashes('//a///b?c=//')).toBe('/a/b?c=//');
});
