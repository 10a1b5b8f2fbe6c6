// The HTTP connection manager of a listener and its HTTP filters.

import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { type Filter, FilterSchema } from '../../generated/envoy/config/listener/v3/listener_components_pb.ts';
import { type RouteConfiguration, RouteConfigurationSchema } from '../../generated/envoy/config/route/v3/route_pb.ts';
import { HTTPFaultSchema } from '../../generated/envoy/extensions/filters/http/fault/v3/fault_pb.ts';
import { RouterSchema } from '../../generated/envoy/extensions/filters/http/router/v3/router_pb.ts';
import {
	HttpConnectionManager_CodecType as CodecType,
	HttpConnectionManagerSchema,
	type HttpFilter,
	HttpFilterSchema,
} from '../../generated/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts';
import { adsSource, any, duration, typedStruct } from './messages.ts';
import { inboundClusterName } from './names.ts';
import type { Dialect } from './route.ts';
import { FAULT_FILTER } from './route-filters.ts';

/** Who calls, said by a weft sidecar to another (docs/architecture.md). */
const PEER_HEADER = 'x-weft-peer';

export type Reporter = 'source' | 'destination';

export interface ConnectionManagerOptions {
	readonly dialect: Dialect;
	readonly reporter: Reporter;
	readonly statPrefix: string;
	/** Name of a route configuration that ADS brings, or the routes themselves. */
	readonly routes: string | RouteConfiguration;
}

export function httpConnectionManager({ dialect, reporter, statPrefix, routes }: ConnectionManagerOptions): Filter {
	const manager = create(HttpConnectionManagerSchema, {
		codecType: CodecType.AUTO,
		statPrefix,
		routeSpecifier:
			typeof routes === 'string'
				? { case: 'rds', value: { routeConfigName: routes, configSource: adsSource() } }
				: { case: 'routeConfig', value: routes },
		httpFilters: httpFilters(dialect, reporter),
		upgradeConfigs: [{ upgradeType: 'websocket' }],
		// Programs speak as always; nginx's requests to its upstreams, for one, were HTTP/1.0 for twenty years.
		httpProtocolOptions: { acceptHttp10: true },
		// WebSockets come as extended CONNECT where it is HTTP/2: from other sidecars, and from some programs.
		http2ProtocolOptions: { allowConnect: true },
		// Long polls and event streams may be silent; the route's own timeouts are what users set.
		streamIdleTimeout: duration(0),
		// Programs see the path as it was sent, but in its one normal form, so that routes cannot be got round.
		normalizePath: true,
	});
	return create(FilterSchema, {
		name: 'envoy.filters.network.http_connection_manager',
		configType: { case: 'typedConfig', value: any(HttpConnectionManagerSchema, manager) },
	});
}

/** Everything goes to the program. */
export function inboundRoutes(port: number, dialect: Dialect): RouteConfiguration {
	const cluster = inboundClusterName(port);
	return create(RouteConfigurationSchema, {
		name: cluster,
		// weft's own filter takes it away; Envoy has to be told.
		requestHeadersToRemove: dialect === 'envoy' ? [PEER_HEADER] : [],
		virtualHosts: [
			{
				name: `inbound|http|${port}`,
				domains: ['*'],
				routes: [
					{
						name: 'default',
						match: { pathSpecifier: { case: 'prefix', value: '/' } },
						action: {
							case: 'route',
							value: { clusterSpecifier: { case: 'cluster', value: cluster }, timeout: duration(0) },
						},
					},
				],
			},
		],
	});
}

/** For HTTP and TCP alike. Whose sidecar it is, it knows itself: so this is the same for all of them. */
export function meshTelemetry(reporter: Reporter): Any {
	return typedStruct('weft.telemetry.v1.MeshTelemetry', { reporter });
}

function httpFilters(dialect: Dialect, reporter: Reporter): HttpFilter[] {
	const filters: HttpFilter[] = [];
	if (dialect === 'weft') {
		filters.push(
			httpFilter('weft.filters.http.mesh_telemetry', meshTelemetry(reporter)),
			httpFilter(
				'weft.filters.http.retry_hint',
				typedStruct('weft.retry.v1.RetryHint', { direction: reporter === 'source' ? 'outbound' : 'inbound' }),
			),
		);
	}
	// Faults are injected by the caller's sidecar, where the routes are that ask for them.
	if (reporter === 'source') filters.push(httpFilter(FAULT_FILTER, any(HTTPFaultSchema, create(HTTPFaultSchema))));
	filters.push(httpFilter('envoy.filters.http.router', any(RouterSchema, create(RouterSchema))));
	return filters;
}

function httpFilter(name: string, config: Any): HttpFilter {
	return create(HttpFilterSchema, { name, configType: { case: 'typedConfig', value: config } });
}
