// Envoy's `envoy.filters.http.grpc_web`: a browser's gRPC-Web request, binary or base64, becomes
// gRPC; the answer's trailers become the last frame of its body
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
//
// An answer that is no gRPC (a local reply, an error page) becomes one without a body: its text is
// the grpc-message, its HTTP status gives the grpc-status, and is kept.

import { GrpcWebSchema } from '../../generated/envoy/extensions/filters/http/grpc_web/v3/grpc_web_pb.ts';
import { grpcStatusOfHttp } from '../../grpc/status.ts';
import { encodeGrpcMessageBytes } from '../../grpc/status-message.ts';
import { GrpcWebTextDecoder, GrpcWebTextEncoder } from '../../grpc/web-text.ts';
import { getHeader, type HeaderList, hasHeader, removeHeader, setHeader } from '../../http/headers.ts';
import type { ResponseHead } from '../../http/stream.ts';
import type { SupportedFields } from '../field-check.ts';
import { isGrpc } from '../route/route-match.ts';
import type { Exchange } from './exchange.ts';
import type { FilterContext, FilterStatus, HttpFilter, HttpFilterFactory } from './filter.ts';
import { clusterOfRoute, type GrpcMethodStats, GrpcStats, grpcMethodOf } from './grpc-method-stats.ts';

export const GRPC_WEB_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb';

export const GRPC_WEB_FIELDS: SupportedFields = { 'envoy.extensions.filters.http.grpc_web.v3.GrpcWeb': [] };

const BINARY_TYPES = ['application/grpc-web', 'application/grpc-web+proto'];
const TEXT_TYPES = ['application/grpc-web-text', 'application/grpc-web-text+proto'];
const TRAILERS_FLAG = 0x80;
/** Bytes of an answer's text that become its message. */
const MESSAGE_BYTES_MAX = 16_384;
const EMPTY = new Uint8Array(0);

/** Of one gRPC-Web request. */
interface WebCall {
	/** Null: the request is binary. */
	readonly decoder: GrpcWebTextDecoder | null;
	readonly textResponse: boolean;
	encoder: GrpcWebTextEncoder | null;
	readonly stats: GrpcMethodStats | null;
	/** The text of an answer that is no gRPC, whose head waits for it; null: it is one. */
	message: Uint8Array[] | null;
	messageBytes: number;
}

class GrpcWebFilter implements HttpFilter {
	readonly name: string;
	private readonly slot: number;
	private readonly stats: GrpcStats;

	constructor(private readonly context: FilterContext) {
		this.name = context.name;
		this.slot = context.slot;
		this.stats = new GrpcStats(context.registry, 'grpc_web');
	}

	onRequestHead(exchange: Exchange): FilterStatus {
		const { headers, path } = exchange.requestHead;
		const type = getHeader(headers, 'content-type');
		if (type === undefined || !type.startsWith('application/grpc-web')) return 'continue';
		const text = TEXT_TYPES.includes(type);
		if (!text && !BINARY_TYPES.includes(type)) return 'continue';
		const cluster = clusterOfRoute(exchange, this.context.clusters);
		const call: WebCall = {
			decoder: text ? new GrpcWebTextDecoder() : null,
			textResponse: TEXT_TYPES.includes(getHeader(headers, 'accept') ?? ''),
			encoder: null,
			stats: cluster === null ? null : this.stats.of(cluster, path, () => grpcMethodOf(path)),
			message: null,
			messageBytes: 0,
		};
		exchange.filterState[this.slot] = call;
		exchange.cameAsGrpc = false;
		removeHeader(headers, 'content-length');
		setHeader(headers, 'content-type', 'application/grpc');
		setHeader(headers, 'te', 'trailers');
		if (!hasHeader(headers, 'grpc-accept-encoding')) headers.push('grpc-accept-encoding', 'identity');
		return 'continue';
	}

	onRequestData(exchange: Exchange, bytes: Uint8Array, end: boolean): Uint8Array {
		const decoder = this.callOf(exchange)?.decoder;
		if (decoder === undefined || decoder === null) return bytes;
		const decoded = decoder.decode(bytes);
		if (decoded === null || (end && !decoder.complete)) {
			const details = decoded === null ? 'grpc_base_64_decode_failed' : 'grpc_base_64_decode_failed_bad_size';
			exchange.sendLocalReply(400, 'Bad gRPC-web request, invalid base64 data.', 0, details);
			return EMPTY;
		}
		return decoded;
	}

	onRequestTrailers(exchange: Exchange): void {
		const decoder = this.callOf(exchange)?.decoder;
		if (decoder === undefined || decoder === null || decoder.complete) return;
		const details = 'grpc_base_64_decode_failed_bad_size';
		exchange.sendLocalReply(400, 'Bad gRPC-web request, invalid base64 data.', 0, details);
	}

	onResponseHead(exchange: Exchange, head: ResponseHead, end: boolean): void {
		const call = this.callOf(exchange);
		if (call === undefined) return;
		const { headers } = head;
		call.stats?.countStatus(headers);
		const fits = isGrpcAnswer(head, end) || isBinaryWebAnswer(head);
		removeHeader(headers, 'content-length');
		setHeader(headers, 'content-type', call.textResponse ? TEXT_TYPES[1]! : BINARY_TYPES[1]!);
		call.encoder = call.textResponse ? new GrpcWebTextEncoder() : null;
		call.message = end || fits ? null : [];
		call.messageBytes = 0;
		if (call.message !== null) exchange.holdResponseHead();
	}

	onResponseData(exchange: Exchange, bytes: Uint8Array, end: boolean): Uint8Array {
		const call = this.callOf(exchange);
		if (call === undefined) return bytes;
		if (call.message !== null) {
			const room = MESSAGE_BYTES_MAX - call.messageBytes;
			if (room > 0) call.message.push(bytes.slice(0, room));
			call.messageBytes += Math.min(room, bytes.byteLength);
			if (end) this.tellMessage(exchange, call);
			return EMPTY;
		}
		return call.encoder === null ? bytes : call.encoder.encode(bytes, end);
	}

	onResponseTrailers(exchange: Exchange, trailers: HeaderList): void {
		const call = this.callOf(exchange);
		if (call === undefined) return;
		call.stats?.countStatus(trailers);
		if (call.message !== null) {
			this.tellMessage(exchange, call);
			exchange.endResponseWith(EMPTY);
			return;
		}
		const frame = trailersFrame(trailers);
		exchange.endResponseWith(call.encoder === null ? frame : call.encoder.encode(frame, true));
	}

	private callOf(exchange: Exchange): WebCall | undefined {
		return exchange.filterState[this.slot] as WebCall | undefined;
	}

	private tellMessage(exchange: Exchange, call: WebCall): void {
		const head = exchange.responseHead!;
		setHeader(head.headers, 'grpc-message', encodeGrpcMessageBytes(Buffer.concat(call.message!)));
		setHeader(head.headers, 'grpc-status', String(grpcStatusOfHttp(head.status)));
		setHeader(head.headers, 'content-length', '0');
		call.message = null;
		call.encoder = null;
		exchange.releaseResponseHead();
	}
}

export const grpcWebFilterFactory: HttpFilterFactory = {
	typeUrl: GRPC_WEB_TYPE,
	compile: (config, context) => {
		config.message(GrpcWebSchema, GRPC_WEB_FIELDS);
		return new GrpcWebFilter(context);
	},
};

function isGrpcAnswer(head: ResponseHead, end: boolean): boolean {
	if (end) return hasHeader(head.headers, 'grpc-status');
	return head.status === 200 && isGrpc(getHeader(head.headers, 'content-type'));
}

function isBinaryWebAnswer(head: ResponseHead): boolean {
	const type = getHeader(head.headers, 'content-type');
	if (head.status !== 200 || type === undefined) return false;
	return BINARY_TYPES.includes(type.split(';', 1)[0]!.trimEnd().toLowerCase());
}

/** A frame with the flag for trailers: `name:value` lines. */
function trailersFrame(trailers: HeaderList): Uint8Array {
	let text = '';
	for (let i = 0; i < trailers.length; i += 2) text += `${trailers[i]}:${trailers[i + 1]}\r\n`;
	const frame = Buffer.alloc(5 + text.length);
	frame[0] = TRAILERS_FLAG;
	frame.writeUInt32BE(text.length, 1);
	frame.write(text, 5, 'latin1');
	return frame;
}
