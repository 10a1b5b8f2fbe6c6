// Envoy's `envoy.filters.http.grpc_stats`: counts gRPC calls by status and their messages, per
// cluster and, where configured, per method. Bodies pass as they are.

import { FilterConfigSchema } from '../../generated/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts';
import { GrpcFrameCounter } from '../../grpc/frame-counter.ts';
import { getHeader, type HeaderList } from '../../http/headers.ts';
import type { ResponseHead } from '../../http/stream.ts';
import type { SupportedFields } from '../field-check.ts';
import { isGrpc } from '../route/route-match.ts';
import type { Exchange } from './exchange.ts';
import type { FilterConfig, FilterContext, FilterStatus, HttpFilter, HttpFilterFactory } from './filter.ts';
import {
	ANY_METHOD,
	clusterOfRoute,
	type GrpcMethodName,
	type GrpcMethodStats,
	GrpcStats,
	grpcMethodOf,
} from './grpc-method-stats.ts';

export const GRPC_STATS_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig';

export const GRPC_STATS_FIELDS: SupportedFields = {
	'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig': [
		'individual_method_stats_allowlist',
		'stats_for_all_methods',
		'enable_upstream_stats',
		'replace_dots_in_grpc_service_name',
	],
	'envoy.config.core.v3.GrpcMethodList': ['services'],
	'envoy.config.core.v3.GrpcMethodList.Service': ['name', 'method_names'],
};

interface Settings {
	/** Null: every method has series of its own. */
	readonly methods: ReadonlySet<string> | null;
	readonly upstreamStats: boolean;
	readonly replaceDots: boolean;
}

/** Of one call. */
interface Call {
	readonly stats: GrpcMethodStats;
	readonly request: GrpcFrameCounter;
	/** Null: the response is no gRPC, or has not begun. */
	response: GrpcFrameCounter | null;
}

class GrpcStatsFilter implements HttpFilter {
	readonly name: string;
	private readonly slot: number;
	private readonly stats: GrpcStats;

	constructor(
		private readonly settings: Settings,
		private readonly context: FilterContext,
	) {
		this.name = context.name;
		this.slot = context.slot;
		this.stats = new GrpcStats(context.registry, 'grpc');
	}

	onRequestHead(exchange: Exchange): FilterStatus {
		const { headers, path } = exchange.requestHead;
		if (!isGrpc(getHeader(headers, 'content-type'))) return 'continue';
		const cluster = clusterOfRoute(exchange, this.context.clusters);
		if (cluster === null) return 'continue';
		const stats = this.stats.of(cluster, path, () => this.countedName(path));
		if (stats === null) return 'continue';
		const call: Call = { stats, request: new GrpcFrameCounter(), response: null };
		exchange.filterState[this.slot] = call;
		return 'continue';
	}

	onRequestData(exchange: Exchange, bytes: Uint8Array): Uint8Array {
		const call = this.callOf(exchange);
		if (call === undefined) return bytes;
		const count = call.request.count(bytes);
		if (count > 0) call.stats.countRequestMessages(count);
		return bytes;
	}

	onResponseHead(exchange: Exchange, head: ResponseHead, end: boolean): void {
		const call = this.callOf(exchange);
		if (call === undefined) return;
		const grpc = !end && head.status === 200 && isGrpc(getHeader(head.headers, 'content-type'));
		call.response = grpc ? new GrpcFrameCounter() : null;
		call.stats.countStatus(head.headers);
		if (end) this.observeUpstream(exchange, call);
	}

	onResponseData(exchange: Exchange, bytes: Uint8Array): Uint8Array {
		const call = this.callOf(exchange);
		if (call === undefined || call.response === null) return bytes;
		const count = call.response.count(bytes);
		if (count > 0) call.stats.countResponseMessages(count);
		return bytes;
	}

	onResponseTrailers(exchange: Exchange, trailers: HeaderList): void {
		const call = this.callOf(exchange);
		if (call === undefined) return;
		call.stats.countStatus(trailers);
		this.observeUpstream(exchange, call);
	}

	private callOf(exchange: Exchange): Call | undefined {
		return exchange.filterState[this.slot] as Call | undefined;
	}

	private countedName(path: string): GrpcMethodName | null {
		const name = grpcMethodOf(path);
		const { methods, replaceDots } = this.settings;
		if (name === null) return null;
		if (methods !== null && !methods.has(methodKey(name.service, name.method))) return ANY_METHOD;
		return replaceDots ? { ...name, service: name.service.replaceAll('.', '_') } : name;
	}

	/** Of a response by the upstream only. */
	private observeUpstream(exchange: Exchange, call: Call): void {
		if (!this.settings.upstreamStats || exchange.localReply || exchange.upstreamStartMs === 0) return;
		if (exchange.requestEndMs === 0) return;
		const sentMs = Math.max(exchange.requestEndMs, exchange.upstreamStartMs);
		call.stats.observeUpstreamMs(Math.max(0, exchange.clock.nowMs() - sentMs));
	}
}

export const grpcStatsFilterFactory: HttpFilterFactory = {
	typeUrl: GRPC_STATS_TYPE,
	compile: (config, context) => new GrpcStatsFilter(compileSettings(config), context),
};

function compileSettings(config: FilterConfig): Settings {
	const message = config.message(FilterConfigSchema, GRPC_STATS_FIELDS);
	const specifier = message.perMethodStatSpecifier;
	let methods: Set<string> | null = new Set();
	if (specifier.case === 'statsForAllMethods' && specifier.value) methods = null;
	else if (specifier.case === 'individualMethodStatsAllowlist') {
		for (const service of specifier.value.services) {
			for (const method of service.methodNames) methods.add(methodKey(service.name, method));
		}
	}
	return {
		methods,
		upstreamStats: message.enableUpstreamStats,
		replaceDots: message.replaceDotsInGrpcServiceName,
	};
}

function methodKey(service: string, method: string): string {
	return `${service}/${method}`;
}
