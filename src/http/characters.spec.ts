import { expect, test } from 'bun:test';
import { isAuthority, trimSpace } from './characters.ts';
import { parseContentLength } from './field-rules.ts';

test('white space is SP and HTAB: what Unicode counts as space is content', () => {
	expect(trimSpace(' \t a b\t ')).toBe('a b');
	expect(trimSpace('\xa0a\xa0')).toBe('\xa0a\xa0');
	expect(trimSpace('\x0ba\x0c')).toBe('\x0ba\x0c');
	expect(trimSpace(' \t')).toBe('');
	expect(trimSpace('a')).toBe('a');
});

test('a content-length with a no-break space in its list is no number', () => {
	expect(parseContentLength('5, 5')).toBe(5);
	expect(parseContentLength('5,\xa05')).toBe(-1);
});

test('an authority is a host, and a port that is one', () => {
	for (const good of ['a', 'a:1', 'a:', '[::1]', '[::1]:65535', '1.2.3.4']) expect(isAuthority(good)).toBe(true);
	for (const bad of ['', ':1', 'a:65536', 'a:1x', 'a@b', '[', '[]', '[g]', '[::1]x', 'a b']) {
		expect(isAuthority(bad)).toBe(false);
	}
});
