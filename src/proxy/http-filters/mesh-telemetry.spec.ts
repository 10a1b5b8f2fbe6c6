import { describe, expect, test } from 'bun:test';
import { create, type JsonObject } from '@bufbuild/protobuf';
import { NodeSchema } from '../../generated/envoy/config/core/v3/base_pb.ts';
import { getHeader, type HeaderList } from '../../http/headers.ts';
import type { Connection, TlsInfo } from '../../net/network.ts';
import { VirtualClock } from '../../std/clock.ts';
import { ConfigError } from '../../std/errors.ts';
import { SeededRandom } from '../../std/random.ts';
import { type Counter, type Histogram, MetricRegistry } from '../../telemetry/registry.ts';
import { type OwnWorkload, ownWorkload } from '../mesh-telemetry/own-workload.ts';
import { ResponseFlag, StreamInfo } from '../stream-info.ts';
import type { Cluster, ClusterManager, Host } from '../upstream.ts';
import type { Exchange } from './exchange.ts';
import type { FilterConfig, HttpFilter } from './filter.ts';
import { MESH_TELEMETRY_TYPE, meshTelemetryFactory, PEER_HEADER } from './mesh-telemetry.ts';

const SOURCE = {
	reporter: 'source',
	workload: 'front-v1',
	namespace: 'shop',
	app: 'front',
	version: 'v1',
	serviceAccount: 'front-sa',
	trustDomain: 'td',
};
const DESTINATION = {
	...SOURCE,
	reporter: 'destination',
	workload: 'back-v2',
	app: 'back',
	version: 'v2',
	serviceAccount: 'back-sa',
};

function compile(
	struct: JsonObject,
	registry = new MetricRegistry(),
	own: OwnWorkload = {},
): { filter: Required<HttpFilter>; registry: MetricRegistry } {
	const config: FilterConfig = {
		typeUrl: MESH_TELEMETRY_TYPE,
		message: () => {
			throw new Error('not a message');
		},
		struct: () => struct,
		error: (field, found, expected) => new ConfigError({ object: 'listener "l"', field, found, expected }),
		object: 'listener "l"',
		field: 'typed_config.value',
	};
	const filter = meshTelemetryFactory(own).compile(config, {
		name: 'telemetry',
		slot: 1,
		statPrefix: 'http.x.',
		registry,
		clock: new VirtualClock(),
		random: new SeededRandom(1),
		clusters: {} as ClusterManager,
		listenerName: 'outbound|80||back.shop.svc.cluster.local',
		direction: 'outbound',
	});
	return { filter: filter as Required<HttpFilter>, registry };
}

function mutualTls(spiffeId: string): TlsInfo {
	const peerCertificate = {
		chainDer: [],
		subject: '',
		uriSans: [spiffeId],
		dnsSans: [],
		serialNumber: '',
		notAfterMs: 0,
	};
	return { version: 'TLSv1.3', cipher: 'x', alpn: null, serverName: null, peerCertificate };
}

function exchange(headers: HeaderList = [], tls: TlsInfo | null = null, connection = { tls } as Connection): Exchange {
	const info = new StreamInfo(connection, 'l', 100, 0) as unknown as Exchange;
	info.requestHead = { method: 'GET', scheme: 'http', authority: 'back', path: '/', headers, upgrade: '' };
	Object.assign(info, { filterState: [], status: 200, endMs: 112, bytesReceived: 3, bytesSent: 40 });
	return info;
}

const FRONT = 'front-v1;shop;front;v1;front-sa';
const host = { metadata: { istio: { workload: 'back-v2;shop;back;v2;weft' } } } as unknown as Host;
const cluster = {
	metadata: { istio: { services: [{ host: 'back.shop.svc.cluster.local', name: 'back', namespace: 'shop' }] } },
} as unknown as Cluster;

function seriesOf(
	registry: MetricRegistry,
	name: string,
): { labels: Record<string, string>; instrument: Counter | Histogram }[] {
	for (const family of registry.all()) {
		if (family.name !== name) continue;
		return [...family.series()].map(({ labels, instrument }) => ({
			labels: Object.fromEntries(family.labelNames.map((label, i) => [label, labels[i]!])),
			instrument: instrument as Counter | Histogram,
		}));
	}
	return [];
}

describe('outbound', () => {
	test("reports a request with all of Istio's labels", () => {
		const { filter, registry } = compile(SOURCE);
		for (let i = 0; i < 2; i++) {
			const one = exchange();
			filter.onRequestHead(one, true);
			Object.assign(one, { cluster, host, upstreamTls: mutualTls('spiffe://td/ns/shop/sa/back-sa') });
			filter.onComplete(one);
		}
		const [requests, ...others] = seriesOf(registry, 'istio_requests_total');
		expect(others).toEqual([]);
		expect((requests!.instrument as Counter).value).toBe(2);
		expect(requests!.labels).toEqual({
			reporter: 'source',
			source_workload: 'front-v1',
			source_canonical_service: 'front',
			source_canonical_revision: 'v1',
			source_workload_namespace: 'shop',
			source_principal: 'spiffe://td/ns/shop/sa/front-sa',
			source_app: 'front',
			source_version: 'v1',
			source_cluster: 'weft',
			destination_workload: 'back-v2',
			destination_workload_namespace: 'shop',
			destination_principal: 'spiffe://td/ns/shop/sa/back-sa',
			destination_app: 'back',
			destination_version: 'v2',
			destination_service: 'back.shop.svc.cluster.local',
			destination_canonical_service: 'back',
			destination_canonical_revision: 'v2',
			destination_service_name: 'back',
			destination_service_namespace: 'shop',
			destination_cluster: 'weft',
			request_protocol: 'http',
			response_flags: '-',
			connection_security_policy: 'unknown',
			response_code: '200',
			grpc_response_status: '',
		});
		const [durations] = seriesOf(registry, 'istio_request_duration_milliseconds');
		expect((durations!.instrument as Histogram).sum).toBe(24);
		expect((seriesOf(registry, 'istio_request_bytes')[0]!.instrument as Histogram).sum).toBe(6);
		expect((seriesOf(registry, 'istio_response_bytes')[0]!.instrument as Histogram).sum).toBe(80);
	});

	test('says who calls, whatever the program said', () => {
		const { filter } = compile(SOURCE);
		const one = exchange([PEER_HEADER, 'a', 'x', 'y', PEER_HEADER, 'b']);
		filter.onRequestHead(one, true);
		expect(one.requestHead.headers).toEqual([PEER_HEADER, 'front-v1;shop;front;v1;front-sa', 'x', 'y']);
	});

	test('keeps status, flags and host apart', () => {
		const { filter, registry } = compile(SOURCE);
		for (const change of [
			{ status: 503, responseFlags: ResponseFlag.noHealthyUpstream, cluster, host: null },
			{ status: 200, cluster, host },
			{ status: 500, cluster, host },
			{ status: 200, cluster: null, host: null },
			{ status: 200, cluster, host },
		]) {
			filter.onComplete(Object.assign(exchange(), change));
		}
		const found = seriesOf(registry, 'istio_requests_total').map(({ labels, instrument }) =>
			[
				labels.response_code,
				labels.response_flags,
				labels.destination_workload,
				labels.destination_service_name,
				(instrument as Counter).value,
			].join(' '),
		);
		expect(found).toEqual([
			'503 UH unknown back 1',
			'200 - back-v2 back 2',
			'500 - back-v2 back 1',
			'200 - unknown unknown 1',
		]);
	});

	test('knows gRPC by its content type, and its status by the trailers', () => {
		const { filter, registry } = compile(SOURCE);
		const call = (changes: object) =>
			filter.onComplete(Object.assign(exchange(['content-type', 'application/grpc+proto']), changes));
		call({ responseTrailers: ['grpc-status', '5'] });
		call({ responseHead: { status: 200, headers: ['grpc-status', '14'] } });
		call({ responseTrailers: ['grpc-status', 'whatever'] });
		const found = seriesOf(registry, 'istio_requests_total').map(({ labels }) => [
			labels.request_protocol,
			labels.grpc_response_status,
		]);
		expect(found).toEqual([
			['grpc', '5'],
			['grpc', '14'],
			['grpc', '2'],
		]);
	});
});

describe('inbound', () => {
	function inbound(
		header: string | null,
		tls: TlsInfo | null,
	): { labels: Record<string, string>; headers: HeaderList } {
		const { filter, registry } = compile(DESTINATION);
		const one = exchange(header === null ? [] : [PEER_HEADER, header], tls);
		filter.onRequestHead(one, true);
		filter.onComplete(one);
		return { labels: seriesOf(registry, 'istio_requests_total')[0]!.labels, headers: one.requestHead.headers };
	}

	test('believes a peer whose certificate bears it out', () => {
		const { labels, headers } = inbound(FRONT, mutualTls('spiffe://td/ns/shop/sa/front-sa'));
		expect(headers).toEqual([]);
		expect(labels).toMatchObject({
			reporter: 'destination',
			source_workload: 'front-v1',
			source_app: 'front',
			source_version: 'v1',
			source_workload_namespace: 'shop',
			source_principal: 'spiffe://td/ns/shop/sa/front-sa',
			destination_workload: 'back-v2',
			destination_principal: 'spiffe://td/ns/shop/sa/back-sa',
			destination_service: 'back.shop.svc.cluster.local',
			destination_service_name: 'back',
			connection_security_policy: 'mutual_tls',
		});
	});

	test.each([
		['another service account', FRONT, 'spiffe://td/ns/shop/sa/other', 'shop'],
		['another namespace', FRONT, 'spiffe://td/ns/else/sa/front-sa', 'else'],
		['another trust domain', FRONT, 'spiffe://other/ns/shop/sa/front-sa', 'shop'],
		['too few parts', 'front-v1;shop', 'spiffe://td/ns/shop/sa/front-sa', 'shop'],
		['a long name', `${'x'.repeat(300)};shop;front;v1;front-sa`, 'spiffe://td/ns/shop/sa/front-sa', 'shop'],
		['no header', null, 'spiffe://td/ns/shop/sa/front-sa', 'shop'],
	])('does not believe %s, but knows the certificate', (_, header, principal, namespace) => {
		const { labels, headers } = inbound(header, mutualTls(principal));
		expect(headers).toEqual([]);
		expect(labels).toMatchObject({
			source_workload: 'unknown',
			source_app: 'unknown',
			source_workload_namespace: namespace,
		});
		expect(labels.source_principal).toBe(principal);
	});

	test('believes nobody without a certificate', () => {
		const { labels, headers } = inbound(FRONT, null);
		expect(headers).toEqual([]);
		expect(labels).toMatchObject({
			source_workload: 'unknown',
			source_workload_namespace: 'unknown',
			source_principal: 'unknown',
			connection_security_policy: 'none',
		});
	});

	test('looks at the header of each request on a connection', () => {
		const { filter, registry } = compile(DESTINATION);
		const connection = { tls: mutualTls('spiffe://td/ns/shop/sa/front-sa') } as Connection;
		for (const header of [FRONT, FRONT, 'front-v2;shop;front;v2;front-sa', FRONT]) {
			const one = exchange([PEER_HEADER, header], null, connection);
			filter.onRequestHead(one, true);
			filter.onComplete(one);
		}
		const found = seriesOf(registry, 'istio_requests_total').map(({ labels, instrument }) => [
			labels.source_workload,
			(instrument as Counter).value,
		]);
		expect(found).toEqual([
			['front-v1', 3],
			['front-v2', 1],
		]);
	});
});

describe('a configuration that leaves out whose proxy it is', () => {
	const metadata = {
		NAMESPACE: 'shop',
		SERVICE_ACCOUNT: 'front-sa',
		WORKLOAD_NAME: 'front-v1',
		LABELS: { app: 'front', version: 'v1' },
		MESH_ID: 'td',
	};
	const node = (changes: JsonObject = {}) => create(NodeSchema, { id: 'n', metadata: { ...metadata, ...changes } });
	const headerOf = (struct: JsonObject, own: OwnWorkload) => {
		const { filter } = compile(struct, new MetricRegistry(), own);
		const one = exchange();
		filter.onRequestHead(one, true);
		return getHeader(one.requestHead.headers, PEER_HEADER);
	};

	test('goes by the node of the proxy', () => {
		expect(headerOf({ reporter: 'source' }, ownWorkload(node()))).toBe(FRONT);
	});

	test('each field of its own counts before the node', () => {
		const struct = { reporter: 'source', version: 'v9', serviceAccount: 'other' };
		expect(headerOf(struct, ownWorkload(node()))).toBe('front-v1;shop;front;v9;other');
	});

	test('canonical labels count before app and version; without any, the workload and latest', () => {
		const canonical = { 'service.istio.io/canonical-name': 'c', 'service.istio.io/canonical-revision': 'r' };
		const labels = { ...metadata.LABELS, ...canonical };
		expect(headerOf({ reporter: 'source' }, ownWorkload(node({ LABELS: labels })))).toBe('front-v1;shop;c;r;front-sa');
		expect(headerOf({ reporter: 'source' }, ownWorkload(node({ LABELS: {} })))).toBe(
			'front-v1;shop;front-v1;latest;front-sa',
		);
	});

	test('believes only peers of the trust domain in the node', () => {
		for (const [domain, workload] of [
			['td', 'front-v1'],
			['elsewhere', 'unknown'],
		] as const) {
			const own = ownWorkload(node({ MESH_ID: domain }));
			const { filter, registry } = compile({ reporter: 'destination' }, new MetricRegistry(), own);
			const one = exchange([PEER_HEADER, FRONT], mutualTls('spiffe://td/ns/shop/sa/front-sa'));
			filter.onRequestHead(one, true);
			filter.onComplete(one);
			expect(seriesOf(registry, 'istio_requests_total')[0]?.labels.source_workload).toBe(workload);
		}
	});

	test('is refused when the node does not say it either, or says what cannot be sent', () => {
		expect(() => compile({ reporter: 'source' }, undefined, ownWorkload(undefined))).toThrow(
			'typed_config.value.workload: expected a name, or one in node.metadata.WORKLOAD_NAME of the bootstrap',
		);
		const strange = ownWorkload(node({ LABELS: { app: 'a;b' } }));
		expect(() => compile({ reporter: 'source' }, undefined, strange)).toThrow('node.metadata.LABELS.app: found "a;b"');
		const numbers = ownWorkload(node({ WORKLOAD_NAME: 1 }));
		expect(() => compile({ reporter: 'source' }, undefined, numbers)).toThrow('typed_config.value.workload:');
	});
});

test.each([
	['an unknown field', { ...SOURCE, colour: 'red' }, 'colour'],
	['no reporter', { ...SOURCE, reporter: 'both' }, 'reporter'],
	['no workload', { ...SOURCE, workload: '' }, 'workload'],
	['a semicolon', { ...SOURCE, app: 'a;b' }, 'app'],
	['a number', { ...SOURCE, version: 1 }, 'version'],
])('%s is refused by name', (_, struct, field) => {
	expect(() => compile(struct)).toThrow(`listener "l": typed_config.value.${field}:`);
});
