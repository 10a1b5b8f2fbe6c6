import { describe, expect, test } from 'bun:test';
import { HTTP_ROUTE } from '../config/http-route.ts';
import { SERVICE } from '../config/service.ts';
import { WORKLOAD_ENTRY } from '../config/workload-entry.ts';
import { ROUTE_TYPE } from '../xds/type-urls.ts';
import type { FaultInjection, HttpRoute, Service, WorkloadEntry } from './mesh-kinds.ts';
import { buildMeshSnapshot, type MeshViewInput, type ProxyView } from './mesh-view.ts';
import { selects } from './model.ts';
import type { EdgeTraffic } from './traffic.ts';
import { newTally, tallyRequests } from './traffic-figures.ts';

const NOW_MS = Date.UTC(2026, 0, 1, 12);

function service(name: string, selector: Record<string, string>): Service {
	const spec = SERVICE.specSchema.parse({ ports: [{ port: 80 }], selector, clusterIP: '127.96.0.1' });
	return { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop' }, spec };
}

function entry(name: string, app: string, version: string, healthy?: boolean): WorkloadEntry {
	const spec = WORKLOAD_ENTRY.specSchema.parse({ address: '127.128.8.0', labels: { app, version } });
	const made: WorkloadEntry = {
		apiVersion: 'networking.istio.io/v1',
		kind: 'WorkloadEntry',
		metadata: { name, namespace: 'shop' },
		spec,
	};
	if (healthy === undefined) return made;
	const lastTransitionTime = new Date(NOW_MS).toISOString();
	const status = healthy ? 'True' : 'False';
	return {
		...made,
		status: { conditions: [{ type: 'Healthy', status, reason: 'Probe', message: '', lastTransitionTime }] },
	};
}

function route(name: string, spec: unknown): HttpRoute {
	return {
		apiVersion: 'gateway.networking.k8s.io/v1',
		kind: 'HTTPRoute',
		metadata: { name, namespace: 'shop' },
		spec: HTTP_ROUTE.specSchema.parse(spec),
	};
}

function edge(
	from: string,
	to: string,
	version: string,
	requests: number,
	failed = 0,
	mtls: boolean | null = true,
): EdgeTraffic {
	const tally = newTally();
	tallyRequests(tally, requests - failed, { responseClass: '2xx', failed: false }, 'mutual_tls');
	tallyRequests(tally, failed, { responseClass: '5xx', failed: true }, 'mutual_tls');
	return {
		source: { namespace: 'shop', service: from, version: 'v1' },
		destination: { namespace: 'shop', service: to, version },
		tally,
		mtls,
		sourcePrincipal: mtls ? `spiffe://weft.local/ns/shop/sa/${from}` : '',
		destinationPrincipal: '',
	};
}

function input(parts: {
	readonly services?: readonly Service[];
	readonly entries?: readonly WorkloadEntry[];
	readonly routes?: readonly HttpRoute[];
	readonly faults?: readonly FaultInjection[];
	readonly proxies?: readonly ProxyView[];
	readonly traffic?: readonly EdgeTraffic[];
}): MeshViewInput {
	const keyed = <T extends { readonly metadata: { readonly namespace?: string; readonly name: string } }>(
		objects: readonly T[] = [],
	) => new Map(objects.map((object) => [`${object.metadata.namespace}/${object.metadata.name}`, object]));
	return {
		nowMs: NOW_MS,
		trustDomain: 'weft.local',
		controlPlane: { version: '1.2.3', startedAtMs: NOW_MS - 61_500, rootNotAfterMs: NOW_MS + 1000 },
		model: {
			services: keyed(parts.services),
			workloadEntries: keyed(parts.entries),
			httpRoutes: keyed(parts.routes),
			grpcRoutes: new Map(),
			routesOf: () => [],
			faults: keyed(parts.faults),
			revision: 42,
			entriesOf: (of) => (parts.entries ?? []).filter((each) => selects(of.spec.selector, each.spec.labels)),
		},
		proxies: parts.proxies ?? [],
		traffic: parts.traffic ?? [],
		acknowledgedOf: (key) => ({ count: key.length, of: 99 }),
	};
}

describe('mesh view', () => {
	test('an empty mesh is a snapshot without complaint', () => {
		const snapshot = buildMeshSnapshot(input({}));
		expect(snapshot).toMatchObject({
			time: '2026-01-01T12:00:00.000Z',
			controlPlane: { version: '1.2.3', uptimeSeconds: 61, storeRevision: 42 },
			traffic: { requestRate: 0, successRate: 1, p50Ms: null },
			services: [],
			edges: [],
			links: [],
		});
	});

	test('a service has the traffic of its instances, also what came by another service of theirs', () => {
		const { services } = buildMeshSnapshot(
			input({
				services: [
					service('products', { app: 'products' }),
					service('products-v2', { app: 'products', version: 'v2' }),
				],
				entries: [
					entry('p1', 'products', 'v1'),
					entry('p2', 'products', 'v2', true),
					entry('p3', 'products', 'v2', false),
				],
				traffic: [edge('front', 'products', 'v1', 30), edge('front', 'products', 'v2', 10, 5)],
			}),
		);
		expect(services.map(({ name, traffic }) => [name, traffic.requestRate, traffic.successRate])).toEqual([
			['products', 4, 0.875],
			['products-v2', 1, 0.5],
		]);
		expect(services[0]).toMatchObject({
			apps: ['products'],
			instances: 3,
			healthy: 2,
			versions: [
				{ version: 'v1', instances: 1, healthy: 1 },
				{ version: 'v2', instances: 2, healthy: 1 },
			],
		});
	});

	test('what reached no instance counts for the service that was called', () => {
		const { services } = buildMeshSnapshot(
			input({ services: [service('empty', { app: 'empty' })], traffic: [edge('front', 'empty', '', 20, 20, null)] }),
		);
		expect(services[0]!.traffic).toMatchObject({ requestRate: 2, successRate: 0, byClass: { '5xx': 2 } });
	});

	test('a link takes all versions together, and is locked only when every edge that reached something is', () => {
		const mixed = [edge('front', 'back', 'v1', 10), edge('front', 'back', 'v2', 30)];
		const linkOf = (traffic: EdgeTraffic[]) => buildMeshSnapshot(input({ traffic })).links;
		expect(linkOf(mixed)).toHaveLength(1);
		expect(linkOf(mixed)[0]).toMatchObject({
			destination: { service: 'back', version: '' },
			traffic: { requestRate: 4 },
			mtls: true,
			sourcePrincipal: 'spiffe://weft.local/ns/shop/sa/front',
		});
		expect(linkOf([...mixed, edge('front', 'back', '', 1, 1, null)])[0]!.mtls).toBe(true);
		expect(linkOf([...mixed, edge('front', 'back', 'v3', 1, 0, false)])[0]!.mtls).toBe(false);
		expect(linkOf([edge('front', 'back', '', 1, 1, null)])[0]!.mtls).toBeNull();
	});

	test('until somebody has said whether a call is mutual TLS it is neither, unless its end has no sidecar', () => {
		const behind = entry('b1', 'back', 'v1');
		const secured = {
			...behind,
			spec: { ...behind.spec, labels: { ...behind.spec.labels, 'security.istio.io/tlsMode': 'istio' } },
		};
		const traffic = [edge('front', 'back', 'v1', 10, 0, null), edge('front', 'legacy', 'v1', 10, 0, null)];
		const entries = [secured, entry('l1', 'legacy', 'v1')];
		const { edges, links } = buildMeshSnapshot(input({ entries, traffic }));
		expect(edges.map(({ mtls }) => mtls)).toEqual([null, false]);
		expect(links.map(({ mtls }) => mtls)).toEqual([null, false]);
	});

	test('a sidecar shows what it has acknowledged, what it refused, its certificate and its health', () => {
		const proxy: ProxyView = {
			node: {
				id: 'sidecar~1',
				dialect: 'weft',
				agent: 'weft',
				agentVersion: '0.1.0',
				namespace: 'shop',
				serviceAccount: 'back',
				workload: 'back-v1',
				labels: {},
				app: 'back',
				version: 'v1',
				weft: { instance: 'back-v1-1', service: 'back', ports: [], capture: 'explicit', address: '127.128.8.0' },
			},
			connected: true,
			connectedSinceMs: NOW_MS - 1000,
			types: new Map([[ROUTE_TYPE, { sent: 3, acknowledged: 2, rejected: 'bad pattern' }]]),
			acknowledgedVersion: '41',
			inSync: false,
			certificate: { spiffeId: 'spiffe://weft.local/ns/shop/sa/back', notAfterMs: NOW_MS + 3_600_000 },
			peerAddress: '127.0.0.1:1',
		};
		const { sidecars } = buildMeshSnapshot(
			input({ proxies: [proxy], entries: [entry('back-v1-1', 'back', 'v1', false)] }),
		);
		expect(sidecars[0]).toMatchObject({
			instance: 'back-v1-1',
			service: 'back',
			connectedSince: '2026-01-01T11:59:59.000Z',
			resources: { route: { sent: 3, acknowledged: 2 } },
			rejected: [{ type: 'route', detail: 'bad pattern' }],
			certificate: { notAfter: '2026-01-01T13:00:00.000Z' },
			health: 'unhealthy',
		});
	});
});

describe('routes in the mesh view', () => {
	const parentRefs = [{ group: '', kind: 'Service', name: 'front' }];
	const summary = (spec: object, services: Service[] = [service('front', {}), service('a', {}), service('b', {})]) =>
		buildMeshSnapshot(input({ services, routes: [route('r', { parentRefs, ...spec })] })).routes[0]!;

	test('conditions, changes and shares are said in words', () => {
		const { rules, parents, accepted, resolvedRefs, acknowledged } = summary({
			rules: [
				{
					matches: [
						{ path: { type: 'PathPrefix', value: '/x' }, method: 'GET', headers: [{ name: 'x-user', value: 'beta' }] },
						{
							path: { type: 'Exact', value: '/y' },
							queryParams: [{ type: 'RegularExpression', name: 'q', value: 'a+' }],
						},
					],
					filters: [
						{
							type: 'RequestHeaderModifier',
							requestHeaderModifier: { set: [{ name: 'a', value: 'b' }], remove: ['c'] },
						},
						{ type: 'URLRewrite', urlRewrite: { path: { type: 'ReplaceFullPath', replaceFullPath: '/z' } } },
					],
					backendRefs: [
						{ name: 'a', port: 80, weight: 3 },
						{ name: 'b', port: 80, weight: 1 },
					],
					timeouts: { request: '2s' },
				},
				{ backendRefs: [{ name: 'a', port: 80, weight: 0 }] },
			],
		});
		expect(parents).toEqual(['Service front']);
		expect(rules[0]!.matches).toEqual(['method GET, path prefix /x, header x-user = beta', 'path /y, query q ~ a+']);
		expect(rules[0]!.filters).toEqual(['set header a to b', 'remove header c', 'rewrite path to /z', 'timeout 2s']);
		expect(rules[0]!.backends.map(({ service: name, share }) => [name, share])).toEqual([
			['a', 0.75],
			['b', 0.25],
		]);
		expect(rules[1]).toMatchObject({ matches: ['all'], backends: [{ share: 0 }] });
		expect({ accepted, resolvedRefs }).toEqual({ accepted: true, resolvedRefs: true });
		expect(acknowledged).toEqual({ count: 'shop/r'.length, of: 99 });
	});

	test('a redirect names its status and where it goes', () => {
		const redirect = (requestRedirect: object) =>
			summary({ rules: [{ filters: [{ type: 'RequestRedirect', requestRedirect }] }] }).rules[0]!.filters;
		expect(redirect({ scheme: 'https', statusCode: 301 })).toEqual(['redirect 301 to https']);
		expect(
			redirect({ hostname: 'new.example', port: 8443, path: { type: 'ReplaceFullPath', replaceFullPath: '/n' } }),
		).toEqual(['redirect 302 to new.example:8443/n']);
	});

	test('a missing backend and a missing parent are told apart', () => {
		const rules = [{ backendRefs: [{ name: 'gone', port: 80 }] }];
		expect(summary({ rules })).toMatchObject({ accepted: true, resolvedRefs: false });
		expect(summary({ rules }).rules[0]!.backends[0]!.resolved).toBe(false);
		expect(summary({ rules: [...rules, ...rules] }).message).toBe(summary({ rules }).message);
		expect(summary({ rules }).message).toContain('shop/gone does not exist');
		expect(summary({ rules: [{ backendRefs: [{ name: 'a', port: 80 }] }] }, [service('a', {})])).toMatchObject({
			accepted: false,
			resolvedRefs: true,
		});
	});

	test('a parent without that port has not accepted, as the status of the route says', () => {
		const wrongPort = [{ group: '', kind: 'Service', name: 'front', port: 81 }];
		const rules = [{ backendRefs: [{ name: 'a', port: 80 }] }];
		expect(summary({ parentRefs: wrongPort, rules })).toMatchObject({
			accepted: false,
			message: 'Service shop/front has no port 81, so the route has no effect on it',
		});
	});
});
