// The fault filter, Envoy's `envoy.filters.http.fault`: delays and aborts a share of the requests,
// to see what their callers do. A route's own configuration replaces the chain's.

import { type HTTPFault, HTTPFaultSchema } from '../../generated/envoy/extensions/filters/http/fault/v3/fault_pb.ts';
import type { Counter, Gauge } from '../../telemetry/registry.ts';
import { durationMs } from '../duration-ms.ts';
import type { SupportedFields } from '../field-check.ts';
import { compileFraction } from '../fraction.ts';
import { compileHeaderMatchers, type HeaderMatcher, matchesRequestHeaders } from '../route/header-matcher.ts';
import { ROUTE_FIELDS } from '../route/route-fields.ts';
import { ResponseFlag } from '../stream-info.ts';
import type { Exchange } from './exchange.ts';
import type { FilterConfig, FilterContext, FilterStatus, HttpFilter, HttpFilterFactory } from './filter.ts';

export const FAULT_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';

export const FAULT_FIELDS: SupportedFields = {
	...ROUTE_FIELDS,
	'envoy.extensions.filters.http.fault.v3.HTTPFault': [
		'delay',
		'abort',
		'upstream_cluster',
		'headers',
		'max_active_faults',
		'disable_downstream_cluster_stats',
	],
	'envoy.extensions.filters.http.fault.v3.FaultAbort': ['http_status', 'grpc_status', 'percentage'],
	'envoy.extensions.filters.common.fault.v3.FaultDelay': ['fixed_delay', 'percentage'],
};

interface FaultSettings {
	readonly delayMs: number;
	/** 0…1. */
	readonly delayShare: number;
	/** 0: no abort. */
	readonly abortStatus: number;
	/** Null: the abort is an HTTP status. */
	readonly abortGrpcStatus: number | null;
	readonly abortShare: number;
	/** Only requests to this cluster; empty: all. */
	readonly cluster: string;
	readonly headers: readonly HeaderMatcher[];
	readonly activeMax: number;
}

class FaultFilter implements HttpFilter {
	readonly name: string;
	private active = 0;
	private readonly aborts: Counter;
	private readonly delays: Counter;
	private readonly overflows: Counter;
	private readonly activeGauge: Gauge;

	constructor(
		private readonly settings: FaultSettings,
		private readonly context: FilterContext,
	) {
		this.name = context.name;
		const labels = ['envoy_http_conn_manager_prefix'];
		const { registry, statPrefix } = context;
		this.aborts = registry.counter('envoy_http_fault_aborts_injected', 'Aborts injected', labels).with(statPrefix);
		this.delays = registry.counter('envoy_http_fault_delays_injected', 'Delays injected', labels).with(statPrefix);
		this.overflows = registry
			.counter('envoy_http_fault_faults_overflow', 'Faults not injected since too many were active', labels)
			.with(statPrefix);
		this.activeGauge = registry.gauge('envoy_http_fault_active_faults', 'Faults now active', labels).with(statPrefix);
	}

	onRequestHead(exchange: Exchange): FilterStatus {
		const own = exchange.route?.filterConfigs?.get(this.name) as FaultSettings | undefined;
		const settings = own ?? this.settings;
		if (!applies(settings, exchange)) return 'continue';
		const random = exchange.random;
		const delays = settings.delayMs > 0 && random.next() < settings.delayShare;
		const aborts =
			(settings.abortStatus > 0 || settings.abortGrpcStatus !== null) && random.next() < settings.abortShare;
		if (!delays && !aborts) return 'continue';
		if (this.active >= settings.activeMax) {
			this.overflows.inc();
			return 'continue';
		}
		this.active += 1;
		this.activeGauge.inc();
		exchange.filterState[this.context.slot] = true;
		if (!delays) {
			this.abort(exchange, settings);
			return 'stop';
		}
		this.delays.inc();
		exchange.responseFlags |= ResponseFlag.delayInjected;
		exchange.after(settings.delayMs, () => {
			this.release(exchange);
			if (aborts) this.abort(exchange, settings);
			else exchange.resumeRequest();
		});
		return 'pause';
	}

	onComplete(exchange: Exchange): void {
		this.release(exchange);
	}

	private abort(exchange: Exchange, settings: FaultSettings): void {
		this.aborts.inc();
		const grpc = settings.abortGrpcStatus;
		const status = grpc === null ? settings.abortStatus : 200;
		const flags = ResponseFlag.faultInjected;
		exchange.sendLocalReply(status, 'fault filter abort', flags, 'fault_filter_abort', null, grpc);
	}

	private release(exchange: Exchange): void {
		if (exchange.filterState[this.context.slot] !== true) return;
		exchange.filterState[this.context.slot] = false;
		this.active -= 1;
		this.activeGauge.dec();
	}
}

export const faultFilterFactory: HttpFilterFactory = {
	typeUrl: FAULT_TYPE,
	compile: (config, context) => new FaultFilter(compileFault(config), context),
	compileRouteConfig: (config) => compileFault(config),
};

function applies(settings: FaultSettings, exchange: Exchange): boolean {
	if (settings.delayMs === 0 && settings.abortStatus === 0 && settings.abortGrpcStatus === null) return false;
	if (settings.cluster !== '') {
		const action = exchange.route?.action;
		if (action?.kind !== 'forward' || action.cluster !== settings.cluster) return false;
	}
	return settings.headers.length === 0 || matchesRequestHeaders(settings.headers, exchange.requestHead);
}

function compileFault(config: FilterConfig): FaultSettings {
	const message: HTTPFault = config.message(HTTPFaultSchema, FAULT_FIELDS);
	const { delay, abort } = message;
	const status = abort?.errorType.case === 'httpStatus' ? abort.errorType.value : 0;
	if (abort !== undefined && abort.errorType.case === undefined) {
		throw config.error('abort', undefined, 'one of http_status, grpc_status');
	}
	if (abort?.errorType.case === 'httpStatus' && (status < 200 || status > 599)) {
		throw config.error('abort.http_status', String(status), 'a status from 200 to 599');
	}
	return {
		delayMs: delay?.faultDelaySecifier.case === 'fixedDelay' ? (durationMs(delay.faultDelaySecifier.value) ?? 0) : 0,
		delayShare: delay?.percentage === undefined ? 0 : compileFraction(delay.percentage),
		abortStatus: status,
		abortGrpcStatus: abort?.errorType.case === 'grpcStatus' ? abort.errorType.value : null,
		abortShare: abort?.percentage === undefined ? 0 : compileFraction(abort.percentage),
		cluster: message.upstreamCluster,
		headers: compileHeaderMatchers(message.headers, config.object, `${config.field}.headers`),
		activeMax: message.maxActiveFaults ?? Number.POSITIVE_INFINITY,
	};
}
