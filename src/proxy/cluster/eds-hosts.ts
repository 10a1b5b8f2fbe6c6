// EDS: the hosts of the cluster's ClusterLoadAssignment, as a DiscoveryClient brings it. One that is
// wrong is refused and the last good one stays; one that is removed stays too (Envoy: a control plane
// that wants no endpoints sends an empty assignment).

import { fromBinary } from '@bufbuild/protobuf';
import { ClusterLoadAssignmentSchema } from '../../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import type { DiscoveryClient, DiscoveryUpdate, Subscription } from '../../xds/discovery-client.ts';
import { ENDPOINT_TYPE } from '../../xds/type-urls.ts';
import type { ClusterStats } from './cluster-stats.ts';
import { compileAssignment, hostSpecAt } from './endpoint-specs.ts';
import type { HostSink, HostSource } from './host-source.ts';
import type { HostSpec } from './upstream-host.ts';

export class EdsHosts implements HostSource {
	private subscription: Subscription | null = null;
	private timer: Timer | null = null;
	private closed = false;

	/** @param initialFetchTimeoutMs 0: waits for ever */
	constructor(
		private readonly serviceName: string,
		private readonly client: DiscoveryClient,
		private readonly clock: Clock,
		private readonly initialFetchTimeoutMs: number,
		private readonly stats: ClusterStats,
	) {}

	start(sink: HostSink): void {
		if (this.initialFetchTimeoutMs > 0) {
			this.timer = this.clock.after(this.initialFetchTimeoutMs, () => sink.onInitialized());
		}
		this.stats.counters.update_attempt.inc();
		const subscription = this.client.subscribe(ENDPOINT_TYPE, [this.serviceName], {
			onUpdate: (update) => (this.closed ? null : this.onUpdate(update, sink)),
		});
		// The first answer may have come, and closed this, within `subscribe`.
		if (this.closed) subscription.close();
		else this.subscription = subscription;
	}

	close(): void {
		this.closed = true;
		this.timer?.cancel();
		this.subscription?.close();
		this.subscription = null;
	}

	private onUpdate(update: DiscoveryUpdate, sink: HostSink): string | null {
		let refused: string | null = null;
		const { counters } = this.stats;
		for (const resource of update.updated) {
			if (resource.name !== this.serviceName) continue;
			try {
				const hosts = this.decode(resource.value);
				counters.update_success.inc();
				if (hosts.specs.length === 0) counters.update_empty.inc();
				sink.onHosts(hosts.specs, hosts.overprovisioningFactor);
			} catch (error) {
				counters.update_rejected.inc();
				refused = errorMessage(error);
			}
			this.answered(sink);
		}
		if (update.removed.includes(this.serviceName)) this.answered(sink);
		return refused;
	}

	private answered(sink: HostSink): void {
		this.timer?.cancel();
		sink.onInitialized();
	}

	private decode(value: Uint8Array): { specs: HostSpec[]; overprovisioningFactor: number } {
		const object = `endpoints ${JSON.stringify(this.serviceName)}`;
		const message = fromBinary(ClusterLoadAssignmentSchema, value);
		const { endpoints, overprovisioningFactor } = compileAssignment(message, false, object, '');
		const specs: HostSpec[] = [];
		for (const endpoint of endpoints) {
			if (endpoint.address.kind !== 'name') specs.push(hostSpecAt(endpoint, endpoint.address));
		}
		return { specs, overprovisioningFactor };
	}
}
