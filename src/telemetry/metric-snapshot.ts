// The values of a registry as plain data, for another process, and several of them put together. Made
// when somebody asks: counting itself knows nothing of it.

import { Counter, type Family, Gauge, Histogram, type MetricKind, MetricRegistry } from './registry.ts';

/** A counter's or gauge's value, or a histogram's buckets (as `Histogram.counts`), sum and count. */
export type SeriesValue = number | { readonly counts: readonly number[]; readonly sum: number; readonly count: number };

export interface FamilySnapshot {
	readonly name: string;
	readonly help: string;
	readonly kind: MetricKind;
	readonly labelNames: readonly string[];
	/** Of a histogram; else empty. */
	readonly bounds: readonly number[];
	readonly series: readonly (readonly [labels: readonly string[], value: SeriesValue])[];
}

/** Series that are 0 are left out. */
export function snapshotOf(registry: MetricRegistry): FamilySnapshot[] {
	const families: FamilySnapshot[] = [];
	for (const family of registry.all()) {
		const series: [readonly string[], SeriesValue][] = [];
		let bounds: readonly number[] = [];
		for (const { labels, instrument } of family.series()) {
			if (instrument instanceof Histogram) {
				bounds = instrument.bounds;
				const { counts, sum, count } = instrument;
				if (count > 0) series.push([labels, { counts: Array.from(counts), sum, count }]);
			} else if (instrument.value !== 0) series.push([labels, instrument.value]);
		}
		const { name, help, kind, labelNames } = family;
		if (series.length > 0) families.push({ name, help, kind, labelNames, bounds, series });
	}
	return families;
}

/** How the values of several processes become one. */
export type MergeRule = 'sum' | 'max' | 'own';

interface Accumulated {
	readonly labels: readonly string[];
	value: number;
	counts: number[] | null;
	sum: number;
	count: number;
}

interface AccumulatedFamily {
	readonly definition: Omit<FamilySnapshot, 'series'>;
	readonly series: Map<string, Accumulated>;
}

export class MergedMetrics {
	/** What was put together last. Series keep their identity. */
	readonly registry = new MetricRegistry();
	/** Of processes that are gone: counters must not fall. */
	private retired = new Map<string, AccumulatedFamily>();

	/** `own`: the registry of this process. `ruleOf`: by the name of a family; counters and histograms know no `max`. */
	constructor(
		private readonly own: MetricRegistry,
		private readonly ruleOf: (family: string) => MergeRule,
	) {}

	/** A process is gone; what it counted stays in the sums. */
	retire(last: readonly FamilySnapshot[]): void {
		for (const family of last) {
			if (family.kind !== 'gauge' && this.ruleOf(family.name) !== 'own') add(this.retired, family, 'sum');
		}
	}

	/** Puts together what the processes say now. */
	merge(parts: readonly (readonly FamilySnapshot[])[]): void {
		const all = new Map<string, AccumulatedFamily>();
		for (const family of this.own.all()) addOwn(all, family);
		for (const part of parts) {
			for (const family of part) {
				const rule = this.ruleOf(family.name);
				if (rule !== 'own') add(all, family, rule);
			}
		}
		for (const { definition, series } of this.retired.values()) {
			const known = new Set(all.get(definition.name)?.series.keys());
			for (const [key, { labels, value, counts, sum, count }] of series) {
				// A cluster or listener that was removed takes its series along; others are shown by who counts.
				if (definition.name.startsWith('envoy_') && !known.has(key)) continue;
				const amount: SeriesValue = counts === null ? value : { counts, sum, count };
				add(all, { ...definition, series: [[labels, amount]] }, 'sum');
			}
		}
		for (const family of all.values()) this.show(family);
		for (const family of this.registry.all()) {
			const present = all.get(family.name)?.series;
			const gone = [...family.series()].filter(({ labels }) => present?.has(keyOf(labels)) !== true);
			for (const { labels } of gone) family.remove(...labels);
		}
	}

	private show({ definition, series }: AccumulatedFamily): void {
		const { name, help, kind, labelNames, bounds } = definition;
		const { registry } = this;
		for (const { labels, value, counts, sum, count } of series.values()) {
			if (kind === 'counter') registry.counter(name, help, labelNames).with(...labels).value = value;
			else if (kind === 'gauge') registry.gauge(name, help, labelNames).with(...labels).value = value;
			else {
				const histogram = registry.histogram(name, help, labelNames, bounds).with(...labels);
				histogram.counts.set(counts ?? []);
				histogram.sum = sum;
				histogram.count = count;
			}
		}
	}
}

function addOwn(all: Map<string, AccumulatedFamily>, family: Family): void {
	for (const { labels, instrument } of family.series()) {
		const { name, help, kind, labelNames } = family;
		const bounds = instrument instanceof Histogram ? instrument.bounds : [];
		const value: SeriesValue =
			instrument instanceof Counter || instrument instanceof Gauge
				? instrument.value
				: { counts: Array.from(instrument.counts), sum: instrument.sum, count: instrument.count };
		add(all, { name, help, kind, labelNames, bounds, series: [[labels, value]] }, 'sum');
	}
}

function add(all: Map<string, AccumulatedFamily>, family: FamilySnapshot, rule: 'sum' | 'max'): void {
	let into = all.get(family.name);
	if (into === undefined) {
		into = { definition: family, series: new Map() };
		all.set(family.name, into);
	}
	for (const [labels, value] of family.series) {
		const key = keyOf(labels);
		let sum = into.series.get(key);
		if (sum === undefined) {
			sum = { labels, value: 0, counts: null, sum: 0, count: 0 };
			into.series.set(key, sum);
		}
		if (typeof value === 'number') {
			sum.value = rule === 'max' && family.kind === 'gauge' ? Math.max(sum.value, value) : sum.value + value;
			continue;
		}
		sum.counts ??= new Array<number>(value.counts.length).fill(0);
		for (let i = 0; i < value.counts.length; i++) sum.counts[i] = (sum.counts[i] ?? 0) + value.counts[i]!;
		sum.sum += value.sum;
		sum.count += value.count;
	}
}

function keyOf(labels: readonly string[]): string {
	return labels.join('\u0000');
}
