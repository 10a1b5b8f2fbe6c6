// What the admin interface shows and does, as interfaces: composed in app/ from the two halves of the
// proxy.

import type { Registry } from '@bufbuild/protobuf';
import type { Bootstrap } from '../../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import type { Listener } from '../../generated/envoy/config/listener/v3/listener_pb.ts';
import type { RouteConfiguration } from '../../generated/envoy/config/route/v3/route_pb.ts';
import type { Address } from '../../net/network.ts';
import type { Clock } from '../../std/clock.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';
import type { AdsStatus } from '../../xds/ads-client.ts';
import type { UpstreamClusterManager } from '../cluster/cluster-manager.ts';
import type { SecretManager } from '../tls/secret-manager.ts';

/** Envoy's `ServerInfo.State`. */
export type ServerState = 'LIVE' | 'DRAINING' | 'PRE_INITIALIZING' | 'INITIALIZING';

export interface AdminListener {
	readonly name: string;
	/** With the ports that were taken. */
	readonly addresses: readonly Address[];
	readonly message: Listener;
	/** Empty: from the bootstrap. */
	readonly version: string;
	readonly isStatic: boolean;
	readonly lastUpdatedMs: number;
	/** What its TLS contexts show and trust; none when plain. */
	readonly certificates: readonly { readonly certificateChainPem: string; readonly rootsPem: string }[];
}

export interface AdminRoutes {
	readonly message: RouteConfiguration;
	readonly version: string;
	readonly isStatic: boolean;
	readonly lastUpdatedMs: number;
}

export interface AdminActions {
	/** `graceful`: new connections are still taken during the drain time. */
	drainListeners(options: { readonly graceful: boolean; readonly inboundOnly: boolean }): void;
	/** The health check filter answers 503, `/ready` too, until `healthCheckOk`. */
	healthCheckFail(): void;
	healthCheckOk(): void;
	/** Access logs go on in new files of the same names. */
	reopenLogs(): void;
	/** Ends the process in order. */
	quit(): void;
}

/** What connections to an upstream host have come to, beyond what this process counts itself. */
export interface HostUse {
	readonly connections: number;
	readonly connectionsActive: number;
	readonly connectFailures: number;
	readonly requests: number;
	readonly requestsActive: number;
	/** `/failed_active_hc` and the like; empty: none. */
	readonly healthFlags: string;
}

export interface AdminState {
	readonly clock: Clock;
	readonly registry: MetricRegistry;
	/** Of every message that a bootstrap or resource may hold in an Any. */
	readonly types: Registry;
	readonly bootstrap: Bootstrap;
	readonly version: string;
	readonly startedMs: number;
	/** The same of the first process of a chain of hot restarts. */
	readonly firstStartedMs: number;
	/** Shown in `/server_info`, snake_case as Envoy's `CommandLineOptions`. */
	readonly commandLine: Readonly<Record<string, string | number | boolean>>;
	readonly clusters: UpstreamClusterManager;
	readonly secrets: SecretManager;
	readonly actions: AdminActions;
	/** Of other processes of the same proxy; null: none there. Default: there are no others. */
	hostUse?(cluster: string, host: string): HostUse | null;
	state(): ServerState;
	listeners(): readonly AdminListener[];
	routes(): readonly AdminRoutes[];
	/** Null: there is no control plane. */
	ads(): AdsStatus | null;
}
