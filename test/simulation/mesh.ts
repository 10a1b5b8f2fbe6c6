// The simulated mesh: sidecars with what they are told, programs, certificates, and the handles by which
// faults change it. What it is told (`desired`) and what is there are kept apart.

import type { IpAddress } from '../../src/net/network.ts';
import type { SimulatedNetwork } from '../../src/net/simulated-network.ts';
import { SeededRandom } from '../../src/std/random.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../../src/xds/type-urls.ts';
import { type Certificates, SimulatedIdentity } from './identities.ts';
import type { Ledger } from './ledger.ts';
import { ManagementServer } from './management-server.ts';
import {
	type ClusterKnobs,
	endpoints,
	INBOUND_CLUSTER,
	INBOUND_LISTENER,
	inboundCluster,
	inboundListener,
	type ListenerKnobs,
	OUTBOUND_LISTENER,
	outboundCluster,
	outboundListener,
	ROUTES,
	type RouteKnobs,
	routes,
} from './mesh-config.ts';
import { Program } from './program.ts';
import { type Life, Sidecar } from './sidecar.ts';

export const CALLER_ACCOUNT = 'caller';
export const PROGRAM_ACCOUNT = 'program';
export type ClusterName = 'a' | 'b';
export const CLUSTERS: readonly ClusterName[] = ['a', 'b'];

export interface MeshOptions {
	readonly hosts: number;
	readonly callers: number;
	/** Routes have timeouts, and streams idle ones. */
	readonly rough: boolean;
	readonly seed: number;
}

/** A host of the service: a program and its sidecar. */
export interface MeshHost {
	readonly address: IpAddress;
	readonly program: Program;
	readonly sidecar: Sidecar;
	/** Callers go past its sidecar, as if there were none. */
	readonly plain: boolean;
	/** Its sidecar is up and not on its way out: endpoint sets may have it. */
	serving: boolean;
}

export class Mesh {
	readonly management: ManagementServer;
	readonly hosts: MeshHost[] = [];
	readonly outbound: Sidecar[] = [];
	readonly outboundAddresses: IpAddress[] = [];
	/** Endpoints where nobody is. */
	phantoms: IpAddress[] = [];
	readonly members: Record<ClusterName, Set<MeshHost>> = { a: new Set(), b: new Set() };
	/** Outbound clusters check their hosts. */
	healthChecks: boolean;
	/** Routes have timeouts, few retries; circuit breakers are set low, now and then. */
	tight: boolean;
	/** Between sidecars. */
	readonly protocol: ClusterKnobs['protocol'];
	private readonly identities = new Map<string, SimulatedIdentity>();
	private generation = 0;
	private roots: readonly number[] = [0];

	constructor(
		readonly network: SimulatedNetwork,
		private readonly random: SeededRandom,
		readonly ledger: Ledger,
		private readonly certificates: Certificates,
		readonly options: MeshOptions,
	) {
		this.healthChecks = random.next() < 0.3;
		this.tight = options.rough;
		const draw = random.next();
		this.protocol = draw < 0.2 ? 'HTTP/1.1' : draw < 0.4 ? 'HTTP/2' : 'negotiated';
		this.management = new ManagementServer(network.clock, new SeededRandom(options.seed));
		for (const account of [CALLER_ACCOUNT, PROGRAM_ACCOUNT]) {
			this.identities.set(account, new SimulatedIdentity(this.identity(account)));
		}
		for (let index = 0; index < options.callers; index++) {
			this.outboundAddresses.push({ kind: 'ip', host: `127.96.${index}.1`, port: 80 });
			this.outbound.push(this.sidecar(`caller-${index}`, CALLER_ACCOUNT));
		}
		for (let index = 0; index < options.hosts; index++) {
			const program: IpAddress = { kind: 'ip', host: '127.0.0.1', port: 9000 + index };
			// Programs speak HTTP/1.1.
			const plain = this.protocol !== 'HTTP/2' && random.next() < 0.4;
			const host: MeshHost = {
				address: { kind: 'ip', host: `127.128.${index}.1`, port: 8080 },
				program: new Program(`program-${index}`, network, random, ledger, program, !plain),
				plain,
				sidecar: this.sidecar(`host-${index}`, PROGRAM_ACCOUNT),
				serving: true,
			};
			this.hosts.push(host);
			for (const name of CLUSTERS) this.members[name].add(host);
		}
	}

	start(): void {
		const { random } = this;
		for (const host of this.hosts) {
			host.program.start();
			this.setInboundCluster(host);
			this.setInboundListener(host);
			host.sidecar.start();
		}
		for (const name of CLUSTERS) this.setCluster(name);
		this.setEndpoints();
		this.setRoutes([random.below(5), 1 + random.below(5)], [1 + random.below(5), random.below(5)]);
		this.setOutboundListeners();
		for (const sidecar of this.outbound) sidecar.start();
	}

	get isReady(): boolean {
		return this.sidecars().every((sidecar) => sidecar.life.proxy.isReady);
	}

	/** Hosts serve, and outbound sidecars listen, maybe without routes yet. */
	get isOpen(): boolean {
		return (
			this.hosts.every((host) => host.sidecar.life.proxy.isReady) &&
			this.outbound.every(({ life }) => life.proxy.listeners.addressOf(OUTBOUND_LISTENER) !== null)
		);
	}

	get inSync(): boolean {
		const { management } = this;
		return this.isReady && management.openStreams === this.sidecars().length && management.inSync;
	}

	*lives(): IterableIterator<Life> {
		for (const sidecar of this.sidecars()) yield* sidecar.lives;
	}

	async stop(): Promise<void> {
		await Promise.all([...this.lives()].map((life) => life.proxy.stop()));
		for (const host of this.hosts) host.program.stopListening();
	}

	// ---- what the management server says

	setRoutes(a: readonly [number, number], b: readonly [number, number]): void {
		const rough = this.tight;
		const { random } = this;
		const knobs: RouteKnobs = {
			weights: { a, b },
			timeoutMs: rough ? 300 + random.below(4000) : 0,
			perTryTimeoutMs: rough && random.next() < 0.3 ? 100 + random.below(1000) : 0,
			retries: rough ? random.below(4) : 6,
		};
		for (const { nodeId } of this.outbound) this.management.set(nodeId, ROUTE_TYPE, ROUTES, routes(knobs));
	}

	setOutboundListeners(): void {
		const knobs = this.listenerKnobs();
		this.outbound.forEach(({ nodeId }, index) => {
			const value = outboundListener(this.outboundAddresses[index]!, knobs);
			this.management.set(nodeId, LISTENER_TYPE, OUTBOUND_LISTENER, value, [{ typeUrl: ROUTE_TYPE, name: ROUTES }]);
		});
	}

	setCluster(name: ClusterName): void {
		const value = outboundCluster(name, PROGRAM_ACCOUNT, this.clusterKnobs(this.healthChecks, this.protocol));
		for (const { nodeId } of this.outbound) {
			this.management.set(nodeId, CLUSTER_TYPE, name, value, [{ typeUrl: ENDPOINT_TYPE, name }]);
		}
	}

	removeCluster(name: ClusterName): void {
		for (const { nodeId } of this.outbound) this.management.remove(nodeId, CLUSTER_TYPE, name);
	}

	/** Of both clusters: members whose sidecar serves, and phantoms. */
	setEndpoints(): void {
		for (const name of CLUSTERS) {
			const list = [...this.members[name]]
				.filter((host) => host.serving)
				.map(({ plain, program, address }) =>
					plain ? { address: program.address, mutualTls: false } : { address, mutualTls: true },
				);
			const nobody = this.phantoms.map((address) => ({ address, mutualTls: true }));
			const value = endpoints(name, [...list, ...nobody]);
			for (const { nodeId } of this.outbound) this.management.set(nodeId, ENDPOINT_TYPE, name, value);
		}
	}

	setInboundListener(host: MeshHost): void {
		const value = inboundListener(host.address, this.listenerKnobs(0));
		this.management.set(host.sidecar.nodeId, LISTENER_TYPE, INBOUND_LISTENER, value);
	}

	removeInboundListener(host: MeshHost): void {
		this.management.remove(host.sidecar.nodeId, LISTENER_TYPE, INBOUND_LISTENER);
	}

	setInboundCluster(host: MeshHost): void {
		const value = inboundCluster(host.program.address, this.clusterKnobs());
		this.management.set(host.sidecar.nodeId, CLUSTER_TYPE, INBOUND_CLUSTER, value);
	}

	// ---- certificates

	/** One step of: other leaf, both roots trusted, leaf of the other root, only that root trusted. */
	rotate(): void {
		const root = Math.floor(this.generation / 2);
		if (this.roots.length === 2) {
			if (root === 0) this.generation = 2;
			else this.roots = [1];
		} else if (this.generation === 0) this.generation = 1;
		else if (root === 0) this.roots = [0, 1];
		else this.generation = this.generation === 2 ? 3 : 2;
		for (const [account, identity] of this.identities) identity.replace(this.identity(account));
	}

	private identity(account: string) {
		const rootsPem = this.roots.map((root) => this.certificates.roots[root]).join('');
		return this.certificates.identity(account, this.generation, rootsPem);
	}

	private sidecars(): Sidecar[] {
		return [...this.outbound, ...this.hosts.map((host) => host.sidecar)];
	}

	private sidecar(nodeId: string, account: string): Sidecar {
		const identity = this.identities.get(account)!;
		return new Sidecar(nodeId, account, this.network, this.management, identity, this.random.below(2 ** 31));
	}

	private listenerKnobs(idleMs = this.options.rough ? 8_000 : 0): ListenerKnobs {
		const { random } = this;
		return {
			serverName: `server-${random.below(5)}`,
			streamIdleTimeoutMs: idleMs,
			requestsPerConnectionMax: random.next() < 0.2 ? 1 + random.below(10) : 0,
		};
	}

	private clusterKnobs(healthChecks = false, protocol: ClusterKnobs['protocol'] = 'HTTP/1.1'): ClusterKnobs {
		const { random } = this;
		return {
			connectTimeoutMs: 500 + random.below(1500),
			protocol,
			limit: this.tight && random.next() < 0.3 ? 1 + random.below(6) : null,
			healthCheckMs: healthChecks ? 100 + random.below(400) : null,
			policy: random.next() < 0.5 ? 'LEAST_REQUEST' : 'ROUND_ROBIN',
			requestsPerConnectionMax: random.next() < 0.2 ? 1 + random.below(10) : 0,
		};
	}
}
