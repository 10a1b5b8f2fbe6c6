import { expect, test } from 'bun:test';
import { MetricType } from '../generated/io/prometheus/client/metrics_pb.ts';
import { metricFamily } from './metric-families.ts';
import { MetricRegistry } from './registry.ts';

test('a histogram becomes cumulative buckets that end in +Inf', () => {
	const registry = new MetricRegistry();
	const family = registry.histogram('h', 'Help.', ['a'], [1, 10]);
	const histogram = family.with('x');
	for (const value of [0.5, 1, 5, 100]) histogram.observe(value);
	const message = metricFamily(family, family.series(), 1234.6);
	expect(message.name).toBe('h');
	expect(message.help).toBe('Help.');
	expect(message.type).toBe(MetricType.HISTOGRAM);
	const [metric] = message.metric;
	expect(metric!.label.map(({ name, value }) => [name, value])).toEqual([['a', 'x']]);
	expect(metric!.timestampMs).toBe(1235n);
	expect(metric!.histogram!.sampleCount).toBe(4n);
	expect(metric!.histogram!.sampleSum).toBe(106.5);
	expect(metric!.histogram!.bucket.map((bucket) => [bucket.upperBound, bucket.cumulativeCount])).toEqual([
		[1, 2n],
		[10, 3n],
		[Number.POSITIVE_INFINITY, 4n],
	]);
});

test('counters and gauges keep their values, one metric per series', () => {
	const registry = new MetricRegistry();
	const counter = registry.counter('c', 'Help.', ['a']);
	counter.with('x').inc(2);
	counter.with('y').inc();
	expect(metricFamily(counter, counter.series(), 0).metric.map((metric) => metric.counter?.value)).toEqual([2, 1]);
	const gauge = registry.gauge('g', 'Help.');
	gauge.with().set(-1);
	const message = metricFamily(gauge, gauge.series(), 0);
	expect(message.type).toBe(MetricType.GAUGE);
	expect(message.metric[0]!.gauge?.value).toBe(-1);
});
