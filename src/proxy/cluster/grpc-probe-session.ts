// A health check by gRPC (grpc.health.v1.Health/Check), on HTTP/2: the host is healthy when the call
// ends with OK and says SERVING. Any other end of the call makes it unhealthy at once; a connection
// that is lost, or going away by a fault, counts towards the threshold. As Envoy's.

import {
	encodeHealthCheckRequest,
	HEALTH_CHECK_PATH,
	readHealthCheckResponse,
	ServingStatus,
} from '../../grpc/health.ts';
import { frameMessage, MessageReader } from '../../grpc/message-reader.ts';
import { GRPC_STATUS_NAMES, GrpcStatus, grpcStatusOfHttp, parseGrpcStatus } from '../../grpc/status.ts';
import { formatGrpcTimeout } from '../../grpc/timeout.ts';
import type { ClientCodecEvents } from '../../http/codec.ts';
import { getHeader, type HeaderList } from '../../http/headers.ts';
import type { ClientStream, ResetReason, ResponseHead, ResponseListener } from '../../http/stream.ts';
import { Http2ClientCodec } from '../../http2/client-codec.ts';
import type { Connection } from '../../net/network.ts';
import type { WeftError } from '../../std/errors.ts';
import { isGrpc } from '../route/route-match.ts';
import type { PoolContext } from './connection-pool.ts';
import type { HealthCheckConfig } from './health-check-config.ts';
import { type CheckOutcome, CodecProbeSession, type Report, transportOf } from './probe-session.ts';
import type { UpstreamHost } from './upstream-host.ts';

/** A response has one number. */
const MESSAGE_BYTES_MAX = 4096;

export class GrpcProbeSession extends CodecProbeSession<Http2ClientCodec> {
	/** Of the check under way; null: none is. */
	private stream: ClientStream | null = null;
	private reader: MessageReader | null = null;
	private messages = 0;
	/** What the host says of itself; -1: something unreadable. */
	private serving: number = ServingStatus.unknown;

	constructor(
		private readonly host: UpstreamHost,
		private readonly checker: HealthCheckConfig['checker'] & { readonly kind: 'grpc' },
		private readonly timeoutMs: number,
		private readonly context: PoolContext,
		report: Report,
	) {
		super(report);
	}

	begin(): void {
		const { checker, host } = this;
		this.messages = 0;
		this.serving = ServingStatus.unknown;
		this.reader = new MessageReader(MESSAGE_BYTES_MAX, (bytes) => {
			this.messages += 1;
			this.serving = readHealthCheckResponse(bytes);
		});
		const headers = ['te', 'trailers', 'grpc-timeout', formatGrpcTimeout(this.timeoutMs)];
		headers.push('content-type', 'application/grpc', 'user-agent', 'weft/HC', ...checker.metadata);
		const stream = this.codec!.newStream(this.listener);
		this.stream = stream;
		stream.writeHead(
			{
				method: 'POST',
				scheme: host.tls === null ? 'http' : 'https',
				authority: host.spec.healthCheckHostname || checker.authority || this.context.clusterName,
				path: HEALTH_CHECK_PATH,
				headers,
				upgrade: '',
			},
			false,
		);
		if (this.stream === stream) stream.writeData(frameMessage(encodeHealthCheckRequest(checker.service)), true);
	}

	onConnect(connection: Connection): void {
		const alpn = connection.tls?.alpn ?? null;
		if (alpn !== null && alpn !== 'h2') {
			this.report({ kind: 'network', reason: `the host chose ${alpn} where gRPC needs HTTP/2` });
			return;
		}
		const events: ClientCodecEvents = {
			onAvailable: () => {},
			// In order, a check that is under way may end; after a fault its answer is not waited for.
			onUnavailable: (error) => {
				if (error !== null && this.stream !== null) this.end({ kind: 'network', reason: error.message });
			},
		};
		this.codec = new Http2ClientCodec(transportOf(connection), events, { clock: this.context.network.clock });
		this.begin();
	}

	private readonly listener: ResponseListener = {
		onHead: (head: ResponseHead, end: boolean) => {
			if (head.status >= 200) this.onHead(head, end);
		},
		onData: (bytes: Uint8Array, end: boolean) => {
			const fault = this.reader?.push(bytes) ?? null;
			if (fault !== null) this.complete(GrpcStatus.internal, fault.message);
			else if (end) this.complete(GrpcStatus.internal, 'the stream ended without a status');
			else if (this.messages > 1) this.complete(GrpcStatus.internal, 'more than one message');
		},
		onTrailers: (trailers: HeaderList) => this.completeBy(trailers),
		onReset: (reason: ResetReason, error: WeftError | null) => {
			this.stream = null;
			this.report({ kind: 'network', reason: error?.message ?? reason });
		},
		onDrain: () => {},
	};

	private onHead({ status, headers }: ResponseHead, end: boolean): void {
		if (status !== 200) {
			if (end && getHeader(headers, 'grpc-status') !== undefined) this.completeBy(headers);
			else this.complete(grpcStatusOfHttp(status), `HTTP status ${status}`);
		} else if (end) this.completeBy(headers);
		else if (!isGrpc(getHeader(headers, 'content-type'))) this.complete(GrpcStatus.internal, 'no gRPC response');
	}

	private completeBy(fields: HeaderList): void {
		const text = getHeader(fields, 'grpc-status');
		const status = text === undefined ? -1 : parseGrpcStatus(text);
		this.complete(status < 0 ? GrpcStatus.internal : status, status < 0 ? 'no gRPC status' : '');
	}

	/** The call is over, or what it says is clear without its end. */
	private complete(status: number, why: string): void {
		if (status === GrpcStatus.ok && this.messages === 1 && this.serving === ServingStatus.serving) {
			this.end({ kind: 'success' });
			return;
		}
		const name = GRPC_STATUS_NAMES[status] ?? String(status);
		const said = status === GrpcStatus.ok ? servingText(this.messages, this.serving) : name;
		this.end({ kind: 'refused', reason: why === '' ? said : `${said}: ${why}` });
	}

	private end(outcome: CheckOutcome): void {
		const { stream } = this;
		if (stream === null) return;
		this.stream = null;
		stream.reset('cancelled');
		this.report(outcome);
	}
}

function servingText(messages: number, serving: number): string {
	if (messages !== 1 || serving < 0) return 'no readable answer';
	switch (serving) {
		case ServingStatus.notServing:
			return 'NOT_SERVING';
		case ServingStatus.serviceUnknown:
			return 'SERVICE_UNKNOWN';
		default:
			return `serving status ${serving}`;
	}
}
