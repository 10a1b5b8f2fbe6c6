// The graph's nodes and links out of a snapshot. A node is an app: what the edges name, what a
// Service's instances belong to, or a Service that has none yet. Sorted, so that the same mesh is
// always drawn the same way.

import type {
	EdgeEnd,
	EdgeSummary,
	MeshSnapshot,
	ServiceSummary,
	SidecarSummary,
	TrafficFigures,
} from '../../control/mesh-snapshot.ts';

export const OUTSIDE = 'unknown';

export interface NodeVersion {
	readonly version: string;
	readonly instances: number;
	readonly healthy: number;
	/** Requests per second received. */
	readonly rate: number;
	/** 0…1 of what the node receives. */
	readonly share: number;
	readonly successRate: number;
}

export interface MeshNode {
	/** `default/products`; `/unknown` for what is outside the mesh. */
	readonly key: string;
	readonly namespace: string;
	readonly name: string;
	/** `client`: calls, but no Service has it; `outside`: beyond the mesh. */
	readonly kind: 'service' | 'client' | 'outside';
	/** The one of its own name first. */
	readonly services: readonly ServiceSummary[];
	readonly sidecars: readonly SidecarSummary[];
	readonly instances: number;
	readonly healthy: number;
	readonly versions: readonly NodeVersion[];
	readonly received: TrafficFigures | null;
	readonly sentRate: number;
	readonly inbound: readonly MeshLink[];
	readonly outbound: readonly MeshLink[];
}

export interface MeshLink {
	/** `default/storefront>default/products` */
	readonly key: string;
	readonly from: string;
	readonly to: string;
	readonly summary: EdgeSummary;
	/** By version on both ends. */
	readonly edges: readonly EdgeSummary[];
}

export interface Topology {
	readonly nodes: readonly MeshNode[];
	readonly links: readonly MeshLink[];
	readonly nodeByKey: ReadonlyMap<string, MeshNode>;
	readonly linkByKey: ReadonlyMap<string, MeshLink>;
	/** More than one namespace: names are shown with theirs. */
	readonly manyNamespaces: boolean;
}

export function endKey(end: Pick<EdgeEnd, 'namespace' | 'service'>): string {
	return `${end.namespace}/${end.service}`;
}

export function linkKey(edge: EdgeSummary): string {
	return `${endKey(edge.source)}>${endKey(edge.destination)}`;
}

/** `127.96.0.4:7003` */
export function addressOf(service: ServiceSummary): string {
	return `${service.address}${service.ports.map((port) => `:${port}`).join(' ')}`;
}

export function buildTopology(snapshot: MeshSnapshot): Topology {
	const edgesOf = groupBy(snapshot.edges, linkKey);
	const links = snapshot.links
		.map((summary) => ({
			key: linkKey(summary),
			from: endKey(summary.source),
			to: endKey(summary.destination),
			summary,
			edges: edgesOf.get(linkKey(summary)) ?? [],
		}))
		.sort((a, b) => compare(a.key, b.key));
	const sidecarsOf = groupBy(snapshot.sidecars, endKey);
	const inboundOf = groupBy(links, (link) => link.to);
	const outboundOf = groupBy(links, (link) => link.from);
	const servicesOf = new Map<string, ServiceSummary[]>();
	for (const service of snapshot.services) {
		for (const app of service.apps.length > 0 ? service.apps : [service.name]) {
			append(servicesOf, `${service.namespace}/${app}`, service);
		}
	}
	const keys = new Set([...servicesOf.keys(), ...sidecarsOf.keys(), ...inboundOf.keys(), ...outboundOf.keys()]);
	const nodes = [...keys].sort(compare).map((key) => {
		return buildNode(
			key,
			servicesOf.get(key) ?? [],
			sidecarsOf.get(key) ?? [],
			inboundOf.get(key) ?? [],
			outboundOf.get(key) ?? [],
		);
	});
	const namespaces = new Set(nodes.filter((node) => node.kind !== 'outside').map((node) => node.namespace));
	return {
		nodes,
		links,
		nodeByKey: new Map(nodes.map((node) => [node.key, node])),
		linkByKey: new Map(links.map((link) => [link.key, link])),
		manyNamespaces: namespaces.size > 1,
	};
}

function buildNode(
	key: string,
	services: readonly ServiceSummary[],
	sidecars: readonly SidecarSummary[],
	inbound: readonly MeshLink[],
	outbound: readonly MeshLink[],
): MeshNode {
	const slash = key.indexOf('/');
	const namespace = key.slice(0, slash);
	const name = key.slice(slash + 1);
	const main = services.find((service) => service.name === name) ?? services[0];
	const versions = buildVersions(main, sidecars, inbound);
	const receivedRate = versions.reduce((sum, version) => sum + version.rate, 0);
	const single = inbound.length === 1 ? inbound[0]!.summary.traffic : null;
	const kind = name === OUTSIDE && namespace === '' ? 'outside' : services.length > 0 ? 'service' : 'client';
	return {
		key,
		namespace,
		name: kind === 'outside' ? 'outside' : name,
		kind,
		services: main === undefined ? [] : [main, ...services.filter((service) => service !== main)],
		sidecars,
		instances: main?.instances ?? sidecars.length,
		healthy: main?.healthy ?? sidecars.filter((sidecar) => sidecar.health !== 'unhealthy').length,
		versions: versions.map((version) => ({ ...version, share: receivedRate > 0 ? version.rate / receivedRate : 0 })),
		received: (main?.apps.length ?? 0) <= 1 && main !== undefined ? main.traffic : single,
		sentRate: outbound.reduce((sum, link) => sum + link.summary.traffic.requestRate, 0),
		inbound,
		outbound,
	};
}

function buildVersions(
	service: ServiceSummary | undefined,
	sidecars: readonly SidecarSummary[],
	inbound: readonly MeshLink[],
): NodeVersion[] {
	const known = new Map<string, { instances: number; healthy: number; rate: number; good: number }>();
	const entry = (version: string) => {
		const found = known.get(version) ?? { instances: 0, healthy: 0, rate: 0, good: 0 };
		known.set(version, found);
		return found;
	};
	if (service !== undefined && service.versions.length > 0) {
		for (const { version, instances, healthy } of service.versions)
			Object.assign(entry(version), { instances, healthy });
	}
	for (const [version, group] of groupBy(sidecars, (sidecar) => sidecar.version)) {
		const found = entry(version);
		if (found.instances > 0) continue;
		found.instances = group.length;
		found.healthy = group.filter((sidecar) => sidecar.health !== 'unhealthy').length;
	}
	for (const edge of inbound.flatMap((link) => link.edges)) {
		const found = entry(edge.destination.version);
		found.rate += edge.traffic.requestRate;
		found.good += edge.traffic.requestRate * edge.traffic.successRate;
	}
	return [...known]
		.filter(([version, { instances, rate }]) => version !== '' || instances > 0 || rate > 0)
		.map(([version, { instances, healthy, rate, good }]) => ({
			version,
			instances,
			healthy,
			rate,
			share: 0,
			successRate: rate > 0 ? good / rate : 1,
		}))
		.sort((a, b) => compare(a.version, b.version));
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
	const groups = new Map<string, T[]>();
	for (const item of items) append(groups, keyOf(item), item);
	return groups;
}

function append<T>(groups: Map<string, T[]>, key: string, item: T): void {
	const group = groups.get(key);
	if (group === undefined) groups.set(key, [item]);
	else group.push(item);
}

function compare(a: string, b: string): number {
	if (a === b) return 0;
	return a < b ? -1 : 1;
}
