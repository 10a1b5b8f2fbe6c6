// Answers of the proxy's own. A gRPC client gets them as gRPC says: status 200 and `grpc-status`.

import { grpcStatusOfHttp } from '../../grpc/status.ts';
import { encodeGrpcMessage } from '../../grpc/status-message.ts';
import { getHeader, type HeaderList } from '../../http/headers.ts';
import type { RequestHead, ResponseHead } from '../../http/stream.ts';
import { isGrpc } from '../route/route-match.ts';

const encoder = new TextEncoder();
const EMPTY = new Uint8Array(0);

export interface LocalReply {
	readonly head: ResponseHead;
	readonly body: Uint8Array;
}

export function localReplyHead(
	request: RequestHead | null,
	/** Null: as the head says. */
	cameAsGrpc: boolean | null,
	status: number,
	body: string,
	extraHeaders: HeaderList | null,
	/** Null: what `status` means to gRPC. */
	grpcStatus: number | null,
	contentType = 'text/plain',
): LocalReply {
	if (request !== null && (cameAsGrpc ?? isGrpc(getHeader(request.headers, 'content-type')))) {
		const headers = ['content-type', 'application/grpc', 'grpc-status', String(grpcStatus ?? grpcStatusOfHttp(status))];
		// A line of JSON has an end, which is none of the message's.
		const message = contentType === 'application/json' ? body.trimEnd() : body;
		if (message !== '') headers.push('grpc-message', encodeGrpcMessage(message));
		return { head: { status: 200, headers: withExtra(headers, extraHeaders) }, body: EMPTY };
	}
	const bytes = body === '' ? EMPTY : encoder.encode(body);
	const headers: HeaderList = [];
	if (status >= 200 && status !== 204 && status !== 304) headers.push('content-length', String(bytes.byteLength));
	if (bytes.byteLength > 0) headers.push('content-type', contentType);
	return { head: { status, headers: withExtra(headers, extraHeaders) }, body: bytes };
}

function withExtra(headers: HeaderList, extra: HeaderList | null): HeaderList {
	if (extra !== null) for (let i = 0; i < extra.length; i++) headers.push(extra[i]!);
	return headers;
}
