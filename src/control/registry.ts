// Discovery without Kubernetes: a sidecar's ADS stream is the lease of its instance. While it is
// open the instance has a WorkloadEntry (and its service a Service); when it ends the entry goes.
//
//                 connect                          close in order
//   absent ───────────────────▶ connected ─────────────────────────▶ absent
//                                │     ▲ connect                       ▲
//                     lost       ▼     │            grace is over      │
//                              waiting ────────────────────────────────┘
//   entries found at start ──▶ waiting (longer: their sidecars are on their way back)
//
// A Service made here is there as long as one of its instances is: deleted, it is made again. One that
// a user made is the user's: deleted, it stays so until another instance starts.

import { isManaged, MANAGED_BY_LABEL, type MeshObject, WEFT_RUN } from '../config/object.ts';
import type { ObjectStore } from '../config/object-store.ts';
import { SERVICE } from '../config/service.ts';
import { WORKLOAD_ENTRY, type WorkloadEntrySpec } from '../config/workload-entry.ts';
import type { Clock, Timer } from '../std/clock.ts';
import { ConfigError, errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { HEALTH_CHECK_ANNOTATION, WORKLOAD_ANNOTATION } from './compile/endpoint.ts';
import { TLS_MODE_ISTIO, TLS_MODE_LABEL } from './compile/mesh-service.ts';
import { checkGranted, type InstanceGrants } from './instance-grants.ts';
import type { Service } from './mesh-kinds.ts';
import type { MeshModel } from './model.ts';
import type { SidecarNode } from './sidecar-node.ts';

const log = new Logger('registry');

/** After its connection was lost, an instance has so long to come back. */
export const GRACE_MS = 1000;
/** After the control plane's own restart. */
export const RESTART_GRACE_MS = 15_000;
/** What could not be written (a full disk, a namespace that is gone) is tried again so long after. */
export const WRITE_RETRY_MS = 5000;

export interface Registration {
	/** Idempotent. */
	close(orderly: boolean): void;
}

interface Instance {
	readonly namespace: string;
	readonly name: string;
	connections: number;
	grace: Timer | null;
	/** As its newest connection said. */
	node: SidecarNode | null;
	retry: Timer | null;
	/** Its Service is still to be made where there is none: once, not each time its sidecar comes back. */
	makesService: boolean;
	/** Writes of one instance follow each other. */
	writes: Promise<void>;
}

export interface RegistryOptions {
	readonly objects: ObjectStore;
	readonly model: MeshModel;
	readonly clock: Clock;
	/** What instances may say that they are. Default: what their certificate's account bears out. */
	readonly grants?: InstanceGrants;
}

export class Registry {
	private readonly instances = new Map<string, Instance>();
	private stopped = false;

	constructor(private readonly options: RegistryOptions) {}

	/** Gives the sidecars of before a restart time to come back. The model must have been read. */
	start(): void {
		for (const [key, entry] of this.options.model.workloadEntries) {
			if (!isManaged(entry) || this.instances.has(key)) continue;
			const instance = this.instance(entry.metadata.namespace ?? '', entry.metadata.name);
			// The entry was written after its Service: what is missing was deleted.
			instance.makesService = false;
			this.wait(instance, RESTART_GRACE_MS);
		}
	}

	/** Entries stay as they are, for the next start. Resolves when what was under way is written. */
	async stop(): Promise<void> {
		this.stopped = true;
		for (const { grace, retry } of this.instances.values()) {
			grace?.cancel();
			retry?.cancel();
		}
		await Promise.all([...this.instances.values()].map((instance) => instance.writes));
	}

	/** @throws WeftError `permission_denied` when the node says that it is what it did not join as, or the name is another's */
	check(node: SidecarNode): void {
		const { weft, namespace } = node;
		if (weft === null) return;
		if (this.options.grants !== undefined) checkGranted(node, this.options.grants);
		const present = this.options.model.workloadEntries.get(`${namespace}/${weft.instance}`);
		if (present !== undefined && (!isManaged(present) || present.spec.serviceAccount !== node.serviceAccount)) {
			throw new WeftError(
				'permission_denied',
				`WorkloadEntry ${namespace}/${weft.instance} belongs to another; this sidecar may not take its place`,
				{ origin: 'downstream' },
			);
		}
	}

	/** @throws WeftError `permission_denied`, as `check` */
	connect(node: SidecarNode): Registration {
		const { weft, namespace } = node;
		if (weft === null) return { close: () => {} };
		this.check(node);
		const instance = this.instance(namespace, weft.instance);
		instance.connections += 1;
		instance.node = node;
		instance.grace?.cancel();
		this.enter(instance);
		let open = true;
		return {
			close: (orderly) => {
				if (!open) return;
				open = false;
				instance.connections -= 1;
				if (instance.connections > 0 || this.stopped) return;
				if (orderly) this.leave(instance);
				else this.wait(instance, GRACE_MS);
			},
		};
	}

	/** What the instance's health check says. Of one that is not connected, nothing is taken. @throws as `check` */
	reportHealth(node: SidecarNode, healthy: boolean, detail: string): void {
		const { weft, namespace } = node;
		if (weft === null) return;
		this.check(node);
		const instance = this.instances.get(`${namespace}/${weft.instance}`);
		if (instance === undefined || instance.connections === 0) return;
		this.write(instance, async () => {
			await this.options.objects.updateStatus(WORKLOAD_ENTRY, namespace, weft.instance, (entry) => {
				// The account is of the connection's certificate: no workload speaks of another's instance.
				if (!isManaged(entry) || entry.spec.serviceAccount !== node.serviceAccount) return null;
				const before = entry.status?.conditions?.find(({ type }) => type === 'Healthy');
				const status = healthy ? 'True' : 'False';
				if (before?.status === status) return null;
				const others = (entry.status?.conditions ?? []).filter(({ type }) => type !== 'Healthy');
				const condition = {
					type: 'Healthy',
					status,
					reason: healthy ? 'CheckPassed' : 'CheckFailed',
					message: detail.slice(0, 1024),
					lastTransitionTime: this.now(),
				};
				return { ...entry.status, conditions: [...others, condition] };
			});
		});
	}

	/** Makes those again that were made here and have instances, at the same address. By `NAMESPACE/NAME`. */
	onServicesRemoved(removed: ReadonlyMap<string, Service>): void {
		for (const [key, service] of removed) {
			if (!isManaged(service)) continue;
			for (const instance of this.instances.values()) {
				const { namespace, node } = instance;
				// Of one that is on its way back after a restart, its Service is not known yet.
				if (node === null ? namespace !== service.metadata.namespace : serviceKey(node) !== key) continue;
				instance.makesService = true;
				if (instance.connections > 0) this.enter(instance, service.spec.clusterIP);
			}
		}
	}

	/** Resolves when all writes that were asked for are done. */
	async idle(): Promise<void> {
		await Promise.all([...this.instances.values()].map((instance) => instance.writes));
	}

	private instance(namespace: string, name: string): Instance {
		const key = `${namespace}/${name}`;
		let instance = this.instances.get(key);
		if (instance === undefined) {
			instance = {
				namespace,
				name,
				connections: 0,
				grace: null,
				node: null,
				retry: null,
				makesService: true,
				writes: Promise.resolve(),
			};
			this.instances.set(key, instance);
		}
		return instance;
	}

	private wait(instance: Instance, graceMs: number): void {
		instance.grace ??= this.options.clock.after(graceMs, () => {
			if (instance.connections === 0 && !this.stopped) this.leave(instance);
		});
		instance.grace.restart(graceMs);
	}

	/** `clusterIP`: the address that a Service made now is to have, if it is free. */
	private enter(instance: Instance, clusterIP = ''): void {
		const { node } = instance;
		if (node === null) return;
		const retry = () => {
			// What a newer connection says is written by itself.
			if (instance.connections > 0 && instance.node === node) this.enter(instance, clusterIP);
		};
		this.write(instance, () => this.register(instance, node, clusterIP), retry);
	}

	private leave(instance: Instance): void {
		const retry = () => {
			if (instance.connections === 0) this.leave(instance);
		};
		this.write(instance, () => this.unregister(instance), retry);
	}

	private write(instance: Instance, work: () => Promise<void>, retry?: () => void): void {
		instance.writes = instance.writes.then(work).catch((error: unknown) => {
			log.error('an instance could not be written', {
				instance: `${instance.namespace}/${instance.name}`,
				error: errorMessage(error),
			});
			if (retry === undefined || this.stopped) return;
			instance.retry?.cancel();
			instance.retry = this.options.clock.after(WRITE_RETRY_MS, retry);
		});
	}

	private async register(instance: Instance, node: SidecarNode, clusterIP: string): Promise<void> {
		if (node.weft === null) return;
		if (instance.makesService) {
			// Before: it may be deleted again meanwhile.
			instance.makesService = false;
			try {
				await this.makeService(node, clusterIP);
			} catch (error) {
				instance.makesService = true;
				throw error;
			}
		}
		await this.options.objects.apply(WORKLOAD_ENTRY, workloadEntry(node));
	}

	/** Unless there is one, whoever made it. */
	private async makeService(node: SidecarNode, clusterIP: string): Promise<void> {
		const key = serviceKey(node);
		if (key === null || this.options.model.services.has(key)) return;
		try {
			await this.options.objects.create(SERVICE, service(node, clusterIP));
			log.info('service made for its instances', { service: key });
		} catch (error) {
			// The address may be another's by now.
			if (error instanceof ConfigError && clusterIP !== '') return await this.makeService(node, '');
			if (!(error instanceof WeftError) || error.code !== 'already_exists') throw error;
		}
	}

	private async unregister(instance: Instance): Promise<void> {
		// It may have come back while this waited for its turn.
		if (instance.connections > 0) return;
		await this.options.objects.delete(WORKLOAD_ENTRY, instance.namespace, instance.name);
		if (instance.connections === 0) this.instances.delete(`${instance.namespace}/${instance.name}`);
		log.info('instance left', { instance: `${instance.namespace}/${instance.name}` });
	}

	private now(): string {
		return `${new Date(this.options.clock.wallMs()).toISOString().slice(0, 19)}Z`;
	}
}

function workloadEntry(node: SidecarNode): MeshObject<Partial<WorkloadEntrySpec>> {
	const weft = node.weft!;
	const ports: Record<string, number> = {};
	for (const { port, protocol } of weft.ports) {
		const mesh = weft.inboundPorts?.[String(port)] ?? port;
		ports[String(port)] = mesh;
		ports[protocol] ??= mesh;
	}
	return {
		apiVersion: 'networking.istio.io/v1',
		kind: 'WorkloadEntry',
		metadata: {
			name: weft.instance,
			namespace: node.namespace,
			// The workload's own too, as Istio does, so that `get we -l app=reviews` finds them.
			labels: { ...node.labels, ...appLabel(node), [MANAGED_BY_LABEL]: WEFT_RUN },
			annotations: {
				[WORKLOAD_ANNOTATION]: node.workload,
				...(weft.healthCheck === undefined ? {} : { [HEALTH_CHECK_ANNOTATION]: 'true' }),
			},
		},
		spec: {
			address: weft.address,
			ports,
			labels: { ...node.labels, ...appLabel(node), [TLS_MODE_LABEL]: TLS_MODE_ISTIO },
			serviceAccount: node.serviceAccount,
		},
	};
}

/** `NAMESPACE/NAME` of the Service that it is an instance of; null for one that serves nothing. */
function serviceKey({ weft, namespace }: SidecarNode): string | null {
	return weft === null || weft.service === '' || weft.ports.length === 0 ? null : `${namespace}/${weft.service}`;
}

function service(node: SidecarNode, clusterIP: string): MeshObject {
	const { service: name, ports } = node.weft!;
	return {
		apiVersion: 'v1',
		kind: 'Service',
		metadata: { name, namespace: node.namespace, labels: { [MANAGED_BY_LABEL]: WEFT_RUN } },
		spec: {
			...(clusterIP === '' ? {} : { clusterIP }),
			selector: appLabel(node),
			ports: ports.map(({ port, protocol }) => ({
				name: ports.length === 1 ? protocol : `${protocol}-${port}`,
				port,
				targetPort: port,
			})),
		},
	};
}

/** The label that a Service made here selects its instances by. */
function appLabel(node: SidecarNode): Record<string, string> {
	return { app: node.labels.app ?? (node.weft!.service || node.workload) };
}
