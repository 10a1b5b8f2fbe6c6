// `/clusters`: each cluster and host, as Envoy's lines or its `Clusters` message in JSON.

import type { JsonObject } from '@bufbuild/protobuf';
import type { UpstreamCluster } from '../cluster/upstream-cluster.ts';
import type { UpstreamHost } from '../cluster/upstream-host.ts';
import type { AdminState, HostUse } from './admin-state.ts';

export function clustersText(state: AdminState): string {
	let text = '';
	for (const cluster of state.clusters.all()) {
		const { name } = cluster;
		const { limits } = cluster.config;
		text += `${name}::observability_name::${cluster.statName}\n`;
		text += `${name}::default_priority::max_connections::${limits.connectionsMax}\n`;
		text += `${name}::default_priority::max_pending_requests::${limits.pendingRequestsMax}\n`;
		text += `${name}::default_priority::max_requests::${limits.requestsMax}\n`;
		text += `${name}::default_priority::max_retries::${limits.retriesMax}\n`;
		text += `${name}::added_via_api::${!state.clusters.isStatic(name)}\n`;
		if (cluster.config.discovery.kind === 'eds') {
			text += `${name}::eds_service_name::${cluster.config.discovery.serviceName}\n`;
		}
		for (const host of cluster.hosts()) text += hostLines(state, cluster, host);
	}
	return text;
}

function hostLines(state: AdminState, cluster: UpstreamCluster, host: UpstreamHost): string {
	const { spec } = host;
	const use = usedBy(state, cluster, host);
	const values: readonly (readonly [string, string | number])[] = [
		['cx_active', use.connectionsActive],
		['cx_connect_fail', use.connectFailures],
		['cx_total', use.connections],
		['rq_active', use.requestsActive],
		['rq_total', use.requests],
		['hostname', host.hostname],
		['health_flags', use.healthFlags === '' ? 'healthy' : use.healthFlags],
		['weight', host.weight],
		['region', spec.locality.region],
		['zone', spec.locality.zone],
		['sub_zone', spec.locality.subZone],
		['canary', 'false'],
		['priority', spec.priority],
		['success_rate', -1],
		['local_origin_success_rate', -1],
	];
	let text = '';
	for (const [key, value] of values) text += `${cluster.name}::${host.addressText}::${key}::${value}\n`;
	return text;
}

/** What this process and others of the same proxy made of it. */
function usedBy(state: AdminState, cluster: UpstreamCluster, host: UpstreamHost): HostUse {
	const own = hostUse(host);
	const others = state.hostUse?.(cluster.name, host.addressText) ?? null;
	if (others === null) return own;
	return {
		connections: own.connections + others.connections,
		connectionsActive: own.connectionsActive + others.connectionsActive,
		connectFailures: own.connectFailures + others.connectFailures,
		requests: own.requests + others.requests,
		requestsActive: own.requestsActive + others.requestsActive,
		healthFlags: [...new Set(`${own.healthFlags}${others.healthFlags}`.match(/\/[^/]+/g))].join(''),
	};
}

/** Of this process alone. */
export function hostUse(host: UpstreamHost): HostUse {
	const { connections, connectionsActive, connectFailures, requests } = host.counts;
	const requestsActive = host.activeRequests;
	return { connections, connectionsActive, connectFailures, requests, requestsActive, healthFlags: healthFlags(host) };
}

/** Envoy's flags, in its order. */
function healthFlags(host: UpstreamHost): string {
	let flags = '';
	if (host.failedActiveHealthCheck) flags += '/failed_active_hc';
	switch (host.spec.status) {
		case 'UNHEALTHY':
		case 'TIMEOUT':
			flags += '/failed_eds_health';
			break;
		case 'DEGRADED':
			flags += '/degraded_eds_health';
			break;
		case 'DRAINING':
			flags += '/eds_status_draining';
			break;
	}
	return flags;
}

export function clustersJson(state: AdminState): JsonObject {
	return { cluster_statuses: [...state.clusters.all()].map((cluster) => clusterJson(state, cluster)) };
}

function clusterJson(state: AdminState, cluster: UpstreamCluster): JsonObject {
	const { limits, discovery } = cluster.config;
	return {
		name: cluster.name,
		added_via_api: !state.clusters.isStatic(cluster.name),
		observability_name: cluster.statName,
		...(discovery.kind === 'eds' ? { eds_service_name: discovery.serviceName } : {}),
		circuit_breakers: {
			thresholds: [
				{
					max_connections: limits.connectionsMax,
					max_pending_requests: limits.pendingRequestsMax,
					max_requests: limits.requestsMax,
					max_retries: limits.retriesMax,
				},
			],
		},
		host_statuses: [...cluster.hosts()].map((host): JsonObject => {
			const { address, spec } = host;
			const use = usedBy(state, cluster, host);
			return {
				address:
					address.kind === 'pipe'
						? { pipe: { path: address.path } }
						: { socket_address: { address: address.host, port_value: address.port } },
				stats: [
					{ name: 'cx_connect_fail', value: String(use.connectFailures) },
					{ name: 'cx_total', value: String(use.connections) },
					{ name: 'rq_total', value: String(use.requests) },
					{ type: 'GAUGE', name: 'cx_active', value: String(use.connectionsActive) },
					{ type: 'GAUGE', name: 'rq_active', value: String(use.requestsActive) },
				],
				health_status: {
					...(use.healthFlags.includes('/failed_active_hc') ? { failed_active_health_check: true } : {}),
					eds_health_status: spec.status === 'UNKNOWN' ? 'HEALTHY' : spec.status,
				},
				weight: host.weight,
				hostname: host.hostname,
				priority: spec.priority,
				locality: { region: spec.locality.region, zone: spec.locality.zone, sub_zone: spec.locality.subZone },
			};
		}),
	};
}
