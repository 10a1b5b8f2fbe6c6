import { beforeEach, describe, expect, test } from 'bun:test';
import { NAMESPACE } from '../config/namespace.ts';
import { SERVICE } from '../config/service.ts';
import { WORKLOAD_ENTRY } from '../config/workload-entry.ts';
import { WeftError } from '../std/errors.ts';
import type { InstanceGrant } from './instance-grants.ts';
import { GRACE_MS, RESTART_GRACE_MS, Registry, WRITE_RETRY_MS } from './registry.ts';
import { sidecarNode, TestMesh, type TestNodeOptions } from './testing-mesh.ts';

let mesh: TestMesh;
let registry: Registry;

const node = (more: TestNodeOptions['weft'] = {}) =>
	sidecarNode({ name: 'reviews', weft: { service: 'reviews', ports: [{ port: 9080, protocol: 'http' }], ...more } });

const entry = () => mesh.objects.get(WORKLOAD_ENTRY, 'default', 'reviews-v1-1');

beforeEach(async () => {
	mesh = await TestMesh.start();
	registry = new Registry({ objects: mesh.objects, model: mesh.model, clock: mesh.clock });
	registry.start();
});

async function settle(): Promise<void> {
	await registry.idle();
	await mesh.settle();
}

describe('a sidecar that connects', () => {
	test('is an instance, and makes the service that nobody has', async () => {
		registry.connect(node({ inboundPorts: { '9080': 19080 } }));
		await settle();
		expect((await entry())?.spec).toEqual({
			address: '127.128.8.0',
			ports: { '9080': 19080, http: 19080 },
			labels: { app: 'reviews', version: 'v1', 'security.istio.io/tlsMode': 'istio' },
			serviceAccount: 'reviews',
		});
		const service = await mesh.objects.get(SERVICE, 'default', 'reviews');
		expect(service?.spec.ports).toEqual([{ name: 'http', port: 9080, targetPort: 9080, protocol: 'TCP' }]);
		expect(mesh.open(sidecarNode()).endpoints('outbound|9080||reviews.default.svc.cluster.local')).toEqual([
			'127.128.8.0:19080',
		]);
	});

	test('leaves a service alone that is there', async () => {
		await mesh.apply(`
apiVersion: v1
kind: Service
metadata: { name: reviews, namespace: default }
spec: { selector: { app: reviews }, ports: [{ port: 80, targetPort: 9080 }] }`);
		registry.connect(node());
		await settle();
		expect((await mesh.objects.get(SERVICE, 'default', 'reviews'))?.spec.ports).toHaveLength(1);
		// And is found by its target port.
		expect(mesh.open(sidecarNode()).endpoints('outbound|80||reviews.default.svc.cluster.local')).toEqual([
			'127.128.8.0:9080',
		]);
	});

	test('is no endpoint of a port that it does not have', async () => {
		await mesh.apply(`
apiVersion: v1
kind: Service
metadata: { name: reviews, namespace: default }
spec: { selector: { app: reviews }, ports: [{ port: 1234 }] }`);
		registry.connect(node());
		await settle();
		expect(mesh.open(sidecarNode()).endpoints('outbound|1234||reviews.default.svc.cluster.local')).toEqual([]);
	});

	test('may not take the place of what is not its own', async () => {
		await mesh.apply(`
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: reviews-v1-1, namespace: default }
spec: { address: 10.0.0.1 }`);
		expect(() => registry.connect(node())).toThrow(/belongs to another/);
	});
});

describe('when the stream ends', () => {
	test('in order, the instance leaves at once, and the service stays', async () => {
		const registration = registry.connect(node());
		await settle();
		registration.close(true);
		await settle();
		expect(await entry()).toBeNull();
		expect(await mesh.objects.get(SERVICE, 'default', 'reviews')).not.toBeNull();
	});

	test('by a loss, it has a grace', async () => {
		const registration = registry.connect(node());
		await settle();
		registration.close(false);
		mesh.clock.advance(GRACE_MS - 100);
		await registry.idle();
		expect(await entry()).not.toBeNull();
		mesh.clock.advance(100);
		await registry.idle();
		expect(await entry()).toBeNull();
	});

	test('and it comes back within the grace, it never left', async () => {
		const first = registry.connect(node());
		await settle();
		const before = (await entry())?.metadata.uid;
		first.close(false);
		mesh.clock.advance(GRACE_MS / 2);
		registry.connect(node());
		mesh.clock.advance(10 * GRACE_MS);
		await settle();
		expect((await entry())?.metadata.uid).toBe(before);
	});

	test('of an old connection after a new one is there, nothing happens', async () => {
		const old = registry.connect(node());
		registry.connect(node());
		await settle();
		old.close(true);
		old.close(true);
		await settle();
		expect(await entry()).not.toBeNull();
	});
});

describe('a Service that is deleted while its instances run', () => {
	const reviews = () => mesh.objects.get(SERVICE, 'default', 'reviews');
	const own = `
apiVersion: v1
kind: Service
metadata: { name: reviews, namespace: default }
spec: { selector: { app: reviews }, ports: [{ port: 80, targetPort: 9080 }] }`;
	const remove = async () => {
		await mesh.objects.delete(SERVICE, 'default', 'reviews');
		await settle();
		await settle();
	};

	/** As the control plane puts it together. */
	const follow = (one: Registry) => {
		const { apply } = mesh.resources;
		mesh.resources.apply = (change) => {
			apply.call(mesh.resources, change);
			one.onServicesRemoved(change.removedServices);
		};
	};

	beforeEach(() => follow(registry));

	test('and was made for them comes back at once, at its address', async () => {
		await mesh.apply(own.replaceAll('reviews', 'ahead'));
		registry.connect(node());
		await settle();
		const before = await reviews();
		await mesh.objects.delete(SERVICE, 'default', 'ahead');
		await remove();
		const after = await reviews();
		expect(after?.spec).toEqual(before!.spec);
		expect(after?.metadata.uid).not.toBe(before!.metadata.uid);
		// Each time.
		await remove();
		expect(await reviews()).not.toBeNull();
	});

	test('comes back at another address where its own was given away', async () => {
		registry.connect(node());
		await settle();
		const address = (await reviews())?.spec.clusterIP ?? '';
		await mesh.objects.delete(SERVICE, 'default', 'reviews');
		await mesh.apply(own.replaceAll('name: reviews', 'name: thief').replace('{ sel', `{ clusterIP: ${address}, sel`));
		await settle();
		expect((await reviews())?.spec.clusterIP).toMatch(/^127\.96\./);
		expect((await reviews())?.spec.clusterIP).not.toBe(address);
	});

	test('stays deleted when no instance is left', async () => {
		const registration = registry.connect(node());
		await settle();
		registration.close(true);
		await settle();
		await remove();
		expect(await reviews()).toBeNull();
	});

	test('and is on its way back, comes back with it', async () => {
		const registration = registry.connect(node());
		await settle();
		registration.close(false);
		await remove();
		expect(await reviews()).toBeNull();
		registry.connect(node());
		await settle();
		expect(await reviews()).not.toBeNull();
	});

	test('and a user made stays deleted, also when a sidecar connects again, until another instance starts', async () => {
		await mesh.apply(own);
		const old = registry.connect(node());
		await settle();
		await remove();
		expect(await reviews()).toBeNull();
		registry.connect(node());
		old.close(false);
		await settle();
		expect(await reviews()).toBeNull();
		await registry.stop();
		registry = new Registry({ objects: mesh.objects, model: mesh.model, clock: mesh.clock });
		registry.start();
		registry.connect(node());
		await settle();
		expect(await reviews()).toBeNull();
		registry.connect(node({ instance: 'reviews-v1-2' }));
		await settle();
		expect((await reviews())?.spec.ports[0]?.port).toBe(9080);
	});

	test('and a user has taken over stays deleted', async () => {
		registry.connect(node());
		await settle();
		// One change for the model: what it was last counts.
		await mesh.write(own.replace('selector', 'clusterIP: 127.96.0.1, selector'));
		await remove();
		expect(await reviews()).toBeNull();
	});

	test('with all of their namespace comes back when the namespace does', async () => {
		const shop = `
apiVersion: v1
kind: Namespace
metadata: { name: shop }`;
		await mesh.apply(shop);
		const weft = { service: 'reviews', ports: [{ port: 9080, protocol: 'http' as const }] };
		registry.connect(sidecarNode({ name: 'reviews', namespace: 'shop', weft }));
		await settle();
		await mesh.objects.delete(NAMESPACE, '', 'shop');
		await settle();
		await registry.idle();
		expect(await mesh.objects.get(SERVICE, 'shop', 'reviews')).toBeNull();
		await mesh.apply(shop);
		mesh.clock.advance(WRITE_RETRY_MS);
		await settle();
		expect(await mesh.objects.get(SERVICE, 'shop', 'reviews')).not.toBeNull();
		expect(await mesh.objects.get(WORKLOAD_ENTRY, 'shop', 'reviews-v1-1')).not.toBeNull();
	});

	test('while the control plane is on its way up comes back with its instances', async () => {
		registry.connect(node());
		await settle();
		await registry.stop();
		registry = new Registry({ objects: mesh.objects, model: mesh.model, clock: mesh.clock });
		follow(registry);
		registry.start();
		await remove();
		registry.connect(node());
		await settle();
		expect(await reviews()).not.toBeNull();
	});
});

describe('after a restart of the control plane', () => {
	test('instances have time to come back, and those that do not are removed', async () => {
		registry.connect(node());
		await settle();
		await registry.stop();
		const next = new Registry({ objects: mesh.objects, model: mesh.model, clock: mesh.clock });
		next.start();
		mesh.clock.advance(RESTART_GRACE_MS - 100);
		await next.idle();
		expect(await entry()).not.toBeNull();
		mesh.clock.advance(100);
		await next.idle();
		expect(await entry()).toBeNull();
	});

	test('entries that users wrote stay', async () => {
		await mesh.apply(`
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: mine, namespace: default }
spec: { address: 10.0.0.1 }`);
		const next = new Registry({ objects: mesh.objects, model: mesh.model, clock: mesh.clock });
		next.start();
		mesh.clock.advance(2 * RESTART_GRACE_MS);
		await next.idle();
		expect(await mesh.objects.get(WORKLOAD_ENTRY, 'default', 'mine')).not.toBeNull();
	});
});

describe('a store that cannot be written for a while', () => {
	/** Throws at each write as long as `broken`. */
	const fault = { broken: false };
	let shaky: Registry;

	beforeEach(() => {
		fault.broken = true;
		const put = mesh.store.put.bind(mesh.store);
		const remove = mesh.store.remove.bind(mesh.store);
		const full = () => Promise.reject(new WeftError('store_failed', 'disk full'));
		mesh.store.put = (...given) => (fault.broken ? full() : put(...given));
		mesh.store.remove = (...given) => (fault.broken ? full() : remove(...given));
		shaky = new Registry({ objects: mesh.objects, model: mesh.model, clock: mesh.clock });
	});

	/** Writes what is due, and lets the model hear of it. */
	const later = async (ms: number) => {
		mesh.clock.advance(ms);
		await shaky.idle();
		await mesh.settle();
	};

	test('an instance is registered as soon as it can be', async () => {
		shaky.connect(node());
		await later(0);
		await later(WRITE_RETRY_MS);
		expect(await entry()).toBeNull();
		fault.broken = false;
		await later(WRITE_RETRY_MS);
		expect((await entry())?.spec).toMatchObject({ address: '127.128.8.0' });
	});

	test('one that has left meanwhile is not', async () => {
		const registration = shaky.connect(node());
		await later(0);
		registration.close(false);
		fault.broken = false;
		await later(WRITE_RETRY_MS + GRACE_MS);
		expect(await entry()).toBeNull();
	});

	test('one that leaves is taken out as soon as it can be', async () => {
		fault.broken = false;
		const registration = shaky.connect(node());
		await later(0);
		fault.broken = true;
		registration.close(true);
		await later(0);
		expect(await entry()).not.toBeNull();
		fault.broken = false;
		await later(WRITE_RETRY_MS);
		expect(await entry()).toBeNull();
	});
});

test('an instance with a health check is an endpoint once the check has passed', async () => {
	const checked = node({ healthCheck: { kind: 'tcp', port: 9080 } });
	registry.connect(checked);
	await settle();
	const sidecar = mesh.open(sidecarNode());
	const endpoints = () => sidecar.endpoints('outbound|9080||reviews.default.svc.cluster.local');
	expect(endpoints()).toEqual([]);
	registry.reportHealth(checked, true, 'tcp :9080 passes');
	await settle();
	expect(endpoints()).toEqual(['127.128.8.0:9080']);
	registry.reportHealth(checked, false, 'tcp :9080 fails');
	await settle();
	expect(endpoints()).toEqual([]);
	const [condition] = (await entry())?.status?.conditions ?? [];
	expect(condition).toMatchObject({ type: 'Healthy', status: 'False', message: 'tcp :9080 fails' });
});

describe('against a workload that lies', () => {
	const joined: InstanceGrant = {
		namespace: 'default',
		serviceAccount: 'reviews',
		service: 'reviews',
		version: 'v1',
		workload: 'reviews-v1',
		address: '127.128.8.0',
		ports: [{ port: 9080, protocol: 'http' }],
	};
	const grants = { find: (_: string, instance: string) => (instance === 'reviews-v1-1' ? joined : null) };
	let guarded: Registry;

	beforeEach(() => {
		guarded = new Registry({ objects: mesh.objects, model: mesh.model, clock: mesh.clock, grants });
	});

	test('what it joined as is accepted, and a client only too', () => {
		guarded.connect(node());
		guarded.connect(sidecarNode({ name: 'reviews' }));
		guarded.connect(sidecarNode({ name: 'gateway', weft: null }));
	});

	test.each<[string, TestNodeOptions]>([
		['instance', { weft: { instance: 'ratings-v1-1' } }],
		['service', { weft: { service: 'ratings' } }],
		['address', { weft: { address: '127.128.16.0' } }],
		['label app', { labels: { app: 'ratings', version: 'v1' } }],
		['label version', { labels: { app: 'reviews', version: 'v2' } }],
		['label "tier"', { labels: { app: 'reviews', tier: 'payments' } }],
		['label app', { labels: {} }],
		['port 80', { weft: { ports: [{ port: 80, protocol: 'http' }] } }],
		['tcp port 9080', { weft: { ports: [{ port: 9080, protocol: 'tcp' }] } }],
	])('another %s than it joined with is refused', (field, claim) => {
		const liar = sidecarNode({ name: 'reviews', ...claim });
		const what = field === 'instance' ? /nobody joined by that name/ : new RegExp(field.replaceAll('"', '.*'));
		expect(() => guarded.connect(liar)).toThrow(what);
		expect(() => guarded.reportHealth(liar, true, '')).toThrow(what);
	});

	test('one account joined with is not another that has the same instance name', () => {
		const thief = { ...node(), serviceAccount: 'ratings' };
		expect(() => guarded.connect(thief)).toThrow(/account/);
	});

	test('another account cannot say that an instance is ill', async () => {
		registry.connect(node({ healthCheck: { kind: 'tcp', port: 9080 } }));
		await settle();
		const rival = { ...sidecarNode({ name: 'rival' }), weft: node().weft };
		expect(() => registry.reportHealth(rival, false, 'it is gone')).toThrow(/belongs to another/);
		await settle();
		expect((await entry())?.status?.conditions ?? []).toEqual([]);
	});

	test('health of an instance that is not connected is not kept', async () => {
		registry.reportHealth(node(), true, 'fine');
		await settle();
		expect(await entry()).toBeNull();
	});
});
