// One request on its way to an upstream: attempts one after the other, the body kept while it may
// be needed again, timeouts, and the response as it comes back. Backpressure is passed on in both
// directions.
//
//              pick, requestStream            onReady: head, kept body
//   begin ───▶ connecting ──────────────────▶ sending/awaiting ──head──▶ responding ──end──▶ over
//                 ▲     │ failed                   │ reset, retriable answer     │ reset: client's stream too
//                 │     ▼                          ▼
//                 └── backoff ◀──── retry? ────────┘ no: local reply ──▶ over

import { formatGrpcTimeout, parseGrpcTimeoutMs } from '../../grpc/timeout.ts';
import { getHeader, type HeaderList, setHeader } from '../../http/headers.ts';
import type { ResetReason, ResponseHead } from '../../http/stream.ts';
import { formatAddress } from '../../net/network.ts';
import type { WeftError } from '../../std/errors.ts';
import { reportFault } from '../../std/fault.ts';
import { applyHeaderMutations } from '../format/header-mutations.ts';
import type { ForwardAction, GrpcTimeout, Route } from '../route/route.ts';
import { isGrpc } from '../route/route-match.ts';
import { ResponseFlag } from '../stream-info.ts';
import type { Cluster, Host, PickContext } from '../upstream.ts';
import { type Exchange, PauseReason, type RequestSink } from './exchange.ts';
import { finalizeRequest, removeRouterHeaders, rewriteAuthority } from './finalize-request.ts';
import { KeptBody } from './kept-body.ts';
import { RetryState } from './retry-state.ts';
import { type AttemptOwner, UpstreamAttempt } from './upstream-attempt.ts';
import { connectFailure, failureDetails, failureText, resetFailure, type UpstreamFailure } from './upstream-failure.ts';
import { UpstreamTunnel } from './upstream-tunnel.ts';

const NEVER = Number.POSITIVE_INFINITY;
const NO_HOSTS: readonly Host[] = [];

export class RouterRequest implements RequestSink, AttemptOwner {
	private attempt: UpstreamAttempt | null = null;
	/** Null: nothing asks for retries, or it is too late for one. */
	private retry: RetryState | null = null;
	private kept: KeptBody | null = null;
	private trailers: HeaderList | null = null;
	/** The client has sent all of its request. */
	private requestDone = false;
	private responding = false;
	private over = false;
	private retried = false;
	private readonly tried: Host[] = [];
	private timeoutMs: number;
	private perTryTimeoutMs = 0;
	/** The route bounds what a gRPC client asks for, and this is such a request. */
	private grpcTimeout: GrpcTimeout | null = null;
	private timeoutAtMs = NEVER;
	private perTryAtMs = NEVER;
	private retryAtMs = NEVER;

	constructor(
		private readonly exchange: Exchange,
		private readonly route: Route,
		private readonly action: ForwardAction,
		private readonly cluster: Cluster,
		/** `x-envoy-*` headers of ours are added, both ways. */
		private readonly addEnvoyHeaders: boolean,
	) {
		this.timeoutMs = action.timeoutMs;
	}

	onHead(end: boolean): void {
		const { exchange, action } = this;
		const head = exchange.requestHead;
		this.retry = RetryState.for(action.retryPolicy, head, this.cluster);
		this.perTryTimeoutMs = this.retry === null ? 0 : this.retry.policy.perTryTimeoutMs;
		if (action.grpcTimeout?.as === 'timeout' && isGrpc(getHeader(head.headers, 'content-type'))) {
			this.grpcTimeout = action.grpcTimeout;
			this.timeoutMs = timeoutOfGrpc(action.grpcTimeout, head.headers);
		}
		this.readTimeoutHeaders(head.headers);
		removeRouterHeaders(head.headers);
		this.sayTimeout(this.perTryTimeoutMs > 0 ? this.perTryTimeoutMs : this.timeoutMs);
		finalizeRequest(exchange, this.route, action, this.addEnvoyHeaders);
		if (end) this.requestEnded();
		this.startAttempt();
	}

	onData(bytes: Uint8Array, end: boolean): void {
		if (this.over) return;
		if (end) this.requestEnded();
		const stream = this.attempt === null ? null : this.attempt.stream;
		if (this.retry !== null || stream === null) {
			this.kept ??= new KeptBody(this.exchange.bufferLimitBytes);
			this.kept.keep(bytes);
			if (this.kept.overLimit && stream !== null) this.giveUpRetries();
		}
		if (stream === null) return;
		const wantsMore = stream.writeData(bytes, end);
		if (!wantsMore && !end && !this.over) this.exchange.holdRequest(PauseReason.upstreamFull);
	}

	onTrailers(trailers: HeaderList): void {
		if (this.over) return;
		this.trailers = trailers;
		this.requestEnded();
		this.attempt?.stream?.writeTrailers(trailers);
	}

	onDownstreamDrain(): void {
		this.attempt?.stream?.resume();
	}

	abandon(): void {
		if (this.over) return;
		this.finish();
		this.attempt?.cancel();
	}

	checkDeadlines(nowMs: number): number {
		if (this.over) return NEVER;
		if (nowMs >= this.timeoutAtMs) {
			this.timedOut();
			return NEVER;
		}
		if (nowMs >= this.retryAtMs) {
			this.retryAtMs = NEVER;
			this.startAttempt();
		} else if (nowMs >= this.perTryAtMs) {
			this.perTryAtMs = NEVER;
			this.tryTimedOut();
		}
		if (this.over) return NEVER;
		return Math.min(this.timeoutAtMs, this.perTryAtMs, this.retryAtMs);
	}

	attemptReady(attempt: UpstreamAttempt): void {
		const { exchange } = this;
		const stream = attempt.stream!;
		exchange.upstreamTls = attempt.tls;
		exchange.upstreamMayHaveSeen = true;
		const chunks = this.kept === null ? null : this.kept.view();
		const { trailers, requestDone } = this;
		const count = chunks === null ? 0 : chunks.length;
		if (this.action.autoHostRewrite && attempt.host.hostname !== '') {
			rewriteAuthority(exchange, this.action, attempt.host.hostname, this.addEnvoyHeaders);
		}
		stream.writeHead(exchange.requestHead, requestDone && count === 0 && trailers === null);
		let wantsMore = true;
		for (let i = 0; i < count && this.attempt === attempt && !this.over; i++) {
			wantsMore = stream.writeData(chunks![i]!, requestDone && trailers === null && i === count - 1);
		}
		if (this.attempt !== attempt || this.over) return;
		if (trailers !== null) stream.writeTrailers(trailers);
		if (this.kept?.overLimit === true) this.giveUpRetries();
		if (this.retry === null) this.kept = null;
		if (!wantsMore && !requestDone) exchange.holdRequest(PauseReason.upstreamFull);
		exchange.releaseRequest(PauseReason.upstreamPending);
	}

	attemptFailed(attempt: UpstreamAttempt, error: WeftError): void {
		if (attempt !== this.attempt || this.over) return;
		const failure = connectFailure(error);
		this.exchange.upstreamFailureReason = failure.detail || error.message;
		this.failed(failure, false);
	}

	attemptReset(attempt: UpstreamAttempt, reason: ResetReason, error: WeftError | null): void {
		if (attempt !== this.attempt || this.over) return;
		const failure = resetFailure(reason, error);
		if (this.responding) {
			this.finish();
			this.exchange.resetDownstream(
				failure.flags,
				`upstream_reset_after_response_started{${failure.reason.replaceAll(' ', '_')}}`,
			);
			return;
		}
		this.failed(failure, true);
	}

	attemptHead(attempt: UpstreamAttempt, head: ResponseHead, end: boolean): void {
		if (attempt !== this.attempt || this.over) return;
		const { exchange } = this;
		if (!attempt.headReceived) {
			exchange.sendResponseHead(head, false);
			return;
		}
		const nowMs = exchange.clock.nowMs();
		if (this.retry !== null) {
			const decision = this.retry.afterResponse(head.status, head.headers);
			if (decision === 'retry') {
				this.cluster.stats.countResponse(head.status);
				this.dropAttempt(attempt, end);
				this.scheduleRetry(nowMs);
				return;
			}
			if (decision === 'exhausted') exchange.responseFlags |= ResponseFlag.upstreamRetryLimitExceeded;
			else if (decision === 'overflow') exchange.responseFlags |= ResponseFlag.upstreamOverflow;
			this.giveUpRetries();
		}
		this.responding = true;
		this.perTryAtMs = NEVER;
		exchange.upstreamFirstByteMs = nowMs;
		exchange.responseCodeDetails = 'via_upstream';
		this.cluster.stats.countResponse(head.status);
		this.finalizeResponse(head, nowMs);
		exchange.sendResponseHead(head, end);
		if (end) this.responseEnded(attempt);
	}

	attemptData(attempt: UpstreamAttempt, bytes: Uint8Array, end: boolean): void {
		if (attempt !== this.attempt || this.over) return;
		const wantsMore = this.exchange.sendResponseData(bytes, end);
		if (end) this.responseEnded(attempt);
		else if (!wantsMore && !this.over) attempt.stream?.pause();
	}

	attemptTrailers(attempt: UpstreamAttempt, trailers: HeaderList): void {
		if (attempt !== this.attempt || this.over) return;
		this.exchange.sendResponseTrailers(trailers);
		this.responseEnded(attempt);
	}

	attemptDrained(attempt: UpstreamAttempt): void {
		if (attempt === this.attempt && !this.over) this.exchange.releaseRequest(PauseReason.upstreamFull);
	}

	attemptBroken(error: unknown): void {
		const { exchange } = this;
		reportFault('exchange', 'an exchange failed by a fault of ours; its stream is reset', error, {
			listener: exchange.listenerName,
			remote: formatAddress(exchange.connection.remote),
			route: exchange.routeName,
			cluster: this.cluster.name,
			host: exchange.host?.addressText,
		});
		if (this.over) return;
		this.finish();
		this.attempt?.cancel();
		this.exchange.resetDownstream(ResponseFlag.localReset, 'internal_fault');
	}

	private startAttempt(): void {
		const { exchange, cluster, retry } = this;
		const host = this.pick();
		if (host === null) {
			this.finish();
			exchange.host = null;
			const flags = ResponseFlag.noHealthyUpstream;
			exchange.sendLocalReply(503, 'no healthy upstream', flags, 'no_healthy_upstream', this.attemptCountHeader());
			return;
		}
		if (retry !== null) this.tried.push(host);
		const nowMs = exchange.clock.nowMs();
		exchange.attempts += 1;
		exchange.host = host;
		exchange.upstreamTls = null;
		if (exchange.upstreamStartMs === 0) exchange.upstreamStartMs = nowMs;
		const { virtualHost } = this.route;
		if (virtualHost.includeRequestAttemptCount) {
			setHeader(exchange.requestHead.headers, 'x-envoy-attempt-count', String(exchange.attempts));
		}
		if (exchange.attempts > 1) this.sayRemainingTime(nowMs);
		const attempt = new UpstreamAttempt(this, host, nowMs);
		this.attempt = attempt;
		if (!this.requestDone) exchange.holdRequest(PauseReason.upstreamPending);
		this.armPerTry(nowMs);
		const pending =
			this.action.endsConnect && exchange.requestHead.method === 'CONNECT'
				? new UpstreamTunnel(cluster, host, attempt)
				: cluster.requestStream(host, attempt, attempt, exchange.protocol);
		// It may have become ready, or have failed, within the call.
		if (!attempt.done && attempt.stream === null) attempt.pending = pending;
	}

	private pick(): Host | null {
		const { retry, cluster, exchange } = this;
		const avoids = retry?.policy.avoidPreviousHosts === true && this.tried.length > 0;
		if (!avoids && exchange.originalDestination === null) return cluster.pick(null);
		const context: PickContext = {
			tried: avoids ? this.tried : NO_HOSTS,
			originalDestination: exchange.originalDestination,
		};
		let host = cluster.pick(context);
		if (retry === null || context.tried.length === 0) return host;
		for (let i = 1; i < retry.policy.hostSelectionAttemptsMax; i++) {
			if (host === null || !context.tried.includes(host)) break;
			host = cluster.pick(context);
		}
		return host;
	}

	private failed(failure: UpstreamFailure, requestSent: boolean): void {
		const { exchange } = this;
		const nowMs = exchange.clock.nowMs();
		this.cluster.stats.countResponse(0);
		this.perTryAtMs = NEVER;
		let flags = failure.flags;
		if (this.retry !== null) {
			const decision = this.retry.afterFailure(failure.end, requestSent);
			if (decision === 'retry') {
				this.scheduleRetry(nowMs);
				return;
			}
			if (decision === 'exhausted') flags |= ResponseFlag.upstreamRetryLimitExceeded;
			else if (decision === 'overflow') flags |= ResponseFlag.upstreamOverflow;
		}
		this.finish();
		const overloaded = failure.end === 'overflow' && this.addEnvoyHeaders;
		const extra = this.attemptCountHeader();
		if (overloaded) extra.push('x-envoy-overloaded', 'true');
		if (failure.end === 'timeout') {
			exchange.sendLocalReply(504, 'upstream request timeout', flags, 'upstream_per_try_timeout', extra);
			return;
		}
		exchange.sendLocalReply(failure.status, failureText(failure, this.retried), flags, failureDetails(failure), extra);
	}

	private scheduleRetry(nowMs: number): void {
		const { exchange } = this;
		this.retried = true;
		this.attempt = null;
		this.perTryAtMs = NEVER;
		this.cluster.stats.countRetry();
		if (!this.requestDone) exchange.holdRequest(PauseReason.upstreamPending);
		exchange.releaseRequest(PauseReason.upstreamFull);
		this.retryAtMs = nowMs + this.retry!.backoffMs(exchange.random);
		exchange.wakeAt(this.retryAtMs);
	}

	private tryTimedOut(): void {
		const attempt = this.attempt;
		this.cluster.stats.countTimeout();
		attempt?.cancel();
		const flags = ResponseFlag.upstreamRequestTimeout;
		this.failed({ end: 'timeout', flags, status: 504, reason: 'per try timeout', transport: '' }, true);
	}

	private timedOut(): void {
		const { exchange } = this;
		this.cluster.stats.countTimeout();
		this.finish();
		this.attempt?.cancel();
		const flags = ResponseFlag.upstreamRequestTimeout;
		const details = 'response_timeout';
		if (this.responding) exchange.resetDownstream(flags, details);
		else exchange.sendLocalReply(504, 'upstream request timeout', flags, details, this.attemptCountHeader());
	}

	private requestEnded(): void {
		const { exchange } = this;
		const nowMs = exchange.requestEndMs;
		this.requestDone = true;
		if (this.timeoutMs > 0) {
			this.timeoutAtMs = nowMs + this.timeoutMs;
			exchange.wakeAt(this.timeoutAtMs);
		}
		if (this.attempt !== null) this.armPerTry(nowMs);
	}

	/** The per-try timeout counts from when the attempt has the whole request, as Envoy's. */
	private armPerTry(nowMs: number): void {
		if (this.perTryTimeoutMs <= 0 || !this.requestDone) return;
		this.perTryAtMs = nowMs + this.perTryTimeoutMs;
		this.exchange.wakeAt(this.perTryAtMs);
	}

	private responseEnded(attempt: UpstreamAttempt): void {
		const { exchange } = this;
		const nowMs = exchange.clock.nowMs();
		exchange.upstreamLastByteMs = nowMs;
		this.cluster.stats.observeDurationMs(nowMs - attempt.startMs);
		// The upstream answered without waiting for all of the request: the rest is of no use to it.
		if (!this.requestDone) attempt.stream?.reset('cancelled');
		this.finish();
	}

	private dropAttempt(attempt: UpstreamAttempt, ended: boolean): void {
		if (!ended) attempt.cancel();
		else if (!this.requestDone) attempt.stream?.reset('cancelled');
	}

	private finalizeResponse(head: ResponseHead, nowMs: number): void {
		const { exchange, route } = this;
		// Of a request that is answered before its end, or never ends, it would say nothing.
		if (this.addEnvoyHeaders && exchange.requestEndMs !== 0) {
			const ms = Math.max(0, Math.round(nowMs - exchange.requestEndMs));
			setHeader(head.headers, 'x-envoy-upstream-service-time', String(ms));
		}
		if (route.virtualHost.includeAttemptCountInResponse) {
			setHeader(head.headers, 'x-envoy-attempt-count', String(exchange.attempts));
		}
		if (route.responseHeaders !== null) {
			exchange.responseHead = head;
			exchange.status = head.status;
			applyHeaderMutations(route.responseHeaders, head.headers, exchange);
		}
	}

	/** An upstream of a later attempt has less time. */
	private sayRemainingTime(nowMs: number): void {
		if (this.timeoutAtMs === NEVER) return;
		const leftMs = Math.max(1, Math.round(this.timeoutAtMs - nowMs));
		this.sayTimeout(this.perTryTimeoutMs > 0 ? Math.min(leftMs, this.perTryTimeoutMs) : leftMs);
	}

	/** 0: there is none to be told. */
	private sayTimeout(timeoutMs: number): void {
		if (timeoutMs <= 0) return;
		const { headers } = this.exchange.requestHead;
		if (this.addEnvoyHeaders) setHeader(headers, 'x-envoy-expected-rq-timeout-ms', String(Math.round(timeoutMs)));
		if (this.grpcTimeout !== null) setHeader(headers, 'grpc-timeout', formatGrpcTimeout(timeoutMs));
	}

	private attemptCountHeader(): HeaderList {
		if (!this.route.virtualHost.includeAttemptCountInResponse) return [];
		return ['x-envoy-attempt-count', String(Math.max(1, this.exchange.attempts))];
	}

	private giveUpRetries(): void {
		this.retry?.release();
		this.retry = null;
		// What no stream has taken yet stays.
		if (this.attempt !== null && this.attempt.stream !== null) this.kept = null;
	}

	private finish(): void {
		this.over = true;
		this.retry?.release();
		this.retry = null;
		this.kept = null;
	}

	private readTimeoutHeaders(headers: HeaderList): void {
		const timeout = milliseconds(getHeader(headers, 'x-envoy-upstream-rq-timeout-ms'));
		if (timeout !== null) this.timeoutMs = timeout;
		const perTry = milliseconds(getHeader(headers, 'x-envoy-upstream-rq-per-try-timeout-ms'));
		if (perTry !== null) this.perTryTimeoutMs = perTry;
		if (this.timeoutMs > 0 && this.perTryTimeoutMs >= this.timeoutMs) this.perTryTimeoutMs = 0;
	}
}

/** The client's `grpc-timeout` within the route's bounds; 0: none. */
function timeoutOfGrpc(bounds: GrpcTimeout, headers: HeaderList): number {
	const said = getHeader(headers, 'grpc-timeout');
	let timeoutMs = (said === undefined ? null : parseGrpcTimeoutMs(said)) ?? 0;
	// Envoy: the offset must not make it 0, which is none.
	if (bounds.offsetMs < timeoutMs) timeoutMs -= bounds.offsetMs;
	if (bounds.maxMs > 0 && (timeoutMs === 0 || timeoutMs > bounds.maxMs)) return bounds.maxMs;
	return timeoutMs;
}

function milliseconds(text: string | undefined): number | null {
	return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null;
}
