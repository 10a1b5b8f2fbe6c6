import { describe, expect, test } from 'bun:test';
import { WeftError } from '../std/errors.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { HTTP_ROUTE } from './http-route.ts';
import { erased } from './kinds.ts';
import { NAMESPACE } from './namespace.ts';
import { type ObjectEvent, ObjectStore } from './object-store.ts';
import { SERVICE } from './service.ts';
import { WORKLOAD_ENTRY } from './workload-entry.ts';

function service(name: string, spec: object = {}, metadata: object = {}) {
	return {
		apiVersion: 'v1',
		kind: 'Service',
		metadata: { name, ...metadata },
		spec: { ports: [{ port: 80 }], selector: { app: name }, ...spec },
	};
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
	try {
		await promise;
	} catch (error) {
		return error instanceof WeftError ? error.code : String(error);
	}
	return 'none';
}

function opened() {
	return ObjectStore.open(new MemoryStore(), { wallMs: () => Date.UTC(2026, 0, 2, 3, 4, 5) });
}

describe('ObjectStore', () => {
	test('default and weft-system are there from the start', async () => {
		const objects = await opened();
		const names = (await objects.list(NAMESPACE)).items.map((item) => item.metadata.name);
		expect(names).toEqual(['default', 'weft-system']);
		expect(await codeOf(objects.delete(NAMESPACE, '', 'default'))).toBe('forbidden');
	});

	test('a new object has uid, generation, time and revision; defaults are filled in', async () => {
		const objects = await opened();
		const made = await objects.create(SERVICE, service('reviews'));
		expect(made.metadata).toMatchObject({
			name: 'reviews',
			namespace: 'default',
			generation: 1,
			creationTimestamp: '2026-01-02T03:04:05Z',
			resourceVersion: '3',
		});
		expect(made.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
		expect(made.spec).toMatchObject({
			clusterIP: '127.96.0.1',
			type: 'ClusterIP',
			ports: [{ port: 80, protocol: 'TCP' }],
		});
		expect(await objects.get(SERVICE, 'default', 'reviews')).toEqual(made);
		expect(await codeOf(objects.create(SERVICE, service('reviews')))).toBe('already_exists');
	});

	test('addresses: lowest free, kept on update, given back, never two owners, known again after a restart', async () => {
		const store = new MemoryStore();
		const objects = await ObjectStore.open(store);
		const made = await Promise.all(['a', 'b', 'c'].map((name) => objects.create(SERVICE, service(name))));
		expect(made.map((one) => one.spec.clusterIP)).toEqual(['127.96.0.1', '127.96.0.2', '127.96.0.3']);
		expect(await codeOf(objects.create(SERVICE, service('d', { clusterIP: '127.96.0.2' })))).toBe('invalid_config');
		const updated = await objects.update(SERVICE, service('b', { ports: [{ port: 81 }] }));
		expect(updated.spec.clusterIP).toBe('127.96.0.2');
		expect(await codeOf(objects.update(SERVICE, service('b', { clusterIP: '127.96.0.9' })))).toBe('invalid_config');
		await objects.delete(SERVICE, 'default', 'a');
		const again = await ObjectStore.open(store);
		expect((await again.create(SERVICE, service('e'))).spec.clusterIP).toBe('127.96.0.1');
		expect((await again.create(SERVICE, service('f'))).spec.clusterIP).toBe('127.96.0.4');
	});

	test('a dry run does everything but write', async () => {
		const objects = await opened();
		const before = await objects.currentRevision();
		const dry = await objects.create(SERVICE, service('a'), { dryRun: true });
		expect(dry.spec.clusterIP).toBe('127.96.0.1');
		expect(await objects.currentRevision()).toBe(before);
		expect((await objects.create(SERVICE, service('b'))).spec.clusterIP).toBe('127.96.0.1');
	});

	test('update: generation grows with the spec only, stale versions are refused, no change is no write', async () => {
		const objects = await opened();
		const first = await objects.create(SERVICE, service('a'));
		const labelled = await objects.update(SERVICE, service('a', {}, { labels: { x: 'y' } }));
		expect(labelled.metadata.generation).toBe(1);
		const changed = await objects.update(SERVICE, service('a', { ports: [{ port: 81 }] }));
		expect(changed.metadata).toMatchObject({ generation: 2, uid: first.metadata.uid });
		expect(changed.metadata.labels).toBeUndefined();
		const stale = service('a', {}, { resourceVersion: first.metadata.resourceVersion });
		expect(await codeOf(objects.update(SERVICE, stale))).toBe('conflict');
		const revision = await objects.currentRevision();
		await objects.update(SERVICE, service('a', { ports: [{ port: 81 }] }));
		expect(await objects.currentRevision()).toBe(revision);
		expect(await codeOf(objects.update(SERVICE, service('none')))).toBe('not_found');
	});

	test('a status is written by itself, by its schema, and not when it is the same', async () => {
		const objects = await opened();
		await objects.create(WORKLOAD_ENTRY, {
			apiVersion: 'networking.istio.io/v1beta1',
			kind: 'WorkloadEntry',
			metadata: { name: 'a-1' },
			spec: { address: '127.128.8.0' },
		});
		const status = {
			conditions: [
				{ type: 'Healthy', status: 'True', reason: 'Checked', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' },
			],
		};
		const written = await objects.updateStatus(WORKLOAD_ENTRY, 'default', 'a-1', () => status);
		expect(written?.status?.conditions?.[0]?.status).toBe('True');
		expect(written?.metadata.generation).toBe(1);
		expect(written?.apiVersion).toBe('networking.istio.io/v1');
		const revision = await objects.currentRevision();
		await objects.updateStatus(WORKLOAD_ENTRY, 'default', 'a-1', () => status);
		expect(await objects.currentRevision()).toBe(revision);
		expect(await codeOf(objects.updateStatus(WORKLOAD_ENTRY, 'default', 'a-1', () => ({ colour: 1 })))).toBe(
			'invalid_config',
		);
		expect(await objects.updateStatus(WORKLOAD_ENTRY, 'default', 'none', () => status)).toBeNull();
	});

	test('two writers of statuses at once both succeed', async () => {
		const objects = await opened();
		const entry = { apiVersion: 'networking.istio.io/v1', kind: 'WorkloadEntry', metadata: { name: 'a' } };
		await objects.create(WORKLOAD_ENTRY, { ...entry, spec: { address: '127.0.0.1' } });
		const bump = () =>
			objects.updateStatus(WORKLOAD_ENTRY, 'default', 'a', (current) => ({
				observedGeneration: (current.status?.observedGeneration ?? 0) + 1,
			}));
		await Promise.all([bump(), bump(), bump()]);
		expect((await objects.get(WORKLOAD_ENTRY, 'default', 'a'))?.status?.observedGeneration).toBe(3);
	});

	test('nothing is made in a namespace that is not there; deleting one takes its content along', async () => {
		const objects = await opened();
		const inShop = service('a', {}, { namespace: 'shop' });
		expect(await codeOf(objects.create(SERVICE, inShop))).toBe('namespace_not_found');
		await objects.create(NAMESPACE, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
		await objects.create(SERVICE, inShop);
		const deletion = objects.delete(NAMESPACE, '', 'shop');
		const late = codeOf(objects.create(SERVICE, service('late', {}, { namespace: 'shop' })));
		await deletion;
		expect(['forbidden', 'namespace_not_found', 'none']).toContain(await late);
		expect((await objects.list(SERVICE, 'shop')).items).toEqual([]);
		expect(await objects.get(NAMESPACE, '', 'shop')).toBeNull();
	});

	test('a watch tells of what is added, modified and deleted', async () => {
		const objects = await opened();
		const seen: ObjectEvent[] = [];
		const done = Promise.withResolvers<void>();
		objects.watch(SERVICE, 'default', await objects.currentRevision(), (events) => {
			seen.push(...events);
			if (seen.length === 3) done.resolve();
		});
		await objects.create(SERVICE, service('a'));
		await objects.update(SERVICE, service('a', { ports: [{ port: 81 }] }));
		await objects.delete(SERVICE, 'default', 'a');
		await done.promise;
		expect(seen.map((event) => `${event.type} ${event.object.metadata.resourceVersion}`)).toEqual([
			'added 3',
			'modified 4',
			'deleted 5',
		]);
	});

	test('says what a route names that is not there', async () => {
		const objects = await opened();
		await objects.create(SERVICE, service('reviews'));
		const route = await objects.create(HTTP_ROUTE, {
			apiVersion: 'gateway.networking.k8s.io/v1',
			kind: 'HTTPRoute',
			metadata: { name: 'r' },
			spec: {
				parentRefs: [{ group: '', kind: 'Service', name: 'reviews' }],
				rules: [{ backendRefs: [{ name: 'revews', port: 80 }] }],
			},
		});
		expect(await objects.missingReferences(erased(HTTP_ROUTE), route)).toEqual([
			'HTTPRoute default/r: spec.rules[0].backendRefs[0].name: Service default/revews does not exist (did you mean "reviews"?); its share of the requests is answered with status 500 until it exists',
		]);
	});
});
