// A listener at work: its socket (if it has one), the configuration in force, and the connections
// it took. An update swaps the configuration; connections keep what they started with, or are handed
// over to the next version of their filter chain.
//
//   accepted ──▶ listener filters ──▶ filter chain ──▶ TLS handshake ──▶ network filter
//                   │ original destination  └▶ none: closed
//                   └▶ another listener

import { X509Certificate } from 'node:crypto';
import {
	type Connection,
	type ConnectionHandler,
	formatAddress,
	type IpAddress,
	type Network,
	type ServerTlsOptions,
	type Listener as Socket,
} from '../../net/network.ts';
import type { Timer } from '../../std/clock.ts';
import type { WeftError } from '../../std/errors.ts';
import { reportFault } from '../../std/fault.ts';
import { Logger } from '../../std/log.ts';
import type { Random } from '../../std/random.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';
import { Inspection, type InspectionListener, newFindings } from '../listener-filters/inspection.ts';
import type { Findings } from '../listener-filters/listener-filter.ts';
import type { ServedConnection } from '../network-filters/network-filter.ts';
import { ListenerAdmission, type OverloadContext } from '../overload/listener-admission.ts';
import { CertificateExpiry } from '../tls/certificate-expiry.ts';
import { type FilterChain, releaseFilterChain } from './filter-chain.ts';
import type { ChainSubject } from './filter-chain-match.ts';
import { allChains, type ListenerConfig } from './listener-config.ts';
import { ListenerStats } from './listener-stats.ts';

const log = new Logger('listener');
/** Connections that may wait while a listener's first routes are on their way. */
const HELD_MAX = 1024;
/** Of `ServerTlsOptions`. */
const HANDSHAKE_TIMEOUT_DEFAULT_MS = 15_000;

export interface ListenerDirectory {
	/** The listener for exactly this destination, or for its port on every address; undefined: none. */
	forDestination(destination: IpAddress): ActiveListener | undefined;
	/** A listener's last connection is gone. */
	connectionsGone(listener: ActiveListener): void;
}

interface Taken {
	/** The present version of its filter chain, unless that was given up. */
	chain: FilterChain;
	readonly connection: Connection;
	readonly found: Findings;
	/** What came while listener filters looked; null: nothing. */
	received: Uint8Array | null;
	/** Null while handshaking. */
	served: ServedConnection | null;
}

export class ActiveListener implements InspectionListener {
	private socket: Socket | null = null;
	private inForce: ListenerConfig | null = null;
	private readonly connections = new Map<Connection, Taken>();
	private held: { connection: Connection; destination: IpAddress | null; received: Uint8Array | null }[] = [];
	private readonly inspections = new Set<Inspection>();
	private readonly stats: ListenerStats;
	private readonly admission: ListenerAdmission;
	private draining = false;
	private drainsGently = false;
	/** Chains that an update took away; a handshake that began under one may still come to its end. */
	private readonly givenUp = new WeakSet<FilterChain>();
	/** Until what was given up is cut. */
	private readonly drainTimers = new Set<Timer>();
	private unfollow: () => void = () => {};
	private readonly uriSans = new WeakMap<ServerTlsOptions, string>();

	constructor(
		readonly name: string,
		private readonly network: Network,
		private readonly registry: MetricRegistry,
		private readonly statName: string,
		private readonly directory: ListenerDirectory,
		private readonly overload: OverloadContext,
		random: Random,
		/** How long connections of a filter chain that was given up may go on. */
		private readonly drainTimeMs: number,
	) {
		this.stats = new ListenerStats(registry, statName);
		this.admission = new ListenerAdmission(name, overload, random, this.stats);
	}

	/** Null while its first configuration waits for routes. */
	get config(): ListenerConfig | null {
		return this.inForce;
	}

	/** With the port that was taken; null when it has no socket. */
	get boundAddress(): Socket['address'] | null {
		return this.socket?.address ?? null;
	}

	get connectionCount(): number {
		return this.connections.size + this.inspections.size + this.held.length;
	}

	/** @throws WeftError when the address cannot be had */
	bind(config: ListenerConfig): void {
		if (!config.bindToPort) return;
		this.socket = this.network.listen(
			{
				address: config.address,
				...(config.backlog > 0 ? { backlog: config.backlog } : {}),
				...(config.mode > 0 ? { mode: config.mode } : {}),
				startsTls: isAllTls(config),
				admit: (scarce) => this.admission.admits(this.inForce ?? config, scarce),
			},
			(connection) => this.accept(connection, null, null),
		);
		if (this.overload.state.connectionsMeetLevels) this.overloadChanged(config);
	}

	/** Levels of overload changed: stops or goes on accepting, and has timeouts looked at. */
	overloadChanged(config = this.inForce): void {
		const { state } = this.overload;
		const isStopped = state.stopAcceptingConnections.value >= 1 && config?.bypassesOverload !== true;
		if (!isStopped) this.socket?.resumeAccepting();
		this.admission.rejectsAll = isStopped && this.socket?.pauseAccepting() === false;
		if (config?.bypassesOverload === true) return;
		for (const taken of this.connections.values()) taken.served?.timeoutsChanged?.();
	}

	/** Puts a configuration in force; chains of the old one that are not in it are given up. */
	activate(next: ListenerConfig): void {
		const before = this.inForce;
		this.inForce = next;
		const contexts = allChains(next).flatMap(({ tls }) => (tls === null ? [] : [tls]));
		const unfollow = this.unfollow;
		this.unfollow = CertificateExpiry.of(this.registry).follow('listener', this.statName, contexts);
		unfollow();
		if (before !== null) this.handOver(before, next);
		const held = this.held;
		this.held = [];
		for (const { connection, destination, received } of held) {
			connection.resume();
			this.accept(connection, destination, received);
		}
		this.admission.count(this.connectionCount);
	}

	/**
	 * Takes a connection, perhaps one that another listener accepted: then `destination` is where it was headed, and
	 * `received` what came before it was known.
	 */
	accept(connection: Connection, destination: IpAddress | null, received: Uint8Array | null): void {
		const config = this.inForce;
		if (config === null) {
			this.hold(connection, destination, received);
			return;
		}
		const { filters } = config.inspection;
		const found = newFindings(destination);
		for (let i = 0; i < filters.length; i++) {
			const inspector = filters[i]!.begin(connection, found);
			if (inspector === null) continue;
			const { clock } = this.network;
			const inspection = new Inspection(
				connection,
				config.inspection,
				found,
				inspector,
				i + 1,
				received,
				this,
				clock,
				destination !== null,
			);
			this.inspections.add(inspection);
			this.stats.inspectionsActive.inc();
			this.admission.count(this.connectionCount);
			inspection.start();
			return;
		}
		this.choose(config, connection, found, received, destination !== null);
	}

	onInspected(inspection: Inspection, found: Findings, received: Uint8Array | null): void {
		this.inspectionOver(inspection);
		this.choose(this.inForce!, inspection.connection, found, received, inspection.wasHandedOver);
	}

	onInspectionTimeout(): void {
		this.stats.inspectionTimeouts.inc();
	}

	onInspectionClosed(inspection: Inspection, why: 'filter' | 'remote' | 'error'): void {
		if (why === 'remote') this.stats.inspectionRemoteCloses.inc();
		else if (why === 'error') this.stats.inspectionErrors.inc();
		this.inspectionOver(inspection);
		if (this.connectionCount === 0) this.directory.connectionsGone(this);
	}

	private inspectionOver(inspection: Inspection): void {
		if (!this.inspections.delete(inspection)) return;
		this.stats.inspectionsActive.dec();
		this.admission.count(this.connectionCount);
	}

	/** `wasHandedOver`: another listener accepted it, and it goes no further than here. */
	private choose(
		config: ListenerConfig,
		connection: Connection,
		found: Findings,
		received: Uint8Array | null,
		wasHandedOver: boolean,
	): void {
		if (config.useOriginalDestination && found.destination !== null && !wasHandedOver) {
			const other = this.directory.forDestination(found.destination);
			if (other !== undefined && other !== this) {
				other.accept(connection, found.destination, received);
				return;
			}
		}
		const chain = config.matcher.find(subjectOf(connection, found)) ?? config.defaultChain;
		if (chain === null) {
			this.stats.noFilterChain.inc();
			refuse(connection);
			return;
		}
		this.stats.connectionsTotal.inc();
		if (config.bufferLimitBytes !== null) connection.highWatermarkBytes = config.bufferLimitBytes;
		const taken: Taken = { chain, connection, found, received, served: null };
		this.connections.set(connection, taken);
		this.stats.connectionsActive.inc();
		this.admission.count(this.connectionCount);
		if (chain.tls === null) {
			this.serve(taken, '');
			return;
		}
		const options = chain.tls.current();
		if (options === null) {
			this.stats.secretsNotReady.inc();
			if (log.enabled('debug')) log.debug('a certificate is not there yet', { listener: this.name });
			connection.handler = new Handshake(this, taken, null);
			connection.reset();
			return;
		}
		const handshake = new Handshake(this, taken, options);
		connection.handler = handshake;
		taken.received = null;
		connection.startServerTls(handshake.noting(this.withTimeout(options, config)), received ?? undefined);
	}

	/** `shown`: with the certificate that the client was shown. */
	handshaken(taken: Taken, shown: ServerTlsOptions | null): void {
		if (taken.connection.tls !== null) this.stats.tls.handshaken(taken.connection.tls);
		this.serve(taken, shown === null ? '' : this.uriSanOf(shown));
	}

	handshakeFailed(taken: Taken, error: WeftError | null): void {
		this.stats.tls.failed(error);
		if (error !== null && log.enabled('debug')) {
			log.debug('a TLS handshake failed', { listener: this.name, code: error.code, reason: error.message });
		}
		this.gone(taken.connection);
	}

	/** New connections are refused from now on; the address is free. */
	stopListening(): void {
		this.socket?.close();
		this.socket = null;
		for (const { connection } of this.held) connection.reset();
	}

	/** Removed or replaced: when its certificates end is nobody's concern any more. */
	forgetCertificates(): void {
		this.unfollow();
		this.unfollow = () => {};
	}

	/** Connections, those to come too, end with what is under way on them; see `ServedConnection.drain`. */
	drain(gently = false): void {
		this.draining = true;
		this.drainsGently = gently;
		for (const taken of [...this.connections.values()]) taken.served?.drain(gently);
	}

	closeConnections(): void {
		for (const inspection of [...this.inspections]) inspection.close();
		for (const taken of [...this.connections.values()]) closeTaken(taken);
	}

	/** Gives up the filter chains; connections may still end by themselves. */
	release(): void {
		this.stopListening();
		for (const timer of this.drainTimers) timer.cancel();
		this.drainTimers.clear();
		this.forgetCertificates();
		if (this.inForce !== null) for (const chain of allChains(this.inForce)) releaseFilterChain(chain);
	}

	heldGone(connection: Connection): void {
		this.held = this.held.filter((one) => one.connection !== connection);
		this.admission.count(this.connectionCount);
		if (this.connectionCount === 0) this.directory.connectionsGone(this);
	}

	/** The network's default is reduced like a time that was set. */
	private withTimeout(options: ServerTlsOptions, config: ListenerConfig): ServerTlsOptions {
		const scaled = config.bypassesOverload ? null : this.overload.state.handshakeTimeout;
		if (scaled === null) return options;
		const configuredMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_DEFAULT_MS;
		const handshakeTimeoutMs = scaled.of(configuredMs);
		// The TLS context is found by the options' identity: others cost each connection a search by content.
		return handshakeTimeoutMs === configuredMs ? options : { ...options, handshakeTimeoutMs };
	}

	private serve(taken: Taken, localUriSan: string): void {
		const { connection, chain, found, received } = taken;
		const onClosed = (): void => this.gone(connection);
		let served: ServedConnection;
		try {
			served = chain.filter.serve({
				connection,
				localUriSan,
				originalDestination: found.destination,
				requestedServerName: connection.tls?.serverName?.toLowerCase() ?? found.serverName,
				onClosed,
			});
		} catch (error) {
			const context = { listener: this.name, remote: formatAddress(connection.remote) };
			reportFault('connection', 'a connection could not be served by a fault of ours and is closed', error, context);
			refuse(connection);
			this.gone(connection);
			return;
		}
		taken.served = served;
		if (this.draining || this.givenUp.has(chain)) served.drain(this.drainsGently);
		if (received === null || received.length === 0) return;
		taken.received = null;
		connection.handler.onData(connection, received);
	}

	private gone(connection: Connection): void {
		if (!this.connections.delete(connection)) return;
		this.stats.connectionsActive.dec();
		this.admission.count(this.connectionCount);
		this.stats.connectionsDestroyed.inc();
		if (this.connectionCount === 0) this.directory.connectionsGone(this);
	}

	private hold(connection: Connection, destination: IpAddress | null, received: Uint8Array | null): void {
		if (this.held.length >= HELD_MAX) {
			this.stats.connectionsOverflowed.inc();
			refuse(connection);
			return;
		}
		connection.handler = new Held(this);
		connection.pause();
		this.held.push({ connection, destination, received });
		this.admission.count(this.connectionCount);
	}

	/** Connections go on with the next version of their chain, but not where it would have let in others. */
	private handOver(before: ListenerConfig, next: ListenerConfig): void {
		const kept = new Set(allChains(next));
		const byIdentity = new Map(allChains(next).map((chain) => [chain.identityKey, chain]));
		const drained: Taken[] = [];
		for (const old of allChains(before)) {
			if (kept.has(old)) continue;
			const successor = byIdentity.get(old.identityKey);
			const goesOn =
				successor !== undefined && successor.admissionKey === old.admissionKey && old.filter.handOver(successor.filter);
			if (!goesOn) this.givenUp.add(old);
			for (const taken of this.connections.values()) {
				if (taken.chain !== old) continue;
				if (goesOn) taken.chain = successor;
				else drained.push(taken);
			}
			releaseFilterChain(old);
		}
		if (drained.length > 0) this.giveUp(drained);
	}

	private giveUp(connections: readonly Taken[]): void {
		for (const taken of connections) taken.served?.drain();
		const timer = this.network.clock.after(this.drainTimeMs, () => {
			this.drainTimers.delete(timer);
			for (const taken of connections) if (this.connections.get(taken.connection) === taken) closeTaken(taken);
		});
		this.drainTimers.add(timer);
	}

	/** First URI SAN of the certificate that we show, parsed once per certificate. */
	private uriSanOf(options: ServerTlsOptions): string {
		let found = this.uriSans.get(options);
		if (found === undefined) {
			found = uriSanOfPem(options.certificateChainPem);
			this.uriSans.set(options, found);
		}
		return found;
	}
}

function closeTaken({ connection, served }: Taken): void {
	if (served === null) connection.reset();
	else served.close();
}

class Handshake implements ConnectionHandler {
	constructor(
		private readonly listener: ActiveListener,
		private readonly taken: Taken,
		/** Null: no handshake comes about. */
		private shown: ServerTlsOptions | null,
	) {}

	/** `options`, of which it hears what they select. */
	noting(options: ServerTlsOptions): ServerTlsOptions {
		const { select } = options;
		if (select === undefined) return options;
		return {
			...options,
			select: (hello) => {
				this.shown = select(hello);
				return this.shown;
			},
		};
	}

	onConnect(): void {
		this.listener.handshaken(this.taken, this.shown);
	}

	onData(): void {}
	onDrain(): void {}
	onEnd(): void {}

	onClose(_connection: Connection, error: WeftError | null): void {
		this.listener.handshakeFailed(this.taken, error);
	}
}

/** A connection that waits for its listener. */
class Held implements ConnectionHandler {
	constructor(private readonly listener: ActiveListener) {}

	onConnect(): void {}
	/** Paused at once; what came before that is lost, so the connection is not served. */
	onData(connection: Connection): void {
		connection.reset();
	}
	onDrain(): void {}
	onEnd(): void {}

	onClose(connection: Connection): void {
		this.listener.heldGone(connection);
	}
}

function subjectOf(connection: Connection, found: Findings): ChainSubject {
	const destination = found.destination ?? connection.local;
	const { remote, directRemote } = connection;
	return {
		destinationHost: destination.kind === 'ip' ? destination.host : '',
		destinationPort: destination.kind === 'ip' ? destination.port : 0,
		serverName: found.serverName,
		transportProtocol: found.transportProtocol === '' ? 'raw_buffer' : found.transportProtocol,
		applicationProtocols: found.applicationProtocols,
		directSourceHost: directRemote.kind === 'ip' ? directRemote.host : '',
		sourceHost: remote.kind === 'ip' ? remote.host : '',
		sourcePort: remote.kind === 'ip' ? remote.port : 0,
	};
}

const NOTHING: ConnectionHandler = { onConnect() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

function refuse(connection: Connection): void {
	connection.handler = NOTHING;
	connection.reset();
}

function uriSanOfPem(pem: string): string {
	try {
		return /URI:([^,\s"]+)/.exec(new X509Certificate(pem).subjectAltName ?? '')?.[1] ?? '';
	} catch {
		return '';
	}
}

/** Of the first configuration: a later one may have other chains. */
function isAllTls({ chains, defaultChain }: ListenerConfig): boolean {
	const all = defaultChain === null ? chains : [...chains, defaultChain];
	return all.length > 0 && all.every(({ tls }) => tls !== null);
}
