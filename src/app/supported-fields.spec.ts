import { expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FIELDS_WITHOUT_EFFECT } from '../proxy/fields-without-effect.ts';
import { ALL_FIELDS, supportedFieldsText } from './supported-fields.ts';

test('docs/supported-fields.md is up to date (scripts/bun scripts/supported-fields.ts writes it)', () => {
	const page = readFileSync(join(import.meta.dir, '../../docs/supported-fields.md'), 'utf8');
	expect(page).toBe(supportedFieldsText());
});

test('what is accepted is read somewhere, or it is said that it has no effect', () => {
	const words = new Set<string>();
	const source = join(import.meta.dir, '..');
	for (const layer of ['app', 'cli', 'net', 'proxy', 'xds']) {
		for (const name of readdirSync(join(source, layer), { recursive: true }).map(String)) {
			if (!name.endsWith('.ts') || name.endsWith('.spec.ts') || /fields(-without-effect)?\.ts$/.test(name)) continue;
			const text = readFileSync(join(source, layer, name), 'utf8');
			for (const word of text.match(/[A-Za-z0-9]+/g) ?? []) words.add(word);
		}
	}
	const unread = new Set<string>();
	const accepted = new Set<string>();
	for (const fields of ALL_FIELDS) {
		for (const [message, list] of Object.entries(fields)) {
			if (list === '*') continue;
			for (const field of list) {
				accepted.add(`${message}.${field}`);
				const property = field.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
				// By the oneof that it is a case of.
				if (field === 'scheme_redirect' && words.has('schemeRewriteSpecifier')) continue;
				if (!words.has(property)) unread.add(`${message}.${field}`);
			}
		}
	}
	expect([...unread].filter((name) => FIELDS_WITHOUT_EFFECT[name] === undefined)).toEqual([]);
	expect(Object.keys(FIELDS_WITHOUT_EFFECT).filter((name) => !accepted.has(name))).toEqual([]);
});
