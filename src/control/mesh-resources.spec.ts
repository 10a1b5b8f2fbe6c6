import { describe, expect, test } from 'bun:test';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { SERVICE } from '../config/service.ts';
import { WORKLOAD_ENTRY } from '../config/workload-entry.ts';
import type { Cluster } from '../generated/envoy/config/cluster/v3/cluster_pb.ts';
import {
	DownstreamTlsContextSchema,
	UpstreamTlsContextSchema,
} from '../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { HttpProtocolOptionsSchema } from '../generated/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts';
import type { WeftNodeMetadata } from '../xds/node-metadata.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../xds/type-urls.ts';
import { sidecarNode, TestMesh } from './testing-mesh.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const REVIEWS = 'outbound|9080||reviews.default.svc.cluster.local';

const service = (name: string, more = '') => `
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: default }
spec: { selector: { app: ${name} }, ports: [{ name: http, port: 9080 }] ${more} }
`;
const entry = (name: string, app: string, address: string, more = '') => `
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: default }
spec: { address: ${address}, labels: { app: ${app}, version: v1 ${more} }, serviceAccount: ${app} }
`;
const TLS = ', security.istio.io/tlsMode: istio';
const route = (rules: string, metadata = 'name: reviews, namespace: default') => `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { ${metadata} }
spec:
  parentRefs: [{ group: "", kind: Service, name: reviews, namespace: default }]
  rules: ${rules}
`;

describe('a service', () => {
	test('has a cluster, endpoints, a route and a listener under one name', async () => {
		const mesh = await TestMesh.start(service('reviews') + entry('r1', 'reviews', '127.0.0.5', TLS));
		const sidecar = mesh.open(sidecarNode());
		for (const type of [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE]) {
			expect(sidecar.names(type)).toContain(REVIEWS);
		}
		expect(sidecar.endpoints(REVIEWS)).toEqual(['127.0.0.5:9080']);
		expect(sidecar.routeList(REVIEWS).map(({ name }) => name)).toEqual(['default']);
	});

	test('speaks mutual TLS to instances behind sidecars, with the accounts that they have', async () => {
		const mesh = await TestMesh.start(service('reviews') + entry('r1', 'reviews', '127.0.0.5', TLS));
		const sidecar = mesh.open(sidecarNode());
		const cluster = sidecar.cluster(REVIEWS)!;
		const [secure, plain] = cluster.transportSocketMatches;
		expect(secure?.match).toEqual({ tlsMode: 'istio' });
		expect(plain?.match).toEqual({});
		const config = secure!.transportSocket!.configType.value!;
		const tls = anyUnpack(config, UpstreamTlsContextSchema)!;
		expect(tls.sni).toBe('outbound_.9080_._.reviews.default.svc.cluster.local');
		expect(tls.commonTlsContext?.alpnProtocols).toEqual(['h2', 'http/1.1']);
		const validation = tls.commonTlsContext!.validationContextType;
		if (validation.case !== 'combinedValidationContext') throw new Error('no combined validation');
		const sans = validation.value.defaultValidationContext!.matchTypedSubjectAltNames;
		expect(sans.map(({ matcher }) => matcher?.matchPattern.value)).toEqual([
			'spiffe://cluster.local/ns/default/sa/reviews',
		]);
		const [endpoint] = sidecar.assignment(REVIEWS)!.endpoints[0]!.lbEndpoints;
		expect(endpoint?.metadata?.filterMetadata).toEqual({
			istio: { workload: 'r1;default;reviews;v1;weft' },
			'envoy.transport_socket_match': { tlsMode: 'istio' },
		});
	});

	test('keeps its cluster as it is while it has no instance', async () => {
		const mesh = await TestMesh.start(service('reviews') + entry('r1', 'reviews', '127.0.0.5', TLS));
		const sidecar = mesh.open(sidecarNode());
		const before = sidecar.view.get(CLUSTER_TYPE, REVIEWS);
		await mesh.objects.delete(WORKLOAD_ENTRY, 'default', 'r1');
		await mesh.settle();
		expect(sidecar.endpoints(REVIEWS)).toEqual([]);
		expect(sidecar.view.get(CLUSTER_TYPE, REVIEWS)).toBe(before!);
	});

	test('of TCP has no route', async () => {
		const mesh = await TestMesh.start(service('reviews').replace('name: http', 'name: tcp-db'));
		const sidecar = mesh.open(sidecarNode());
		expect(sidecar.names(ROUTE_TYPE)).toEqual([]);
		const filters = (of: typeof sidecar, name = REVIEWS) =>
			of.listener(name)?.filterChains[0]?.filters.map((filter) => filter.name);
		const own = [{ port: 5432, protocol: 'tcp' as const }];
		expect(filters(sidecar)).toEqual(['weft.filters.network.mesh_telemetry', 'envoy.filters.network.tcp_proxy']);
		const db = mesh.open(sidecarNode({ name: 'db', weft: { ports: own } }));
		expect(filters(db, 'inbound|5432')).toEqual(filters(sidecar)!);
		const envoy = mesh.open(sidecarNode({ name: 'envoy', agent: 'envoy', weft: { ports: own } }));
		expect(filters(envoy)).toEqual(['envoy.filters.network.tcp_proxy']);
		expect(filters(envoy, 'inbound|5432')).toEqual(['envoy.filters.network.tcp_proxy']);
	});

	test('that is deleted takes all of it along', async () => {
		const mesh = await TestMesh.start(service('reviews'));
		const sidecar = mesh.open(sidecarNode());
		await mesh.objects.delete(SERVICE, 'default', 'reviews');
		await mesh.settle();
		for (const type of [ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE]) expect(sidecar.names(type)).toEqual([]);
		expect(sidecar.names(CLUSTER_TYPE)).toEqual(['BlackHoleCluster']);
		expect(sidecar.takeChanges()).toContain(`cluster ${REVIEWS}`);
	});
});

describe('what is spoken', () => {
	/** `explicit`, `auto` or nothing, and the ALPN names of mutual TLS. */
	const spoken = (cluster: Cluster) => {
		const options = cluster.typedExtensionProtocolOptions[HTTP_OPTIONS];
		const chosen = options === undefined ? undefined : anyUnpack(options, HttpProtocolOptionsSchema)!;
		const { case: kind, value } = chosen?.upstreamProtocolOptions ?? {};
		const config = cluster.transportSocketMatches[0]?.transportSocket?.configType.value;
		const tls = config === undefined ? undefined : anyUnpack(config, UpstreamTlsContextSchema);
		return [
			kind === 'explicitHttpConfig' ? value?.protocolConfig?.case : kind,
			tls?.commonTlsContext?.alpnProtocols.join(),
		];
	};
	const plain = entry('r2', 'reviews', '127.0.0.6');
	const behindSidecar = entry('r1', 'reviews', '127.0.0.5', TLS);
	const byInstances: [string, string, string, string, string | undefined, string][] = [
		['weft', 'http', 'behind sidecars', behindSidecar, 'autoConfig', 'h2,http/1.1'],
		['weft', 'http', 'of both kinds', behindSidecar + plain, 'autoConfig', 'h2,http/1.1'],
		['weft', 'grpc', 'of both kinds', behindSidecar + plain, 'http2ProtocolOptions', 'h2'],
		['weft', 'tcp', 'of both kinds', behindSidecar + plain, undefined, ''],
		['envoy', 'http', 'behind sidecars', behindSidecar, 'http2ProtocolOptions', 'h2'],
		['envoy', 'http', 'of both kinds', behindSidecar + plain, 'httpProtocolOptions', 'http/1.1'],
		['envoy', 'grpc', 'of both kinds', behindSidecar + plain, 'http2ProtocolOptions', 'h2'],
	];
	test.each(byInstances)(
		'%s to a port named %s with instances %s',
		async (agent, name, _which, entries, kind, alpn) => {
			const mesh = await TestMesh.start(service('reviews').replace('name: http', `name: ${name}`) + entries);
			expect(spoken(mesh.open(sidecarNode({ agent })).cluster(REVIEWS)!)).toEqual([kind, alpn]);
		},
	);

	test.each([
		['name: http2-x', 'http2ProtocolOptions'],
		['name: grpc-web', 'http2ProtocolOptions'],
		['name: http-x', 'autoConfig'],
		['name: admin', 'autoConfig'],
		['name: tls-x', undefined],
		['name: http, appProtocol: kubernetes.io/h2c', 'http2ProtocolOptions'],
		['name: http, appProtocol: h2c', 'http2ProtocolOptions'],
		['name: grpc, appProtocol: http', 'autoConfig'],
		['name: http, appProtocol: tls', undefined],
		['name: http, appProtocol: kubernetes.io/wss', undefined],
	])('a port with %s', async (port, kind) => {
		const mesh = await TestMesh.start(service('reviews').replace('name: http', port));
		expect(spoken(mesh.open(sidecarNode()).cluster(REVIEWS)!)[0]).toBe(kind);
	});

	test.each([
		['http', 'httpProtocolOptions', 'h2,http/1.1', 'envoy.filters.network.http_connection_manager'],
		['http2', 'http2ProtocolOptions', 'h2,http/1.1', 'envoy.filters.network.http_connection_manager'],
		['grpc', 'http2ProtocolOptions', 'h2,http/1.1', 'envoy.filters.network.http_connection_manager'],
		['tcp', undefined, '', 'envoy.filters.network.tcp_proxy'],
	] as const)('inbound, for a program that speaks %s', async (protocol, kind, alpn, filter) => {
		const mesh = await TestMesh.start();
		const sidecar = mesh.open(sidecarNode({ weft: { ports: [{ port: 9080, protocol }] } }));
		expect(spoken(sidecar.cluster('inbound|9080||')!)[0]).toBe(kind);
		const [chain] = sidecar.listener('inbound|9080')!.filterChains;
		const tls = anyUnpack(chain!.transportSocket!.configType.value!, DownstreamTlsContextSchema)!;
		expect(tls.commonTlsContext?.alpnProtocols.join()).toBe(alpn);
		expect(chain!.filters.at(-1)!.name).toBe(filter);
	});
});

describe('instances', () => {
	test('that are unhealthy leave the endpoints, and nothing else is touched', async () => {
		const mesh = await TestMesh.start(
			service('reviews') +
				service('ratings') +
				entry('r1', 'reviews', '127.0.0.5') +
				entry('r2', 'reviews', '127.0.0.6'),
		);
		const sidecar = mesh.open(sidecarNode());
		await mesh.objects.updateStatus(WORKLOAD_ENTRY, 'default', 'r1', () => ({
			conditions: [
				{ type: 'Healthy', status: 'False', reason: 'x', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' },
			],
		}));
		await mesh.settle();
		expect(sidecar.endpoints(REVIEWS)).toEqual(['127.0.0.6:9080']);
		expect(sidecar.takeChanges()).toEqual([`endpoint ${REVIEWS}`]);
	});

	test('with a port of their own are reached there', async () => {
		const yaml = entry('r1', 'reviews', '127.0.0.5').replace('labels:', 'ports: { http: 7777 }, labels:');
		const mesh = await TestMesh.start(service('reviews') + yaml);
		expect(mesh.open(sidecarNode()).endpoints(REVIEWS)).toEqual(['127.0.0.5:7777']);
	});
});

describe('the view of a sidecar', () => {
	const yaml = service('reviews', ', clusterIP: 127.96.0.9');

	test('loopback: service n is at the base plus n', async () => {
		const mesh = await TestMesh.start(yaml);
		const listener = mesh.open(sidecarNode()).listener(REVIEWS)!;
		expect(listener.address?.address.value).toMatchObject({ address: '127.128.8.9', portSpecifier: { value: 9080 } });
		expect(listener.bindToPort).toBeUndefined();
	});

	test('transparent: listeners at the service addresses, not bound, and one that captures', async () => {
		const mesh = await TestMesh.start(yaml);
		const weft = { capture: 'transparent' as const, networkNamespace: '/proc/7/ns/net', capturePort: 15001 };
		const sidecar = mesh.open(sidecarNode({ weft }));
		const listener = sidecar.listener(REVIEWS)!;
		expect(listener.address?.address.value).toMatchObject({ address: '127.96.0.9', portSpecifier: { value: 9080 } });
		expect(listener.bindToPort).toBe(false);
		const capture = sidecar.listener('virtualOutbound')!;
		expect(capture.useOriginalDst).toBe(true);
		expect(capture.address?.address.value).toMatchObject({
			address: '0.0.0.0',
			portSpecifier: { value: 15001 },
			networkNamespaceFilepath: '/proc/7/ns/net',
		});
	});

	test('explicit: a local port for each service, and an HTTP proxy with all names', async () => {
		const mesh = await TestMesh.start(yaml);
		const weft = { capture: 'explicit' as const, httpProxyPort: 3128 };
		const sidecar = mesh.open(sidecarNode({ weft }));
		expect(sidecar.listener(REVIEWS)?.address?.address.value).toMatchObject({
			address: '127.128.8.0',
			portSpecifier: { value: 20_009 },
		});
		expect(sidecar.listener('http_proxy')?.address?.address.value).toMatchObject({ portSpecifier: { value: 3128 } });
		const [host] = sidecar.routes('http_proxy')!.virtualHosts;
		expect(host?.domains).toContain('reviews:9080');
		expect(host?.domains).toContain('reviews.default.svc.cluster.local:9080');
		// The short name is of its own namespace only.
		const other = mesh.open(sidecarNode({ namespace: 'other', weft }));
		expect(other.routes('http_proxy')!.virtualHosts[0]?.domains).not.toContain('reviews:9080');
	});

	test('inbound: mutual TLS for each of its ports, plain doors where it publishes', async () => {
		const mesh = await TestMesh.start();
		const weft = {
			service: 'reviews',
			ports: [{ port: 9080, protocol: 'http' as const }],
			inboundPorts: { '9080': 19080 },
			networkNamespace: '/proc/7/ns/net',
			publish: [{ address: '127.0.0.1', port: 8080, targetPort: 9080 }],
		};
		const sidecar = mesh.open(sidecarNode({ name: 'reviews', weft }));
		const inbound = sidecar.listener('inbound|9080')!;
		expect(inbound.address?.address.value).toMatchObject({ address: '127.128.8.0', portSpecifier: { value: 19080 } });
		expect(inbound.filterChains[0]?.transportSocket?.name).toBe('envoy.transport_sockets.tls');
		const door = sidecar.listener('publish|127.0.0.1|8080')!;
		expect(door.filterChains[0]?.transportSocket).toBeUndefined();
		const cluster = sidecar.cluster('inbound|9080||')!;
		const [endpoint] = cluster.loadAssignment!.endpoints[0]!.lbEndpoints;
		if (endpoint?.hostIdentifier.case !== 'endpoint') throw new Error('no endpoint');
		expect(endpoint.hostIdentifier.value.address?.address.value).toMatchObject({
			address: '127.0.0.1',
			networkNamespaceFilepath: '/proc/7/ns/net',
		});
	});

	test('a client that is no sidecar of ours gets clusters and routes, and no listener', async () => {
		const mesh = await TestMesh.start(yaml);
		const sidecar = mesh.open(sidecarNode({ weft: null, agent: 'grpc-js' }));
		expect(sidecar.names(LISTENER_TYPE)).toEqual([]);
		expect(sidecar.names(ROUTE_TYPE)).toEqual([REVIEWS]);
	});

	test('what is equal for two sidecars is the same bytes', async () => {
		const mesh = await TestMesh.start(yaml);
		const one = mesh.open(sidecarNode());
		const two = mesh.open(sidecarNode({ name: 'other' }));
		for (const type of [CLUSTER_TYPE, ENDPOINT_TYPE, ROUTE_TYPE, LISTENER_TYPE]) {
			expect(one.view.get(type, REVIEWS)).toBe(two.view.get(type, REVIEWS)!);
		}
	});

	test('a sidecar that may not listen on low ports has no listener for a service at one, and refuses nothing', async () => {
		const mesh = await TestMesh.start(yaml);
		const names = (weft: Partial<WeftNodeMetadata>) => mesh.open(sidecarNode({ weft })).names(LISTENER_TYPE);
		expect(names({ capture: 'loopback', outboundPortMin: 9081 })).not.toContain(REVIEWS);
		expect(names({ capture: 'loopback', outboundPortMin: 9080 })).toContain(REVIEWS);
		expect(names({ capture: 'transparent', outboundPortMin: 9081 })).toContain(REVIEWS);
	});

	test('sidecars that are captured alike share their listeners', async () => {
		const mesh = await TestMesh.start(yaml);
		const listener = (weft: Partial<WeftNodeMetadata>, name = 'client', agent = 'weft') =>
			mesh.open(sidecarNode({ name, agent, weft })).view.get(LISTENER_TYPE, REVIEWS)!;
		const transparent = listener({ capture: 'transparent' });
		expect(transparent).toBeDefined();
		expect(listener({ capture: 'transparent', address: '127.128.16.0', outboundBase: '127.128.16.0' }, 'other')).toBe(
			transparent,
		);
		expect(listener({ capture: 'loopback' })).not.toBe(transparent);
		expect(listener({ outboundBase: '127.128.16.0' }).version).not.toBe(listener({}).version);
		expect(listener({ capture: 'transparent' }, 'client', 'envoy').version).not.toBe(transparent.version);
	});

	test('shared listeners follow the mesh until the last sidecar has left', async () => {
		const mesh = await TestMesh.start(yaml);
		const one = mesh.open(sidecarNode());
		const two = mesh.open(sidecarNode({ name: 'other' }));
		one.view.close();
		await mesh.apply(service('ratings'));
		expect(one.takeChanges()).toEqual([]);
		const ratings = 'outbound|9080||ratings.default.svc.cluster.local';
		expect(two.takeChanges()).toContain(`listener ${ratings}`);
		expect(two.names(LISTENER_TYPE)).toContain(ratings);
		two.view.close();
		await mesh.apply(service('details'));
		expect(mesh.open(sidecarNode()).names(LISTENER_TYPE)).toContain('outbound|9080||details.default.svc.cluster.local');
	});

	test('captured connections to no service are refused, or passed through but never to loopback', async () => {
		const mesh = await TestMesh.start(service('reviews'));
		const open = (outbound?: 'allow-any' | 'registry-only') =>
			mesh.open(sidecarNode({ weft: { capture: 'transparent', outbound } }));
		for (const closed of [open(), open('registry-only')]) {
			expect(closed.names(CLUSTER_TYPE)).not.toContain('PassthroughCluster');
			const listener = closed.listener('virtualOutbound')!;
			expect(listener.defaultFilterChain).toBeUndefined();
			expect(listener.filterChains.map((chain) => chain.filterChainMatch)).toEqual([undefined]);
		}
		const passing = open('allow-any');
		expect(passing.names(CLUSTER_TYPE)).toContain('PassthroughCluster');
		const { filterChains, defaultFilterChain } = passing.listener('virtualOutbound')!;
		expect(defaultFilterChain?.name).toBe('passthrough');
		const ranges = filterChains[0]!.filterChainMatch!.prefixRanges;
		expect(ranges.map(({ addressPrefix, prefixLen }) => `${addressPrefix}/${prefixLen}`)).toEqual([
			'0.0.0.0/8',
			'127.0.0.0/8',
			'224.0.0.0/3',
		]);
		// Other ways of capture have no such listener: nothing would go through it.
		const other = mesh.open(sidecarNode({ weft: { outbound: 'allow-any' } }));
		expect(other.names(CLUSTER_TYPE)).not.toContain('PassthroughCluster');
	});

	test('a sidecar that has left hears nothing', async () => {
		const mesh = await TestMesh.start(yaml);
		const sidecar = mesh.open(sidecarNode());
		sidecar.view.close();
		await mesh.apply(service('ratings'));
		expect(sidecar.takeChanges()).toEqual([]);
	});

	test('real Envoy is given nothing that only weft knows', async () => {
		const mesh = await TestMesh.start(yaml);
		const weft = mesh.open(sidecarNode());
		const envoy = mesh.open(sidecarNode({ name: 'envoy', agent: 'envoy' }));
		const text = (sidecar: typeof weft) =>
			[LISTENER_TYPE, ROUTE_TYPE]
				.map((type) => Buffer.from(sidecar.view.get(type, REVIEWS)!.any).toString('latin1'))
				.join();
		expect(text(weft)).toContain('weft.telemetry.v1.MeshTelemetry');
		expect(text(weft)).toContain('reset-idempotent');
		expect(text(envoy)).not.toContain('weft.telemetry');
		expect(text(envoy)).not.toContain('reset-idempotent');
	});
});

describe('routes', () => {
	test('change only the route configuration of their parent', async () => {
		const mesh = await TestMesh.start(service('reviews') + service('ratings'));
		const sidecar = mesh.open(sidecarNode());
		await mesh.apply(route('[{ backendRefs: [{ name: ratings, port: 9080 }] }]'));
		expect(sidecar.takeChanges()).toEqual([`route ${REVIEWS}`]);
	});

	test('weights, a backend of weight 0, and a share for one that does not exist', async () => {
		const backends = `
    - backendRefs:
        - { name: ratings, port: 9080, weight: 3 }
        - { name: reviews, port: 9080, weight: 0 }
        - { name: nowhere, port: 9080, weight: 1 }`;
		const mesh = await TestMesh.start(service('reviews') + service('ratings') + route(backends));
		const sidecar = mesh.open(sidecarNode());
		const action = sidecar.routeList(REVIEWS)[0]!.action;
		if (action.case !== 'route' || action.value.clusterSpecifier.case !== 'weightedClusters')
			throw new Error('no weights');
		expect(action.value.clusterSpecifier.value.clusters.map(({ name, weight }) => [name, weight])).toEqual([
			['outbound|9080||ratings.default.svc.cluster.local', 3],
			['outbound|9080||nowhere.default.svc.cluster.local', 1],
		]);
		expect(action.value.clusterNotFoundResponseCode).toBe(2);
		// It appears: the route no longer needs the 500.
		await mesh.apply(service('nowhere'));
		expect(sidecar.takeChanges()).toContain(`route ${REVIEWS}`);
		const now = sidecar.routeList(REVIEWS)[0]!.action;
		if (now.case !== 'route') throw new Error('no route');
		expect(now.value.clusterNotFoundResponseCode).toBe(0);
	});

	test('a rule with nothing to send to answers 500', async () => {
		const rules = '[{ backendRefs: [{ name: nowhere, port: 9080 }] }, { matches: [{ path: { value: /x } }] }]';
		const mesh = await TestMesh.start(service('reviews') + route(rules));
		for (const one of mesh.open(sidecarNode()).routeList(REVIEWS)) {
			expect(one.action).toMatchObject({ case: 'directResponse', value: { status: 500 } });
		}
	});

	test('of another namespace count for clients of that namespace only', async () => {
		const mesh = await TestMesh.start(
			service('reviews') + 'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n'.replace(/^/, '---\n'),
		);
		await mesh.apply(
			route(
				'[{ filters: [{ type: RequestRedirect, requestRedirect: { hostname: else.where } }] }]',
				'name: mine, namespace: shop',
			),
		);
		const inside = mesh.open(sidecarNode({ namespace: 'shop' }));
		const outside = mesh.open(sidecarNode());
		expect(inside.routeList(REVIEWS)[0]?.action.case).toBe('redirect');
		expect(outside.routeList(REVIEWS)[0]?.action.case).toBe('route');
	});

	test('a fault appears, changes and goes with its object', async () => {
		const fault = (status: number) => `
---
apiVersion: weft.dev/v1alpha1
kind: FaultInjection
metadata: { name: slow, namespace: default }
spec: { abort: { httpStatus: ${status}, percentage: 12.5 } }
`;
		const rules =
			'[{ filters: [{ type: ExtensionRef, extensionRef: { group: weft.dev, kind: FaultInjection, name: slow } }], backendRefs: [{ name: reviews, port: 9080 }] }]';
		const mesh = await TestMesh.start(service('reviews') + route(rules));
		const sidecar = mesh.open(sidecarNode());
		expect(sidecar.routeList(REVIEWS)[0]?.action.case).toBe('directResponse');
		await mesh.apply(fault(503));
		expect(sidecar.routeList(REVIEWS)[0]?.action.case).toBe('route');
		expect(Object.keys(sidecar.routeList(REVIEWS)[0]!.typedPerFilterConfig)).toEqual(['envoy.filters.http.fault']);
		sidecar.takeChanges();
		await mesh.apply(fault(418));
		expect(sidecar.takeChanges()).toEqual([`route ${REVIEWS}`]);
	});
});
