import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { supportedFieldsText } from './supported-fields.ts';

test('docs/supported-fields.md is up to date (scripts/bun scripts/supported-fields.ts writes it)', () => {
	const page = readFileSync(join(import.meta.dir, '../../docs/supported-fields.md'), 'utf8');
	expect(page).toBe(supportedFieldsText());
});
