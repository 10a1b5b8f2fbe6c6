// Which instances the shop runs, in the languages that this machine has.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot, type ShopInstance } from './mesh.ts';

function instance(service: string, version: string, command: readonly string[], copies = 1): ShopInstance[] {
	return Array.from({ length: copies }, (_, i) => ({
		name: `${service}-${version}${copies > 1 ? `-${i + 1}` : ''}`,
		service,
		version,
		command,
		listens: true,
	}));
}

/** @throws when Python 3 is missing; leaves shipping out where Go is missing. */
export async function shopInstances(storefrontPort: number): Promise<ShopInstance[]> {
	const node = Bun.which('node');
	const python = Bun.which('python3');
	if (node === null || python === null) {
		throw new Error(`the shop needs ${node === null ? 'node' : 'python3'} on PATH`);
	}
	const all = [
		...instance('accounts', 'v1', [python, 'accounts/server.py']),
		...instance('products', 'v1', [node, 'products/server.mjs'], 2),
		...instance('products', 'v2', [node, 'products/server.mjs'], 2),
		...instance('products', 'v3', [node, 'products/server.mjs']),
		...instance('payments', 'v1', [python, 'payments/server.py']),
		...instance('legacy', 'v1', [python, 'legacy/server.py']),
		...instance('reviews', 'v1', [python, 'reviews/server.py']),
	];
	const shipping = await buildShipping();
	all.push(
		...instance('storefront', 'v1', [node, 'storefront/server.mjs']).map((one) => ({
			...one,
			publishPort: storefrontPort,
			// A name that nobody has is asked of the machine's resolver, which may take its time to say so, or not answer.
			env: shipping === null ? { SHIPPING_URL: '' } : undefined,
		})),
	);
	if (shipping !== null) all.push(...instance('shipping', 'v1', [shipping]));
	return all;
}

export function loadGenerator(rate: number): ShopInstance {
	const node = Bun.which('node') ?? 'node';
	return {
		name: 'loadgen',
		service: 'loadgen',
		version: 'v1',
		command: [node, 'loadgen/load.mjs', '--rate', String(rate)],
		listens: false,
	};
}

async function buildShipping(): Promise<string | null> {
	if (Bun.which('go') === null) return null;
	const folder = join(projectRoot, 'dist/shop');
	mkdirSync(folder, { recursive: true });
	const binary = join(folder, 'shipping');
	const build = Bun.spawn(['go', 'build', '-o', binary, '.'], {
		cwd: join(projectRoot, 'examples/shop/shipping'),
		env: { ...process.env, GOFLAGS: '-mod=mod', GOPROXY: 'off', CGO_ENABLED: '0' },
		stdin: 'ignore',
		stdout: 'ignore',
		stderr: 'ignore',
	});
	return (await build.exited) === 0 ? binary : null;
}
