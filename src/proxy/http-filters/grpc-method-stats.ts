// Counts of gRPC calls per cluster, and per method where that is wanted: Envoy's
// `cluster.NAME.grpc.SERVICE.METHOD.*`, in Prometheus `envoy_cluster_grpc_*` with the labels
// `envoy_grpc_bridge_service` and `envoy_grpc_bridge_method`. Methods come from clients: their names
// are bounded, the number of series is bounded by the registry.

import { GRPC_STATUS_MAX, parseGrpcStatus } from '../../grpc/status.ts';
import { getHeader, type HeaderList } from '../../http/headers.ts';
import type { Counter, Family, Histogram, MetricRegistry } from '../../telemetry/registry.ts';
import type { Cluster } from '../upstream.ts';
import type { Exchange } from './exchange.ts';

const LABELS = ['envoy_cluster_name', 'envoy_grpc_bridge_service', 'envoy_grpc_bridge_method'] as const;
const NAME_LENGTH_MAX = 256;
/** Methods known by their path per cluster; past it they are looked up anew. */
const PATHS_MAX = 1024;

export interface GrpcMethodName {
	readonly service: string;
	readonly method: string;
}

/** Counted without the name of a method. */
export const ANY_METHOD: GrpcMethodName = { service: '', method: '' };

/** `/SERVICE/METHOD`, with or without a query; null for any other path, and for names that are too long. */
export function grpcMethodOf(path: string): GrpcMethodName | null {
	const query = path.indexOf('?');
	const parts = (query < 0 ? path : path.slice(0, query)).split('/', 8).filter((part) => part !== '');
	const [service, method] = parts;
	if (parts.length !== 2 || service!.length > NAME_LENGTH_MAX || method!.length > NAME_LENGTH_MAX) return null;
	return { service: service!, method: method! };
}

/** The cluster that the request goes to by its route; null: none. */
export function clusterOfRoute(
	exchange: Exchange,
	clusters: { get(name: string): Cluster | undefined },
): Cluster | null {
	const action = exchange.route?.action;
	if (action?.kind !== 'forward') return null;
	const name =
		action.clusterHeader === '' ? action.cluster : getHeader(exchange.requestHead.headers, action.clusterHeader);
	return (name === undefined ? undefined : clusters.get(name)) ?? null;
}

/** The families of one protocol, shared by all filters of a registry. */
export class GrpcStats {
	private readonly statuses: readonly Family<Counter>[];
	private readonly success: Family<Counter>;
	private readonly failure: Family<Counter>;
	private readonly total: Family<Counter>;
	private readonly requestMessages: Family<Counter>;
	private readonly responseMessages: Family<Counter>;
	private readonly upstreamTime: Family<Histogram>;
	private readonly byCluster = new WeakMap<Cluster, Map<string, GrpcMethodStats>>();

	constructor(registry: MetricRegistry, protocol: 'grpc' | 'grpc_web') {
		const name = (rest: string): string => `envoy_cluster_${protocol}_${rest}`;
		const counter = (rest: string, help: string) => registry.counter(name(rest), help, LABELS);
		this.statuses = Array.from({ length: GRPC_STATUS_MAX + 1 }, (_, code) =>
			counter(String(code), `Calls that ended with the gRPC status ${code}`),
		);
		this.success = counter('success', 'Calls that ended with the gRPC status 0');
		this.failure = counter('failure', 'Calls that ended with another gRPC status');
		this.total = counter('total', 'Calls that ended with a gRPC status');
		this.requestMessages = counter('request_message_count', 'Messages of clients');
		this.responseMessages = counter('response_message_count', 'Messages of upstreams');
		this.upstreamTime = registry.histogram(
			name('upstream_rq_time'),
			'Milliseconds from the last byte of a request to the last of its response',
			LABELS,
		);
	}

	/** `key`: under which the method is looked up again, its path. */
	of(cluster: Cluster, key: string, name: () => GrpcMethodName | null): GrpcMethodStats | null {
		let methods = this.byCluster.get(cluster);
		if (methods === undefined) {
			methods = new Map();
			this.byCluster.set(cluster, methods);
		}
		const known = methods.get(key);
		if (known !== undefined) return known;
		const method = name();
		if (method === null) return null;
		const labels = [cluster.statName, method.service, method.method];
		const stats = new GrpcMethodStats((family) => family.with(...labels), this.families());
		if (methods.size >= PATHS_MAX) methods.clear();
		methods.set(key, stats);
		return stats;
	}

	private families(): GrpcFamilies {
		const { statuses, success, failure, total, requestMessages, responseMessages, upstreamTime } = this;
		return { statuses, success, failure, total, requestMessages, responseMessages, upstreamTime };
	}
}

interface GrpcFamilies {
	readonly statuses: readonly Family<Counter>[];
	readonly success: Family<Counter>;
	readonly failure: Family<Counter>;
	readonly total: Family<Counter>;
	readonly requestMessages: Family<Counter>;
	readonly responseMessages: Family<Counter>;
	readonly upstreamTime: Family<Histogram>;
}

/** Of one method on one cluster; series are made when they are first used. */
export class GrpcMethodStats {
	private readonly statuses: Counter[] = [];
	private success: Counter | null = null;
	private failure: Counter | null = null;
	private total: Counter | null = null;
	private requestMessages: Counter | null = null;
	private responseMessages: Counter | null = null;
	private upstreamTime: Histogram | null = null;

	constructor(
		private readonly series: <T extends Counter | Histogram>(family: Family<T>) => T,
		private readonly families: GrpcFamilies,
	) {}

	/** Counts a call if `fields`, a head or trailers, say how it ended. A status that is none has no series of its own. */
	countStatus(fields: HeaderList): void {
		const text = getHeader(fields, 'grpc-status');
		if (text === undefined) return;
		const { families } = this;
		const status = parseGrpcStatus(text);
		const own = families.statuses[status];
		if (own !== undefined) {
			this.statuses[status] ??= this.series(own);
			this.statuses[status]!.inc();
		}
		if (status === 0) {
			this.success ??= this.series(families.success);
			this.success.inc();
		} else {
			this.failure ??= this.series(families.failure);
			this.failure.inc();
		}
		this.total ??= this.series(families.total);
		this.total.inc();
	}

	countRequestMessages(count: number): void {
		this.requestMessages ??= this.series(this.families.requestMessages);
		this.requestMessages.inc(count);
	}

	countResponseMessages(count: number): void {
		this.responseMessages ??= this.series(this.families.responseMessages);
		this.responseMessages.inc(count);
	}

	observeUpstreamMs(ms: number): void {
		this.upstreamTime ??= this.series(this.families.upstreamTime);
		this.upstreamTime.observe(ms);
	}
}
