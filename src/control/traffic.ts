// The mesh's traffic of the last seconds, out of what sidecars stream: cumulative counters and
// histograms of Istio's standard metrics, per stream, those that changed each second. Differences
// between two reports of a series go into the window of its edge; what a reader sees is a rate. Both ends of a hop report it; the
// source's word counts, because it also saw what never arrived, and the destination's fills in
// where the source has no sidecar (published doors). Reports are input from the network: nodes,
// series, edges, labels and buckets are bounded, and what is beyond is counted, not kept.

import type { Metric, MetricFamily } from '../generated/io/prometheus/client/metrics_pb.ts';
import type { Clock } from '../std/clock.ts';
import { type Counter, MetricRegistry } from '../telemetry/registry.ts';
import type { EdgeEnd } from './mesh-snapshot.ts';
import {
	addTally,
	isMutualTls,
	newTally,
	requestCount,
	type Tally,
	tallyLatencies,
	tallyRequests,
} from './traffic-figures.ts';
import { readSeriesLabels, type SeriesLabels } from './traffic-labels.ts';
import { readWindow, SLOT_MS, TrafficWindow, WINDOW_SLOTS } from './traffic-window.ts';

export const NODES_MAX = 20_000;
export const SERIES_PER_NODE_MAX = 5_000;
export const EDGES_MAX = 5_000;
/** That one stream may be the first to speak of: nobody can take the room of all others. */
export const EDGES_PER_NODE_MAX = 1_000;
export const BUCKETS_MAX = 64;
/** An edge without requests so long is no longer shown. */
export const EDGE_IDLE_MS = 60_000;
/** How often sidecars report what has changed. A difference is taken to be no older. */
const REPORT_INTERVAL_MS = 1000;
/** The last seconds are read when all sidecars have reported them. */
const READ_LAG_MS = REPORT_INTERVAL_MS + 500;
/** A node's first report may come in several messages; those within this time are one. */
const FIRST_REPORT_MS = 500;
/** What a reading covers. */
export const WINDOW_SECONDS = (WINDOW_SLOTS * SLOT_MS) / 1000;

const REQUESTS = 'istio_requests_total';
const DURATIONS = 'istio_request_duration_milliseconds';

/**
 * Whose report it is, as the connection's certificate says. It can only speak of its own traffic. One object
 * per stream: counters of two streams (of a sidecar's workers, or before and after a reconnect) have nothing
 * to do with each other.
 */
export interface ReportingNode {
	readonly namespace: string;
	/** Canonical service; empty: not checked. */
	readonly app: string;
}

export interface EdgeTraffic {
	readonly source: EdgeEnd;
	readonly destination: EdgeEnd;
	/** Over `WINDOW_SECONDS`; `figuresOf` makes rates of it. The caller's own. */
	readonly tally: Tally;
	/** True: all was mutual TLS; false: some was not; null: not known. */
	readonly mtls: boolean | null;
	/** SPIFFE IDs; empty when unknown. */
	readonly sourcePrincipal: string;
	readonly destinationPrincipal: string;
}

interface Node {
	/** By family name and all labels. */
	readonly series: Map<string, Series>;
	/** That it was the first to speak of. */
	newEdges: number;
	firstReportMs: number;
	lastReportMs: number;
}

interface Series {
	/** Null: not one of a request between two ends, or not this node's to report. */
	readonly labels: SeriesLabels | null;
	edge: Edge | null;
	/** Of the report before; for a histogram per bucket, not cumulative. */
	count: number;
	buckets: Float64Array | null;
	lastMs: number;
}

interface Edge {
	readonly key: string;
	readonly source: EdgeEnd;
	readonly destination: EdgeEnd;
	bySource: TrafficWindow | null;
	byDestination: TrafficWindow | null;
	lastRequestMs: number;
	/** The last verdict, for when the window holds nothing. */
	mtls: boolean | null;
	sourcePrincipal: string;
	destinationPrincipal: string;
}

export class Traffic {
	private readonly nodes = new Map<ReportingNode, Node>();
	private readonly edges = new Map<string, Edge>();
	private readonly clock: Clock;
	private readonly refused: (reason: string) => Counter;
	private readonly reports: Counter;

	constructor(options: { readonly clock: Clock; readonly registry?: MetricRegistry }) {
		this.clock = options.clock;
		const registry = options.registry ?? new MetricRegistry();
		this.reports = registry.counter('weft_traffic_reports_total', 'Metric reports taken from sidecars.').with();
		const refused = registry.counter(
			'weft_traffic_refused_total',
			'Series or reports of sidecars that were not taken, by reason.',
			['reason'],
		);
		this.refused = (reason) => refused.with(reason);
	}

	/** Takes one `StreamMetricsMessage` of a node. Families other than the two request metrics are ignored. */
	report(from: ReportingNode, families: readonly MetricFamily[]): void {
		const now = this.clock.nowMs();
		let node = this.nodes.get(from);
		if (node === undefined) {
			if (this.nodes.size >= NODES_MAX) {
				this.refused('nodes').inc();
				return;
			}
			node = { series: new Map(), newEdges: 0, firstReportMs: now, lastReportMs: now };
			this.nodes.set(from, node);
		}
		this.reports.inc();
		for (const family of families) {
			if (family.name !== REQUESTS && family.name !== DURATIONS) continue;
			for (const metric of family.metric) this.take(from, node, family.name, metric, now);
		}
		node.lastReportMs = now;
	}

	/**
	 * The stream has ended; a silent one has had no requests, and what it reports next is still told from what it
	 * reported before. What was reported stays in the window until it slides out. */
	forget(from: ReportingNode): void {
		this.nodes.delete(from);
	}

	/** Edges with traffic in the last minute, in a stable order: by source, then destination. */
	read(): EdgeTraffic[] {
		this.expire();
		const endSlot = Math.floor((this.clock.nowMs() - READ_LAG_MS) / SLOT_MS);
		const links = new Map<string, { sourceReports: boolean; witness: Tally }>();
		const readings: { edge: Edge; bySource: Tally | null; byDestination: Tally | null }[] = [];
		for (const edge of this.edges.values()) {
			const bySource = edge.bySource && readWindow(edge.bySource, endSlot);
			const byDestination = edge.byDestination && readWindow(edge.byDestination, endSlot);
			readings.push({ edge, bySource, byDestination });
			const name = linkKey(edge);
			const link = links.get(name) ?? { sourceReports: false, witness: newTally() };
			links.set(name, link);
			if (bySource !== null) link.sourceReports = true;
			if (byDestination !== null) addTally(link.witness, byDestination);
		}
		const result: EdgeTraffic[] = [];
		for (const { edge, bySource, byDestination } of readings) {
			const link = links.get(linkKey(edge))!;
			// A destination that does not know the caller's version must not make a second edge of it.
			if (bySource === null && link.sourceReports) continue;
			const tally = bySource ?? byDestination ?? newTally();
			const exact = byDestination !== null && requestCount(byDestination) > 0 ? byDestination : link.witness;
			edge.mtls = isMutualTls(tally, bySource === null ? null : exact) ?? edge.mtls;
			result.push({
				source: edge.source,
				destination: edge.destination,
				tally,
				mtls: edge.mtls,
				sourcePrincipal: edge.sourcePrincipal,
				destinationPrincipal: edge.destinationPrincipal,
			});
		}
		return result.sort(byEnds);
	}

	private take(from: ReportingNode, node: Node, familyName: string, metric: Metric, now: number): void {
		const value = familyName === REQUESTS ? metric.counter?.value : metric.histogram?.sampleSum;
		if (value === undefined || !Number.isFinite(value) || value < 0) {
			this.refused('value').inc();
			return;
		}
		const key = seriesKey(familyName, metric);
		let series = node.series.get(key);
		if (series === undefined) {
			if (node.series.size >= SERIES_PER_NODE_MAX) {
				this.refused('series').inc();
				return;
			}
			series = this.newSeries(from, metric, node, now);
			node.series.set(key, series);
			// What a new node has counted so far happened at some time before: only a baseline.
			if (series.lastMs < 0) {
				series.count = value;
				series.buckets = familyName === DURATIONS ? bucketCounts(metric).counts : null;
				series.lastMs = now;
				return;
			}
		}
		if (series.labels === null || series.edge === null) return;
		const delta = newTally();
		if (familyName === REQUESTS) {
			// Less than before: the sidecar has started anew, all of it is new.
			const count = value >= series.count ? value - series.count : value;
			series.count = value;
			if (count > 0) {
				tallyRequests(delta, count, series.labels, series.labels.security);
				this.place(series, delta, now).lastRequestMs = now;
			}
		} else {
			const { bounds, counts } = bucketCounts(metric);
			const before = series.buckets;
			series.buckets = counts;
			const grown =
				before !== null && before.length === counts.length && counts.every((count, i) => count >= before[i]!)
					? counts.map((count, i) => count - before[i]!)
					: counts;
			if (grown.some((count) => count > 0)) {
				tallyLatencies(delta, bounds, grown);
				this.place(series, delta, now);
			}
		}
		series.lastMs = now;
	}

	/** Returns the edge that it went to. */
	private place(series: Series, delta: Tally, now: number): Edge {
		const labels = series.labels!;
		const edge = this.shownEdge(series.edge!);
		series.edge = edge;
		const window = windowOf(edge, labels.reporter);
		window.add(Math.max(series.lastMs, now - REPORT_INTERVAL_MS), now, delta);
		if (labels.sourcePrincipal !== '') edge.sourcePrincipal = labels.sourcePrincipal;
		if (labels.destinationPrincipal !== '') edge.destinationPrincipal = labels.destinationPrincipal;
		return edge;
	}

	/**
	 * An edge that was idle for long has been put away, while its series live on at the nodes. Meanwhile another
	 * series may have made it anew: all must go to the one that is read.
	 */
	private shownEdge(edge: Edge): Edge {
		const shown = this.edges.get(edge.key);
		if (shown !== undefined) return shown;
		if (this.edges.size < EDGES_MAX) this.edges.set(edge.key, edge);
		return edge;
	}

	private newSeries(from: ReportingNode, metric: Metric, node: Node, now: number): Series {
		const labels = readSeriesLabels(metric.label);
		// A series that turns up at a node we know began after the report before; -1: the node itself is new.
		const lastMs = now - node.firstReportMs < FIRST_REPORT_MS ? -1 : node.lastReportMs;
		const nothing = { labels: null, edge: null, count: 0, buckets: null, lastMs };
		if (labels === null) {
			this.refused('labels').inc();
			return nothing;
		}
		const own = labels.reporter === 'source' ? labels.source : labels.destination;
		if (own.namespace !== from.namespace || (from.app !== '' && own.service !== from.app)) {
			this.refused('foreign').inc();
			return nothing;
		}
		const edge = this.edgeOf(labels, node, now);
		if (edge === null) {
			this.refused('edges').inc();
			return nothing;
		}
		return { labels, edge, count: 0, buckets: null, lastMs };
	}

	private edgeOf(labels: SeriesLabels, node: Node, now: number): Edge | null {
		const key = edgeKey(labels.source, labels.destination);
		const found = this.edges.get(key);
		if (found !== undefined) return found;
		if (this.edges.size >= EDGES_MAX || node.newEdges >= EDGES_PER_NODE_MAX) return null;
		node.newEdges += 1;
		const edge: Edge = {
			key,
			source: labels.source,
			destination: labels.destination,
			bySource: null,
			byDestination: null,
			lastRequestMs: now,
			mtls: null,
			sourcePrincipal: '',
			destinationPrincipal: '',
		};
		this.edges.set(key, edge);
		return edge;
	}

	private expire(): void {
		const now = this.clock.nowMs();
		for (const [key, edge] of this.edges) if (now - edge.lastRequestMs > EDGE_IDLE_MS) this.edges.delete(key);
	}
}

function windowOf(edge: Edge, reporter: 'source' | 'destination'): TrafficWindow {
	if (reporter === 'source') {
		edge.bySource ??= new TrafficWindow();
		return edge.bySource;
	}
	edge.byDestination ??= new TrafficWindow();
	return edge.byDestination;
}

function seriesKey(familyName: string, metric: Metric): string {
	let key = familyName;
	for (const pair of metric.label) key += `\u0000${pair.name}\u0001${pair.value}`;
	return key;
}

/** Per bucket, the last above all bounds. Bounds that do not rise, or too many, give no buckets. */
function bucketCounts(metric: Metric): { bounds: number[]; counts: Float64Array } {
	const histogram = metric.histogram;
	const bounds: number[] = [];
	const counts: number[] = [];
	let below = 0;
	for (const bucket of histogram?.bucket.slice(0, BUCKETS_MAX) ?? []) {
		if (!Number.isFinite(bucket.upperBound)) break;
		if (bounds.length > 0 && bucket.upperBound <= bounds.at(-1)!) return { bounds: [], counts: new Float64Array(1) };
		const cumulative = Number(bucket.cumulativeCount);
		bounds.push(bucket.upperBound);
		counts.push(Math.max(0, cumulative - below));
		below = Math.max(below, cumulative);
	}
	counts.push(Math.max(0, Number(histogram?.sampleCount ?? 0n) - below));
	return { bounds, counts: Float64Array.from(counts) };
}

function edgeKey(source: EdgeEnd, destination: EdgeEnd): string {
	return [source, destination].map((end) => `${end.namespace}/${end.service}/${end.version}`).join('>');
}

function linkKey(edge: Edge): string {
	return `${edge.source.namespace}/${edge.source.service}>${edge.destination.namespace}/${edge.destination.service}`;
}

function byEnds(a: EdgeTraffic, b: EdgeTraffic): number {
	const left = edgeKey(a.source, a.destination);
	const right = edgeKey(b.source, b.destination);
	if (left === right) return 0;
	return left < right ? -1 : 1;
}
