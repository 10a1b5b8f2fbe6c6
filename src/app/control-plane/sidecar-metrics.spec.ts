import { afterAll, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiError } from '../../control/api/api-error.ts';
import { SidecarDirectory } from '../run/sidecar-directory.ts';
import { sidecarMetricsMounts } from './sidecar-metrics.ts';

const root = mkdtempSync(join(tmpdir(), 'weft-metrics-'));
const sidecars = join(root, 'sidecars');
const servers: Bun.Server<undefined>[] = [];

afterAll(() => {
	for (const server of servers) void server.stop(true);
	rmSync(root, { recursive: true, force: true });
});

function sidecar(instance: string): SidecarDirectory {
	const directory = SidecarDirectory.create(sidecars, instance);
	const bootstrap = {
		node: { metadata: { NAMESPACE: 'shop', WORKLOAD_NAME: 'reviews-v2', LABELS: { app: 'reviews', version: 'v2' } } },
		admin: { address: { pipe: { path: directory.adminSocket } } },
	};
	writeFileSync(directory.bootstrap, JSON.stringify(bootstrap));
	return directory;
}

async function get(path: string, method = 'GET'): Promise<Response | null> {
	const url = new URL(path, 'http://127.0.0.1:4711');
	for (const mount of sidecarMetricsMounts(sidecars)) {
		if (!url.pathname.startsWith(mount.prefix)) continue;
		const found = await mount.handle(new Request(url.href, { method }), { url, door: 'tcp', keepOpen: () => {} });
		if (found !== null) return found;
	}
	return null;
}

async function codeOf(path: string, method = 'GET'): Promise<number | undefined> {
	try {
		return (await get(path, method))?.status;
	} catch (error) {
		return (error as ApiError).code;
	}
}

test('before the first sidecar there are no targets', async () => {
	expect(await (await get('/weft/v1/prometheus/targets'))!.json()).toEqual([]);
});

test('each sidecar is a target behind the API, with its labels; what was left behind is none', async () => {
	sidecar('reviews-v2-1a');
	mkdirSync(join(sidecars, 'reviews-v2-2b'));
	writeFileSync(join(sidecars, 'reviews-v2-2b', 'owner'), '999999999:1');
	const targets = await (await get('/weft/v1/prometheus/targets'))!.json();
	expect(targets).toEqual([
		{
			targets: ['127.0.0.1:4711'],
			labels: {
				__metrics_path__: '/weft/v1/sidecars/reviews-v2-1a/metrics',
				instance: 'reviews-v2-1a',
				namespace: 'shop',
				workload: 'reviews-v2',
				app: 'reviews',
				version: 'v2',
			},
		},
	]);
});

test('what a sidecar says is passed on; one that is silent is not there', async () => {
	const { adminSocket } = sidecar('reviews-v2-3c');
	expect(await codeOf('/weft/v1/sidecars/reviews-v2-3c/metrics')).toBe(503);
	const answer = (request: Request) => new Response(`# ${new URL(request.url).pathname}\n`);
	servers.push(Bun.serve({ unix: adminSocket, fetch: answer }));
	const response = (await get('/weft/v1/sidecars/reviews-v2-3c/metrics'))!;
	expect(response.headers.get('content-type')).toStartWith('text/plain; version=0.0.4');
	expect(await response.text()).toBe('# /stats/prometheus\n');
});

test('nothing else of a sidecar can be asked for', async () => {
	for (const path of ['reviews-v2-3c', 'reviews-v2-3c/quitquitquit', 'reviews-v2-3c/metrics/x', '%2e%2e/metrics']) {
		expect(await codeOf(`/weft/v1/sidecars/${path}`)).toBeUndefined();
	}
	expect(await codeOf('/weft/v1/sidecars/nobody/metrics')).toBe(404);
	expect(await codeOf('/weft/v1/sidecars/reviews-v2-3c/metrics', 'POST')).toBe(405);
});
