// Route configurations by name over RDS: one subscription per source and shared by everybody who
// asks for the same name. A configuration that is wrong leaves the last good one in force.

import { fromBinary } from '@bufbuild/protobuf';
import type { ConfigSource } from '../../generated/envoy/config/core/v3/config_source_pb.ts';
import { RouteConfigurationSchema } from '../../generated/envoy/config/route/v3/route_pb.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import type { DiscoveryClient, DiscoveryUpdate, Subscription } from '../../xds/discovery-client.ts';
import { ROUTE_TYPE } from '../../xds/type-urls.ts';
import { type ConfigSources, initialFetchTimeoutMs } from '../config-source.ts';
import { compileRouteConfiguration, type RouteFilterConfigCompiler } from './route-compiler.ts';
import type { RouteSource } from './route-source.ts';
import type { RouteTable } from './route-table.ts';

/** What `/config_dump` shows of one route configuration. */
export interface RouteConfigStatus {
	readonly name: string;
	readonly version: string;
	/** The RouteConfiguration, encoded; null while none was received. */
	readonly value: Uint8Array | null;
	readonly lastUpdatedMs: number;
}

class Entry {
	table: RouteTable | null = null;
	version = '';
	value: Uint8Array | null = null;
	lastUpdatedMs = 0;
	users = 0;
	readonly ready: Promise<void>;
	private resolve: () => void = () => {};
	private timer: Timer | null = null;

	constructor(
		readonly name: string,
		clock: Clock,
		fetchTimeoutMs: number,
	) {
		this.ready = new Promise((resolve) => {
			this.resolve = resolve;
		});
		if (fetchTimeoutMs > 0) this.timer = clock.after(fetchTimeoutMs, () => this.settle());
	}

	settle(): void {
		this.timer?.cancel();
		this.timer = null;
		this.resolve();
	}
}

/** All names asked of one discovery client. */
class Group {
	readonly entries = new Map<string, Entry>();
	subscription: Subscription | null = null;
}

export class RouteConfigs {
	private readonly groups = new Map<DiscoveryClient, Group>();

	constructor(
		private readonly sources: ConfigSources,
		private readonly compileFilterConfig: RouteFilterConfigCompiler,
		private readonly clock: Clock,
	) {}

	/** @throws ConfigError when the source is not supported */
	subscribe(name: string, source: ConfigSource, object: string, field: string): RouteSource {
		const client = this.sources.resolve(source, object, field);
		let group = this.groups.get(client);
		if (group === undefined) {
			group = new Group();
			this.groups.set(client, group);
		}
		let entry = group.entries.get(name);
		if (entry === undefined) {
			entry = new Entry(name, this.clock, initialFetchTimeoutMs(source));
			group.entries.set(name, entry);
			this.updateNames(client, group);
		}
		return this.use(client, group, entry);
	}

	status(): RouteConfigStatus[] {
		const all: RouteConfigStatus[] = [];
		for (const group of this.groups.values()) {
			for (const { name, version, value, lastUpdatedMs } of group.entries.values()) {
				all.push({ name, version, value, lastUpdatedMs });
			}
		}
		return all;
	}

	private use(client: DiscoveryClient, group: Group, entry: Entry): RouteSource {
		entry.users += 1;
		let held = true;
		return {
			name: entry.name,
			get table() {
				return entry.table;
			},
			ready: entry.ready,
			release: () => {
				if (!held) return;
				held = false;
				entry.users -= 1;
				if (entry.users > 0) return;
				group.entries.delete(entry.name);
				entry.settle();
				this.updateNames(client, group);
			},
		};
	}

	private updateNames(client: DiscoveryClient, group: Group): void {
		const names = [...group.entries.keys()];
		if (names.length === 0) {
			group.subscription?.close();
			this.groups.delete(client);
			return;
		}
		if (group.subscription !== null) {
			group.subscription.setNames(names);
			return;
		}
		group.subscription = client.subscribe(ROUTE_TYPE, names, {
			onUpdate: (update) => this.onUpdate(group, update),
		});
	}

	private onUpdate(group: Group, update: DiscoveryUpdate): string | null {
		const errors: string[] = [];
		for (const resource of update.updated) {
			const entry = group.entries.get(resource.name);
			if (entry === undefined) continue;
			try {
				const config = fromBinary(RouteConfigurationSchema, resource.value);
				entry.table = compileRouteConfiguration(config, this.compileFilterConfig);
				entry.version = resource.version;
				entry.value = resource.value;
				entry.lastUpdatedMs = this.clock.wallMs();
			} catch (error) {
				errors.push(`${resource.name}: ${errorMessage(error)}`);
			}
			entry.settle();
		}
		// A configuration that is gone stays in force while somebody uses it, as in Envoy.
		for (const name of update.removed) group.entries.get(name)?.settle();
		return errors.length === 0 ? null : errors.join('\n');
	}
}
