import { expect, test } from 'bun:test';
import { renderPrometheusText } from '../../telemetry/prometheus-text.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import type { Cluster } from '../upstream.ts';
import type { HttpFilter } from './filter.ts';
import { HttpFilterChain } from './filter.ts';
import { ANY_METHOD, GrpcStats, grpcMethodOf } from './grpc-method-stats.ts';

test('a path of two parts names a method', () => {
	expect(grpcMethodOf('/shop.Cart/Add')).toEqual({ service: 'shop.Cart', method: 'Add' });
	expect(grpcMethodOf('/shop.Cart/Add?x=/y')).toEqual({ service: 'shop.Cart', method: 'Add' });
	for (const path of ['/', '/a', '/a/b/c', '', '*', `/a/${'b'.repeat(257)}`]) expect(grpcMethodOf(path)).toBeNull();
});

test('a call is counted once per status it says, a status that is none without a series', () => {
	const registry = new MetricRegistry();
	const stats = new GrpcStats(registry, 'grpc');
	const cluster = { statName: 'c' } as Cluster;
	const method = stats.of(cluster, '/s/m', () => ({ service: 's', method: 'm' }))!;
	expect(stats.of(cluster, '/s/m', () => null)).toBe(method);
	expect(stats.of(cluster, '/bad', () => null)).toBeNull();
	method.countStatus(['grpc-status', '0']);
	method.countStatus(['grpc-status', '5']);
	method.countStatus(['grpc-status', 'x']);
	method.countStatus(['other', '1']);
	stats.of(cluster, '/s/other', () => ANY_METHOD)!.countRequestMessages(3);
	const lines = renderPrometheusText(registry)
		.split('\n')
		.filter((line) => line !== '' && !line.startsWith('#'));
	const named = '{envoy_cluster_name="c",envoy_grpc_bridge_service="s",envoy_grpc_bridge_method="m"}';
	expect(lines).toEqual([
		`envoy_cluster_grpc_0${named} 1`,
		`envoy_cluster_grpc_5${named} 1`,
		`envoy_cluster_grpc_success${named} 1`,
		`envoy_cluster_grpc_failure${named} 2`,
		`envoy_cluster_grpc_total${named} 3`,
		'envoy_cluster_grpc_request_message_count{envoy_cluster_name="c",envoy_grpc_bridge_service="",envoy_grpc_bridge_method=""} 3',
	]);
});

test('what a filter has go down at the trailers is for the filters after it', () => {
	const filter = (name: string, hooks: string): HttpFilter => ({
		name,
		...(hooks.includes('d') ? { onResponseData: (_: unknown, bytes: Uint8Array) => bytes } : {}),
		...(hooks.includes('t') ? { onResponseTrailers: () => {} } : {}),
	});
	// The response runs from e to a.
	const chain = new HttpFilterChain([
		filter('a', 'd'),
		filter('b', 'dt'),
		filter('c', ''),
		filter('d', 't'),
		filter('e', 'd'),
	]);
	expect(chain.responseTrailers.map((one) => (one as unknown as HttpFilter).name)).toEqual(['d', 'b']);
	expect(chain.responseData.map((one) => (one as unknown as HttpFilter).name)).toEqual(['e', 'b', 'a']);
	expect(chain.dataAfterTrailers).toEqual([1, 2]);
});
