// Writes docs/supported-fields.md out of the tables by which the proxy refuses what it does not
// know. `scripts/bun scripts/supported-fields.ts` writes it; src/app/supported-fields.spec.ts holds
// that it is up to date.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { supportedFieldsText } from '../src/app/supported-fields.ts';

writeFileSync(join(import.meta.dir, '../docs/supported-fields.md'), supportedFieldsText());
