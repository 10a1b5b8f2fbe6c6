// The exchange as the connection manager drives it: the downstream stream on one side, filters and
// the router on the other.
//
//   client ──onHead──▶ headers checked ──▶ route ──▶ request filters ──▶ router
//   client ◀─────────── response filters (reverse) ◀──────────────────── router, or sendLocalReply
//
// It is over (`complete`) when the response has ended or the stream was reset, whichever side did it.

import { GrpcStatus } from '../../grpc/status.ts';
import { getHeader, getHeaderJoined, type HeaderList, removeHeader, setHeader } from '../../http/headers.ts';
import type { RequestHead, RequestListener, ResetReason, ResponseHead, ServerStream } from '../../http/stream.ts';
import { reasonOf } from '../../http1/head-writer.ts';
import type { Connection, IpAddress } from '../../net/network.ts';
import type { Clock } from '../../std/clock.ts';
import type { WeftError } from '../../std/errors.ts';
import type { Random } from '../../std/random.ts';
import { writeAccessLogs } from '../access-log/access-log.ts';
import { applyHeaderMutations } from '../format/header-mutations.ts';
import { Exchange, PauseReason, type RequestSink } from '../http-filters/exchange.ts';
import { HttpFilterChain } from '../http-filters/filter.ts';
import type { Route } from '../route/route.ts';
import { LogType, ResponseFlag } from '../stream-info.ts';
import { type BadHead, CODEC_ERROR } from './bad-request.ts';
import type { HttpSettings } from './http-settings.ts';
import { type LocalReply, localReplyHead } from './local-reply.ts';
import type { LocalReplyMap, MappedReply } from './local-reply-config.ts';
import { appendVia, prepareRequest, REQUEST_OK } from './prepare-request.ts';
import { streamDurationMs } from './stream-duration.ts';

const NO_FILTERS = new HttpFilterChain([]);
const NEVER = Number.POSITIVE_INFINITY;

/** What an exchange needs of the connection that it is on. */
export interface ExchangeHome {
	readonly connection: Connection;
	readonly clock: Clock;
	readonly random: Random;
	/** `HTTP/1.1` or `HTTP/2`. */
	readonly protocol: string;
	/** URI SAN of our own certificate on this connection; empty without TLS. */
	readonly localUriSan: string;
	readonly originalDestination: IpAddress | null;
	readonly requestedServerName: string;
	wakeAt(dueMs: number): void;
	exchangeComplete(exchange: HttpExchange): void;
	/** Overload: the connection ends with the response that is about to be sent (HTTP/2: with those under way). */
	disableKeepAlive(): void;
	/** Runs `work` so that what it throws closes this connection only. */
	guard(work: () => void): void;
}

export class HttpExchange extends Exchange implements RequestListener {
	readonly clock: Clock;
	readonly random: Random;
	readonly bufferLimitBytes: number;
	private sink: RequestSink | null = null;
	/** None of a request that could not be read. */
	private filters: HttpFilterChain;
	/** The next filter to see the request's head. */
	private nextFilter = 0;
	private pauses = 0;
	/** What came in while a filter had the request paused. */
	private heldChunks: Uint8Array[] | null = null;
	private heldBytes = 0;
	private heldTrailers: HeaderList | null = null;
	/** A filter keeps the response's head; the next to see it. */
	private headHeld = false;
	private nextHeadHook = 0;
	/** What a filter has go down before the trailers, or in their place. */
	private bytesAtTrailers: Uint8Array | null = null;
	private trailersReplaced = false;
	private lastMoveMs: number;
	private readonly idleMs: number;
	private filterDueMs = NEVER;
	private filterCallback: (() => void) | null = null;
	private requestDueMs = NEVER;
	/** The next line about a request that is not over. */
	private logDueMs = NEVER;
	private durationDueMs = NEVER;

	constructor(
		private readonly home: ExchangeHome,
		private readonly stream: ServerStream,
		readonly settings: HttpSettings,
		startMs: number,
	) {
		const nowMs = home.clock.nowMs();
		super(home.connection, settings.listenerName, startMs, home.clock.wallMs() - (nowMs - startMs));
		this.clock = home.clock;
		this.random = home.random;
		this.protocol = home.protocol;
		this.originalDestination = home.originalDestination;
		this.requestedServerName = home.requestedServerName;
		this.bufferLimitBytes = settings.bufferLimitBytes;
		this.lastMoveMs = nowMs;
		this.filters = settings.filters;
		this.idleMs = settings.streamIdleTimeoutMs;
		settings.stats.requestsTotal.inc();
		settings.stats.requestsActive.inc();
	}

	onHead(head: RequestHead, end: boolean): void {
		const { settings } = this;
		this.requestHead = head;
		if (end) this.endRequest();
		if (settings.requestTimeoutMs > 0 && !end) this.requestDueMs = this.startMs + settings.requestTimeoutMs;
		if (settings.maxStreamDurationMs > 0) this.durationDueMs = this.startMs + settings.maxStreamDurationMs;
		this.home.wakeAt(this.nextDueMs());
		if (settings.overload.requestsMeetLevels && this.shedsRequest()) return;
		const refused = prepareRequest(this, settings, this.home.localUriSan);
		if (refused !== REQUEST_OK) {
			this.sendLocalReply(refused.status, refused.body, refused.flags, refused.details, refused.headers);
			return;
		}
		if (!end && !this.meetExpectation(head)) return;
		const table = settings.routes.table;
		const route = table === null ? null : table.route(head, this.random);
		this.setRoute(route);
		if ((head.upgrade !== '' || (head.method === 'CONNECT' && route !== null)) && !mayUpgrade(head, route, settings)) {
			this.sendLocalReply(403, '', 0, 'upgrade_failed');
			return;
		}
		if (settings.logsNewRequests) this.logEarly(LogType.downstreamStart);
		if (settings.logIntervalMs > 0) this.wakeForLog(this.lastMoveMs);
		this.runRequestHead();
	}

	/** In place of `onHead`: there is no head that could be read. */
	refuse(status: number, why: BadHead): void {
		this.filters = NO_FILTERS;
		this.endRequest();
		this.sendLocalReply(status, why.body ?? reasonOf(status), why.flags, why.details);
	}

	onBadRequest(status: number): void {
		if (this.complete || this.responseStarted) return;
		this.sendLocalReply(status, reasonOf(status), CODEC_ERROR.flags, CODEC_ERROR.details);
	}

	/** Answered before anything is done for it. Callers are told not to try again elsewhere at once. */
	private shedsRequest(): boolean {
		const { overload, stats } = this.settings;
		if (!overload.requestPoint.sheds(this.random) && !overload.stopAcceptingRequests.sheds(this.random)) return false;
		stats.overloadCloses.inc();
		this.filters = NO_FILTERS;
		this.sendLocalReply(503, 'envoy overloaded', 0, 'overload', ['x-envoy-overloaded', 'true']);
		return true;
	}

	/** Timeouts are reduced by overload, or no more. */
	timeoutsChanged(): void {
		if (!this.complete) this.home.wakeAt(this.nextDueMs());
	}

	/** False: it cannot be met, and is answered. One that only the upstream understood would leave open who waits for whom. */
	private meetExpectation(head: RequestHead): boolean {
		const expect = getHeaderJoined(head.headers, 'expect');
		if (expect === undefined) return true;
		if (expect.toLowerCase() !== '100-continue') {
			this.sendLocalReply(417, '', 0, 'expectation_failed');
			return false;
		}
		removeHeader(head.headers, 'expect');
		this.stream.writeHead({ status: 100, headers: [] }, false);
		return true;
	}

	onData(bytes: Uint8Array, end: boolean): void {
		if (this.complete) return;
		this.bytesReceived += bytes.byteLength;
		this.lastMoveMs = this.clock.nowMs();
		if (end) this.endRequest();
		if (this.sink === null) this.hold(bytes);
		else this.passData(bytes, end);
	}

	onTrailers(trailers: HeaderList): void {
		if (this.complete) return;
		this.lastMoveMs = this.clock.nowMs();
		this.endRequest();
		if (this.sink === null) this.heldTrailers = trailers;
		else this.passTrailers(trailers);
	}

	onReset(reason: ResetReason, _error: WeftError | null): void {
		if (this.complete) return;
		this.settings.stats.receivedResets.inc();
		if (reason === 'protocol_error') {
			this.responseFlags |= ResponseFlag.downstreamProtocolError;
			this.responseCodeDetails = this.protocol === 'HTTP/2' ? 'http2.codec_error' : 'http1.codec_error';
		} else if (reason === 'cancelled' || reason === 'refused') {
			this.responseFlags |= ResponseFlag.downstreamRemoteReset;
			this.responseCodeDetails = 'http2.remote_reset';
		} else {
			this.responseFlags |= ResponseFlag.downstreamConnectionTermination;
			this.responseCodeDetails = 'downstream_remote_disconnect';
		}
		this.sink?.abandon();
		this.finish();
	}

	onDrain(): void {
		if (this.complete) return;
		this.lastMoveMs = this.clock.nowMs();
		this.sink?.onDownstreamDrain();
	}

	sendLocalReply(
		status: number,
		body: string,
		flags: number,
		details: string,
		extraHeaders: HeaderList | null = null,
		grpcStatus: number | null = null,
	): void {
		if (this.complete) return;
		if (this.responseStarted || this.localReply) {
			this.resetDownstream(flags, details);
			return;
		}
		this.localReply = true;
		// No mapper of local replies sees that the client broke the protocol, as in Envoy.
		this.responseFlags |= flags & ~ResponseFlag.downstreamProtocolError;
		this.responseCodeDetails = details;
		if ((flags & ResponseFlag.noRouteFound) !== 0) this.settings.stats.noRoute.inc();
		if ((flags & ResponseFlag.noClusterFound) !== 0) this.settings.stats.noCluster.inc();
		this.sink?.abandon();
		const { localReplies } = this.settings;
		const reply =
			localReplies === null
				? localReplyHead(this.requestHead, this.cameAsGrpc, status, body, extraHeaders, grpcStatus)
				: this.mappedReply(localReplies, status, body, extraHeaders, grpcStatus);
		this.responseFlags |= flags;
		const mutations = this.route?.responseHeaders ?? null;
		if (mutations !== null) applyHeaderMutations(mutations, reply.head.headers, this);
		// Nobody waits for the rest of the request; HTTP/2 leaves the header out.
		if (!this.requestEnded && this.requestHead.upgrade === '') reply.head.headers.push('connection', 'close');
		const withBody = reply.body.byteLength > 0 && (this.requestHead as RequestHead | null)?.method !== 'HEAD';
		this.sendResponseHead(reply.head, !withBody);
		if (withBody) this.sendResponseData(reply.body, true);
	}

	private mappedReply(
		map: LocalReplyMap,
		status: number,
		body: string,
		extraHeaders: HeaderList | null,
		grpcStatus: number | null,
	): LocalReply {
		const mapped: MappedReply = {
			status,
			body,
			contentType: 'text/plain',
			headers: extraHeaders === null ? [] : [...extraHeaders],
		};
		map.apply(this, mapped);
		const said = mapped.status === status ? grpcStatus : null;
		return localReplyHead(
			this.requestHead,
			this.cameAsGrpc,
			mapped.status,
			mapped.body,
			mapped.headers,
			said,
			mapped.contentType,
		);
	}

	resumeRequest(): void {
		if (this.complete || (this.pauses & PauseReason.filter) === 0) return;
		this.home.guard(() => {
			this.runRequestHead();
		});
	}

	after(delayMs: number, callback: () => void): void {
		this.filterCallback = callback;
		this.filterDueMs = this.clock.nowMs() + delayMs;
		this.home.wakeAt(this.filterDueMs);
	}

	sendResponseHead(head: ResponseHead, end: boolean): void {
		if (this.complete) return;
		this.lastMoveMs = this.clock.nowMs();
		if (head.status < 200 && head.status !== 101) {
			// Expect was answered here already.
			if (head.status !== 100) this.stream.writeHead(head, false);
			return;
		}
		const { settings } = this;
		this.responseHead = head;
		this.status = head.status;
		if (settings.serverHeader === 'overwrite') setHeader(head.headers, 'server', settings.serverName);
		else if (settings.serverHeader === 'append_if_absent' && getHeader(head.headers, 'server') === undefined) {
			head.headers.push('server', settings.serverName);
		}
		if (settings.via !== '') appendVia(head.headers, settings.via);
		if (settings.requestIdInResponse) this.echoRequestId(head);
		this.headHeld = false;
		this.passResponseHead(head, 0, end);
	}

	holdResponseHead(): void {
		this.headHeld = true;
	}

	releaseResponseHead(): void {
		if (this.complete || !this.headHeld || this.responseHead === null) return;
		this.headHeld = false;
		this.passResponseHead(this.responseHead, this.nextHeadHook, false);
	}

	sendBeforeTrailers(bytes: Uint8Array): void {
		this.bytesAtTrailers = bytes;
	}

	endResponseWith(bytes: Uint8Array): void {
		this.bytesAtTrailers = bytes;
		this.trailersReplaced = true;
	}

	sendResponseData(bytes: Uint8Array, end: boolean): boolean {
		if (this.complete) return true;
		return this.passResponseData(bytes, 0, end);
	}

	sendResponseTrailers(trailers: HeaderList): void {
		if (this.complete) return;
		this.responseTrailers = trailers;
		const hooks = this.filters.responseTrailers;
		for (let i = 0; i < hooks.length; i++) {
			hooks[i]!.onResponseTrailers(this, trailers);
			if (this.complete) return;
			const bytes = this.bytesAtTrailers;
			if (bytes === null) continue;
			this.bytesAtTrailers = null;
			this.passResponseData(bytes, this.filters.dataAfterTrailers[i]!, this.trailersReplaced);
			if (this.complete) return;
		}
		this.stream.writeTrailers(trailers);
		this.finish();
	}

	resetDownstream(flags: number, details: string): void {
		if (this.complete) return;
		this.responseFlags |= flags;
		this.responseCodeDetails = details;
		this.settings.stats.sentResets.inc();
		this.sink?.abandon();
		this.stream.reset('local');
		this.finish();
	}

	holdRequest(reason: number): void {
		if (this.complete || this.requestEnded) return;
		if (this.pauses === 0) this.stream.pause();
		this.pauses |= reason;
	}

	releaseRequest(reason: number): void {
		if ((this.pauses & reason) === 0) return;
		this.pauses &= ~reason;
		if (this.pauses === 0 && !this.complete) this.stream.resume();
	}

	wakeAt(dueMs: number): void {
		this.home.wakeAt(dueMs);
	}

	/** Acts on what is due; returns when to ask again. */
	checkDeadlines(nowMs: number): number {
		if (this.complete) return NEVER;
		if (nowMs >= this.filterDueMs) {
			const callback = this.filterCallback;
			this.filterDueMs = NEVER;
			this.filterCallback = null;
			callback?.();
			if (this.complete) return NEVER;
		}
		if (nowMs >= this.logDueMs) {
			this.logEarly(LogType.downstreamPeriodic);
			this.wakeForLog(nowMs);
		}
		if (nowMs >= this.requestDueMs) {
			this.settings.stats.requestTimeouts.inc();
			this.sendLocalReply(408, 'request timeout', 0, 'request_overall_timeout');
			return NEVER;
		}
		if (nowMs >= this.durationDueMs) {
			this.settings.stats.maxDurationTimeouts.inc();
			this.overDue(0, 'max_duration_timeout', 'downstream duration timeout', GrpcStatus.deadlineExceeded);
			return NEVER;
		}
		if (this.idleLimitMs() > 0 && nowMs >= this.lastMoveMs + this.idleLimitMs()) {
			this.settings.stats.streamIdleTimeouts.inc();
			this.overDue(ResponseFlag.streamIdleTimeout, 'stream_idle_timeout', 'stream timeout');
			return NEVER;
		}
		const sinkDueMs = this.sink === null ? NEVER : this.sink.checkDeadlines(nowMs);
		return this.complete ? NEVER : Math.min(sinkDueMs, this.nextDueMs());
	}

	/** A bug was caught: nothing more is done for this exchange. */
	break(): void {
		this.resetDownstream(ResponseFlag.localReset, 'internal_fault');
	}

	private setRoute(route: Route | null): void {
		this.route = route;
		if (route === null) return;
		this.routeName = route.name;
		this.virtualHostName = route.virtualHost.name;
		const { action } = route;
		if (action.kind !== 'forward' || (action.maxStreamDurationMs === null && action.grpcTimeout === null)) return;
		// In place of the connection manager's own, as in Envoy.
		const durationMs = streamDurationMs(action, this.requestHead, this.settings.maxStreamDurationMs);
		this.durationDueMs = durationMs === null ? NEVER : this.startMs + durationMs;
		this.home.wakeAt(this.durationDueMs);
	}

	private runRequestHead(): void {
		const hooks = this.filters.requestHead;
		while (this.nextFilter < hooks.length) {
			const hook = hooks[this.nextFilter]!;
			this.nextFilter += 1;
			const status = hook.onRequestHead(this, this.requestEnded && this.heldBytes === 0);
			if (this.complete || status === 'stop') return;
			if (status === 'pause') {
				this.holdRequest(PauseReason.filter);
				// Also when nothing is left to be held back, so that `resumeRequest` knows.
				this.pauses |= PauseReason.filter;
				return;
			}
		}
		const held = this.heldChunks;
		const trailers = this.heldTrailers;
		this.heldChunks = null;
		this.heldTrailers = null;
		const ended = this.requestEnded;
		// What was held goes first, so that the router does not take the request for one without a body.
		this.sink = this.settings.router.begin(this, ended && held === null && trailers === null);
		if (held !== null) {
			for (let i = 0; i < held.length && !this.complete; i++) {
				this.passData(held[i]!, ended && trailers === null && i === held.length - 1);
			}
		}
		if (trailers !== null && !this.complete) this.passTrailers(trailers);
		this.releaseRequest(PauseReason.filter);
	}

	private passData(bytes: Uint8Array, end: boolean): void {
		const hooks = this.filters.requestData;
		let out = bytes;
		for (let i = 0; i < hooks.length; i++) {
			out = hooks[i]!.onRequestData(this, out, end);
			if (this.complete || (out.byteLength === 0 && !end)) return;
		}
		this.sink?.onData(out, end);
	}

	private passResponseHead(head: ResponseHead, from: number, end: boolean): void {
		const { settings } = this;
		const hooks = this.filters.responseHead;
		for (let i = from; i < hooks.length; i++) {
			hooks[i]!.onResponseHead(this, head, end);
			if (this.complete) return;
			if (this.headHeld) {
				this.nextHeadHook = i + 1;
				return;
			}
		}
		if (settings.overload.disableKeepAlive.value !== 0) this.home.disableKeepAlive();
		this.responseStarted = true;
		this.status = head.status;
		settings.stats.countStatus(head.status);
		this.stream.writeHead(head, end);
		if (end) this.finish();
	}

	private passResponseData(bytes: Uint8Array, from: number, end: boolean): boolean {
		const hooks = this.filters.responseData;
		let out = bytes;
		for (let i = from; i < hooks.length; i++) {
			out = hooks[i]!.onResponseData(this, out, end);
			if (this.complete || (out.byteLength === 0 && !end)) return true;
		}
		this.bytesSent += out.byteLength;
		this.lastMoveMs = this.clock.nowMs();
		const wantsMore = this.stream.writeData(out, end);
		if (end) this.finish();
		return wantsMore;
	}

	private passTrailers(trailers: HeaderList): void {
		const hooks = this.filters.requestTrailers;
		for (let i = 0; i < hooks.length; i++) {
			hooks[i]!.onRequestTrailers(this, trailers);
			if (this.complete) return;
		}
		this.sink?.onTrailers(trailers);
	}

	/** The transport is paused, so that only what one read brought can gather; the bound is for one that does not obey. */
	private hold(bytes: Uint8Array): void {
		this.heldBytes += bytes.byteLength;
		if (this.heldBytes > this.bufferLimitBytes) {
			this.sendLocalReply(413, 'Payload Too Large', 0, 'request_payload_too_large');
			return;
		}
		this.heldChunks ??= [];
		this.heldChunks.push(bytes.slice());
	}

	private endRequest(): void {
		this.requestEnded = true;
		this.requestDueMs = NEVER;
		this.requestEndMs = this.clock.nowMs();
	}

	private overDue(flags: number, details: string, body: string, grpcStatus: number | null = null): void {
		if (this.responseStarted) this.resetDownstream(flags, details);
		else this.sendLocalReply(this.requestEnded ? 504 : 408, body, flags, details, null, grpcStatus);
	}

	private idleLimitMs(): number {
		const action = this.route?.action;
		const limitMs = action?.kind === 'forward' && action.idleTimeoutMs !== null ? action.idleTimeoutMs : this.idleMs;
		const scaled = this.settings.overload.streamIdleTimeout;
		return scaled === null ? limitMs : scaled.of(limitMs);
	}

	private nextDueMs(): number {
		const idleLimitMs = this.idleLimitMs();
		const idleDueMs = idleLimitMs > 0 ? this.lastMoveMs + idleLimitMs : NEVER;
		return Math.min(idleDueMs, this.requestDueMs, this.durationDueMs, this.filterDueMs, this.logDueMs);
	}

	private logEarly(logType: number): void {
		this.logType = logType;
		writeAccessLogs(this.settings.accessLogs, this);
	}

	private wakeForLog(nowMs: number): void {
		this.logDueMs = nowMs + this.settings.logIntervalMs;
		this.home.wakeAt(this.logDueMs);
	}

	private echoRequestId(head: ResponseHead): void {
		if ((this.requestHead as RequestHead | null) === null) return;
		const id = getHeader(this.requestHead.headers, 'x-request-id');
		if (id !== undefined) setHeader(head.headers, 'x-request-id', id);
	}

	private finish(): void {
		if (this.complete) return;
		const { settings } = this;
		this.complete = true;
		this.endMs = this.clock.nowMs();
		this.heldChunks = null;
		if (this.pauses !== 0) {
			// The rest of a request that was answered early is the codec's to drop.
			this.pauses = 0;
			this.stream.resume();
		}
		settings.stats.requestsActive.dec();
		settings.stats.requestsCompleted.inc();
		settings.stats.requestMs.observe(this.endMs - this.startMs);
		try {
			this.tellCompletion();
		} finally {
			// Whatever they threw: the connection must not wait for an exchange that is over.
			this.home.exchangeComplete(this);
		}
	}

	private tellCompletion(): void {
		const { settings } = this;
		const hooks = this.filters.complete;
		for (let i = 0; i < hooks.length; i++) hooks[i]!.onComplete(this);
		this.logType = LogType.downstreamEnd;
		writeAccessLogs(settings.accessLogs, this);
	}
}

/** What the route says holds before what the connection manager says (Envoy `upgrade_configs` of both). */
function mayUpgrade(head: RequestHead, route: Route | null, settings: HttpSettings): boolean {
	const isConnect = head.method === 'CONNECT';
	const type = isConnect ? 'connect' : head.upgrade.toLowerCase();
	// `upgrade_type: CONNECT` allows the method. No protocol of that name is registered, and a host that took it for
	// CONNECT would see a tunnel where others see a request.
	if (!isConnect && type === 'connect') return false;
	const ofRoute = route?.action.kind === 'forward' ? route.action.upgrades?.get(type) : undefined;
	return ofRoute ?? settings.upgrades.has(type);
}
