// When a request is sent again, Envoy `RetryPolicy`. Conditions are bits, so that a decision is a
// mask. weft adds `reset-idempotent`: as `reset`, for methods that may be repeated (RFC 9110 §9.2.2).

import type { RetryPolicy as RetryPolicyConfig } from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import { GrpcStatus, parseGrpcStatus } from '../../grpc/status.ts';
import { getHeader, type HeaderList } from '../../http/headers.ts';
import { ConfigError } from '../../std/errors.ts';
import { durationMs } from '../duration-ms.ts';
import { compileHeaderMatchers, type HeaderMatcher } from './header-matcher.ts';

export const RetryOn = {
	connectFailure: 1 << 0,
	refusedStream: 1 << 1,
	reset: 1 << 2,
	resetBeforeRequest: 1 << 3,
	serverError: 1 << 4,
	gatewayError: 1 << 5,
	retriable4xx: 1 << 6,
	retriableStatusCodes: 1 << 7,
	retriableHeaders: 1 << 8,
	resetIdempotent: 1 << 9,
	envoyRateLimited: 1 << 10,
	grpcCancelled: 1 << 11,
	grpcDeadlineExceeded: 1 << 12,
	grpcResourceExhausted: 1 << 13,
	grpcUnavailable: 1 << 14,
	grpcInternal: 1 << 15,
} as const;

/** Conditions on a `grpc-status` that stands in the head of a response. */
const RETRY_ON_GRPC =
	RetryOn.grpcCancelled |
	RetryOn.grpcDeadlineExceeded |
	RetryOn.grpcResourceExhausted |
	RetryOn.grpcUnavailable |
	RetryOn.grpcInternal;

const TOKENS: Readonly<Record<string, number>> = {
	'connect-failure': RetryOn.connectFailure,
	'refused-stream': RetryOn.refusedStream,
	reset: RetryOn.reset,
	'reset-before-request': RetryOn.resetBeforeRequest,
	'5xx': RetryOn.serverError,
	'gateway-error': RetryOn.gatewayError,
	'retriable-4xx': RetryOn.retriable4xx,
	'retriable-status-codes': RetryOn.retriableStatusCodes,
	'retriable-headers': RetryOn.retriableHeaders,
	'reset-idempotent': RetryOn.resetIdempotent,
	'envoy-ratelimited': RetryOn.envoyRateLimited,
};

const GRPC_TOKENS: Readonly<Record<string, number>> = {
	cancelled: RetryOn.grpcCancelled,
	'deadline-exceeded': RetryOn.grpcDeadlineExceeded,
	'resource-exhausted': RetryOn.grpcResourceExhausted,
	unavailable: RetryOn.grpcUnavailable,
	internal: RetryOn.grpcInternal,
};

/** A policy's list may name both kinds of conditions. */
const ALL_TOKENS: Readonly<Record<string, number>> = { ...TOKENS, ...GRPC_TOKENS };

const GRPC_BITS: ReadonlyMap<number, number> = new Map([
	[GrpcStatus.cancelled, RetryOn.grpcCancelled],
	[GrpcStatus.deadlineExceeded, RetryOn.grpcDeadlineExceeded],
	[GrpcStatus.resourceExhausted, RetryOn.grpcResourceExhausted],
	[GrpcStatus.unavailable, RetryOn.grpcUnavailable],
	[GrpcStatus.internal, RetryOn.grpcInternal],
]);

/** Whether the `grpc-status` of a response's head (an answer without a body) is one to be retried. */
export function retriesGrpcStatus(retryOn: number, headers: HeaderList): boolean {
	if ((retryOn & RETRY_ON_GRPC) === 0) return false;
	const status = getHeader(headers, 'grpc-status');
	return status !== undefined && (retryOn & (GRPC_BITS.get(parseGrpcStatus(status)) ?? 0)) !== 0;
}

/** Bits of `RetryOn` in a list of HTTP conditions, as `x-envoy-retry-on` has it; others have no effect. */
export function parseRetryOn(text: string): number {
	return parseTokens(text, TOKENS, null);
}

/** The same for `x-envoy-retry-grpc-on`. */
export function parseRetryGrpcOn(text: string): number {
	return parseTokens(text, GRPC_TOKENS, null);
}

/** Unknown words are named in `unknown`. */
function parseTokens(text: string, tokens: Readonly<Record<string, number>>, unknown: string[] | null): number {
	let bits = 0;
	for (const word of text.split(',')) {
		const token = word.trim().toLowerCase();
		const bit = tokens[token];
		if (bit !== undefined) bits |= bit;
		else if (token !== '') unknown?.push(token);
	}
	return bits;
}

export interface RetryPolicy {
	/** Bits of `RetryOn`. */
	readonly retryOn: number;
	/** Attempts beside the first. Default 1. */
	readonly retriesMax: number;
	/** 0: only the route's timeout holds. */
	readonly perTryTimeoutMs: number;
	readonly retriableStatusCodes: readonly number[];
	readonly retriableHeaders: readonly HeaderMatcher[];
	/** The request must match one of these to be retried at all; empty: every request. */
	readonly retriableRequestHeaders: readonly HeaderMatcher[];
	/** Hosts that were tried are avoided (`previous_hosts`). */
	readonly avoidPreviousHosts: boolean;
	/** Picks per attempt until one is taken that was tried before. Default 1. */
	readonly hostSelectionAttemptsMax: number;
	readonly backoffBaseMs: number;
	readonly backoffMaxMs: number;
}

const BACKOFF_BASE_MS = 25;
const PREVIOUS_HOSTS_TYPES = new Set([
	'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
	'type.googleapis.com/envoy.config.retry.previous_hosts.v2.PreviousHostsPredicate',
]);

/** @throws ConfigError */
export function compileRetryPolicy(config: RetryPolicyConfig, object: string, field: string): RetryPolicy {
	const unknown: string[] = [];
	const retryOn = parseTokens(config.retryOn, ALL_TOKENS, unknown);
	if (unknown.length > 0) {
		throw new ConfigError({
			object,
			field: `${field}.retry_on`,
			found: unknown.join(','),
			expected: `words of: ${Object.keys(ALL_TOKENS).join(', ')}`,
		});
	}
	let avoidPreviousHosts = false;
	config.retryHostPredicate.forEach((predicate, index) => {
		const typeUrl = predicate.configType.case === 'typedConfig' ? predicate.configType.value.typeUrl : '';
		if (!PREVIOUS_HOSTS_TYPES.has(typeUrl) && predicate.name !== 'envoy.retry_host_predicates.previous_hosts') {
			throw new ConfigError({
				object,
				field: `${field}.retry_host_predicate[${index}]`,
				found: predicate.name,
				expected: 'envoy.retry_host_predicates.previous_hosts',
			});
		}
		avoidPreviousHosts = true;
	});
	const backoffBaseMs = durationMs(config.retryBackOff?.baseInterval) ?? BACKOFF_BASE_MS;
	const backoffMaxMs = durationMs(config.retryBackOff?.maxInterval) ?? backoffBaseMs * 10;
	if (backoffBaseMs <= 0 || backoffMaxMs < backoffBaseMs) {
		throw new ConfigError({
			object,
			field: `${field}.retry_back_off`,
			found: `base_interval ${backoffBaseMs} ms, max_interval ${backoffMaxMs} ms`,
			expected: 'a base_interval above 0 and a max_interval that is not smaller',
		});
	}
	return {
		retryOn,
		retriesMax: config.numRetries ?? 1,
		perTryTimeoutMs: durationMs(config.perTryTimeout) ?? 0,
		retriableStatusCodes: config.retriableStatusCodes,
		retriableHeaders: compileHeaderMatchers(config.retriableHeaders, object, `${field}.retriable_headers`),
		retriableRequestHeaders: compileHeaderMatchers(
			config.retriableRequestHeaders,
			object,
			`${field}.retriable_request_headers`,
		),
		avoidPreviousHosts,
		hostSelectionAttemptsMax: Math.max(1, Math.min(100, Number(config.hostSelectionRetryMaxAttempts))),
		backoffBaseMs,
		backoffMaxMs,
	};
}
