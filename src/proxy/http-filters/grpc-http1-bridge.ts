// Envoy's `envoy.filters.http.grpc_http1_bridge`: an HTTP/1.1 client without trailers calls a gRPC
// upstream. The answer is kept until its trailers are there; their status and message become header
// fields, and a call that failed a 503. With `upgrade_protobuf_to_grpc` a plain protobuf request is
// put into a gRPC frame, and the answer's message taken out of its own.

import { ConfigSchema } from '../../generated/envoy/extensions/filters/http/grpc_http1_bridge/v3/config_pb.ts';
import { parseGrpcStatus } from '../../grpc/status.ts';
import { getHeader, type HeaderList, removeHeader, setHeader } from '../../http/headers.ts';
import type { ResponseHead } from '../../http/stream.ts';
import type { SupportedFields } from '../field-check.ts';
import { isGrpc } from '../route/route-match.ts';
import type { Exchange } from './exchange.ts';
import type { FilterContext, FilterStatus, HttpFilter, HttpFilterFactory } from './filter.ts';
import { KeptBody } from './kept-body.ts';

export const GRPC_HTTP1_BRIDGE_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config';

export const GRPC_HTTP1_BRIDGE_FIELDS: SupportedFields = {
	'envoy.extensions.filters.http.grpc_http1_bridge.v3.Config': ['upgrade_protobuf_to_grpc', 'ignore_query_parameters'],
};

const PROTOBUF_TYPE = 'application/x-protobuf';
const FRAME_HEAD_BYTES = 5;
const EMPTY = new Uint8Array(0);

/** Of one gRPC request by HTTP/1.1. */
interface BridgedCall {
	/** The protobuf request that is gathered; null: it is gRPC already, or has gone. */
	request: KeptBody | null;
	readonly frames: boolean;
	/** The answer that is gathered; null: none is, or it has gone. */
	response: KeptBody | null;
}

class GrpcHttp1BridgeFilter implements HttpFilter {
	readonly name: string;
	private readonly slot: number;

	constructor(
		private readonly upgradesProtobuf: boolean,
		private readonly ignoresQuery: boolean,
		context: FilterContext,
	) {
		this.name = context.name;
		this.slot = context.slot;
	}

	onRequestHead(exchange: Exchange): FilterStatus {
		if (exchange.protocol === 'HTTP/2') return 'continue';
		const head = exchange.requestHead;
		const { headers } = head;
		const type = getHeader(headers, 'content-type');
		const frames = this.upgradesProtobuf && type === PROTOBUF_TYPE;
		if (!frames && !isGrpc(type)) return 'continue';
		if (frames) {
			exchange.cameAsGrpc = false;
			setHeader(headers, 'content-type', 'application/grpc');
			removeHeader(headers, 'content-length');
		}
		const query = this.ignoresQuery ? head.path.indexOf('?') : -1;
		if (query >= 0) head.path = head.path.slice(0, query);
		const request = frames ? new KeptBody(exchange.bufferLimitBytes) : null;
		const call: BridgedCall = { request, frames, response: null };
		exchange.filterState[this.slot] = call;
		return 'continue';
	}

	onRequestData(exchange: Exchange, bytes: Uint8Array, end: boolean): Uint8Array {
		const call = this.callOf(exchange);
		if (call === undefined || call.request === null) return bytes;
		call.request.keep(bytes);
		if (call.request.overLimit) {
			exchange.sendLocalReply(413, 'Payload Too Large', 0, 'request_payload_too_large');
			return EMPTY;
		}
		if (!end) return EMPTY;
		const message = Buffer.concat(call.request.view());
		call.request = null;
		const head = Buffer.alloc(FRAME_HEAD_BYTES);
		head.writeUInt32BE(message.length, 1);
		return Buffer.concat([head, message]);
	}

	/** What was gathered would have to go before them, as the end: it cannot. */
	onRequestTrailers(exchange: Exchange): void {
		if (this.callOf(exchange)?.request == null) return;
		exchange.sendLocalReply(400, 'a protobuf request with trailers', 0, 'grpc_http1_bridge_trailers');
	}

	onResponseHead(exchange: Exchange, _head: ResponseHead, end: boolean): void {
		const call = this.callOf(exchange);
		if (call === undefined) return;
		call.response = null;
		if (end || exchange.localReply) return;
		call.response = new KeptBody(exchange.bufferLimitBytes);
		exchange.holdResponseHead();
	}

	onResponseData(exchange: Exchange, bytes: Uint8Array, end: boolean): Uint8Array {
		const call = this.callOf(exchange);
		if (call === undefined || call.response === null) return bytes;
		call.response.keep(bytes);
		if (call.response.overLimit) {
			call.response = null;
			exchange.sendLocalReply(500, 'Internal Server Error', 0, 'response_payload_too_large');
			return EMPTY;
		}
		if (!end) return EMPTY;
		const body = Buffer.concat(call.response.view());
		call.response = null;
		exchange.releaseResponseHead();
		return body;
	}

	onResponseTrailers(exchange: Exchange, trailers: HeaderList): void {
		const call = this.callOf(exchange);
		if (call === undefined || call.response === null) return;
		const head = exchange.responseHead!;
		let body: Uint8Array = Buffer.concat(call.response.view());
		call.response = null;
		const status = getHeader(trailers, 'grpc-status');
		if (status !== undefined) {
			if (parseGrpcStatus(status) !== 0) head.status = 503;
			setHeader(head.headers, 'grpc-status', status);
		}
		const message = getHeader(trailers, 'grpc-message');
		if (message !== undefined) setHeader(head.headers, 'grpc-message', message);
		// The type stays that of gRPC, as Envoy leaves it.
		if (call.frames) body = body.subarray(Math.min(FRAME_HEAD_BYTES, body.byteLength));
		setHeader(head.headers, 'content-length', String(body.byteLength));
		exchange.releaseResponseHead();
		// The HTTP/1.1 codec leaves trailers out where there is a length.
		exchange.sendBeforeTrailers(body);
	}

	private callOf(exchange: Exchange): BridgedCall | undefined {
		return exchange.filterState[this.slot] as BridgedCall | undefined;
	}
}

export const grpcHttp1BridgeFilterFactory: HttpFilterFactory = {
	typeUrl: GRPC_HTTP1_BRIDGE_TYPE,
	compile: (config, context) => {
		const message = config.message(ConfigSchema, GRPC_HTTP1_BRIDGE_FIELDS);
		return new GrpcHttp1BridgeFilter(message.upgradeProtobufToGrpc, message.ignoreQueryParameters, context);
	},
};
