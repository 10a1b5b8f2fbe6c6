// From a scanned head to a response: status line, and how the body is framed, which depends on the
// request too (RFC 9112 §4, §6.3).

import type { ResponseHead } from '../http/stream.ts';
import { Http1Error } from './errors.ts';
import { readHeadFields } from './head-fields.ts';
import type { HeadScanner } from './head-scanner.ts';

export const BODY_CHUNKED = -1;
export const BODY_UNTIL_CLOSE = -2;

export interface ParsedResponse {
	readonly head: ResponseHead;
	/** Bytes of the body; `BODY_CHUNKED`, `BODY_UNTIL_CLOSE`. */
	readonly bodyBytes: number;
	/** The connection may be used again, as far as the server says. */
	readonly keepAlive: boolean;
	/** Protocol that the server switches to; empty: none. */
	readonly upgrade: string;
}

/** `method` is that of the request answered. */
export function readResponse(scanner: HeadScanner, method: string): ParsedResponse | Http1Error {
	const text = scanner.text;
	const start = scanner.startLineStart;
	const end = scanner.startLineEnd;
	// HTTP/1.1 SP 3DIGIT SP reason; the space before an empty reason is often left out, and may be.
	const minor = text.charCodeAt(start + 7) - 0x30;
	if (end - start < 12 || !text.startsWith('HTTP/1.', start) || minor < 0 || minor > 1 || text[start + 8] !== ' ') {
		if (/^HTTP\/\d\.\d /.test(text.substring(start, end))) {
			return bad('http1_unsupported_version', 'version is neither HTTP/1.1 nor HTTP/1.0');
		}
		return bad('http1_bad_status_line', 'not a status line');
	}
	const status = digit(text, start + 9) * 100 + digit(text, start + 10) * 10 + digit(text, start + 11);
	if (!(status >= 100 && status <= 599) || (end - start > 12 && text[start + 12] !== ' ')) {
		return bad('http1_bad_status_line', 'status is not three digits from 100 to 599');
	}

	const fields = readHeadFields(scanner, 'upstream');
	if (fields instanceof Http1Error) return fields;
	const http10 = minor === 0;
	if (http10 && fields.chunked) return bad('http1_ambiguous_framing', 'transfer-encoding in an HTTP/1.0 message');

	const head: ResponseHead = { status, headers: fields.headers };
	let bodyBytes: number;
	if (status < 200 || status === 204 || status === 304 || method === 'HEAD') bodyBytes = 0;
	else if (method === 'CONNECT' && status < 300) bodyBytes = 0;
	else if (fields.chunked) bodyBytes = BODY_CHUNKED;
	else bodyBytes = fields.contentLength === -1 ? BODY_UNTIL_CLOSE : fields.contentLength;
	const keepAlive = bodyBytes !== BODY_UNTIL_CLOSE && !fields.close && (!http10 || fields.keepAlive);
	return { head, bodyBytes, keepAlive, upgrade: fields.connectionUpgrade ? fields.upgrade.toLowerCase() : '' };
}

function digit(text: string, at: number): number {
	const value = text.charCodeAt(at) - 0x30;
	return value >= 0 && value <= 9 ? value : Number.NaN;
}

function bad(code: Http1Error['code'], message: string): Http1Error {
	return new Http1Error(code, message, 'upstream');
}
