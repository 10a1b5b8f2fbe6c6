// The tour that `npm run demo -- --scripted` makes by itself: each step changes the mesh and then
// checks, by what the load generator and the mesh observe, that the change had its effect and that
// no request failed.

import { join } from 'node:path';
import { type LoadObserver, share } from './load.ts';
import { type DemoMesh, projectRoot } from './mesh.ts';

export interface StepResult {
	readonly title: string;
	readonly ok: boolean;
	/** What was observed. */
	readonly observed: string;
	readonly seconds: number;
}

type Observation = { readonly ok: boolean; readonly observed: string };

const manifest = (name: string) => join(projectRoot, 'examples/shop/mesh', name);
const percent = (value: number) => `${(value * 100).toFixed(0)} %`;

/** Yields one result per step; goes on after one that failed, so that the summary is whole. */
export async function* runTour(
	mesh: DemoMesh,
	load: LoadObserver,
	sidecarCount: number,
): AsyncGenerator<StepResult, void> {
	const steps: [string, () => Promise<Observation>][] = [
		['every call is mutual TLS and none fails', () => calm(mesh, load)],
		['10 % of the traffic of products goes to v2', () => canary(mesh, load, 'products-canary-10.yaml', 0.1)],
		['50 %', () => canary(mesh, load, 'products-canary-50.yaml', 0.5)],
		['all of it', () => canary(mesh, load, 'products-v2.yaml', 1)],
		['/reviews moves from the monolith to its service', () => moveReviews(mesh, load)],
		['an instance is killed and nothing fails', () => killOne(mesh, load)],
		['payments get a delay of 400 ms, and lose it again', () => delay(mesh, load)],
		['the control plane is killed and comes back', () => restartControlPlane(mesh, load, sidecarCount - 1)],
	];
	for (const [title, step] of steps) {
		const started = performance.now();
		let result: Observation;
		try {
			result = await step();
		} catch (error) {
			result = { ok: false, observed: error instanceof Error ? error.message : String(error) };
		}
		yield { title, ...result, seconds: (performance.now() - started) / 1000 };
	}
}

async function calm(mesh: DemoMesh, load: LoadObserver): Promise<Observation> {
	const seen = await load.during(40, 5000);
	const inner = (snapshot: Awaited<ReturnType<DemoMesh['snapshot']>>) =>
		snapshot.edges.filter((edge) => edge.source.service !== 'unknown' && edge.traffic.requestRate > 0);
	const snapshot = await mesh.waitFor((now) => inner(now).length >= 5 && inner(now).every((edge) => edge.mtls), 5000);
	const edges = snapshot === null ? [] : inner(snapshot);
	return {
		ok: snapshot !== null && seen.failed === 0 && seen.done > 0,
		observed: `${edges.length} links, ${edges.filter((edge) => edge.mtls).length} of them mutual TLS; ${seen.done} requests, ${seen.failed} failed`,
	};
}

async function canary(mesh: DemoMesh, load: LoadObserver, file: string, wanted: number): Promise<Observation> {
	await mesh.cli('apply', '--wait', '-f', manifest(file));
	const seen = await load.during(wanted === 1 ? 60 : 120, 8000);
	const got = share(seen.products, 'v2');
	// Wide enough that chance alone does not fail it (more than 3 standard deviations at 120 pages).
	const tolerance = wanted === 1 ? 0 : wanted === 0.5 ? 0.15 : 0.09;
	return {
		ok: Math.abs(got - wanted) <= tolerance && seen.failed === 0,
		observed: `v2 served ${percent(got)} of ${Object.values(seen.products).reduce((a, b) => a + b, 0)} pages, ${seen.failed} failed`,
	};
}

async function moveReviews(mesh: DemoMesh, load: LoadObserver): Promise<Observation> {
	const before = share(load.totals.reviews, 'legacy');
	await mesh.cli('apply', '--wait', '-f', manifest('reviews-route.yaml'));
	const seen = await load.during(60, 6000);
	return {
		ok: before === 1 && share(seen.reviews, 'reviews') === 1 && seen.failed === 0,
		observed: `before, ${percent(before)} came from legacy; now ${percent(share(seen.reviews, 'reviews'))} from reviews, ${seen.failed} failed`,
	};
}

async function killOne(mesh: DemoMesh, load: LoadObserver): Promise<Observation> {
	const healthy = (now: Awaited<ReturnType<DemoMesh['snapshot']>>) =>
		now.services.find((service) => service.name === 'products-v2')?.healthy;
	const before = load.totals;
	const was = healthy(await mesh.snapshot());
	const started = performance.now();
	await mesh.killInstance('products-v2-1');
	const snapshot = await mesh.waitFor((now) => healthy(now) === 1, 5000);
	const leftAfterMs = performance.now() - started;
	const seen = await load.during(60, 6000);
	const failed = load.totals.failed - before.failed;
	return {
		ok: was === 2 && snapshot !== null && leftAfterMs < 2000 && failed === 0,
		observed:
			snapshot === null
				? `it is still an endpoint after 5 s; ${failed} failed`
				: `it left the endpoints after ${(leftAfterMs / 1000).toFixed(1)} s; ${seen.done} requests since, ${failed} failed`,
	};
}

async function delay(mesh: DemoMesh, load: LoadObserver): Promise<Observation> {
	const before = load.totals.failed;
	const calm = (await load.ordersTake(() => true, 5000)) ?? 0;
	await mesh.cli('apply', '--wait', '-f', manifest('payments-delay.yaml'));
	const slow = await load.ordersTake((ms) => ms > calm + 300, 10_000);
	await mesh.cli('delete', '-f', manifest('payments-delay.yaml'));
	const again = await load.ordersTake((ms) => ms < calm + 200, 10_000);
	const failed = load.totals.failed - before;
	return {
		ok: slow !== null && again !== null && failed === 0,
		observed: `an order took ${ms(calm)}, with the delay ${ms(slow)}, without it ${ms(again)}; ${failed} failed`,
	};
}

function ms(value: number | null): string {
	return value === null ? 'not what was expected' : `${value.toFixed(0)} ms`;
}

async function restartControlPlane(mesh: DemoMesh, load: LoadObserver, sidecarCount: number): Promise<Observation> {
	const before = load.totals;
	const routes = (await mesh.snapshot()).routes.length;
	await mesh.killControlPlane();
	const meanwhile = await load.during(40, 5000);
	mesh.startControlPlane();
	const connected = (now: Awaited<ReturnType<DemoMesh['snapshot']>>) =>
		now.sidecars.filter((sidecar) => sidecar.connected && sidecar.inSync).length;
	const back = await mesh.waitFor((now) => connected(now) >= sidecarCount, 15_000);
	await load.during(30, 4000);
	const failed = load.totals.failed - before.failed;
	return {
		ok: back !== null && back.routes.length === routes && meanwhile.done > 0 && failed === 0,
		observed:
			back === null
				? 'not all sidecars came back within 15 s'
				: `${meanwhile.done} requests without it; ${connected(back)} sidecars and ${back.routes.length} routes back; ${failed} failed`,
	};
}
