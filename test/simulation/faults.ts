// What goes wrong, or merely changes, in one run: drawn from the seed, each with its time and, where it
// lasts, its end. `mend` undoes what a run may leave behind.

import type { IpAddress } from '../../src/net/network.ts';
import type { Clock } from '../../src/std/clock.ts';
import type { SeededRandom } from '../../src/std/random.ts';
import { CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../../src/xds/type-urls.ts';
import { CLUSTERS, type Mesh, type MeshHost } from './mesh.ts';
import { brokenResources, OUTBOUND_LISTENER, ROUTES } from './mesh-config.ts';
import type { Mode } from './simulation.ts';

type Fault = (faults: Faults) => void;

/** Nobody listens there. */
const REFUSED: IpAddress = { kind: 'ip', host: '127.128.99.1', port: 8080 };
/** Nothing comes back from there. */
const SILENT: IpAddress = { kind: 'ip', host: '127.128.99.2', port: 8080 };
const FAULTS_MAX = 14;
const LASTS_MS = 300;

export class Faults {
	/** Configuration was sent that must be refused. */
	sentGarbage = false;
	/** Hosts closed connections on which a request might just have been sent. */
	closesKeptConnections = false;
	lastMs = 0;
	private scheduled = 0;

	constructor(
		readonly mesh: Mesh,
		readonly clock: Clock,
		readonly random: SeededRandom,
		private readonly mode: Mode,
		private readonly durationMs: number,
	) {}

	/** All that was scheduled has happened, and is at its end. */
	get over(): boolean {
		return this.scheduled === 0;
	}

	schedule(): void {
		const { mode, random, mesh } = this;
		const pool: Fault[] = [...CHANGES];
		if (mode !== 'calm') pool.push(...RETRY_SAFE, ...RETRY_SAFE);
		if (mode === 'rough') pool.push(...ROUGH, ...ROUGH, ROUGH[0]!, ROUGH[0]!);
		if (mode !== 'calm' && random.next() < 0.3) {
			this.closesKeptConnections = true;
			for (const { program } of mesh.hosts) program.idleCloseMs = 20 + random.below(300);
		}
		const count = random.below(FAULTS_MAX);
		for (let i = 0; i < count; i++) {
			const fault = pool[random.below(pool.length)]!;
			this.at(random.next() * this.durationMs, () => {
				mesh.ledger.note(`fault: ${fault.name}`);
				fault(this);
			});
		}
	}

	mend(): void {
		const { mesh } = this;
		mesh.management.unreachable = false;
		mesh.phantoms = [];
		mesh.healthChecks = false;
		mesh.tight = false;
		for (const host of mesh.hosts) {
			mesh.setInboundCluster(host);
			host.program.idleCloseMs = 0;
			// Also those that hang since something was lost.
			mesh.network.unsilence(host.address);
			mesh.network.unsilence(host.program.address);
			host.program.start();
			for (const name of CLUSTERS) mesh.members[name].add(host);
		}
		for (const name of CLUSTERS) mesh.setCluster(name);
		mesh.setRoutes([1, 1], [1, 1]);
		mesh.setOutboundListeners();
		mesh.setEndpoints();
	}

	/** `delayMs` from now. */
	at(delayMs: number, action: () => void): void {
		this.scheduled++;
		this.lastMs = Math.max(this.lastMs, this.clock.nowMs() + delayMs);
		this.clock.after(delayMs, () => {
			this.scheduled--;
			action();
		});
	}

	for(action: () => void): void {
		this.at(this.random.next() * LASTS_MS, action);
	}

	/** Until `promise` has settled, the faults are not over. */
	until(promise: Promise<void>, then: () => void): void {
		this.scheduled++;
		void promise.then(() => {
			this.scheduled--;
			then();
		});
	}

	/** Not the first, which stays well. */
	otherHost(): MeshHost {
		const { hosts } = this.mesh;
		return hosts[1 + this.random.below(hosts.length - 1)]!;
	}

	anyHost(): MeshHost {
		return this.mesh.hosts[this.random.below(this.mesh.hosts.length)]!;
	}
}

const CHANGES: readonly Fault[] = [
	function routesShift({ mesh, random }) {
		mesh.setRoutes([random.below(10), 1 + random.below(10)], [1 + random.below(10), random.below(10)]);
	},
	function listenersChange({ mesh }) {
		mesh.setOutboundListeners();
	},
	function clusterChanges({ mesh, random }) {
		mesh.setCluster(CLUSTERS[random.below(2)]!);
	},
	function inboundClusterChanges(faults) {
		faults.mesh.setInboundCluster(faults.anyHost());
	},
	function endpointsChange({ mesh, random }) {
		for (const name of CLUSTERS) {
			mesh.hosts.forEach((host, index) => {
				if (index === 0 || random.next() < 0.6) mesh.members[name].add(host);
				else mesh.members[name].delete(host);
			});
		}
		mesh.setEndpoints();
	},
	function certificatesRotate({ mesh }) {
		mesh.rotate();
	},
	function garbage(faults) {
		const { mesh, random } = faults;
		const broken = brokenResources();
		faults.sentGarbage = true;
		const { nodeId } = mesh.outbound[random.below(mesh.outbound.length)]!;
		const one = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
		switch (random.below(3)) {
			case 0:
				mesh.management.set(nodeId, CLUSTER_TYPE, 'a', one(broken.cluster));
				faults.for(() => mesh.setCluster('a'));
				return;
			case 1:
				mesh.management.set(nodeId, LISTENER_TYPE, OUTBOUND_LISTENER, one(broken.listener));
				faults.for(() => mesh.setOutboundListeners());
				return;
			default:
				mesh.management.set(nodeId, ROUTE_TYPE, ROUTES, one(broken.routes));
				faults.for(() => mesh.setRoutes([1, 1], [1, 1]));
		}
	},
	function managementStreamsBreak({ mesh }) {
		mesh.management.breakStreams();
	},
	function managementUnreachable(faults) {
		const { management } = faults.mesh;
		management.unreachable = true;
		management.breakStreams();
		faults.for(() => {
			management.unreachable = false;
		});
	},
];

const RETRY_SAFE: readonly Fault[] = [
	function programRefuses(faults) {
		const { program } = faults.otherHost();
		program.stopListening();
		faults.for(() => program.start());
	},
	function phantomRefuses(faults) {
		withPhantom(faults, REFUSED);
	},
	function phantomSilent(faults) {
		faults.mesh.network.silence(SILENT);
		withPhantom(faults, SILENT);
	},
	function inboundListenerChanges(faults) {
		faults.closesKeptConnections = true;
		faults.mesh.setInboundListener(faults.anyHost());
	},
	function inboundListenerGoes(faults) {
		const { mesh } = faults;
		const host = faults.otherHost();
		faults.closesKeptConnections = true;
		mesh.removeInboundListener(host);
		faults.for(() => mesh.setInboundListener(host));
	},
	function sidecarRestartsInOrder(faults) {
		const { mesh } = faults;
		const host = faults.otherHost();
		if (!host.serving) return;
		faults.closesKeptConnections = true;
		const { proxy } = host.sidecar.life;
		host.serving = false;
		mesh.setEndpoints();
		const restarted = async (): Promise<void> => {
			await proxy.drain(60_000);
			await proxy.stop();
			host.sidecar.start();
			await host.sidecar.life.proxy.ready;
		};
		faults.until(restarted(), () => {
			host.serving = true;
			mesh.setEndpoints();
		});
	},
];

const ROUGH: readonly Fault[] = [
	function connectionsBreakOften(faults) {
		const { mesh, random } = faults;
		const lastsMs = 100 + random.next() * 500;
		const count = 10 + random.below(40);
		for (let i = 0; i < count; i++) faults.at(random.next() * lastsMs, () => mesh.network.breakAnyConnection());
	},
	function connectionsToSidecarBreak(faults) {
		faults.mesh.network.resetConnectionsTo(faults.anyHost().address);
	},
	function connectionsToProgramBreak(faults) {
		faults.anyHost().program.resetConnections();
	},
	function connectionsOfCallersBreak({ mesh, random }) {
		mesh.network.resetConnectionsTo(mesh.outboundAddresses[random.below(mesh.outboundAddresses.length)]!);
	},
	function sidecarSilent(faults) {
		silence(faults, faults.anyHost().address);
	},
	function programSilent(faults) {
		silence(faults, faults.anyHost().program.address);
	},
	function programCrashes(faults) {
		const { program } = faults.anyHost();
		program.crash();
		faults.for(() => program.start());
	},
	function sidecarDies(faults) {
		const host = faults.anyHost();
		if (!host.serving) return;
		host.serving = false;
		faults.until(host.sidecar.life.proxy.stop(), () => {
			faults.for(() => {
				host.sidecar.start();
				faults.until(host.sidecar.life.proxy.ready, () => {
					host.serving = true;
					faults.mesh.setEndpoints();
				});
			});
		});
	},
	function allEndpointsGo(faults) {
		const { mesh } = faults;
		for (const name of CLUSTERS) mesh.members[name].clear();
		mesh.setEndpoints();
		faults.for(() => {
			for (const name of CLUSTERS) for (const host of mesh.hosts) mesh.members[name].add(host);
			mesh.setEndpoints();
		});
	},
	function clusterGoes(faults) {
		const { mesh, random } = faults;
		const name = CLUSTERS[random.below(2)]!;
		mesh.removeCluster(name);
		faults.for(() => mesh.setCluster(name));
	},
	function outboundListenerGoes(faults) {
		const { mesh } = faults;
		for (const { nodeId } of mesh.outbound) mesh.management.remove(nodeId, LISTENER_TYPE, OUTBOUND_LISTENER);
		faults.for(() => mesh.setOutboundListeners());
	},
];

function withPhantom(faults: Faults, address: IpAddress): void {
	const { mesh } = faults;
	mesh.phantoms = [...mesh.phantoms.filter((one) => one !== address), address];
	mesh.setEndpoints();
	faults.for(() => {
		mesh.phantoms = mesh.phantoms.filter((one) => one !== address);
		mesh.setEndpoints();
	});
}

/** Behind a wire that was cut; when it is mended, the connections over it are gone. */
function silence(faults: Faults, address: IpAddress): void {
	const { network } = faults.mesh;
	network.silence(address);
	faults.for(() => {
		network.unsilence(address);
		network.resetConnectionsTo(address);
	});
}
