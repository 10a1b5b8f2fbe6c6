// Answers of the proxy's own. A gRPC client gets them as gRPC says: status 200 and `grpc-status`.

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
	status: number,
	body: string,
	extraHeaders: HeaderList | null,
	/** Null: what `status` means to gRPC. */
	grpcStatus: number | null,
): LocalReply {
	if (request !== null && isGrpc(getHeader(request.headers, 'content-type'))) {
		const headers = ['content-type', 'application/grpc', 'grpc-status', String(grpcStatus ?? grpcStatusOf(status))];
		if (body !== '') headers.push('grpc-message', grpcMessage(body));
		return { head: { status: 200, headers: withExtra(headers, extraHeaders) }, body: EMPTY };
	}
	const bytes = body === '' ? EMPTY : encoder.encode(body);
	const headers: HeaderList = [];
	if (status >= 200 && status !== 204 && status !== 304) headers.push('content-length', String(bytes.byteLength));
	if (bytes.byteLength > 0) headers.push('content-type', 'text/plain');
	return { head: { status, headers: withExtra(headers, extraHeaders) }, body: bytes };
}

function withExtra(headers: HeaderList, extra: HeaderList | null): HeaderList {
	if (extra !== null) for (let i = 0; i < extra.length; i++) headers.push(extra[i]!);
	return headers;
}

/** The mapping of "HTTP to gRPC Status Code Mapping" of the gRPC project. */
function grpcStatusOf(status: number): number {
	switch (status) {
		case 400:
			return 13;
		case 401:
			return 16;
		case 403:
			return 7;
		case 404:
			return 12;
		case 429:
		case 502:
		case 503:
		case 504:
			return 14;
		default:
			return 2;
	}
}

/** Percent-encoding of `grpc-message`: all but printable ASCII, and the percent sign. */
function grpcMessage(text: string): string {
	let out = '';
	for (const byte of encoder.encode(text)) {
		if (byte >= 0x20 && byte <= 0x7e && byte !== 0x25) out += String.fromCharCode(byte);
		else out += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
	}
	return out;
}
