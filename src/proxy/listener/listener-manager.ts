// All listeners by name: static ones from the bootstrap, dynamic ones from LDS. An update warms up
// unseen (its routes are asked for) and then takes its place in one step; a bad one is refused, and
// what was there stays. A socket is kept as long as its address is.

import { fromBinary } from '@bufbuild/protobuf';
import { TrafficDirection } from '../../generated/envoy/config/core/v3/base_pb.ts';
import {
	type Listener as ListenerMessage,
	ListenerSchema,
} from '../../generated/envoy/config/listener/v3/listener_pb.ts';
import { type Address, formatAddress, type IpAddress, type Network } from '../../net/network.ts';
import type { Timer } from '../../std/clock.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';
import type { DiscoveryClient, DiscoveryUpdate, Subscription } from '../../xds/discovery-client.ts';
import { LISTENER_TYPE } from '../../xds/type-urls.ts';
import type { ConnectionBudget } from '../overload/connection-budget.ts';
import type { SecretManager } from '../tls/secret-manager.ts';
import { ActiveListener, type ListenerDirectory } from './active-listener.ts';
import { type FilterChain, releaseFilterChain } from './filter-chain.ts';
import { allChains, compileListener, type ListenerConfig, type ListenerEnvironment } from './listener-config.ts';
import { type ListenerManagerStats, listenerManagerStats } from './listener-stats.ts';

const log = new Logger('listeners');
/** How long connections of a removed listener may go on; Envoy `--drain-time-s`. */
const DRAIN_TIME_MS_DEFAULT = 600_000;

export interface ListenerManagerOptions {
	readonly network: Network;
	readonly registry: MetricRegistry;
	readonly environment: ListenerEnvironment;
	readonly secrets: SecretManager;
	readonly connections: ConnectionBudget;
	/** Default 600000. */
	readonly drainTimeMs?: number;
}

/** What `/listeners` and `/config_dump` show of one. */
export interface ListenerStatus {
	readonly name: string;
	readonly origin: 'static' | 'dynamic';
	/** Where it really listens; null for one that has no socket. */
	readonly address: Address | null;
	readonly configuredAddress: Address;
	readonly version: string;
	readonly state: 'active' | 'warming';
	readonly message: ListenerMessage;
	readonly lastUpdatedMs: number;
	readonly connections: number;
}

interface Entry {
	readonly name: string;
	readonly origin: 'static' | 'dynamic';
	readonly active: ActiveListener;
	/** The newest configuration that was accepted; it may still be warming. */
	newest: ListenerConfig;
	version: string;
	lastUpdatedMs: number;
}

class AddressTakenError extends ConfigError {}

interface Drain {
	readonly listeners: readonly ActiveListener[];
	/** Their last connection is gone, or the time is over. */
	onGone(): void;
}

export class ListenerManager implements ListenerDirectory {
	private readonly entries = new Map<string, Entry>();
	private readonly byAddress = new Map<string, Entry>();
	/** Removed or replaced, with connections that are still going on, until its timer closes them. */
	private readonly leaving = new Map<ActiveListener, Timer>();
	private readonly stats: ListenerManagerStats;
	private subscription: Subscription | null = null;
	private firstAnswer: () => void = () => {};
	/** Drains under way: of the inbound listeners, of all. */
	private readonly drains = new Set<Drain>();
	private stopped = false;

	constructor(private readonly options: ListenerManagerOptions) {
		this.stats = listenerManagerStats(options.registry);
	}

	/** @throws ConfigError; WeftError when its address cannot be had */
	addStatic(message: ListenerMessage): void {
		if (this.entries.has(message.name)) {
			const object = `listener ${JSON.stringify(message.name)}`;
			throw new ConfigError({ object, field: 'name', found: message.name, expected: 'a name that is used once' });
		}
		this.apply(message, '', 'static');
	}

	/** Follows LDS. Resolves when the first answer is in force, or could not be had in time. */
	follow(client: DiscoveryClient, initialFetchTimeoutMs: number): Promise<void> {
		const first = new Promise<void>((resolve) => {
			this.firstAnswer = resolve;
		});
		const { clock } = this.options.network;
		const timer = initialFetchTimeoutMs > 0 ? clock.after(initialFetchTimeoutMs, () => this.firstAnswer()) : null;
		this.subscription = client.subscribe(LISTENER_TYPE, null, { onUpdate: (update) => this.onUpdate(update) });
		return first.then(() => {
			timer?.cancel();
			return this.warm();
		});
	}

	/** Resolves when no listener that is here now waits for routes any more. */
	async warm(): Promise<void> {
		await Promise.all([...this.entries.values()].flatMap((entry) => readiness(entry.newest)));
	}

	forDestination(destination: IpAddress): ActiveListener | undefined {
		const exact = this.byAddress.get(addressKey(destination.host, destination.port));
		if (exact !== undefined) return exact.active;
		const any = destination.host.includes(':') ? '::' : '0.0.0.0';
		const entry = this.byAddress.get(addressKey(any, destination.port));
		// A virtual one for every address; a bound wildcard would be the one that asks.
		return entry !== undefined && !entry.newest.bindToPort ? entry.active : undefined;
	}

	connectionsGone(listener: ActiveListener): void {
		this.leaving.get(listener)?.cancel();
		this.leaving.delete(listener);
		for (const drain of [...this.drains]) if (countConnections(drain.listeners) === 0) drain.onGone();
	}

	status(): ListenerStatus[] {
		return [...this.entries.values()].map((entry) => ({
			name: entry.name,
			origin: entry.origin,
			address: entry.active.boundAddress,
			configuredAddress: entry.newest.address,
			version: entry.version,
			state: entry.active.config === entry.newest ? 'active' : 'warming',
			message: entry.newest.message,
			lastUpdatedMs: entry.lastUpdatedMs,
			connections: entry.active.connectionCount,
		}));
	}

	/** Where a listener really listens, for port 0. */
	addressOf(name: string): Address | null {
		return this.entries.get(name)?.active.boundAddress ?? null;
	}

	connectionCount(): number {
		let count = 0;
		for (const entry of this.entries.values()) count += entry.active.connectionCount;
		for (const listener of this.leaving.keys()) count += listener.connectionCount;
		return count;
	}

	/** Ports are free and no connection is taken any more; those that are there go on. `/drain_listeners`. */
	stopListening(options: { readonly inboundOnly: boolean } = { inboundOnly: false }): void {
		for (const listener of this.activeListeners(options.inboundOnly)) listener.stopListening();
	}

	/**
	 * Responses say `connection: close`, idle connections close; when none is left, or after `deadlineMs`,
	 * the sockets close and what is left is cut. New connections are served meanwhile, one request each.
	 */
	async drain(deadlineMs: number): Promise<void> {
		await this.drained([...this.activeListeners(false), ...this.leaving.keys()], deadlineMs);
		this.stop();
	}

	/**
	 * Somebody else listens on the same sockets now: they close here at once, and connections end with their next
	 * response, so that no request is lost; what is left after `deadlineMs` is cut.
	 */
	async retire(deadlineMs: number): Promise<void> {
		this.stopListening();
		await this.drained([...this.activeListeners(false), ...this.leaving.keys()], deadlineMs, true);
		this.stop();
	}

	/** As `drain`, for the listeners that are not `OUTBOUND` only: what the own program calls goes on. */
	async drainInbound(deadlineMs: number): Promise<void> {
		const inbound = this.activeListeners(true);
		await this.drained(inbound, deadlineMs);
		for (const listener of inbound) {
			listener.stopListening();
			listener.closeConnections();
		}
	}

	private async drained(listeners: readonly ActiveListener[], deadlineMs: number, gently = false): Promise<void> {
		for (const listener of listeners) listener.drain(gently);
		if (countConnections(listeners) === 0) return;
		await new Promise<void>((resolve) => {
			const onGone = () => {
				timer.cancel();
				this.drains.delete(drain);
				resolve();
			};
			const drain = { listeners, onGone };
			const timer = this.options.network.clock.after(deadlineMs, onGone);
			this.drains.add(drain);
		});
	}

	/** Levels of overload changed. */
	overloadChanged(): void {
		for (const listener of [...this.activeListeners(false), ...this.leaving.keys()]) listener.overloadChanged();
	}

	private activeListeners(inboundOnly: boolean): ActiveListener[] {
		const entries = [...this.entries.values()];
		const chosen = inboundOnly
			? entries.filter((entry) => entry.newest.message.trafficDirection !== TrafficDirection.OUTBOUND)
			: entries;
		return chosen.map((entry) => entry.active);
	}

	/** At once: sockets and connections close, subscriptions end. Idempotent. */
	stop(): void {
		if (this.stopped) return;
		this.stopped = true;
		this.subscription?.close();
		for (const entry of this.entries.values()) {
			entry.active.release();
			entry.active.closeConnections();
			if (entry.active.config !== entry.newest) releaseNew(entry.newest, entry.active.config);
		}
		for (const [listener, timer] of this.leaving) {
			timer.cancel();
			listener.closeConnections();
		}
	}

	private onUpdate(update: DiscoveryUpdate): string | null {
		const refused: string[] = [];
		// Addresses of listeners that go are free for those that come.
		for (const name of update.removed) this.remove(name);
		const resources = [...update.updated];
		for (let i = 0; i < resources.length; i++) {
			const resource = resources[i]!;
			try {
				const message = fromBinary(ListenerSchema, resource.value);
				if (message.name === '') message.name = resource.name;
				if (this.entries.get(message.name)?.origin === 'static') {
					const object = `listener ${JSON.stringify(message.name)}`;
					throw new ConfigError({ object, field: 'name', expected: 'a name that no static listener has' });
				}
				this.apply(message, resource.version, 'dynamic');
			} catch (error) {
				if (error instanceof AddressTakenError && i < update.updated.length) {
					// A later one may give the address up.
					resources.push(resource);
					continue;
				}
				this.stats.failed.inc();
				const reason = errorMessage(error);
				log.warning('listener refused, the last good one stays', { listener: resource.name, reason });
				refused.push(error instanceof ConfigError ? reason : `listener ${JSON.stringify(resource.name)}: ${reason}`);
			}
		}
		if (refused.length > 0) this.stats.updatesRejected.inc();
		else this.stats.updatesAccepted.inc();
		this.firstAnswer();
		return refused.length === 0 ? null : refused.join('\n');
	}

	private apply(message: ListenerMessage, version: string, origin: Entry['origin']): void {
		if (this.stopped) return;
		const { network, registry, environment, secrets } = this.options;
		const before = this.entries.get(message.name);
		const config = compileListener(message, environment, secrets, chainsByContent(before));
		const other = this.otherAt(config);
		if (other !== null) {
			releaseNew(config, before?.newest ?? null, before?.active.config ?? null);
			throw new AddressTakenError({
				object: `listener ${JSON.stringify(message.name)}`,
				field: 'address',
				found: formatAddress(config.address),
				expected: `an address that no other listener has; ${JSON.stringify(other)} has it`,
			});
		}
		const lastUpdatedMs = network.clock.wallMs();
		if (before !== undefined && sameSocket(before.newest, config)) {
			// An earlier one that is still warming is overtaken.
			if (before.newest !== before.active.config) releaseNew(before.newest, before.active.config, config);
			before.newest = config;
			before.version = version;
			before.lastUpdatedMs = lastUpdatedMs;
			this.stats.modified.inc();
			this.activateWhenReady(before);
			return;
		}
		const { connections } = this.options;
		const overload = { state: environment.overload, connections };
		const active = new ActiveListener(
			message.name,
			network,
			registry,
			config.statName,
			this,
			overload,
			environment.random,
			this.options.drainTimeMs ?? DRAIN_TIME_MS_DEFAULT,
		);
		const isInTheWay = before?.active.boundAddress != null && sameAddress(before.newest, config);
		try {
			if (isInTheWay) before.active.stopListening();
			active.bind(config);
		} catch (error) {
			releaseNew(config, before?.newest ?? null, before?.active.config ?? null);
			// The last good one stays, with the address that it had just given up.
			if (isInTheWay) before.active.bind(before.newest);
			throw error;
		}
		if (before !== undefined) this.leave(before, config);
		const entry: Entry = { name: message.name, origin, active, newest: config, version, lastUpdatedMs };
		this.entries.set(message.name, entry);
		const { address } = config;
		if (address.kind === 'ip') this.byAddress.set(addressKey(address.host, address.port), entry);
		(before === undefined ? this.stats.added : this.stats.modified).inc();
		log.info(before === undefined ? 'listener added' : 'listener moved', {
			listener: message.name,
			address: formatAddress(active.boundAddress ?? address),
		});
		this.activateWhenReady(entry);
	}

	/** The name of another listener with the same address, bound or not. Port 0 is any free one. */
	private otherAt(config: ListenerConfig): string | null {
		const { address, name } = config;
		if (address.kind !== 'ip' || (address.port === 0 && config.bindToPort)) return null;
		const entry = this.byAddress.get(addressKey(address.host, address.port));
		return entry !== undefined && entry.name !== name && sameAddress(entry.newest, config) ? entry.name : null;
	}

	private activateWhenReady(entry: Entry): void {
		const config = entry.newest;
		this.countStates();
		const activate = (): void => {
			if (this.entries.get(entry.name) !== entry || entry.newest !== config || this.stopped) return;
			entry.active.activate(config);
			this.countStates();
		};
		const waits = readiness(config, entry.active.config);
		if (waits.length === 0) activate();
		else void Promise.all(waits).then(activate);
	}

	private remove(name: string): void {
		const entry = this.entries.get(name);
		if (entry === undefined || entry.origin === 'static') return;
		this.entries.delete(name);
		this.leave(entry, null);
		this.stats.removed.inc();
		this.countStates();
		log.info('listener removed', { listener: name });
	}

	/** Its socket closes; its connections drain. Chains that `next` took over live on. */
	private leave(entry: Entry, next: ListenerConfig | null): void {
		const { address } = entry.newest;
		if (address.kind === 'ip') {
			const key = addressKey(address.host, address.port);
			if (this.byAddress.get(key) === entry) this.byAddress.delete(key);
		}
		entry.active.stopListening();
		entry.active.forgetCertificates();
		const kept = new Set(next === null ? [] : allChains(next));
		const gone = new Set([
			...allChains(entry.newest),
			...(entry.active.config === null ? [] : allChains(entry.active.config)),
		]);
		for (const chain of gone) if (!kept.has(chain)) releaseFilterChain(chain);
		if (entry.active.connectionCount === 0) return;
		const drainTimeMs = this.options.drainTimeMs ?? DRAIN_TIME_MS_DEFAULT;
		const timer = this.options.network.clock.after(drainTimeMs, () => entry.active.closeConnections());
		this.leaving.set(entry.active, timer);
		entry.active.drain();
	}

	private countStates(): void {
		let active = 0;
		for (const entry of this.entries.values()) if (entry.active.config === entry.newest) active += 1;
		this.stats.active.set(active);
		this.stats.warming.set(this.entries.size - active);
	}
}

/** Chains that must still become ready, without those already in force. */
function readiness(config: ListenerConfig, inForce: ListenerConfig | null = null): Promise<void>[] {
	const known = new Set(inForce === null ? [] : allChains(inForce));
	return allChains(config)
		.filter((chain) => !known.has(chain) && chain.filter.kind === 'http')
		.map((chain) => chain.filter.ready);
}

function chainsByContent(entry: Entry | undefined): ReadonlyMap<string, FilterChain> {
	const chains = new Map<string, FilterChain>();
	if (entry === undefined) return chains;
	for (const chain of allChains(entry.newest)) chains.set(chain.contentKey, chain);
	if (entry.active.config !== null)
		for (const chain of allChains(entry.active.config)) chains.set(chain.contentKey, chain);
	return chains;
}

/** Gives up what only `config` has. */
function releaseNew(config: ListenerConfig, ...others: readonly (ListenerConfig | null)[]): void {
	const kept = new Set(others.flatMap((other) => (other === null ? [] : allChains(other))));
	for (const chain of allChains(config)) if (!kept.has(chain)) releaseFilterChain(chain);
}

function sameSocket(a: ListenerConfig, b: ListenerConfig): boolean {
	return sameAddress(a, b) && a.bindToPort === b.bindToPort && a.mode === b.mode && a.backlog === b.backlog;
}

function sameAddress(a: ListenerConfig, b: ListenerConfig): boolean {
	const namespaceOf = (address: Address): string => (address.kind === 'ip' ? (address.networkNamespace ?? '') : '');
	return formatAddress(a.address) === formatAddress(b.address) && namespaceOf(a.address) === namespaceOf(b.address);
}

function addressKey(host: string, port: number): string {
	return `${host} ${port}`;
}

function countConnections(listeners: readonly ActiveListener[]): number {
	return listeners.reduce((count, listener) => count + listener.connectionCount, 0);
}
