// One host of a cluster: where it is, what is known of its health, its pool of connections. Kept over
// updates as long as its address and transport stay; weight, metadata and health change in place.

import type { Address } from '../../net/network.ts';
import { formatAddress } from '../../net/network.ts';
import type { BalancedHost, HostHealth } from '../load-balancing/priority-picker.ts';
import type { CompiledUpstreamTls } from '../tls/tls-context.ts';
import type { ConnectionPool } from './connection-pool.ts';

export type HostMetadata = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Envoy's `HealthStatus`; `UNKNOWN` counts as healthy. */
export type EndpointStatus = 'UNKNOWN' | 'HEALTHY' | 'UNHEALTHY' | 'DRAINING' | 'TIMEOUT' | 'DEGRADED';

export interface Locality {
	readonly region: string;
	readonly zone: string;
	readonly subZone: string;
}

/** A host as discovery gives it. */
export interface HostSpec {
	readonly address: Address;
	readonly hostname: string;
	/** At least 1. */
	readonly weight: number;
	readonly metadata: HostMetadata;
	readonly status: EndpointStatus;
	readonly priority: number;
	readonly locality: Locality;
	/** Where active health checks go when it is not `address`. */
	readonly healthCheckAddress: Address | null;
	/** Host header of active health checks; empty: the check's own. */
	readonly healthCheckHostname: string;
	readonly healthChecksDisabled: boolean;
}

export class UpstreamHost implements BalancedHost {
	readonly addressText: string;
	activeRequests = 0;
	/** Set by the active health checker; false when there is none. */
	failedActiveHealthCheck = false;
	/** Each made at the first request that needs it. */
	http1Pool: ConnectionPool | null = null;
	http2Pool: ConnectionPool | null = null;
	autoPool: ConnectionPool | null = null;
	/** No longer a member of its cluster. */
	removed = false;
	readonly counts = { connections: 0, connectionsActive: 0, connectFailures: 0, requests: 0 };

	/** `tls` null: plain text. */
	constructor(
		public spec: HostSpec,
		readonly tls: CompiledUpstreamTls | null,
	) {
		this.addressText = formatAddress(spec.address);
	}

	get address(): Address {
		return this.spec.address;
	}

	get hostname(): string {
		return this.spec.hostname;
	}

	get weight(): number {
		return this.spec.weight;
	}

	get metadata(): HostMetadata {
		return this.spec.metadata;
	}

	get healthy(): boolean {
		return this.health !== 'unhealthy';
	}

	get health(): HostHealth {
		if (this.failedActiveHealthCheck) return 'unhealthy';
		switch (this.spec.status) {
			case 'UNKNOWN':
			case 'HEALTHY':
				return 'healthy';
			case 'DEGRADED':
				return 'degraded';
			default:
				return 'unhealthy';
		}
	}
}
