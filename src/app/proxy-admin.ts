// What the admin interface shows and does, of one proxy: its own process's, or, in the main process of
// several workers, with what those report.

import { fromBinary } from '@bufbuild/protobuf';
import type { Bootstrap } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { RouteConfigurationSchema } from '../generated/envoy/config/route/v3/route_pb.ts';
import type { Listener, Network } from '../net/network.ts';
import { compileListenAddress } from '../proxy/address.ts';
import { type AdminDetour, startAdminServer } from '../proxy/admin/admin-server.ts';
import type { AdminState, HostUse, ServerState } from '../proxy/admin/admin-state.ts';
import { typeRegistry } from '../proxy/type-registry.ts';
import type { MetricRegistry } from '../telemetry/registry.ts';
import type { RunningProxy } from './proxy.ts';

export interface ProxyAdminOptions {
	readonly bootstrap: Bootstrap;
	readonly network: Network;
	readonly proxy: RunningProxy;
	/** What `/stats` shows. */
	readonly registry: MetricRegistry;
	readonly version: string;
	readonly commandLine: Readonly<Record<string, string | number | boolean>>;
	readonly startedMs: number;
	/** Null: as `startedMs`. */
	readonly firstStartedMs: number | null;
	/** Of `/drain_listeners?graceful`. */
	readonly drainTimeMs: number;
	readonly isReady: () => boolean;
	readonly onQuit: () => void;
	/** See `AdminState.hostUse`. */
	readonly hostUse?: (cluster: string, host: string) => HostUse | null;
}

export class ProxyAdmin {
	draining = false;
	readonly state: AdminState;
	private healthCheckFailed = false;

	constructor(private readonly options: ProxyAdminOptions) {
		const { proxy, network, onQuit, drainTimeMs, hostUse } = options;
		this.state = {
			clock: network.clock,
			registry: options.registry,
			types: typeRegistry,
			bootstrap: options.bootstrap,
			version: options.version,
			startedMs: options.startedMs,
			firstStartedMs: options.firstStartedMs ?? options.startedMs,
			commandLine: options.commandLine,
			clusters: proxy.clusters,
			secrets: proxy.secrets,
			actions: {
				drainListeners: ({ graceful, inboundOnly }) => {
					if (!graceful) proxy.listeners.stopListening({ inboundOnly });
					else if (inboundOnly) void proxy.listeners.drainInbound(drainTimeMs);
					else void proxy.listeners.drain(drainTimeMs);
				},
				healthCheckFail: () => {
					this.healthCheckFailed = true;
				},
				healthCheckOk: () => {
					this.healthCheckFailed = false;
				},
				reopenLogs: () => proxy.reopenLogs(),
				quit: onQuit,
			},
			...(hostUse === undefined ? {} : { hostUse }),
			state: () => this.serverState(),
			listeners: () =>
				proxy.listeners.status().map((one) => ({
					name: one.name,
					addresses: [one.address ?? one.configuredAddress],
					message: one.message,
					version: one.version,
					isStatic: one.origin === 'static',
					lastUpdatedMs: one.lastUpdatedMs,
					certificates: [],
				})),
			routes: () =>
				proxy.routes.status().flatMap(({ version, value, lastUpdatedMs }) => {
					if (value === null) return [];
					const message = fromBinary(RouteConfigurationSchema, value);
					return [{ message, version, isStatic: false, lastUpdatedMs }];
				}),
			ads: () => proxy.ads?.status() ?? null,
		};
	}

	/** Null: the bootstrap has no `admin.address`. @throws ConfigError; WeftError when the address cannot be had */
	listen(detour?: AdminDetour): Listener | null {
		const { bootstrap, network } = this.options;
		if (bootstrap.admin?.address === undefined) return null;
		const address = compileListenAddress(bootstrap.admin.address, 'bootstrap', 'admin.address');
		return startAdminServer(network, address, this.state, detour);
	}

	private serverState(): ServerState {
		if (this.draining || this.healthCheckFailed) return 'DRAINING';
		return this.options.isReady() ? 'LIVE' : 'INITIALIZING';
	}
}
