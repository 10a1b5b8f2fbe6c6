// ORIGINAL_DST: the host is where the downstream connection was headed before it was redirected. Hosts
// are made by picks and forgotten when nothing has used them for a cleanup interval.

import { formatAddress, type IpAddress } from '../../net/network.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import type { Host, PickContext, Picker } from '../upstream.ts';
import type { TransportSockets } from './transport-sockets.ts';
import { UpstreamHost } from './upstream-host.ts';

export interface OriginalDestinationHosts {
	readonly transports: TransportSockets;
	addHost(key: string, host: UpstreamHost): void;
	removeHost(key: string): void;
	showMembership(): void;
}

/** Beyond this, picks for new addresses fail: a port scan must not fill the memory. */
const HOSTS_MAX = 10_000;

export class OriginalDestinationPicker implements Picker {
	private readonly hosts = new Map<string, { readonly host: UpstreamHost; used: boolean }>();
	private readonly timer: Timer;

	constructor(
		private readonly cluster: OriginalDestinationHosts,
		clock: Clock,
		private readonly portOverride: number | null,
		cleanupMs: number,
	) {
		this.timer = clock.after(cleanupMs, () => {
			this.cleanUp();
			this.timer.restart(cleanupMs);
		});
	}

	pick(context: PickContext | null): Host | null {
		const destination = context?.originalDestination;
		if (destination === null || destination === undefined) return null;
		const address: IpAddress = this.portOverride === null ? destination : { ...destination, port: this.portOverride };
		const key = formatAddress(address);
		const known = this.hosts.get(key);
		if (known !== undefined) {
			known.used = true;
			return known.host;
		}
		if (this.hosts.size >= HOSTS_MAX) return null;
		const host = new UpstreamHost(
			{
				address,
				hostname: '',
				weight: 1,
				metadata: {},
				status: 'UNKNOWN',
				priority: 0,
				locality: { region: '', zone: '', subZone: '' },
				healthCheckAddress: null,
				healthCheckHostname: '',
				healthChecksDisabled: false,
			},
			this.cluster.transports.forEndpoint({}),
		);
		this.hosts.set(key, { host, used: true });
		this.cluster.addHost(key, host);
		this.cluster.showMembership();
		return host;
	}

	close(): void {
		this.timer.cancel();
	}

	private cleanUp(): void {
		for (const [key, entry] of this.hosts) {
			if (entry.used || entry.host.activeRequests > 0) {
				entry.used = false;
				continue;
			}
			this.hosts.delete(key);
			this.cluster.removeHost(key);
		}
		this.cluster.showMembership();
	}
}
