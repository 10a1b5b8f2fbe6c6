import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseBootstrap } from '../../src/proxy/bootstrap.ts';

test('the bootstrap that the README names is read', () => {
	const file = join(import.meta.dir, 'bootstrap.yaml');
	const bootstrap = parseBootstrap(readFileSync(file, 'utf8'), file);
	expect(bootstrap.staticResources?.listeners.map((listener) => listener.name)).toEqual(['http']);
	expect(bootstrap.staticResources?.clusters.map((cluster) => cluster.name)).toEqual(['programs']);
});
