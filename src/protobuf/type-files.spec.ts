import { expect, test } from 'bun:test';
import { fromJson, toJson } from '@bufbuild/protobuf';
import {
	BootstrapSchema,
	file_envoy_config_bootstrap_v3_bootstrap,
} from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { ClusterSchema } from '../generated/envoy/config/cluster/v3/cluster_pb.ts';
import {
	file_envoy_extensions_filters_http_router_v3_router,
	RouterSchema,
} from '../generated/envoy/extensions/filters/http/router/v3/router_pb.ts';
import {
	AggregatedDiscoveryService,
	file_envoy_service_discovery_v3_ads,
} from '../generated/envoy/service/discovery/v3/ads_pb.ts';
import { fromJsonOnce, TypeFiles } from './type-files.ts';

const types = new TypeFiles([
	file_envoy_config_bootstrap_v3_bootstrap,
	file_envoy_extensions_filters_http_router_v3_router,
	file_envoy_service_discovery_v3_ads,
]);

test('finds the types of its files by their full names', () => {
	expect(types.getMessage('envoy.extensions.filters.http.router.v3.Router') === RouterSchema).toBe(true);
	expect(types.getMessage('envoy.config.bootstrap.v3.Bootstrap.StaticResources')?.parent?.name).toBe('Bootstrap');
	expect(types.getEnum('envoy.config.bootstrap.v3.Watchdog.WatchdogAction.WatchdogEvent')?.values.length).toBe(5);
	expect(types.getService('envoy.service.discovery.v3.AggregatedDiscoveryService') === AggregatedDiscoveryService).toBe(
		true,
	);
	expect(types.get('envoy.config.bootstrap.v3.Bootstrap.Nothing')).toBeUndefined();
	expect(types.getMessage('envoy.config.cluster.v3.Cluster')).toBeUndefined();
	expect(types.getExtension()).toBeUndefined();
});

test('lists them all, nested ones too', () => {
	const names = [...types].map((type) => type.typeName);
	expect(names).toContain('envoy.extensions.filters.http.router.v3.Router.UpstreamAccessLogOptions');
	expect(new Set(names).size).toBe(names.length);
});

test('JSON read once is what JSON is, with an Any in it, and leaves the descriptors alone', () => {
	const json = {
		node: { id: 'n', metadata: { a: [1, null, 'x'] } },
		static_resources: {
			clusters: [
				{
					name: 'c',
					connect_timeout: '2s',
					typed_extension_protocol_options: {
						x: {
							'@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
							start_child_span: true,
						},
					},
				},
			],
		},
	};
	const once = fromJsonOnce(BootstrapSchema, json, types);
	expect(once).toEqual(fromJson(BootstrapSchema, json, { registry: types }));
	expect(toJson(ClusterSchema, once.staticResources!.clusters[0]!, { registry: types })).toMatchObject({ name: 'c' });
	expect(() => fromJsonOnce(BootstrapSchema, { nonsense: 1 }, types)).toThrow('nonsense');
});
