// A sidecar driven by our control plane: it gets its configuration over ADS, traffic flows as the
// routes say, updates reach it, and what it refuses is recorded. The same tests for our own sidecar
// and for a real Envoy, over delta ADS and over the state of the world.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { HTTP_ROUTE } from '../../src/config/http-route.ts';
import { SERVICE, serviceIndex } from '../../src/config/service.ts';
import { CLUSTER_TYPE, ROUTE_TYPE } from '../../src/xds/type-urls.ts';
import { type RunningEnvoy, startEnvoy } from '../support/envoy.ts';
import { eventually, startTestControlPlane, type TestControlPlane } from '../support/mesh-control.ts';
import { describeWithPeers } from '../support/peers.ts';
import { startWeftSidecar } from '../support/weft-sidecar.ts';

const SERVICES = ['reviews', 'reviews-v1', 'reviews-v2'].map(
	(name) => `
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: default }
spec:
  selector: { app: reviews${name === 'reviews' ? '' : `, version: ${name.slice(8)}`} }
  ports: [{ name: http, port: 9080 }]
`,
);

const entry = (version: string, port: number) => `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: reviews-${version}, namespace: default }
spec:
  address: 127.0.0.1
  ports: { http: ${port} }
  labels: { app: reviews, version: ${version} }
  serviceAccount: reviews
`;

const route = (v1: number, v2: number) => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: reviews, namespace: default }
spec:
  parentRefs: [{ group: "", kind: Service, name: reviews, port: 9080 }]
  rules:
    - matches: [{ headers: [{ name: x-user, value: beta }] }]
      backendRefs: [{ name: reviews-v2, port: 9080 }]
    - matches: [{ path: { type: PathPrefix, value: /old } }]
      filters:
        - { type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }
        - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-moved, value: 100% }] } }
      backendRefs: [{ name: reviews-v1, port: 9080 }]
    - matches: [{ path: { type: Exact, value: /missing } }]
      backendRefs: [{ name: nowhere, port: 9080 }]
    - matches: [{ path: { type: Exact, value: /gone } }]
      filters: [{ type: RequestRedirect, requestRedirect: { hostname: other.example, scheme: https, statusCode: 301 } }]
    - matches: [{ path: { type: Exact, value: /broken } }]
      filters: [{ type: ExtensionRef, extensionRef: { group: weft.dev, kind: FaultInjection, name: broken } }]
      backendRefs: [{ name: reviews-v1, port: 9080 }]
    - backendRefs:
        - { name: reviews-v1, port: 9080, weight: ${v1} }
        - { name: reviews-v2, port: 9080, weight: ${v2} }
`;

const FAULT = `
apiVersion: weft.dev/v1alpha1
kind: FaultInjection
metadata: { name: broken, namespace: default }
spec: { abort: { httpStatus: 418 } }
`;

const SUBJECTS = ['weft', 'Envoy, delta', 'Envoy, state-of-the-world'] as const;

for (const subject of SUBJECTS) {
	const agent = subject === 'weft' ? 'weft' : 'envoy';
	describeWithPeers(subject === 'weft' ? [] : ['envoy'], subject, () => {
		let mesh: TestControlPlane;
		let sidecar: RunningEnvoy;
		let origin: string;
		const backends: ReturnType<typeof Bun.serve>[] = [];

		beforeAll(async () => {
			mesh = await startTestControlPlane();
			for (const version of ['v1', 'v2']) {
				const server = Bun.serve({
					hostname: '127.0.0.1',
					port: 0,
					fetch: (request) =>
						Response.json({
							version,
							path: new URL(request.url).pathname,
							moved: request.headers.get('x-moved'),
						}),
				});
				backends.push(server);
				await mesh.apply(entry(version, server.port!));
			}
			for (const service of SERVICES) await mesh.apply(service);
			await mesh.apply(FAULT);
			await mesh.apply(route(90, 10));
			const base = `127.${240 + SUBJECTS.indexOf(subject)}.${process.pid & 255}.0`;
			const metadata = {
				NAMESPACE: 'default',
				SERVICE_ACCOUNT: 'client',
				WORKLOAD_NAME: 'client',
				LABELS: { app: 'client', version: 'v1' },
				MESH_ID: 'cluster.local',
				WEFT: {
					instance: 'client-1',
					service: '',
					ports: [],
					capture: 'loopback' as const,
					address: base,
					outboundBase: base,
				},
			};
			sidecar =
				subject === 'weft'
					? await startWeftSidecar(mesh, metadata)
					: await startEnvoy({
							mesh,
							variant: subject === 'Envoy, delta' ? 'delta' : 'state-of-the-world',
							identity: await mesh.identity('default', 'client'),
							metadata,
						});
			const service = await mesh.objects.get(SERVICE, 'default', 'reviews');
			const index = serviceIndex(service!.spec.clusterIP)!;
			origin = `http://${base.replace(/\d+$/, String(index))}:9080`;
			await eventually('it forwards', async () => (await fetch(origin)).status === 200);
		});

		afterAll(async () => {
			await sidecar?.stop();
			for (const server of backends) server.stop(true);
			await mesh?.stop();
		});

		const ask = async (path = '/', headers: Record<string, string> = {}) => {
			const response = await fetch(origin + path, { headers, redirect: 'manual' });
			const body: { version?: string; path?: string; moved?: string } = {};
			if (response.status === 200) Object.assign(body, await response.json());
			return { status: response.status, location: response.headers.get('location'), ...body };
		};

		test('shares traffic 90 to 10', async () => {
			let v2 = 0;
			for (let i = 0; i < 400; i++) if ((await ask()).version === 'v2') v2 += 1;
			// 40 expected; outside of 15…75 once in millions of runs.
			expect(v2).toBeGreaterThan(14);
			expect(v2).toBeLessThan(76);
		});

		test('matches a header before the shares', async () => {
			for (let i = 0; i < 20; i++) expect((await ask('/', { 'x-user': 'beta' })).version).toBe('v2');
		});

		test('rewrites a prefix and sets a header as it is written', async () => {
			expect(await ask('/old/books')).toMatchObject({ status: 200, path: '/books', moved: '100%', version: 'v1' });
			expect(await ask('/old')).toMatchObject({ status: 200, path: '/' });
			// Whole segments only.
			expect(await ask('/older')).toMatchObject({ status: 200, path: '/older' });
		});

		test('answers 500 for a backend that does not exist, and says so in the status', async () => {
			expect((await ask('/missing')).status).toBe(500);
			const status = await eventually('the status is written', async () => {
				const written = (await mesh.objects.get(HTTP_ROUTE, 'default', 'reviews'))?.status;
				const conditions = written?.parents[0]?.conditions ?? [];
				// Before the sidecar came it was in force at all of none.
				const programmed = conditions.find(({ type }) => type === 'weft.dev/Programmed');
				return programmed?.status === 'True' && programmed.message === 'acknowledged by 1 of 1' && conditions;
			});
			expect(status.find(({ type }) => type === 'Accepted')?.status).toBe('True');
			const resolved = status.find(({ type }) => type === 'ResolvedRefs');
			expect(resolved).toMatchObject({ status: 'False', reason: 'BackendNotFound' });
			expect(resolved?.message).toContain('default/nowhere');
		});

		test('redirects', async () => {
			expect(await ask('/gone')).toMatchObject({ status: 301, location: 'https://other.example/gone' });
		});

		test('injects a fault', async () => {
			expect((await ask('/broken')).status).toBe(418);
		});

		test('an update reaches it without a failed request', async () => {
			let failed = 0;
			let running = true;
			const load = (async () => {
				while (running) if ((await ask()).status !== 200) failed += 1;
			})();
			for (const [v1, v2] of [
				[50, 50],
				[0, 100],
			] as const) {
				await mesh.apply(route(v1, v2));
				await eventually('the route is acknowledged', () => {
					const { count, of } = mesh.controlPlane.acknowledgedOf('default/reviews');
					return count === 1 && of === 1;
				});
			}
			await eventually('all goes to v2', async () => {
				for (let i = 0; i < 10; i++) if ((await ask()).version !== 'v2') return false;
				return true;
			});
			running = false;
			await load;
			expect(failed).toBe(0);
		});

		test('a new service and the route to it, applied together under load, fail no request', async () => {
			let failed = 0;
			let running = true;
			const load = (async () => {
				while (running) if ((await ask()).status !== 200) failed += 1;
			})();
			await mesh.apply(SERVICES[2]!.replaceAll('name: reviews-v2', 'name: reviews-next'));
			await mesh.apply(route(0, 100).replaceAll('reviews-v2', 'reviews-next'));
			await eventually('the new cluster is used', async () => {
				const clusters = await sidecar.admin('/clusters');
				return /reviews-next.*::rq_total::[1-9]/.test(clusters);
			});
			await mesh.apply(route(0, 100));
			await mesh.objects.delete(SERVICE, 'default', 'reviews-next');
			await eventually('the cluster is gone', async () => !(await sidecar.admin('/clusters')).includes('reviews-next'));
			running = false;
			await load;
			expect(failed).toBe(0);
		});

		test('is seen with versions acknowledged, certificate and instance', async () => {
			const proxy = await eventually('it is in sync', () =>
				[...mesh.controlPlane.connectedProxies()].find((one) => one.node.id === sidecar.nodeId && one.inSync),
			);
			expect(proxy.node).toMatchObject({ agent, namespace: 'default', dialect: agent });
			expect(proxy.node.agentVersion).toStartWith('1.');
			expect(proxy.certificate?.spiffeId).toBe('spiffe://cluster.local/ns/default/sa/client');
			const clusters = proxy.types.get(CLUSTER_TYPE)!;
			expect(clusters.sent).toBeGreaterThanOrEqual(4);
			expect(clusters.acknowledged).toBe(clusters.sent);
			expect(proxy.types.get(ROUTE_TYPE)?.acknowledged).toBe(3);
			expect(mesh.controlPlane.model.workloadEntries.has('default/client-1')).toBe(true);
		});

		test('a listener that it cannot open is refused by it, recorded, and cleared when it is gone', async () => {
			// The port is taken on all addresses, so the listener for it cannot be bound.
			const taken = Bun.listen({ hostname: '0.0.0.0', port: 0, socket: { data() {} } });
			try {
				await mesh.apply(
					SERVICES[2]!.replaceAll('name: reviews-v2', 'name: taken').replace('port: 9080', `port: ${taken.port}`),
				);
				const rejected = await eventually('the NACK is recorded', () => {
					const proxy = [...mesh.controlPlane.connectedProxies()][0];
					return [...(proxy?.types.values() ?? [])].find((type) => type.rejected !== null)?.rejected;
				});
				expect(rejected).toContain(String(taken.port));
				// The last good state goes on.
				expect((await ask()).status).toBe(200);
				await mesh.objects.delete(SERVICE, 'default', 'taken');
				await eventually('nothing stands rejected', () => [...mesh.controlPlane.connectedProxies()][0]?.inSync);
			} finally {
				taken.stop(true);
			}
		});
	});
}
