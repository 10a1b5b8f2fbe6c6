// Where the hosts of a cluster come from. A source tells its sink all hosts at each change, and once
// that the first answer is in (also when it is that there is none).

import { type AssignmentSpec, hostSpecAt } from './endpoint-specs.ts';
import type { HostSpec } from './upstream-host.ts';

export interface HostSink {
	/** All hosts there are now. */
	onHosts(hosts: readonly HostSpec[], overprovisioningFactor: number): void;
	/** The first answer was given or is given up on. Further calls have no effect. */
	onInitialized(): void;
}

export interface HostSource {
	/** Once. The sink may be called within. */
	start(sink: HostSink): void;
	/** The sink is not called after. */
	close(): void;
}

/** STATIC: the hosts of the configuration. */
export class StaticHosts implements HostSource {
	constructor(private readonly assignment: AssignmentSpec) {}

	start(sink: HostSink): void {
		const hosts: HostSpec[] = [];
		for (const endpoint of this.assignment.endpoints) {
			if (endpoint.address.kind !== 'name') hosts.push(hostSpecAt(endpoint, endpoint.address));
		}
		sink.onHosts(hosts, this.assignment.overprovisioningFactor);
		sink.onInitialized();
	}

	close(): void {}
}
