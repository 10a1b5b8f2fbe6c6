// Envoy's `HealthCheck`, HTTP, gRPC and TCP, compiled.

import { type HeaderValueOption, RequestMethod } from '../../generated/envoy/config/core/v3/base_pb.ts';
import type { HealthCheck, HealthCheck_Payload } from '../../generated/envoy/config/core/v3/health_check_pb.ts';
import { CodecClientType } from '../../generated/envoy/type/v3/http_pb.ts';
import type { Int64Range } from '../../generated/envoy/type/v3/range_pb.ts';
import { consistsOf, TOKEN } from '../../http/characters.ts';
import type { HeaderList } from '../../http/headers.ts';
import { ConfigError } from '../../std/errors.ts';
import { durationMs } from '../duration-ms.ts';
import { Template } from '../format/template.ts';

interface StatusRange {
	/** Inclusive. */
	readonly from: number;
	/** Exclusive. */
	readonly to: number;
}

export interface HealthCheckConfig {
	readonly timeoutMs: number;
	readonly intervalMs: number;
	readonly initialJitterMs: number;
	readonly intervalJitterMs: number;
	readonly intervalJitterPercent: number;
	/** Failures in a row until a healthy host is unhealthy. */
	readonly unhealthyThreshold: number;
	/** Successes in a row until an unhealthy host is healthy; a new host needs one. */
	readonly healthyThreshold: number;
	/** Until the cluster has had a connection. */
	readonly noTrafficIntervalMs: number;
	readonly noTrafficHealthyIntervalMs: number;
	readonly unhealthyIntervalMs: number;
	readonly unhealthyEdgeIntervalMs: number;
	readonly healthyEdgeIntervalMs: number;
	readonly reuseConnection: boolean;
	/** Port to check on every host; null: the host's own. */
	readonly altPort: number | null;
	readonly checker:
		| {
				readonly kind: 'http';
				/** By HTTP/2; else by HTTP/1.1, or as TLS decides. */
				readonly http2: boolean;
				readonly method: string;
				/** Empty: the cluster's name. */
				readonly host: string;
				readonly path: string;
				readonly headers: HeaderList;
				readonly expected: readonly StatusRange[];
				/** Count towards the threshold instead of making the host unhealthy at once. */
				readonly retriable: readonly StatusRange[];
		  }
		| {
				readonly kind: 'grpc';
				/** Empty: the server as a whole. */
				readonly service: string;
				/** Empty: the cluster's name. */
				readonly authority: string;
				readonly metadata: HeaderList;
		  }
		| { readonly kind: 'tcp'; readonly send: Uint8Array; readonly receive: readonly Uint8Array[] };
}

const NO_TRAFFIC_INTERVAL_DEFAULT_MS = 60_000;

/** @throws ConfigError */
export function compileHealthCheck(message: HealthCheck, object: string, field: string): HealthCheckConfig {
	const timeoutMs = durationMs(message.timeout);
	const intervalMs = durationMs(message.interval);
	if (timeoutMs === null || timeoutMs <= 0) {
		throw new ConfigError({ object, field: `${field}.timeout`, expected: 'a duration above 0' });
	}
	if (intervalMs === null || intervalMs <= 0) {
		throw new ConfigError({ object, field: `${field}.interval`, expected: 'a duration above 0' });
	}
	for (const name of ['unhealthyThreshold', 'healthyThreshold'] as const) {
		if (message[name] === undefined) {
			const snake = name === 'healthyThreshold' ? 'healthy_threshold' : 'unhealthy_threshold';
			throw new ConfigError({ object, field: `${field}.${snake}`, expected: 'a number of checks' });
		}
	}
	const noTrafficIntervalMs = durationMs(message.noTrafficInterval) ?? NO_TRAFFIC_INTERVAL_DEFAULT_MS;
	const unhealthyIntervalMs = durationMs(message.unhealthyInterval) ?? intervalMs;
	return {
		timeoutMs,
		intervalMs,
		initialJitterMs: durationMs(message.initialJitter) ?? 0,
		intervalJitterMs: durationMs(message.intervalJitter) ?? 0,
		intervalJitterPercent: message.intervalJitterPercent,
		unhealthyThreshold: Math.max(1, message.unhealthyThreshold!),
		healthyThreshold: Math.max(1, message.healthyThreshold!),
		noTrafficIntervalMs,
		noTrafficHealthyIntervalMs: durationMs(message.noTrafficHealthyInterval) ?? noTrafficIntervalMs,
		unhealthyIntervalMs,
		unhealthyEdgeIntervalMs: durationMs(message.unhealthyEdgeInterval) ?? unhealthyIntervalMs,
		healthyEdgeIntervalMs: durationMs(message.healthyEdgeInterval) ?? intervalMs,
		reuseConnection: message.reuseConnection ?? true,
		altPort: message.altPort ?? null,
		checker: compileChecker(message, object, field),
	};
}

function compileChecker(message: HealthCheck, object: string, field: string): HealthCheckConfig['checker'] {
	const checker = message.healthChecker;
	if (checker.case === 'tcpHealthCheck') {
		return {
			kind: 'tcp',
			send: payload(checker.value.send, object, `${field}.tcp_health_check.send`),
			receive: checker.value.receive.map((part, i) => payload(part, object, `${field}.tcp_health_check.receive[${i}]`)),
		};
	}
	if (checker.case === 'grpcHealthCheck') {
		const { serviceName, authority, initialMetadata } = checker.value;
		const at = `${field}.grpc_health_check.initial_metadata`;
		return { kind: 'grpc', service: serviceName, authority, metadata: addedHeaders(initialMetadata, object, at) };
	}
	if (checker.case !== 'httpHealthCheck') {
		const expected = 'http_health_check, grpc_health_check or tcp_health_check';
		throw new ConfigError({ object, field, expected });
	}
	const http = checker.value;
	const at = `${field}.http_health_check`;
	if (!http.path.startsWith('/')) {
		throw new ConfigError({ object, field: `${at}.path`, found: http.path, expected: 'a path that starts with /' });
	}
	if (http.codecClientType === CodecClientType.HTTP3) {
		throw new ConfigError({ object, field: `${at}.codec_client_type`, found: 'HTTP3', expected: 'HTTP1 or HTTP2' });
	}
	const headers = addedHeaders(http.requestHeadersToAdd, object, `${at}.request_headers_to_add`);
	const method = http.method === RequestMethod.METHOD_UNSPECIFIED ? 'GET' : (RequestMethod[http.method] ?? 'GET');
	if (method === 'CONNECT')
		throw new ConfigError({ object, field: `${at}.method`, found: method, expected: 'not CONNECT' });
	const expected = ranges(http.expectedStatuses, object, `${at}.expected_statuses`);
	return {
		kind: 'http',
		http2: http.codecClientType === CodecClientType.HTTP2,
		method,
		host: http.host,
		path: http.path,
		headers,
		expected: expected.length === 0 ? [{ from: 200, to: 201 }] : expected,
		retriable: ranges(http.retriableStatuses, object, `${at}.retriable_statuses`),
	};
}

/** Their values are constant: nothing of a request is known that operators could tell of. */
function addedHeaders(options: readonly HeaderValueOption[], object: string, field: string): HeaderList {
	const headers: HeaderList = [];
	options.forEach(({ header }, index) => {
		if (header === undefined) return;
		const at = `${field}[${index}].header`;
		const name = header.key.toLowerCase();
		if (name === '' || !consistsOf(name, TOKEN)) {
			throw new ConfigError({
				object,
				field: `${at}.key`,
				found: JSON.stringify(name),
				expected: 'the name of a field',
			});
		}
		const value = Template.parse(header.value, object, `${at}.value`).constant;
		if (value === null) {
			throw new ConfigError({ object, field: `${at}.value`, found: header.value, expected: 'no command operators' });
		}
		headers.push(name, value);
	});
	return headers;
}

function ranges(list: readonly Int64Range[], object: string, field: string): StatusRange[] {
	return list.map(({ start, end }, i) => {
		if (start >= 100n && start < end && end <= 600n) return { from: Number(start), to: Number(end) };
		throw new ConfigError({
			object,
			field: `${field}[${i}]`,
			found: `[${start}, ${end})`,
			expected: 'a range within [100, 600)',
		});
	});
}

/** Hex text, or bytes. Empty when there is none. */
function payload(message: HealthCheck_Payload | undefined, object: string, field: string): Uint8Array {
	if (message?.payload.case === 'binary') return message.payload.value;
	if (message?.payload.case !== 'text') return new Uint8Array();
	const text = message.payload.value;
	if (/^([0-9a-fA-F]{2})+$/.test(text)) return Uint8Array.from(Buffer.from(text, 'hex'));
	throw new ConfigError({ object, field: `${field}.text`, found: text.slice(0, 40), expected: 'hexadecimal digits' });
}
