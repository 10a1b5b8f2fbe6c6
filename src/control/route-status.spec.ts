import { beforeEach, describe, expect, test } from 'bun:test';
import { HTTP_ROUTE } from '../config/http-route.ts';
import type { Condition } from '../config/object.ts';
import { CONTROLLER_NAME, PROGRAMMED, type RouteProgress, RouteStatusWriter } from './route-status.ts';
import { TestMesh } from './testing-mesh.ts';

const SERVICE = (name: string, port = 'name: http, port: 80') => `
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: default }
spec: { selector: { app: ${name} }, ports: [{ ${port} }] }
`;

const ROUTE = (parents: string, backend = 'name: reviews, port: 80') => `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: route, namespace: default }
spec:
  parentRefs: [${parents}]
  rules: [{ backendRefs: [{ ${backend} }] }]
`;

const REVIEWS = '{ group: "", kind: Service, name: reviews }';

let mesh: TestMesh;
let progress: RouteProgress;
let writer: RouteStatusWriter;

beforeEach(async () => {
	mesh = await TestMesh.start(SERVICE('reviews'));
	progress = { of: 0, acknowledged: 0, rejection: null };
	writer = new RouteStatusWriter(mesh.model, mesh.objects, mesh.clock, () => progress);
});

const stored = () => mesh.objects.get(HTTP_ROUTE, 'default', 'route');

/** The conditions of the n-th parent, by type, after the writer has looked at the route. */
async function conditions(parent = 0): Promise<Record<string, Condition>> {
	writer.mark(['default/route']);
	await writer.idle();
	await mesh.settle();
	const found = (await stored())?.status?.parents[parent]?.conditions ?? [];
	return Object.fromEntries(found.map((condition) => [condition.type, condition]));
}

describe('a parent', () => {
	test('that is an HTTP service accepts the route', async () => {
		await mesh.apply(ROUTE(REVIEWS));
		expect(await conditions()).toMatchObject({
			Accepted: { status: 'True', reason: 'Accepted', observedGeneration: 1 },
			ResolvedRefs: { status: 'True', reason: 'ResolvedRefs' },
		});
		const parent = (await stored())?.status?.parents[0];
		expect(parent).toMatchObject({ controllerName: CONTROLLER_NAME, parentRef: { name: 'reviews' } });
	});

	test('that is not there, has no such port or does not speak HTTP does not; each for itself', async () => {
		await mesh.apply(SERVICE('db', 'name: tcp, port: 5432'));
		const named = (name: string, more = '') => `{ group: "", kind: Service, name: ${name}${more} }`;
		await mesh.apply(
			ROUTE([named('nowhere'), named('reviews', ', port: 81'), named('db'), named('reviews')].join(', ')),
		);
		const messages = [];
		for (let parent = 0; parent < 4; parent++) {
			const { Accepted } = await conditions(parent);
			messages.push([Accepted?.status, Accepted?.reason, Accepted?.message]);
		}
		expect(messages).toEqual([
			['False', 'NoMatchingParent', 'Service default/nowhere does not exist'],
			['False', 'NoMatchingParent', 'Service default/reviews has no port 81'],
			['False', 'NoMatchingParent', 'Service default/db does not speak HTTP'],
			['True', 'Accepted', 'The route is accepted'],
		]);
		expect((await conditions(0))[PROGRAMMED]).toMatchObject({ status: 'False', reason: 'Invalid' });
		expect((await conditions(3))[PROGRAMMED]).toMatchObject({ status: 'True', reason: 'Programmed' });
	});
});

test('a backend that is not there is named, until it comes', async () => {
	await mesh.apply(ROUTE(REVIEWS, 'name: ratings, port: 80'));
	expect((await conditions()).ResolvedRefs).toMatchObject({
		status: 'False',
		reason: 'BackendNotFound',
		message: 'Service default/ratings does not exist',
	});
	mesh.clock.advance(5000);
	await mesh.apply(SERVICE('ratings'));
	const now = await conditions();
	expect(now.ResolvedRefs).toMatchObject({ status: 'True' });
	// Only what has changed is of another time.
	expect(Date.parse(now.ResolvedRefs!.lastTransitionTime)).toBeGreaterThan(
		Date.parse(now.Accepted!.lastTransitionTime),
	);
});

describe('Programmed', () => {
	beforeEach(() => mesh.apply(ROUTE(REVIEWS)));

	test('follows the acknowledgements of the sidecars', async () => {
		progress = { of: 3, acknowledged: 1, rejection: null };
		expect((await conditions())[PROGRAMMED]).toMatchObject({
			status: 'Unknown',
			reason: 'Pending',
			message: 'acknowledged by 1 of 3',
		});
		progress = { of: 3, acknowledged: 3, rejection: null };
		expect((await conditions())[PROGRAMMED]).toMatchObject({
			status: 'True',
			reason: 'Programmed',
			message: 'acknowledged by 3 of 3',
		});
	});

	test('says nothing of a change that is not compiled yet: what is acknowledged is the route as it was', async () => {
		progress = { of: 1, acknowledged: 1, rejection: null };
		expect((await conditions())[PROGRAMMED]).toMatchObject({ status: 'True', observedGeneration: 1 });
		await mesh.write(ROUTE(REVIEWS, 'name: ratings, port: 80'));
		await mesh.hear();
		expect(mesh.model.httpRoutes.get('default/route')?.metadata.generation).toBe(2);
		writer.mark(['default/route']);
		await writer.idle();
		expect((await stored())?.status?.parents[0]?.conditions[0]).toMatchObject({ observedGeneration: 1 });
		await mesh.settle();
		expect((await conditions())[PROGRAMMED]).toMatchObject({ status: 'True', observedGeneration: 2 });
	});

	test('says who refused it and why', async () => {
		progress = { of: 2, acknowledged: 1, rejection: 'sidecar~1: no such field' };
		expect((await conditions())[PROGRAMMED]).toMatchObject({
			status: 'False',
			reason: 'Rejected',
			message: 'acknowledged by 1 of 2; sidecar~1: no such field',
		});
	});
});

test('what says nothing new is not written', async () => {
	await mesh.apply(ROUTE(REVIEWS));
	progress = { of: 1, acknowledged: 1, rejection: null };
	await conditions();
	const before = (await stored())?.metadata.resourceVersion;
	mesh.clock.advance(60_000);
	await conditions();
	expect((await stored())?.metadata.resourceVersion).toBe(before);
	progress = { of: 2, acknowledged: 2, rejection: null };
	await conditions();
	expect((await stored())?.metadata.resourceVersion).not.toBe(before);
});

test('a route that changes meanwhile is not given a status of what it was', async () => {
	await mesh.apply(ROUTE(REVIEWS));
	const newer = {
		apiVersion: 'gateway.networking.k8s.io/v1',
		kind: 'HTTPRoute',
		metadata: { name: 'route', namespace: 'default' },
		spec: { parentRefs: [{ group: '', kind: 'Service', name: 'nowhere' }] },
	};
	let changing: Promise<unknown> | null = null;
	const late = new RouteStatusWriter(mesh.model, mesh.objects, mesh.clock, () => {
		changing ??= mesh.objects.apply(HTTP_ROUTE, newer);
		return progress;
	});
	late.mark(['default/route']);
	await Promise.all([late.idle(), changing]);
	const written = await stored();
	expect(written?.metadata.generation).toBe(2);
	for (const { observedGeneration } of written?.status?.parents[0]?.conditions ?? [])
		expect(observedGeneration).toBe(1);
	await mesh.settle();
	expect((await conditions()).Accepted).toMatchObject({ status: 'False', observedGeneration: 2 });
});

test('a route that is gone, and a store that refuses, end nothing', async () => {
	writer.mark(['default/nowhere']);
	await writer.idle();
	await mesh.apply(ROUTE(REVIEWS));
	const { updateStatus } = mesh.objects;
	mesh.objects.updateStatus = async () => {
		throw new Error('the disk is full');
	};
	writer.mark(['default/route']);
	await writer.idle();
	expect((await stored())?.status).toBeUndefined();
	mesh.objects.updateStatus = updateStatus;
	expect((await conditions()).Accepted?.status).toBe('True');
});
