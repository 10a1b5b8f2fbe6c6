// What the page knows, as signals: each part redraws only when what it reads has changed.

import { computed, effect, signal } from '@preact/signals';
import type { MeshSnapshot, ServiceSummary, TrafficFigures } from '../../control/mesh-snapshot.ts';
import { Attention, type AttentionItem, type Selection } from './attention.ts';
import { type ConnectionState, connect } from './connection.ts';
import { History, type Sample } from './history.ts';
import { buildTopology, type Topology } from './topology.ts';

export interface View {
	readonly snapshot: MeshSnapshot;
	readonly topology: Topology;
	readonly attention: readonly AttentionItem[];
	/** Requests of the mesh that go over mutual TLS, 0…1. */
	readonly mtlsShare: number;
}

export const view = signal<View | null>(null);
export const connection = signal<ConnectionState>({ kind: 'connecting' });
export const selection = signal<Selection | null>(null);
export const nowMs = signal(Date.now());
export const history = new History();

/** Null also when what was selected is no longer there. */
export const selected = computed(() => {
	const chosen = selection.value;
	const topology = view.value?.topology;
	if (chosen === null || topology === undefined) return null;
	if (chosen.kind === 'node') {
		const node = topology.nodeByKey.get(chosen.key);
		return node === undefined ? null : ({ kind: 'node', node } as const);
	}
	const link = topology.linkByKey.get(chosen.key);
	return link === undefined ? null : ({ kind: 'link', link } as const);
});

export function select(next: Selection | null): void {
	selection.value = next;
}

export function start(): void {
	const attention = new Attention();
	connect(
		(snapshot) => {
			const topology = buildTopology(snapshot);
			record(snapshot, topology);
			view.value = {
				snapshot,
				topology,
				attention: attention.update(snapshot, topology),
				mtlsShare: mtlsShareOf(snapshot),
			};
		},
		(state) => {
			const before = connection.peek();
			if (before.kind !== state.kind || state.kind === 'lost') connection.value = state;
		},
	);
	effect(() => {
		if (connection.value.kind !== 'lost') return;
		nowMs.value = Date.now();
		const timer = setInterval(() => {
			nowMs.value = Date.now();
		}, 1000);
		return () => clearInterval(timer);
	});
	effect(() => {
		const current = view.value;
		const lost = connection.value.kind === 'lost';
		const bad = current?.attention.length ?? 0;
		document.title = lost ? 'weft: unreachable' : bad > 0 ? `(${bad}) weft` : 'weft';
	});
}

export function serviceHistoryKey(service: ServiceSummary): string {
	return `service ${service.namespace}/${service.name}`;
}

function record(snapshot: MeshSnapshot, topology: Topology): void {
	const samples = new Map<string, Sample>([['mesh', sampleOf(snapshot.traffic)]]);
	for (const node of topology.nodes) if (node.received !== null) samples.set(node.key, sampleOf(node.received));
	for (const service of snapshot.services) samples.set(serviceHistoryKey(service), sampleOf(service.traffic));
	for (const link of topology.links) samples.set(link.key, sampleOf(link.summary.traffic));
	history.record(samples);
}

function sampleOf(traffic: TrafficFigures): Sample {
	return { rate: traffic.requestRate, success: traffic.successRate, p99Ms: traffic.p99Ms };
}

function mtlsShareOf(snapshot: MeshSnapshot): number {
	let all = 0;
	let secure = 0;
	for (const edge of snapshot.edges) {
		// What nobody has said yet counts for neither.
		if (edge.mtls === null) continue;
		all += edge.traffic.requestRate;
		if (edge.mtls) secure += edge.traffic.requestRate;
	}
	return all > 0 ? secure / all : 1;
}
