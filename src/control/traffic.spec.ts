import { describe, expect, test } from 'bun:test';
import { create } from '@bufbuild/protobuf';
import {
	BucketSchema,
	CounterSchema,
	HistogramSchema,
	LabelPairSchema,
	type MetricFamily,
	MetricFamilySchema,
	MetricSchema,
} from '../generated/io/prometheus/client/metrics_pb.ts';
import { VirtualClock } from '../std/clock.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import {
	EDGE_IDLE_MS,
	EDGES_PER_NODE_MAX,
	type EdgeTraffic,
	SERIES_PER_NODE_MAX,
	Traffic,
	WINDOW_SECONDS,
} from './traffic.ts';
import { figuresOf } from './traffic-figures.ts';

const FRONT = { namespace: 'shop', app: 'front' };
const BACK = { namespace: 'shop', app: 'back' };

interface SeriesInput {
	readonly requests?: number;
	/** Cumulative, by upper bound; the last is the sample count. */
	readonly latencies?: readonly (readonly [number, number])[];
	readonly labels?: Readonly<Record<string, string>>;
}

function labelsOf(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
	return {
		reporter: 'source',
		source_workload_namespace: 'shop',
		source_canonical_service: 'front',
		source_canonical_revision: 'v1',
		source_principal: 'unknown',
		destination_workload_namespace: 'shop',
		destination_canonical_service: 'back',
		destination_canonical_revision: 'v2',
		destination_service_name: 'back',
		destination_service_namespace: 'shop',
		destination_principal: 'unknown',
		response_code: '200',
		response_flags: '-',
		connection_security_policy: 'unknown',
		...extra,
	};
}

function families(...inputs: SeriesInput[]): MetricFamily[] {
	const pairs = (input: SeriesInput) =>
		Object.entries(labelsOf(input.labels)).map(([name, value]) => create(LabelPairSchema, { name, value }));
	return [
		create(MetricFamilySchema, {
			name: 'istio_requests_total',
			metric: inputs
				.filter((input) => input.requests !== undefined)
				.map((input) =>
					create(MetricSchema, { label: pairs(input), counter: create(CounterSchema, { value: input.requests! }) }),
				),
		}),
		create(MetricFamilySchema, {
			name: 'istio_request_duration_milliseconds',
			metric: inputs
				.filter((input) => input.latencies !== undefined)
				.map((input) =>
					create(MetricSchema, {
						label: pairs(input),
						histogram: create(HistogramSchema, {
							sampleSum: 1,
							sampleCount: BigInt(input.latencies!.at(-1)![1]),
							bucket: input.latencies!.map(([upperBound, cumulative]) =>
								create(BucketSchema, { upperBound, cumulativeCount: BigInt(cumulative) }),
							),
						}),
					}),
				),
		}),
	];
}

const DESTINATION = { reporter: 'destination', connection_security_policy: 'mutual_tls' };

function setUp() {
	const clock = new VirtualClock();
	const registry = new MetricRegistry();
	const traffic = new Traffic({ clock, registry });
	const figures = (edge: EdgeTraffic | undefined) => figuresOf(edge!.tally, WINDOW_SECONDS);
	const refused = (reason: string) => registry.counter('weft_traffic_refused_total', '', ['reason']).with(reason).value;
	/** Reads when the seconds up to the last report are complete. */
	const settled = () => {
		clock.advance(1500);
		return traffic.read();
	};
	return { clock, traffic, figures, refused, settled };
}

/** Reports once a second, `perSecond` requests more each time, beginning with a baseline. */
function run(
	{ clock, traffic }: ReturnType<typeof setUp>,
	seconds: number,
	perSecond: number,
	labels: Readonly<Record<string, string>> = {},
	start = 0,
): number {
	let requests = start;
	traffic.report(FRONT, families({ requests, labels }));
	for (let i = 0; i < seconds; i++) {
		clock.advance(1000);
		requests += perSecond;
		traffic.report(FRONT, families({ requests, labels }));
	}
	return requests;
}

describe('traffic', () => {
	test('gives the steady rate of an edge over ten seconds', () => {
		const mesh = setUp();
		run(mesh, 15, 20);
		const [edge] = mesh.settled();
		expect(edge!.source).toEqual({ namespace: 'shop', service: 'front', version: 'v1' });
		expect(edge!.destination).toEqual({ namespace: 'shop', service: 'back', version: 'v2' });
		expect(mesh.figures(edge)).toMatchObject({ requestRate: 20, successRate: 1, byClass: { '2xx': 20 }, p50Ms: null });
	});

	test('what a new node has counted before is a baseline, not traffic of now', () => {
		const mesh = setUp();
		run(mesh, 12, 3, {}, 1_000_000);
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(3);
	});

	test('a series that appears later at a known node counts from zero', () => {
		const mesh = setUp();
		run(mesh, 5, 10);
		mesh.clock.advance(1000);
		mesh.traffic.report(FRONT, families({ requests: 60 }, { requests: 10, labels: { response_code: '500' } }));
		const [edge] = mesh.settled();
		expect(mesh.figures(edge).byClass).toEqual({ '2xx': 6, '5xx': 1 });
		expect(mesh.figures(edge).successRate).toBeCloseTo(60 / 70);
	});

	test('a counter that went back starts anew: nothing negative, nothing lost', () => {
		const mesh = setUp();
		run(mesh, 10, 10, {}, 5000);
		mesh.clock.advance(1000);
		mesh.traffic.report(FRONT, families({ requests: 10 }));
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(10);
	});

	test('a late report loses nothing', () => {
		const mesh = setUp();
		const sent = run(mesh, 10, 10);
		mesh.clock.advance(5000);
		mesh.traffic.report(FRONT, families({ requests: sent + 50 }));
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(10);
	});

	test('what comes after a long silence is traffic of now: idle series are not reported', () => {
		const mesh = setUp();
		const sent = run(mesh, 2, 10);
		mesh.clock.advance(30_000);
		mesh.traffic.report(FRONT, families({ requests: sent + 10 }));
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(1);
	});

	test('a sidecar that was idle for minutes is not new: what comes next is all traffic, and no more', () => {
		const mesh = setUp();
		const sent = run(mesh, 2, 10);
		for (let i = 0; i < 180; i++) {
			mesh.clock.advance(1000);
			mesh.traffic.read();
		}
		mesh.traffic.report(FRONT, families({ requests: sent + 20 }));
		mesh.clock.advance(1000);
		mesh.traffic.report(FRONT, families({ requests: sent + 40 }));
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(4);
	});

	test('two streams of one node are counted apart', () => {
		const mesh = setUp();
		const worker = { ...FRONT };
		for (let i = 0; i <= 12; i++) {
			mesh.traffic.report(FRONT, families({ requests: 1000 + i }));
			mesh.traffic.report(worker, families({ requests: 5 + i }));
			if (i < 12) mesh.clock.advance(1000);
		}
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(2);
	});

	test('a rate does not dip between two reports', () => {
		const mesh = setUp();
		run(mesh, 20, 10);
		mesh.clock.advance(999);
		expect(mesh.figures(mesh.traffic.read()[0]).requestRate).toBe(10);
	});

	test('slides to zero when requests stop, and drops the edge after a minute', () => {
		const mesh = setUp();
		const sent = run(mesh, 12, 10);
		for (let i = 0; i < 12; i++) {
			mesh.clock.advance(1000);
			mesh.traffic.report(FRONT, families({ requests: sent }));
		}
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(0);
		mesh.clock.advance(EDGE_IDLE_MS);
		expect(mesh.settled()).toEqual([]);
	});

	test('an edge that comes back after it was dropped is shown again', () => {
		const mesh = setUp();
		const sent = run(mesh, 2, 10);
		for (let i = 0; i < 70; i++) {
			mesh.clock.advance(1000);
			mesh.traffic.report(FRONT, families({ requests: sent }));
			mesh.traffic.read();
		}
		expect(mesh.traffic.read()).toEqual([]);
		mesh.clock.advance(1000);
		mesh.traffic.report(FRONT, families({ requests: sent + 30 }));
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(3);
	});

	test('an edge that another caller brought back is that of all its callers', () => {
		const mesh = setUp();
		const sent = run(mesh, 2, 10);
		const sibling = { ...FRONT };
		for (let i = 0; i < 70; i++) {
			mesh.clock.advance(1000);
			mesh.traffic.report(FRONT, families({ requests: sent }));
			mesh.traffic.report(sibling, families());
			mesh.traffic.read();
		}
		mesh.clock.advance(1000);
		mesh.traffic.report(sibling, families({ requests: 10 }));
		mesh.traffic.report(FRONT, families({ requests: sent + 30 }));
		const edges = mesh.settled();
		expect(edges).toHaveLength(1);
		expect(mesh.figures(edges[0]).requestRate).toBe(4);
	});

	test('a node that vanished contributes only what it had reported', () => {
		const mesh = setUp();
		run(mesh, 12, 10);
		mesh.traffic.forget(FRONT);
		mesh.clock.advance(5000);
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(5);
		mesh.clock.advance(6000);
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(0);
	});

	test('both ends report a hop: it is counted once', () => {
		const mesh = setUp();
		let requests = 0;
		for (let i = 0; i <= 15; i++) {
			mesh.traffic.report(FRONT, families({ requests }));
			mesh.traffic.report(BACK, families({ requests, labels: DESTINATION }));
			mesh.clock.advance(1000);
			requests += 4;
		}
		const edges = mesh.traffic.read();
		expect(edges).toHaveLength(1);
		expect(mesh.figures(edges[0]).requestRate).toBe(4);
	});

	test("the destination's report counts where the source is outside the mesh", () => {
		const mesh = setUp();
		const outside = { ...DESTINATION, source_workload_namespace: 'unknown', source_canonical_service: 'unknown' };
		for (let i = 0; i <= 15; i++) {
			mesh.traffic.report(
				BACK,
				families({
					requests: i * 7,
					labels: { ...outside, source_canonical_revision: 'unknown', connection_security_policy: 'none' },
				}),
			);
			mesh.clock.advance(1000);
		}
		const [edge] = mesh.traffic.read();
		expect(edge!.source).toEqual({ namespace: '', service: 'unknown', version: '' });
		expect(edge!.mtls).toBe(false);
		expect(mesh.figures(edge).requestRate).toBe(7);
	});

	test('a destination that does not know the version of the caller makes no second edge', () => {
		const mesh = setUp();
		for (let i = 0; i <= 12; i++) {
			mesh.traffic.report(FRONT, families({ requests: i }));
			mesh.traffic.report(
				BACK,
				families({ requests: i, labels: { ...DESTINATION, source_canonical_revision: 'unknown' } }),
			);
			mesh.clock.advance(1000);
		}
		const edges = mesh.settled();
		expect(edges.map((edge) => edge.source.version)).toEqual(['v1']);
		expect(edges[0]!.mtls).toBe(true);
	});

	test("mutual TLS and principals come from the destination's report when the source does not know", () => {
		const mesh = setUp();
		const principals = {
			source_principal: 'spiffe://weft.local/ns/shop/sa/front',
			destination_principal: 'spiffe://weft.local/ns/shop/sa/back',
		};
		mesh.traffic.report(FRONT, families({ requests: 0 }));
		mesh.traffic.report(BACK, families({ requests: 0, labels: { ...DESTINATION, ...principals } }));
		mesh.clock.advance(2000);
		mesh.traffic.report(FRONT, families({ requests: 9 }));
		expect(mesh.settled()[0]!.mtls).toBeNull();
		mesh.traffic.report(BACK, families({ requests: 9, labels: { ...DESTINATION, ...principals } }));
		const [edge] = mesh.settled();
		expect(edge).toMatchObject({
			mtls: true,
			sourcePrincipal: principals.source_principal,
			destinationPrincipal: principals.destination_principal,
		});
	});

	test('a source that knows both principals need not wait for the word of the destination', () => {
		const mesh = setUp();
		const labels = {
			source_principal: 'spiffe://weft.local/ns/shop/sa/front',
			destination_principal: 'spiffe://weft.local/ns/shop/sa/back',
		};
		mesh.traffic.report(FRONT, families({ requests: 0, labels }));
		mesh.clock.advance(2000);
		mesh.traffic.report(FRONT, families({ requests: 9, labels }));
		expect(mesh.settled()[0]!.mtls).toBe(true);
	});

	test('one plain request is enough for no lock', () => {
		const mesh = setUp();
		const secure = { labels: { connection_security_policy: 'mutual_tls' } };
		const plain = { labels: { connection_security_policy: 'none' } };
		mesh.traffic.report(FRONT, families({ requests: 0, ...secure }, { requests: 0, ...plain }));
		mesh.clock.advance(2000);
		mesh.traffic.report(FRONT, families({ requests: 99, ...secure }, { requests: 0, ...plain }));
		expect(mesh.settled()[0]!.mtls).toBe(true);
		mesh.clock.advance(2000);
		mesh.traffic.report(FRONT, families({ requests: 199, ...secure }, { requests: 1, ...plain }));
		expect(mesh.settled()[0]!.mtls).toBe(false);
	});

	test('what the mesh could not deliver is no success, whatever the status', () => {
		const mesh = setUp();
		const bad: Record<string, string>[] = [
			{ response_code: '404', response_flags: 'NR' },
			{ response_code: '0', response_flags: 'DC' },
			{ response_code: '503', response_flags: 'UH', destination_canonical_service: 'unknown' },
			{ response_code: '200', response_flags: '-', grpc_response_status: '14' },
		];
		const good: Record<string, string>[] = [
			{ response_code: '404', response_flags: '-' },
			{ response_code: '429', response_flags: 'RL' },
			{ response_code: '200', response_flags: '-', grpc_response_status: '5' },
		];
		const report = (requests: number) =>
			mesh.traffic.report(FRONT, families(...[...bad, ...good].map((labels) => ({ requests, labels }))));
		report(0);
		mesh.clock.advance(2000);
		report(1);
		const edges = mesh.settled();
		expect(edges).toHaveLength(1);
		expect(mesh.figures(edges[0]).successRate).toBeCloseTo(3 / 7);
	});

	test('a request that reached no workload is an edge to the Service without a version', () => {
		const mesh = setUp();
		const labels = {
			response_code: '503',
			destination_canonical_service: 'unknown',
			destination_workload_namespace: 'unknown',
			destination_canonical_revision: 'unknown',
		};
		run(mesh, 3, 1, labels);
		expect(mesh.settled()[0]!.destination).toEqual({ namespace: 'shop', service: 'back', version: '' });
	});

	test('percentiles are interpolated within the bucket', () => {
		const mesh = setUp();
		mesh.traffic.report(FRONT, families({ requests: 0, latencies: [[10, 0], [25, 0], [50, 0]] })); // biome-ignore format: a table
		mesh.clock.advance(5000);
		mesh.traffic.report(FRONT, families({ requests: 100, latencies: [[10, 0], [25, 60], [50, 100]] })); // biome-ignore format: a table
		const figures = mesh.figures(mesh.settled()[0]);
		expect(figures.p50Ms).toBeCloseTo(10 + 15 * (50 / 60), 2);
		expect(figures.p90Ms).toBeCloseTo(25 + 25 * (30 / 40), 2);
		expect(figures.p99Ms).toBeCloseTo(25 + 25 * (39 / 40), 2);
	});

	test('a node speaks only of its own traffic', () => {
		const mesh = setUp();
		const intruder = { namespace: 'shop', app: 'intruder' };
		mesh.traffic.report(intruder, families({ requests: 0 }));
		mesh.clock.advance(2000);
		mesh.traffic.report(intruder, families({ requests: 1000 }));
		expect(mesh.settled()).toEqual([]);
		expect(mesh.refused('foreign')).toBe(1);
	});

	test('hostile numbers, labels and floods change nothing', () => {
		const mesh = setUp();
		run(mesh, 12, 10);
		for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -5]) {
			mesh.traffic.report(FRONT, families({ requests: value }));
		}
		expect(mesh.refused('value')).toBe(3);
		mesh.traffic.report(FRONT, families({ requests: 1, labels: { destination_service_name: 'x'.repeat(5000) } }));
		expect(mesh.refused('labels')).toBe(1);
		const flood = Array.from({ length: SERIES_PER_NODE_MAX + 10 }, (_, i) => ({
			requests: 0,
			labels: { request_protocol: `p${i}` },
		}));
		mesh.traffic.report(FRONT, families(...flood));
		expect(mesh.refused('series')).toBeGreaterThanOrEqual(10);
		expect(mesh.figures(mesh.settled()[0]).requestRate).toBe(10);
	});

	test('one that invents callees does not take the room of the others', () => {
		const mesh = setUp();
		const invented = Array.from({ length: EDGES_PER_NODE_MAX + 10 }, (_, i) => ({
			requests: 0,
			labels: { destination_canonical_service: `invented-${i}` },
		}));
		mesh.traffic.report(FRONT, families(...invented));
		expect(mesh.refused('edges')).toBe(10);
		const other = { namespace: 'shop', app: 'other' };
		mesh.traffic.report(other, families({ requests: 0, labels: { source_canonical_service: 'other' } }));
		expect(mesh.refused('edges')).toBe(10);
	});
});
