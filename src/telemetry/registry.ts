// Counters, gauges and histograms. A series is resolved to its object when configuration is
// compiled; the hot path then only adds to a number. Text is made when somebody asks.
//
// A family's series are bounded: past `seriesMax` a new label set lands in one overflow series
// whose label values are all `overflow`, so that hostile input cannot fill the memory.

export type LabelValues = readonly string[];

export class Counter {
	value = 0;

	inc(by = 1): void {
		this.value += by;
	}
}

export class Gauge {
	value = 0;

	set(value: number): void {
		this.value = value;
	}

	inc(by = 1): void {
		this.value += by;
	}

	dec(by = 1): void {
		this.value -= by;
	}
}

/** Istio's and Envoy's default buckets, milliseconds or bytes alike. */
export const DEFAULT_BUCKETS: readonly number[] = [
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
];

export class Histogram {
	/** Observations per bucket, not cumulative; the last is +Inf. */
	readonly counts: Float64Array;
	sum = 0;
	count = 0;

	constructor(readonly bounds: readonly number[]) {
		this.counts = new Float64Array(bounds.length + 1);
	}

	observe(value: number): void {
		const bounds = this.bounds;
		let low = 0;
		let high = bounds.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if (value <= bounds[middle]!) high = middle;
			else low = middle + 1;
		}
		this.counts[low]! += 1;
		this.sum += value;
		this.count += 1;
	}
}

export type MetricKind = 'counter' | 'gauge' | 'histogram';
export type Instrument = Counter | Gauge | Histogram;

export interface Series<T extends Instrument = Instrument> {
	readonly labels: LabelValues;
	readonly instrument: T;
}

export class Family<T extends Instrument = Instrument> {
	private readonly byKey = new Map<string, Series<T>>();
	private overflow: Series<T> | null = null;

	constructor(
		readonly name: string,
		readonly help: string,
		readonly kind: MetricKind,
		readonly labelNames: readonly string[],
		private readonly make: () => T,
		private readonly seriesMax: number,
	) {}

	/** The series of these label values (same order as `labelNames`), made on first use. Keep what it returns. */
	with(...labels: string[]): T {
		const key = labels.join('\u0000');
		const found = this.byKey.get(key);
		if (found !== undefined) return found.instrument;
		if (this.byKey.size >= this.seriesMax) {
			this.overflow ??= { labels: this.labelNames.map(() => 'overflow'), instrument: this.make() };
			return this.overflow.instrument;
		}
		const series = { labels, instrument: this.make() };
		this.byKey.set(key, series);
		return series.instrument;
	}

	/** Forgets a series, for example of a cluster that was removed. */
	remove(...labels: string[]): void {
		this.byKey.delete(labels.join('\u0000'));
	}

	*series(): IterableIterator<Series<T>> {
		yield* this.byKey.values();
		if (this.overflow !== null) yield this.overflow;
	}
}

const SERIES_MAX = 20_000;

export class MetricRegistry {
	private readonly families = new Map<string, Family>();
	private readonly refreshers: (() => void)[] = [];

	/** The same family again when it is already there; its kind and labels must match. */
	counter(name: string, help: string, labelNames: readonly string[] = []): Family<Counter> {
		return this.family(name, help, 'counter', labelNames, () => new Counter());
	}

	gauge(name: string, help: string, labelNames: readonly string[] = []): Family<Gauge> {
		return this.family(name, help, 'gauge', labelNames, () => new Gauge());
	}

	histogram(
		name: string,
		help: string,
		labelNames: readonly string[] = [],
		bounds: readonly number[] = DEFAULT_BUCKETS,
	): Family<Histogram> {
		return this.family(name, help, 'histogram', labelNames, () => new Histogram(bounds));
	}

	/** `refresh` is called before the families are read: for gauges that change with time alone. */
	onRead(refresh: () => void): void {
		this.refreshers.push(refresh);
	}

	all(): IterableIterator<Family> {
		for (const refresh of this.refreshers) refresh();
		return this.families.values();
	}

	private family<T extends Instrument>(
		name: string,
		help: string,
		kind: MetricKind,
		labelNames: readonly string[],
		make: () => T,
	): Family<T> {
		const found = this.families.get(name);
		if (found !== undefined) {
			if (found.kind !== kind || found.labelNames.join() !== labelNames.join()) {
				throw new Error(`metric ${name} is already registered as a ${found.kind} of [${found.labelNames.join(', ')}]`);
			}
			return found as Family<T>;
		}
		const family = new Family<T>(name, help, kind, labelNames, make, SERIES_MAX);
		this.families.set(name, family as unknown as Family);
		return family;
	}
}
