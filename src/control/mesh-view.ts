// Puts together what is known of the mesh at one moment: the model says what should be, the
// connected sidecars what they have, and their metrics what happens. The result is made anew for
// each reader's second and kept by nobody here.

import type { TypeStatus } from '../xds/discovery-stream.ts';
import { canonicalRevision, canonicalService } from '../xds/node-metadata.ts';
import { shortTypeName } from '../xds/type-urls.ts';
import { isHealthy, WORKLOAD_ANNOTATION } from './compile/endpoint.ts';
import { hasMutualTls } from './compile/mesh-service.ts';
import { routeKey, type Service, type WorkloadEntry } from './mesh-kinds.ts';
import type { EdgeEnd, EdgeSummary, MeshSnapshot, ServiceSummary, SidecarSummary } from './mesh-snapshot.ts';
import { routeSummary } from './mesh-view-routes.ts';
import type { MeshModel } from './model.ts';
import type { SidecarNode } from './sidecar-node.ts';
import { type EdgeTraffic, WINDOW_SECONDS } from './traffic.ts';
import { addTally, figuresOf, newTally } from './traffic-figures.ts';

/** The part of the model that is shown. */
export type ModelView = Pick<
	MeshModel,
	'services' | 'workloadEntries' | 'httpRoutes' | 'grpcRoutes' | 'routesOf' | 'faults' | 'revision' | 'entriesOf'
>;

/** A sidecar that is connected, or was until a moment ago. */
export interface ProxyView {
	readonly node: SidecarNode;
	readonly connected: boolean;
	/** Wall clock. */
	readonly connectedSinceMs: number | null;
	/** `DiscoveryStream.status()`, by type URL. */
	readonly types: ReadonlyMap<string, TypeStatus>;
	readonly acknowledgedVersion: string;
	readonly inSync: boolean;
	/** The newest that it was given; null before the first. */
	readonly certificate: { readonly spiffeId: string; readonly notAfterMs: number } | null;
	/** `127.0.0.1:4711`, shown where the node names no address. */
	readonly peerAddress: string;
}

export interface MeshViewInput {
	/** Wall clock. */
	readonly nowMs: number;
	readonly trustDomain: string;
	readonly controlPlane: {
		readonly version: string;
		readonly startedAtMs: number;
		readonly rootNotAfterMs: number;
	};
	readonly model: ModelView;
	readonly proxies: Iterable<ProxyView>;
	/** `Traffic.read()` */
	readonly traffic: readonly EdgeTraffic[];
	/** Sidecars that have the present generation of a route (`NAMESPACE/NAME`), of those that get it. */
	readonly acknowledgedOf: (routeKey: string) => { readonly count: number; readonly of: number };
}

export function buildMeshSnapshot(input: MeshViewInput): MeshSnapshot {
	const { model, traffic, controlPlane } = input;
	const total = newTally();
	for (const edge of traffic) addTally(total, edge.tally);
	const byDestination = groupBy(traffic, (edge) => endKey(edge.destination));
	const plain = endsWithoutSidecar(model);
	return {
		time: rfc3339(input.nowMs),
		trustDomain: input.trustDomain,
		controlPlane: {
			version: controlPlane.version,
			uptimeSeconds: Math.max(0, Math.floor((input.nowMs - controlPlane.startedAtMs) / 1000)),
			storeRevision: model.revision,
			rootNotAfter: rfc3339(controlPlane.rootNotAfterMs),
		},
		traffic: figuresOf(total, WINDOW_SECONDS),
		services: byName(model.services).map((service) => serviceSummary(service, model.entriesOf(service), byDestination)),
		edges: traffic.map((edge) => edgeSummary([edge], edge.source, edge.destination, plain)),
		links: linksOf(traffic, plain),
		sidecars: [...input.proxies].map((proxy) => sidecarSummary(proxy, model)).sort(byNamespaceAndInstance),
		routes: [...byName(model.httpRoutes), ...byName(model.grpcRoutes)].map((route) =>
			routeSummary(route, model, input.acknowledgedOf(routeKey(route))),
		),
	};
}

function serviceSummary(
	service: Service,
	entries: readonly WorkloadEntry[],
	byDestination: ReadonlyMap<string, readonly EdgeTraffic[]>,
): ServiceSummary {
	const namespace = service.metadata.namespace ?? '';
	const { name } = service.metadata;
	const versions = new Map<string, { instances: number; healthy: number }>();
	const apps = new Set<string>();
	// Its instances' ends, and its own name for what was sent to it and reached none.
	const ends = new Set([endKey({ namespace, service: name, version: '' })]);
	let healthy = 0;
	for (const entry of entries) {
		const { app, version } = canonicalOf(entry);
		apps.add(app);
		ends.add(endKey({ namespace, service: app, version }));
		const found = versions.get(version) ?? { instances: 0, healthy: 0 };
		versions.set(version, found);
		found.instances++;
		if (isHealthy(entry)) {
			found.healthy++;
			healthy++;
		}
	}
	const tally = newTally();
	for (const end of ends) for (const edge of byDestination.get(end) ?? []) addTally(tally, edge.tally);
	return {
		namespace,
		name,
		address: service.spec.clusterIP,
		ports: service.spec.ports.map(({ port }) => port),
		apps: [...apps].sort(),
		instances: entries.length,
		healthy,
		versions: [...versions]
			.map(([version, counts]) => ({ version, ...counts }))
			.sort((a, b) => (a.version < b.version ? -1 : 1)),
		traffic: figuresOf(tally, WINDOW_SECONDS),
	};
}

/** As endpoints and metrics name it. */
function canonicalOf(entry: WorkloadEntry): { app: string; version: string } {
	const { metadata, spec } = entry;
	const workload = metadata.annotations?.[WORKLOAD_ANNOTATION] ?? metadata.name;
	return { app: canonicalService(spec.labels, workload), version: canonicalRevision(spec.labels) };
}

/** Nobody there reports, and what is sent there is plain text. */
function endsWithoutSidecar(model: ModelView): ReadonlySet<string> {
	const without = new Set<string>();
	const behind = new Set<string>();
	for (const entry of model.workloadEntries.values()) {
		const { app, version } = canonicalOf(entry);
		const key = endKey({ namespace: entry.metadata.namespace ?? '', service: app, version });
		(hasMutualTls(entry) ? behind : without).add(key);
	}
	for (const key of behind) without.delete(key);
	return without;
}

function linksOf(traffic: readonly EdgeTraffic[], plain: ReadonlySet<string>): EdgeSummary[] {
	const whole = (end: EdgeEnd): EdgeEnd => ({ ...end, version: '' });
	const groups = groupBy(traffic, (edge) => `${endKey(whole(edge.source))}>${endKey(whole(edge.destination))}`);
	return [...groups.values()].map((edges) =>
		edgeSummary(edges, whole(edges[0]!.source), whole(edges[0]!.destination), plain),
	);
}

/** `plain`: ends without a sidecar. */
function edgeSummary(
	edges: readonly EdgeTraffic[],
	source: EdgeEnd,
	destination: EdgeEnd,
	plain: ReadonlySet<string>,
): EdgeSummary {
	const tally = newTally();
	for (const edge of edges) addTally(tally, edge.tally);
	const verdicts = edges.map(({ mtls, destination: end }) => mtls ?? (plain.has(endKey(end)) ? false : null));
	const firstKnown = (principals: readonly string[]) => principals.find((principal) => principal !== '') ?? '';
	return {
		source,
		destination,
		traffic: figuresOf(tally, WINDOW_SECONDS),
		// What never reached a workload was neither secure nor plain.
		mtls: verdicts.includes(false) ? false : verdicts.includes(true) ? true : null,
		sourcePrincipal: firstKnown(edges.map((edge) => edge.sourcePrincipal)),
		destinationPrincipal: firstKnown(edges.map((edge) => edge.destinationPrincipal)),
	};
}

function sidecarSummary(proxy: ProxyView, model: ModelView): SidecarSummary {
	const { node } = proxy;
	const instance = node.weft?.instance ?? node.workload;
	const resources: Record<string, { sent: number; acknowledged: number }> = {};
	const rejected: { type: string; detail: string }[] = [];
	for (const [typeUrl, status] of proxy.types) {
		const type = shortTypeName(typeUrl);
		resources[type] = { sent: status.sent, acknowledged: status.acknowledged };
		if (status.rejected !== null) rejected.push({ type, detail: status.rejected });
	}
	return {
		id: node.id,
		namespace: node.namespace,
		instance,
		service: node.app,
		version: node.version,
		address: node.weft?.address ?? proxy.peerAddress,
		agent: node.agent,
		agentVersion: node.agentVersion,
		connected: proxy.connected,
		connectedSince: proxy.connectedSinceMs === null ? null : rfc3339(proxy.connectedSinceMs),
		resources,
		acknowledgedVersion: proxy.acknowledgedVersion,
		inSync: proxy.inSync,
		rejected,
		certificate:
			proxy.certificate === null
				? null
				: { spiffeId: proxy.certificate.spiffeId, notAfter: rfc3339(proxy.certificate.notAfterMs) },
		health: healthOf(model.workloadEntries.get(`${node.namespace}/${instance}`)),
	};
}

/** By the health check's word; an instance without one is `unknown`, and takes traffic. */
function healthOf(entry: WorkloadEntry | undefined): SidecarSummary['health'] {
	const condition = entry?.status?.conditions?.find(({ type }) => type === 'Healthy');
	if (condition === undefined || condition.status === 'Unknown') return 'unknown';
	return condition.status === 'True' ? 'healthy' : 'unhealthy';
}

function byName<T extends { readonly metadata: { readonly namespace?: string; readonly name: string } }>(
	objects: ReadonlyMap<string, T>,
): T[] {
	return [...objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
}

function byNamespaceAndInstance(a: SidecarSummary, b: SidecarSummary): number {
	const left = `${a.namespace}/${a.instance} ${a.id}`;
	const right = `${b.namespace}/${b.instance} ${b.id}`;
	return left === right ? 0 : left < right ? -1 : 1;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
	const groups = new Map<string, T[]>();
	for (const item of items) {
		const group = groups.get(keyOf(item));
		if (group === undefined) groups.set(keyOf(item), [item]);
		else group.push(item);
	}
	return groups;
}

function endKey(end: EdgeEnd): string {
	return `${end.namespace}/${end.service}/${end.version}`;
}

function rfc3339(ms: number): string {
	return new Date(ms).toISOString();
}
