// Envoy's Cluster, checked and compiled to what the running cluster reads. Everything that is wrong
// or not supported is found here, before anything of the cluster exists.

import { create } from '@bufbuild/protobuf';
import { type Any, anyUnpack } from '@bufbuild/protobuf/wkt';
import type { CircuitBreakers } from '../../generated/envoy/config/cluster/v3/circuit_breaker_pb.ts';
import {
	type Cluster,
	ClusterSchema,
	Cluster_DiscoveryType as DiscoveryType,
	Cluster_DnsLookupFamily as DnsLookupFamily,
} from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { RoutingPriority } from '../../generated/envoy/config/core/v3/base_pb.ts';
import type { ConfigSource } from '../../generated/envoy/config/core/v3/config_source_pb.ts';
import type { HttpProtocolOptions as CommonOptions } from '../../generated/envoy/config/core/v3/protocol_pb.ts';
import { ClusterLoadAssignmentSchema } from '../../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { HttpProtocolOptionsSchema } from '../../generated/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts';
import { ConfigError, type ConfigErrorDetail } from '../../std/errors.ts';
import { compileBufferLimit } from '../buffer-limit.ts';
import { durationMs } from '../duration-ms.ts';
import { unsupportedFields } from '../field-check.ts';
import { compileHttp2Options, HTTP2_SETTINGS_DEFAULT, type Http2Settings } from '../http2-options.ts';
import type { LoadBalancingPolicy } from '../load-balancing/host-picker.ts';
import { PANIC_THRESHOLD_PERCENT_DEFAULT } from '../load-balancing/priority-picker.ts';
import { CIRCUIT_BREAKER_DEFAULTS, type CircuitBreakerLimits } from './circuit-breakers.ts';
import { CLUSTER_FIELDS } from './cluster-fields.ts';
import type { PoolSettings } from './connection-pool.ts';
import { type AssignmentSpec, compileAssignment } from './endpoint-specs.ts';
import { compileHealthCheck, type HealthCheckConfig } from './health-check-config.ts';
import { compileLoadBalancing } from './load-balancing-config.ts';
import { TLS_TYPE } from './transport-sockets.ts';
import type { HostMetadata } from './upstream-host.ts';

export type DnsFamily = 'auto' | 'v4_only' | 'v6_only' | 'v4_preferred' | 'all';

export interface DnsSettings {
	readonly refreshMs: number;
	/** After a failure: from the base, doubled up to the maximum. */
	readonly failureRefreshMs: number;
	readonly failureRefreshMaxMs: number;
	readonly respectTtl: boolean;
	readonly family: DnsFamily;
}

export type DiscoveryConfig =
	| { readonly kind: 'static'; readonly assignment: AssignmentSpec }
	| { readonly kind: 'strict_dns' | 'logical_dns'; readonly assignment: AssignmentSpec; readonly dns: DnsSettings }
	| { readonly kind: 'eds'; readonly serviceName: string; readonly source: ConfigSource }
	| { readonly kind: 'original_dst'; readonly portOverride: number | null; readonly cleanupMs: number };

export interface ClusterConfig {
	readonly name: string;
	readonly statName: string;
	readonly metadata: HostMetadata;
	readonly discovery: DiscoveryConfig;
	/** Null: the cluster provides its own (ORIGINAL_DST). */
	readonly policy: LoadBalancingPolicy | null;
	readonly panicThresholdPercent: number;
	readonly limits: CircuitBreakerLimits;
	readonly pool: PoolSettings;
	readonly healthCheck: HealthCheckConfig | null;
	/** As it was given, for transport sockets and `/config_dump`. */
	readonly message: Cluster;
}

const CONNECT_TIMEOUT_DEFAULT_MS = 5000;
const IDLE_TIMEOUT_DEFAULT_MS = 3_600_000;
const DNS_REFRESH_DEFAULT_MS = 5000;
const CLEANUP_INTERVAL_DEFAULT_MS = 5000;
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** @throws ConfigError with every field that is not supported, or the first that is wrong */
export function compileCluster(message: Cluster): ClusterConfig {
	const object = `cluster ${JSON.stringify(message.name)}`;
	if (message.name === '') throw new ConfigError({ object, field: 'name', expected: 'a name' });
	refuse(unsupportedFields(ClusterSchema, message, CLUSTER_FIELDS, object));
	const connectTimeoutMs = durationMs(message.connectTimeout) ?? CONNECT_TIMEOUT_DEFAULT_MS;
	if (connectTimeoutMs <= 0) {
		throw new ConfigError({
			object,
			field: 'connect_timeout',
			found: `${connectTimeoutMs} ms`,
			expected: 'more than 0',
		});
	}
	if (message.healthChecks.length > 1) {
		const found = `${message.healthChecks.length}`;
		throw new ConfigError({ object, field: 'health_checks', found, expected: 'at most one, as in Envoy' });
	}
	const discovery = compileDiscovery(message, object);
	const { common, protocol, http2 } = httpOptions(message, object);
	return {
		name: message.name,
		statName: message.altStatName || message.name,
		metadata: message.metadata?.filterMetadata ?? {},
		discovery,
		...compileLoadBalancing(message, discovery.kind === 'original_dst', object),
		panicThresholdPercent: message.commonLbConfig?.healthyPanicThreshold?.value ?? PANIC_THRESHOLD_PERCENT_DEFAULT,
		limits: compileLimits(message.circuitBreakers, object),
		pool: {
			connectTimeoutMs,
			bufferLimitBytes: compileBufferLimit(message.perConnectionBufferLimitBytes, object),
			idleTimeoutMs: durationMs(common?.idleTimeout) ?? IDLE_TIMEOUT_DEFAULT_MS,
			connectionDurationMaxMs: durationMs(common?.maxConnectionDuration) ?? 0,
			requestsPerConnectionMax: common?.maxRequestsPerConnection ?? message.maxRequestsPerConnection ?? 0,
			protocol,
			preconnectRatio: preconnectRatio(message, object),
			http2,
		},
		healthCheck: healthCheckOf(message, protocol, object),
		message,
	};
}

function healthCheckOf(message: Cluster, protocol: PoolSettings['protocol'], object: string): HealthCheckConfig | null {
	const [check] = message.healthChecks;
	if (check === undefined) return null;
	const config = compileHealthCheck(check, object, 'health_checks[0]');
	if (config.checker.kind === 'grpc' && protocol === 'http1') {
		const expected = 'http2_protocol_options in the typed_extension_protocol_options of the cluster: gRPC needs HTTP/2';
		throw new ConfigError({ object, field: 'health_checks[0].grpc_health_check', expected });
	}
	return config;
}

function compileDiscovery(message: Cluster, object: string): DiscoveryConfig {
	const type = message.clusterDiscoveryType;
	if (type.case === 'clusterType') {
		throw new ConfigError({ object, field: 'cluster_type', expected: 'type' });
	}
	// An unset `type` is STATIC, the enum's zero.
	switch (type.value ?? DiscoveryType.STATIC) {
		case DiscoveryType.STATIC:
			return { kind: 'static', assignment: assignmentOf(message, false, object) };
		case DiscoveryType.STRICT_DNS:
			return {
				kind: 'strict_dns',
				assignment: assignmentOf(message, true, object),
				dns: compileDns(message, object),
			};
		case DiscoveryType.LOGICAL_DNS: {
			const assignment = assignmentOf(message, true, object);
			if (assignment.endpoints.length !== 1) {
				const found = `${assignment.endpoints.length} endpoints`;
				throw new ConfigError({ object, field: 'load_assignment', found, expected: 'exactly one for LOGICAL_DNS' });
			}
			return { kind: 'logical_dns', assignment, dns: compileDns(message, object) };
		}
		case DiscoveryType.EDS: {
			const source = message.edsClusterConfig?.edsConfig;
			if (source === undefined) {
				throw new ConfigError({ object, field: 'eds_cluster_config.eds_config', expected: 'a config source' });
			}
			return { kind: 'eds', serviceName: message.edsClusterConfig?.serviceName || message.name, source };
		}
		case DiscoveryType.ORIGINAL_DST: {
			if (message.loadAssignment !== undefined) {
				throw new ConfigError({ object, field: 'load_assignment', expected: 'none for ORIGINAL_DST' });
			}
			const override =
				message.lbConfig.case === 'originalDstLbConfig' ? message.lbConfig.value.upstreamPortOverride : undefined;
			return {
				kind: 'original_dst',
				portOverride: override ?? null,
				cleanupMs: durationMs(message.cleanupInterval) ?? CLEANUP_INTERVAL_DEFAULT_MS,
			};
		}
		default:
			throw new ConfigError({
				object,
				field: 'type',
				found: String(type.value),
				expected: 'STATIC, STRICT_DNS, LOGICAL_DNS, EDS or ORIGINAL_DST',
			});
	}
}

function assignmentOf(message: Cluster, allowNames: boolean, object: string): AssignmentSpec {
	// As in Envoy, a cluster may have no endpoint at all.
	const assignment = message.loadAssignment ?? create(ClusterLoadAssignmentSchema);
	return compileAssignment(assignment, allowNames, object, 'load_assignment');
}

function compileDns(message: Cluster, object: string): DnsSettings {
	const refreshMs = durationMs(message.dnsRefreshRate) ?? DNS_REFRESH_DEFAULT_MS;
	if (refreshMs < 1) {
		throw new ConfigError({ object, field: 'dns_refresh_rate', found: `${refreshMs} ms`, expected: 'at least 1 ms' });
	}
	const failure = message.dnsFailureRefreshRate;
	const failureRefreshMs = durationMs(failure?.baseInterval) ?? refreshMs;
	const families: Record<DnsLookupFamily, DnsFamily> = {
		[DnsLookupFamily.AUTO]: 'auto',
		[DnsLookupFamily.V4_ONLY]: 'v4_only',
		[DnsLookupFamily.V6_ONLY]: 'v6_only',
		[DnsLookupFamily.V4_PREFERRED]: 'v4_preferred',
		[DnsLookupFamily.ALL]: 'all',
	};
	return {
		refreshMs,
		failureRefreshMs: Math.max(1, failureRefreshMs),
		failureRefreshMaxMs:
			durationMs(failure?.maxInterval) ?? (failure === undefined ? refreshMs : failureRefreshMs * 10),
		respectTtl: message.respectDnsTtl,
		family: families[message.dnsLookupFamily] ?? 'auto',
	};
}

/** From the typed options, or from the deprecated fields that they replaced. */
function httpOptions(
	message: Cluster,
	object: string,
): {
	readonly common: CommonOptions | undefined;
	readonly protocol: PoolSettings['protocol'];
	readonly http2: Http2Settings;
} {
	let common = message.commonHttpProtocolOptions;
	let protocol: PoolSettings['protocol'] = 'http1';
	let http2 = HTTP2_SETTINGS_DEFAULT;
	for (const [key, any] of Object.entries(message.typedExtensionProtocolOptions)) {
		const field = `typed_extension_protocol_options[${JSON.stringify(key)}]`;
		if (key !== HTTP_OPTIONS) throw new ConfigError({ object, field, expected: `only ${HTTP_OPTIONS}` });
		const options = unpackHttpOptions(any, object, field);
		refuse(unsupportedFields(HttpProtocolOptionsSchema, options, CLUSTER_FIELDS, object, field));
		const chosen = options.upstreamProtocolOptions;
		if (chosen.case === 'explicitHttpConfig') {
			const { protocolConfig } = chosen.value;
			if (protocolConfig.case === 'http2ProtocolOptions') {
				protocol = 'http2';
				const at = `${field}.explicit_http_config.http2_protocol_options`;
				http2 = compileHttp2Options(protocolConfig.value, object, at);
			}
		} else if (chosen.case === 'useDownstreamProtocolConfig') {
			protocol = 'downstream';
			const at = `${field}.use_downstream_protocol_config.http2_protocol_options`;
			http2 = compileHttp2Options(chosen.value.http2ProtocolOptions, object, at);
		} else if (chosen.case === 'autoConfig') {
			if (!hasTls(message)) {
				const expected = 'a transport_socket with TLS in the cluster: a host chooses its protocol by ALPN';
				throw new ConfigError({ object, field: `${field}.auto_config`, expected });
			}
			protocol = 'auto';
			const at = `${field}.auto_config.http2_protocol_options`;
			http2 = compileHttp2Options(chosen.value.http2ProtocolOptions, object, at);
		} else {
			const expected = 'explicit_http_config, use_downstream_protocol_config or auto_config';
			throw new ConfigError({ object, field, expected });
		}
		common = options.commonHttpProtocolOptions ?? common;
	}
	return { common, protocol, http2 };
}

/** Of the cluster itself, or of some of its hosts: unlike Envoy, weft speaks HTTP/1.1 to the others. */
function hasTls({ transportSocket, transportSocketMatches }: Cluster): boolean {
	const sockets = [transportSocket, ...transportSocketMatches.map((match) => match.transportSocket)];
	return sockets.some((socket) => socket?.configType.value?.typeUrl === TLS_TYPE);
}

function preconnectRatio(message: Cluster, object: string): number {
	const ratio = message.preconnectPolicy?.perUpstreamPreconnectRatio ?? 1;
	if (ratio >= 1 && ratio <= 3) return ratio;
	const field = 'preconnect_policy.per_upstream_preconnect_ratio';
	throw new ConfigError({ object, field, found: String(ratio), expected: '1 to 3' });
}

function unpackHttpOptions(any: Any, object: string, field: string) {
	const options = anyUnpack(any, HttpProtocolOptionsSchema);
	if (options !== undefined) return options;
	throw new ConfigError({ object, field, found: any.typeUrl, expected: `type.googleapis.com/${HTTP_OPTIONS}` });
}

function compileLimits(message: CircuitBreakers | undefined, object: string): CircuitBreakerLimits {
	let limits = CIRCUIT_BREAKER_DEFAULTS;
	for (const [i, threshold] of (message?.thresholds ?? []).entries()) {
		if (threshold.priority !== RoutingPriority.DEFAULT) {
			throw new ConfigError({
				object,
				field: `circuit_breakers.thresholds[${i}].priority`,
				found: RoutingPriority[threshold.priority] ?? String(threshold.priority),
				expected: 'DEFAULT: weft has no routes of high priority',
			});
		}
		const budget = threshold.retryBudget;
		limits = {
			connectionsMax: threshold.maxConnections ?? CIRCUIT_BREAKER_DEFAULTS.connectionsMax,
			pendingRequestsMax: threshold.maxPendingRequests ?? CIRCUIT_BREAKER_DEFAULTS.pendingRequestsMax,
			requestsMax: threshold.maxRequests ?? CIRCUIT_BREAKER_DEFAULTS.requestsMax,
			retriesMax: threshold.maxRetries ?? CIRCUIT_BREAKER_DEFAULTS.retriesMax,
			retryBudget:
				budget === undefined
					? null
					: { percent: budget.budgetPercent?.value ?? 20, concurrencyMin: budget.minRetryConcurrency ?? 3 },
		};
	}
	return limits;
}

function refuse(details: readonly ConfigErrorDetail[]): void {
	if (details.length > 0) throw new ConfigError(details);
}
