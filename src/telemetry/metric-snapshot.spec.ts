import { expect, test } from 'bun:test';
import { MergedMetrics, type MergeRule, snapshotOf } from './metric-snapshot.ts';
import { renderPrometheusText } from './prometheus-text.ts';
import { MetricRegistry } from './registry.ts';

/** One process's registry, with a counter, gauges and a histogram. */
function worker(requests: number, open: number, members: number, ...durations: number[]): MetricRegistry {
	const registry = new MetricRegistry();
	registry.counter('requests_total', 'Requests', ['cluster']).with('a').inc(requests);
	registry.gauge('open', 'Open connections').with().set(open);
	registry.gauge('members', 'Hosts').with().set(members);
	registry
		.gauge('breaker_open', '1 while open')
		.with()
		.set(open > 0 ? 1 : 0);
	const histogram = registry.histogram('duration', 'ms', [], [1, 10]).with();
	for (const duration of durations) histogram.observe(duration);
	return registry;
}

const ruleOf = (family: string): MergeRule =>
	family === 'members' ? 'own' : family === 'breaker_open' ? 'max' : 'sum';

/** As it is after a way between processes. */
function sent(registry: MetricRegistry) {
	return structuredClone(snapshotOf(registry));
}

test('counters, gauges and histograms are summed; what all see alike is not', () => {
	const merged = new MergedMetrics(worker(0, 0, 3), ruleOf);
	merged.merge([sent(worker(5, 1, 3, 0.5, 20)), sent(worker(7, 2, 3, 5))]);
	expect(renderPrometheusText(merged.registry)).toBe(
		`# HELP requests_total Requests
# TYPE requests_total counter
requests_total{cluster="a"} 12
# HELP open Open connections
# TYPE open gauge
open 3
# HELP members Hosts
# TYPE members gauge
members 3
# HELP breaker_open 1 while open
# TYPE breaker_open gauge
breaker_open 1
# HELP duration ms
# TYPE duration histogram
duration_bucket{le="1"} 1
duration_bucket{le="10"} 2
duration_bucket{le="+Inf"} 3
duration_sum 25.5
duration_count 3
`,
	);
});

test('merging again begins anew, and keeps the instruments', () => {
	const merged = new MergedMetrics(worker(0, 0, 0), ruleOf);
	merged.merge([sent(worker(5, 9, 0))]);
	const counter = merged.registry.counter('requests_total', 'Requests', ['cluster']).with('a');
	merged.merge([sent(worker(6, 0, 0))]);
	expect(merged.registry.counter('requests_total', 'Requests', ['cluster']).with('a')).toBe(counter);
	expect(counter.value).toBe(6);
	expect(merged.registry.gauge('open', 'Open connections').with().value).toBe(0);
});

test('what a dead process counted stays; its gauges go', () => {
	const merged = new MergedMetrics(worker(0, 0, 0), ruleOf);
	merged.retire(sent(worker(5, 4, 0, 5)));
	merged.merge([sent(worker(1, 1, 0))]);
	expect(merged.registry.counter('requests_total', 'Requests', ['cluster']).with('a').value).toBe(6);
	expect(merged.registry.gauge('open', 'Open connections').with().value).toBe(1);
	expect(merged.registry.histogram('duration', 'ms', [], [1, 10]).with().count).toBe(1);
});

test('series that nobody has any more are gone', () => {
	const own = worker(0, 0, 0);
	const merged = new MergedMetrics(own, ruleOf);
	const other = worker(0, 0, 0);
	other.counter('requests_total', 'Requests', ['cluster']).with('b').inc();
	merged.merge([sent(other)]);
	expect(renderPrometheusText(merged.registry)).toContain('cluster="b"');
	merged.merge([sent(worker(0, 0, 0))]);
	expect(renderPrometheusText(merged.registry)).not.toContain('cluster="b"');
});
