// What an operator should look at, worst first, each in one line with the place to look. What
// passes by itself within seconds (a push on its way) is not worth a line: it must last.

import type { MeshSnapshot, SidecarSummary } from '../../control/mesh-snapshot.ts';
import { formatDuration, formatRate, formatShare, secondsBetween } from './format.ts';
import { type Severity, severityOfCertificate, severityOfTraffic } from './severity.ts';
import { OUTSIDE, type Topology } from './topology.ts';

export type Selection =
	| { readonly kind: 'node'; readonly key: string }
	| { readonly kind: 'link'; readonly key: string };

export interface AttentionItem {
	readonly key: string;
	readonly severity: Exclude<Severity, 'ok'>;
	readonly subject: string;
	readonly text: string;
	readonly target: Selection | { readonly kind: 'section'; readonly id: string };
}

const OUT_OF_SYNC_SECONDS = 5;
const ROOT_WARN_SECONDS = 30 * 86_400;

export class Attention {
	/** Node id → snapshot time at which it was first seen out of sync. */
	private readonly outOfSyncSince = new Map<string, string>();

	update(snapshot: MeshSnapshot, topology: Topology): AttentionItem[] {
		const items = [
			...snapshot.sidecars.flatMap((sidecar) => this.ofSidecar(sidecar, snapshot.time)),
			...ofServices(topology),
			...ofLinks(topology),
			...ofRoutes(snapshot),
			...ofRoot(snapshot),
		];
		const ids = new Set(snapshot.sidecars.map((sidecar) => sidecar.id));
		for (const id of this.outOfSyncSince.keys()) if (!ids.has(id)) this.outOfSyncSince.delete(id);
		return items.sort((a, b) => (a.severity === b.severity ? 0 : a.severity === 'bad' ? -1 : 1));
	}

	private ofSidecar(sidecar: SidecarSummary, now: string): AttentionItem[] {
		const items: AttentionItem[] = [];
		const add = (severity: AttentionItem['severity'], what: string, text: string) =>
			items.push({
				key: `sidecar ${sidecar.id} ${what}`,
				severity,
				subject: sidecar.instance,
				text,
				target: { kind: 'section', id: 'sidecars' },
			});
		const types = sidecar.rejected.map((each) => each.type).join(', ');
		if (types !== '') add('bad', 'rejected', `refused its new ${types} configuration and keeps the last good one`);
		if (!sidecar.connected) add('warn', 'connected', 'has lost the control plane; its traffic goes on');
		if (sidecar.health === 'unhealthy') add('warn', 'health', 'fails its health check');
		if (sidecar.inSync || !sidecar.connected) this.outOfSyncSince.delete(sidecar.id);
		else {
			const since = this.outOfSyncSince.get(sidecar.id) ?? now;
			this.outOfSyncSince.set(sidecar.id, since);
			const seconds = secondsBetween(since, now);
			if (seconds >= OUT_OF_SYNC_SECONDS && types === '') {
				add('warn', 'sync', `has not acknowledged its configuration for ${formatDuration(seconds)}`);
			}
		}
		if (sidecar.certificate !== null) {
			const remaining = secondsBetween(now, sidecar.certificate.notAfter);
			const severity = severityOfCertificate(remaining);
			if (severity === 'bad') add('bad', 'certificate', 'has a certificate that has expired');
			else if (severity === 'warn')
				add('warn', 'certificate', `has a certificate for only ${formatDuration(remaining)} more`);
		}
		return items;
	}
}

function ofServices({ nodes }: Topology): AttentionItem[] {
	return nodes.flatMap((node) => {
		if (node.kind !== 'service') return [];
		const target = { kind: 'node', key: node.key } as const;
		const items: AttentionItem[] = [];
		if (node.instances === 0) {
			items.push({ key: `empty ${node.key}`, severity: 'warn', subject: node.name, text: 'has no instance', target });
		} else if (node.healthy === 0) {
			items.push({
				key: `down ${node.key}`,
				severity: 'bad',
				subject: node.name,
				text: 'has no healthy instance',
				target,
			});
		}
		return items;
	});
}

function ofLinks({ links, nodeByKey }: Topology): AttentionItem[] {
	return links.flatMap(({ key, from, to, summary }) => {
		const subject = `${nodeByKey.get(from)?.name ?? from} → ${nodeByKey.get(to)?.name ?? to}`;
		const target = { kind: 'link', key } as const;
		const items: AttentionItem[] = [];
		const severity = severityOfTraffic(summary.traffic);
		if (severity !== 'ok') {
			const failing = summary.traffic.requestRate * (1 - summary.traffic.successRate);
			const text = `${formatShare(1 - summary.traffic.successRate)} fail, ${formatRate(failing)}/s`;
			items.push({ key: `errors ${key}`, severity, subject, text, target });
		}
		if (
			summary.mtls === false &&
			summary.source.service !== OUTSIDE &&
			summary.traffic.successRate > 0 &&
			summary.traffic.requestRate > 0
		) {
			items.push({ key: `plain ${key}`, severity: 'warn', subject, text: 'is not mutual TLS', target });
		}
		return items;
	});
}

function ofRoutes({ routes }: MeshSnapshot): AttentionItem[] {
	return routes
		.filter((route) => !route.accepted || !route.resolvedRefs)
		.map((route) => ({
			key: `route ${route.namespace}/${route.name}`,
			severity: route.accepted ? 'warn' : 'bad',
			subject: `route ${route.name}`,
			text: route.accepted ? 'names a backend that is not there' : 'is not accepted',
			target: { kind: 'section', id: 'routes' },
		}));
}

function ofRoot({ time, controlPlane }: MeshSnapshot): AttentionItem[] {
	const remaining = secondsBetween(time, controlPlane.rootNotAfter);
	if (!(remaining < ROOT_WARN_SECONDS)) return [];
	return [
		{
			key: 'root',
			severity: remaining <= 0 ? 'bad' : 'warn',
			subject: 'root certificate',
			text: remaining <= 0 ? 'has expired' : `expires in ${formatDuration(remaining)}`,
			target: { kind: 'section', id: 'sidecars' },
		},
	];
}
