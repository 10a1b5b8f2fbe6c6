// Sends what changed in a registry to Envoy's metrics service (`StreamMetrics`) once a second, as
// Envoy's own metrics sink does. Never blocks and never grows: one message is under way at most,
// values are cumulative, and what was not sent is sent with the next.
//
//               first tick                call ended
//   waiting ───────────────▶ streaming ───────────────▶ backing off (1 s … 30 s, with jitter)
//      ▲                                                     │
//      └─────────────────────────────────────────────────────┘

import { create } from '@bufbuild/protobuf';
import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import {
	MetricsService,
	type StreamMetricsMessage,
	StreamMetricsMessage_IdentifierSchema,
	StreamMetricsMessageSchema,
	type StreamMetricsResponse,
} from '../generated/envoy/service/metrics/v3/metrics_service_pb.ts';
import type { MetricFamily } from '../generated/io/prometheus/client/metrics_pb.ts';
import { GrpcCall } from '../grpc/call.ts';
import { formatStatus } from '../grpc/call-status.ts';
import type { GrpcChannel } from '../grpc/channel.ts';
import { clientMethod } from '../grpc/client-methods.ts';
import type { Clock, Timer } from '../std/clock.ts';
import { Logger } from '../std/log.ts';
import type { Random } from '../std/random.ts';
import { ISTIO_METRIC_PREFIX } from './istio-metrics.ts';
import { metricFamily } from './metric-families.ts';
import { type Family, Histogram, type Instrument, type MetricRegistry, type Series } from './registry.ts';

export interface MetricsStreamOptions {
	/** The channel to the control plane; not closed by the stream. */
	readonly channel: GrpcChannel;
	/** Goes first on each stream. */
	readonly node: Node;
	readonly registry: MetricRegistry;
	readonly clock: Clock;
	readonly random: Random;
	/** Default 1000. */
	readonly intervalMs?: number;
	/** Families whose names begin with it are sent. Default `istio_`. */
	readonly prefix?: string;
}

const METHOD = clientMethod(MetricsService.method.streamMetrics);
const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
/** A stream that lasted so long was a good one: the next backoff begins anew. */
const GOOD_STREAM_MS = 10_000;
/** Keeps a message well below gRPC's usual limit of 4 MiB. */
const SERIES_PER_MESSAGE_MAX = 1000;

type MetricsCall = GrpcCall<StreamMetricsMessage, StreamMetricsResponse>;

interface PendingSeries {
	readonly family: Family;
	readonly series: Series;
}

export class MetricsStream {
	private readonly log = new Logger('metrics');
	private readonly timer: Timer;
	private readonly intervalMs: number;
	private readonly prefix: string;
	private call: MetricsCall | null = null;
	/** What the peer has of each series, by the value that moves whenever it changes. */
	private sent = new WeakMap<Instrument, number>();
	/** Changed, and not sent yet. */
	private pending: PendingSeries[] = [];
	private writing = false;
	private identified = false;
	private backoffMs = BACKOFF_MIN_MS;
	private streamStartMs = 0;
	private stopped = false;

	/** Starts at once. */
	constructor(private readonly options: MetricsStreamOptions) {
		this.intervalMs = options.intervalMs ?? 1000;
		this.prefix = options.prefix ?? ISTIO_METRIC_PREFIX;
		this.timer = options.clock.after(0, () => this.tick());
	}

	/** Ends the stream. The channel stays open. Idempotent. */
	stop(): void {
		this.stopped = true;
		this.timer.cancel();
		this.pending = [];
		this.call?.end();
		this.call = null;
	}

	private tick(): void {
		if (this.stopped) return;
		this.timer.restart(this.intervalMs);
		if (this.writing || this.pending.length > 0) return;
		if (this.call === null) this.open();
		this.collect();
		this.writeNext();
	}

	private open(): void {
		this.sent = new WeakMap();
		this.identified = false;
		this.streamStartMs = this.options.clock.nowMs();
		const call: MetricsCall = new GrpcCall(
			this.options.channel,
			METHOD,
			{},
			{
				onMessage: () => {},
				onDrain: () => {
					if (call !== this.call) return;
					this.writing = false;
					this.writeNext();
				},
				onEnd: (status) => this.onStreamEnd(call, formatStatus(status)),
			},
		);
		this.call = call;
	}

	private collect(): void {
		for (const family of this.options.registry.all()) {
			if (!family.name.startsWith(this.prefix)) continue;
			for (const series of family.series()) {
				if (changeMark(series.instrument) !== (this.sent.get(series.instrument) ?? 0))
					this.pending.push({ family, series });
			}
		}
	}

	private writeNext(): void {
		const { call } = this;
		if (call === null) return;
		while (!this.writing && (this.pending.length > 0 || !this.identified)) this.write(call);
	}

	private write(call: MetricsCall): void {
		const message = create(StreamMetricsMessageSchema, { envoyMetrics: this.takeFamilies() });
		if (!this.identified) {
			this.identified = true;
			message.identifier = create(StreamMetricsMessage_IdentifierSchema, { node: this.options.node });
		}
		this.writing = !call.send(message);
	}

	private takeFamilies(): MetricFamily[] {
		const part = this.pending.splice(0, SERIES_PER_MESSAGE_MAX);
		const families: MetricFamily[] = [];
		const nowMs = this.options.clock.wallMs();
		for (let from = 0; from < part.length; ) {
			const { family } = part[from]!;
			let to = from;
			const series: Series[] = [];
			for (; to < part.length && part[to]!.family === family; to++) {
				const one = part[to]!.series;
				series.push(one);
				this.sent.set(one.instrument, changeMark(one.instrument));
			}
			families.push(metricFamily(family, series, nowMs));
			from = to;
		}
		return families;
	}

	private onStreamEnd(call: MetricsCall, reason: string): void {
		if (call !== this.call || this.stopped) return;
		this.call = null;
		this.writing = false;
		this.pending = [];
		const { clock, random } = this.options;
		if (clock.nowMs() - this.streamStartMs >= GOOD_STREAM_MS) this.backoffMs = BACKOFF_MIN_MS;
		const waitMs = this.backoffMs * (0.5 + random.next() / 2);
		this.backoffMs = Math.min(BACKOFF_MAX_MS, this.backoffMs * 2);
		this.timer.restart(waitMs);
		this.log.debug('metrics stream ended', { reason, retryMs: Math.round(waitMs) });
	}
}

/** Differs from 0 once a series was used, and whenever it changes. */
function changeMark(instrument: Instrument): number {
	return instrument instanceof Histogram ? instrument.count : instrument.value;
}
