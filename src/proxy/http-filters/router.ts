// The router, Envoy's `envoy.filters.http.router`: ends every HTTP filter chain. Answers redirects
// and direct responses by itself, sends the rest to a host of the route's cluster
// (router-request.ts).

import { RouterSchema } from '../../generated/envoy/extensions/filters/http/router/v3/router_pb.ts';
import { getHeader } from '../../http/headers.ts';
import type { SupportedFields } from '../field-check.ts';
import { redirectLocation } from '../route/redirect.ts';
import type { ForwardAction } from '../route/route.ts';
import { ResponseFlag } from '../stream-info.ts';
import type { Cluster, ClusterManager } from '../upstream.ts';
import type { Exchange, RequestSink } from './exchange.ts';
import type { FilterConfig } from './filter.ts';
import { RouterRequest } from './router-request.ts';

export const ROUTER_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router';

export const ROUTER_FIELDS: SupportedFields = {
	'envoy.extensions.filters.http.router.v3.Router': [
		'suppress_envoy_headers',
		// Only say what Envoy counts and traces.
		'dynamic_stats',
		'start_child_span',
		'suppress_grpc_request_failure_code_stats',
	],
};

export class Router {
	private constructor(
		private readonly clusters: ClusterManager,
		/** No `x-envoy-*` headers of ours, either way. */
		private readonly suppressEnvoyHeaders: boolean,
	) {}

	/** @throws ConfigError */
	static compile(config: FilterConfig, clusters: ClusterManager): Router {
		return new Router(clusters, config.message(RouterSchema, ROUTER_FIELDS).suppressEnvoyHeaders);
	}

	/** Where a request goes. Null: it was answered at once. */
	begin(exchange: Exchange, end: boolean): RequestSink | null {
		const route = exchange.route;
		if (route === null) {
			exchange.sendLocalReply(404, '', ResponseFlag.noRouteFound, 'route_not_found');
			return null;
		}
		const { action, virtualHost } = route;
		if (virtualHost.requireTls && clientScheme(exchange) !== 'https') {
			const { authority, path } = exchange.requestHead;
			// The answer is none of the route's: its header mutations are not for it.
			exchange.route = null;
			const location = `https://${authority.replace(/:80$/, '')}${path}`;
			exchange.sendLocalReply(301, '', 0, 'ssl_required', ['location', location]);
			return null;
		}
		switch (action.kind) {
			case 'redirect': {
				const location = redirectLocation(action, exchange.requestHead, clientScheme(exchange));
				exchange.sendLocalReply(action.status, '', 0, 'direct_response', ['location', location]);
				return null;
			}
			case 'direct':
				exchange.sendLocalReply(action.status, action.body, 0, 'direct_response');
				return null;
			case 'forward': {
				const cluster = this.cluster(exchange, action);
				if (cluster === undefined) {
					exchange.sendLocalReply(action.clusterNotFoundStatus, '', ResponseFlag.noClusterFound, 'cluster_not_found');
					return null;
				}
				exchange.cluster = cluster;
				const request = new RouterRequest(exchange, route, action, cluster, !this.suppressEnvoyHeaders);
				request.onHead(end);
				return request;
			}
		}
	}

	private cluster(exchange: Exchange, action: ForwardAction): Cluster | undefined {
		if (action.clusterHeader === '') return this.clusters.get(action.cluster);
		const name = getHeader(exchange.requestHead.headers, action.clusterHeader);
		return name === undefined || name === '' ? undefined : this.clusters.get(name);
	}
}

function clientScheme(exchange: Exchange): string {
	return getHeader(exchange.requestHead.headers, 'x-forwarded-proto') ?? exchange.requestHead.scheme;
}
