// The statistics of listeners, Envoy's `listener.ADDRESS.*` and `listener_manager.*`, resolved.

import type { Counter, Gauge, MetricRegistry } from '../../telemetry/registry.ts';
import { TlsStats } from '../tls/tls-stats.ts';

export class ListenerStats {
	readonly connectionsTotal: Counter;
	readonly connectionsActive: Gauge;
	readonly connectionsDestroyed: Counter;
	readonly connectionsOverflowed: Counter;
	readonly globalConnectionsOverflowed: Counter;
	readonly overloadRejects: Counter;
	readonly noFilterChain: Counter;
	/** Connections that listener filters are looking at. */
	readonly inspectionsActive: Gauge;
	readonly inspectionTimeouts: Counter;
	readonly inspectionRemoteCloses: Counter;
	readonly inspectionErrors: Counter;
	readonly tls: TlsStats;
	readonly secretsNotReady: Counter;

	constructor(registry: MetricRegistry, address: string) {
		const labels = ['envoy_listener_address'];
		const counter = (name: string, help: string): Counter =>
			registry.counter(`envoy_listener_${name}`, help, labels).with(address);
		this.connectionsTotal = counter('downstream_cx_total', 'Connections accepted');
		this.connectionsActive = registry
			.gauge('envoy_listener_downstream_cx_active', 'Connections now open', labels)
			.with(address);
		this.connectionsDestroyed = counter('downstream_cx_destroy', 'Connections closed');
		this.connectionsOverflowed = counter('downstream_cx_overflow', 'Connections over the limit of the listener');
		this.globalConnectionsOverflowed = counter(
			'downstream_global_cx_overflow',
			'Connections over the limit of the proxy, or of its descriptors',
		);
		this.overloadRejects = counter('downstream_cx_overload_reject', 'Connections rejected by an overload action');
		this.noFilterChain = counter('no_filter_chain_match', 'Connections that no filter chain matched');
		this.inspectionsActive = registry
			.gauge('envoy_listener_downstream_pre_cx_active', 'Connections that listener filters look at', labels)
			.with(address);
		this.inspectionTimeouts = counter(
			'downstream_pre_cx_timeout',
			'Connections that listener filters took too long for',
		);
		this.inspectionRemoteCloses = counter(
			'downstream_listener_filter_remote_close',
			'Connections that their client ended before listener filters were done',
		);
		this.inspectionErrors = counter(
			'downstream_listener_filter_error',
			'Connections that broke before listener filters were done',
		);
		this.secretsNotReady = counter(
			'server_ssl_socket_factory_downstream_context_secrets_not_ready',
			'Connections refused because a TLS secret was missing',
		);
		this.tls = new TlsStats(registry, 'listener', address);
	}
}

export interface ListenerManagerStats {
	readonly added: Counter;
	readonly modified: Counter;
	readonly removed: Counter;
	readonly failed: Counter;
	readonly active: Gauge;
	readonly warming: Gauge;
	readonly updatesAccepted: Counter;
	readonly updatesRejected: Counter;
}

export function listenerManagerStats(registry: MetricRegistry): ListenerManagerStats {
	const counter = (name: string, help: string): Counter =>
		registry.counter(`envoy_listener_manager_${name}`, help).with();
	const gauge = (name: string, help: string): Gauge => registry.gauge(`envoy_listener_manager_${name}`, help).with();
	return {
		added: counter('listener_added', 'Listeners added'),
		modified: counter('listener_modified', 'Listeners changed'),
		removed: counter('listener_removed', 'Listeners removed'),
		failed: counter('listener_create_failure', 'Listeners that could not be made'),
		active: gauge('total_listeners_active', 'Listeners in force'),
		warming: gauge('total_listeners_warming', 'Listeners that wait for their routes'),
		updatesAccepted: counter('lds_update_success', 'LDS updates that are in force'),
		updatesRejected: counter('lds_update_rejected', 'LDS updates that were refused, in whole or in part'),
	};
}
