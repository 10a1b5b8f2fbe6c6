// Series of a registry as `io.prometheus.client` messages, the form that Envoy's metrics service
// sends. Values are cumulative, as in the registry.

import { create } from '@bufbuild/protobuf';
import {
	BucketSchema,
	CounterSchema,
	GaugeSchema,
	HistogramSchema,
	LabelPairSchema,
	type Metric,
	type MetricFamily,
	MetricFamilySchema,
	MetricSchema,
	MetricType,
} from '../generated/io/prometheus/client/metrics_pb.ts';
import { Counter, type Family, Histogram, type Series } from './registry.ts';

/** One family with the given series of it. `timestampMs`: since the Unix epoch, on each metric. */
export function metricFamily(family: Family, series: Iterable<Series>, timestampMs: number): MetricFamily {
	const metric: Metric[] = [];
	const time = BigInt(Math.round(timestampMs));
	for (const one of series) metric.push(metricOf(family, one, time));
	return create(MetricFamilySchema, { name: family.name, help: family.help, type: typeOf(family), metric });
}

function typeOf(family: Family): MetricType {
	switch (family.kind) {
		case 'counter':
			return MetricType.COUNTER;
		case 'gauge':
			return MetricType.GAUGE;
		case 'histogram':
			return MetricType.HISTOGRAM;
	}
}

function metricOf(family: Family, { labels, instrument }: Series, timestampMs: bigint): Metric {
	const label = family.labelNames.map((name, i) => create(LabelPairSchema, { name, value: labels[i] ?? '' }));
	if (instrument instanceof Histogram) {
		return create(MetricSchema, { label, timestampMs, histogram: histogramOf(instrument) });
	}
	if (instrument instanceof Counter) {
		return create(MetricSchema, { label, timestampMs, counter: create(CounterSchema, { value: instrument.value }) });
	}
	return create(MetricSchema, { label, timestampMs, gauge: create(GaugeSchema, { value: instrument.value }) });
}

function histogramOf(histogram: Histogram) {
	let cumulative = 0;
	const bucket = [];
	for (let i = 0; i < histogram.counts.length; i++) {
		cumulative += histogram.counts[i]!;
		const upperBound = i < histogram.bounds.length ? histogram.bounds[i]! : Number.POSITIVE_INFINITY;
		bucket.push(create(BucketSchema, { upperBound, cumulativeCount: BigInt(cumulative) }));
	}
	return create(HistogramSchema, { sampleCount: BigInt(histogram.count), sampleSum: histogram.sum, bucket });
}
