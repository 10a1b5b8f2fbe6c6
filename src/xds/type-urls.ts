// Type URLs of xDS v3, and the order in which a server sends them so that nothing refers to what
// is not there yet (make before break).

const PREFIX = 'type.googleapis.com/';

export const LISTENER_TYPE = `${PREFIX}envoy.config.listener.v3.Listener`;
export const ROUTE_TYPE = `${PREFIX}envoy.config.route.v3.RouteConfiguration`;
export const CLUSTER_TYPE = `${PREFIX}envoy.config.cluster.v3.Cluster`;
export const ENDPOINT_TYPE = `${PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment`;
export const SECRET_TYPE = `${PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret`;

export const PUSH_ORDER: readonly string[] = [CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE];

/** `cluster`, `endpoint`, `listener`, `route`, `secret`; the URL itself for another. */
export function shortTypeName(typeUrl: string): string {
	switch (typeUrl) {
		case LISTENER_TYPE:
			return 'listener';
		case ROUTE_TYPE:
			return 'route';
		case CLUSTER_TYPE:
			return 'cluster';
		case ENDPOINT_TYPE:
			return 'endpoint';
		case SECRET_TYPE:
			return 'secret';
		default:
			return typeUrl;
	}
}
