// Whether one request is sent again, and when: its route's policy, what its headers ask for, how
// often it was, and the cluster's budget. Pure, but for the budget that it takes from.

import { getHeader, type HeaderList } from '../../http/headers.ts';
import { isIdempotent } from '../../http/methods.ts';
import type { RequestHead, ResetReason } from '../../http/stream.ts';
import type { Random } from '../../std/random.ts';
import { anyMatchesResponse, matchesRequestHeaders } from '../route/header-matcher.ts';
import { parseRetryGrpcOn, parseRetryOn, RetryOn, type RetryPolicy, retriesGrpcStatus } from '../route/retry-policy.ts';
import type { Cluster } from '../upstream.ts';

export type RetryDecision =
	| 'retry'
	/** Nothing in the policy asks for it. */
	| 'no'
	/** The policy asks for it, and its attempts are used up. */
	| 'exhausted'
	/** The cluster's retry circuit breaker is open. */
	| 'overflow';

/** How an attempt ended without a response. */
export type AttemptEnd =
	/** No connection: nothing was sent. */
	| 'connect_failure'
	/** A circuit breaker said no. */
	| 'overflow'
	/** The per-try timeout. */
	| 'timeout'
	| ResetReason;

const NO_POLICY: RetryPolicy = {
	retryOn: 0,
	retriesMax: 1,
	perTryTimeoutMs: 0,
	retriableStatusCodes: [],
	retriableHeaders: [],
	retriableRequestHeaders: [],
	avoidPreviousHosts: false,
	hostSelectionAttemptsMax: 1,
	backoffBaseMs: 25,
	backoffMaxMs: 250,
};

export class RetryState {
	private left: number;
	private made = 0;
	private holdsBudget = false;
	private readonly retryOn: number;
	private readonly statusCodes: readonly number[];

	private constructor(
		readonly policy: RetryPolicy,
		retryOn: number,
		retriesMax: number,
		statusCodes: readonly number[],
		private readonly idempotent: boolean,
		private readonly cluster: Cluster,
	) {
		this.retryOn = retryOn;
		this.left = retriesMax;
		this.statusCodes = statusCodes;
	}

	/**
	 * Null when nothing asks for retries. Headers `x-envoy-retry-on`, `x-envoy-retry-grpc-on` and
	 * `x-envoy-max-retries` add to the policy.
	 */
	static for(policy: RetryPolicy | null, head: RequestHead, cluster: Cluster): RetryState | null {
		const asked = getHeader(head.headers, 'x-envoy-retry-on');
		const askedGrpc = getHeader(head.headers, 'x-envoy-retry-grpc-on');
		const base = policy ?? NO_POLICY;
		let retryOn = base.retryOn;
		if (asked !== undefined) retryOn |= parseRetryOn(asked);
		if (askedGrpc !== undefined) retryOn |= parseRetryGrpcOn(askedGrpc);
		if (retryOn === 0) return null;
		const required = base.retriableRequestHeaders;
		if (required.length > 0 && !required.some((matcher) => matchesRequestHeaders([matcher], head))) return null;
		const most = getHeader(head.headers, 'x-envoy-max-retries');
		const retriesMax = most !== undefined && /^\d{1,4}$/.test(most) ? Number(most) : base.retriesMax;
		const codes = getHeader(head.headers, 'x-envoy-retriable-status-codes');
		const statusCodes =
			codes === undefined
				? base.retriableStatusCodes
				: [...base.retriableStatusCodes, ...codes.split(',').map((code) => Number(code.trim()))];
		return new RetryState(base, retryOn, retriesMax, statusCodes, isIdempotent(head.method), cluster);
	}

	/** After an attempt that brought no response. `requestSent`: its head was handed to a connection. */
	afterFailure(end: AttemptEnd, requestSent: boolean): RetryDecision {
		return this.decide(this.wantsAfterFailure(end, requestSent));
	}

	/** After a response head, before anything of it went down. */
	afterResponse(status: number, headers: HeaderList): RetryDecision {
		return this.decide(this.wantsAfterResponse(status, headers));
	}

	/** Milliseconds: up to the base, then up to twice it, … fully jittered, bounded by the policy. */
	backoffMs(random: Random): number {
		const ceiling = Math.min(this.policy.backoffMaxMs, this.policy.backoffBaseMs * 2 ** Math.min(20, this.made - 1));
		return random.next() * ceiling;
	}

	/** The retry that was taken is over, or will not be made. */
	release(): void {
		if (!this.holdsBudget) return;
		this.holdsBudget = false;
		this.cluster.releaseRetry();
	}

	private wantsAfterFailure(end: AttemptEnd, requestSent: boolean): boolean {
		if (end === 'overflow') return false;
		const on = this.retryOn;
		if ((on & (RetryOn.reset | RetryOn.serverError | RetryOn.gatewayError)) !== 0) return true;
		if ((on & RetryOn.resetBeforeRequest) !== 0 && !requestSent) return true;
		if ((on & RetryOn.connectFailure) !== 0 && end === 'connect_failure') return true;
		if ((on & RetryOn.refusedStream) !== 0 && end === 'refused') return true;
		return (on & RetryOn.resetIdempotent) !== 0 && (this.idempotent || end === 'connect_failure' || end === 'refused');
	}

	private wantsAfterResponse(status: number, headers: HeaderList): boolean {
		const on = this.retryOn;
		if (getHeader(headers, 'x-envoy-ratelimited') !== undefined) return (on & RetryOn.envoyRateLimited) !== 0;
		if ((on & RetryOn.serverError) !== 0 && status >= 500) return true;
		if ((on & RetryOn.gatewayError) !== 0 && status >= 502 && status <= 504) return true;
		if ((on & RetryOn.retriable4xx) !== 0 && status === 409) return true;
		if ((on & RetryOn.retriableStatusCodes) !== 0 && this.statusCodes.includes(status)) return true;
		if ((on & RetryOn.retriableHeaders) !== 0 && anyMatchesResponse(this.policy.retriableHeaders, status, headers)) {
			return true;
		}
		return retriesGrpcStatus(on, headers);
	}

	private decide(wanted: boolean): RetryDecision {
		this.release();
		if (!wanted) return 'no';
		if (this.left === 0) return 'exhausted';
		if (!this.cluster.tryTakeRetry()) return 'overflow';
		this.holdsBudget = true;
		this.left -= 1;
		this.made += 1;
		return 'retry';
	}
}
