// From a header list to a response, by the rules of RFC 9113 §8.2 and §8.3.2.

import { parseContentLength } from '../http/field-rules.ts';
import type { HeaderList } from '../http/headers.ts';
import type { ResponseHead } from '../http/stream.ts';
import { FieldKind } from './field-kinds.ts';
import type { DecodedFields } from './hpack-decoder.ts';

export interface ParsedResponse {
	readonly head: ResponseHead;
	/** -1: none. */
	readonly contentLength: number;
}

/** A string: why it is malformed. */
export function readResponse(fields: DecodedFields): ParsedResponse | string {
	const { names, values, kinds, count } = fields;
	const headers: HeaderList = [];
	let status = 0;
	let contentLength = -1;
	let regular = false;
	for (let i = 0; i < count; i++) {
		const kind = kinds[i]!;
		const value = values[i]!;
		if (kind === FieldKind.plain) {
			regular = true;
			headers.push(names[i]!, value);
			continue;
		}
		if (kind <= FieldKind.unknownPseudo) {
			if (kind !== FieldKind.status || status !== 0 || regular) return 'a pseudo-header that may not stand there';
			if (!/^[1-5]\d\d$/.test(value)) return 'status is not a number of three digits';
			status = Number(value);
			continue;
		}
		regular = true;
		switch (kind) {
			case FieldKind.contentLength: {
				const length = parseContentLength(value);
				if (length === -1 || (contentLength !== -1 && contentLength !== length)) {
					return 'content-length is not one number';
				}
				if (contentLength === -1) headers.push('content-length', String(length));
				contentLength = length;
				break;
			}
			case FieldKind.cookie:
				headers.push('cookie', value);
				break;
			case FieldKind.host:
			case FieldKind.te:
			case FieldKind.dropped:
				break;
			case FieldKind.connection:
				return 'a field about an HTTP/1.1 connection';
			default:
				return 'a field with a character that may not stand there';
		}
	}
	if (status === 0) return 'no status';
	// HTTP/2 has no switch of protocols (RFC 9113 §8.6).
	if (status === 101) return 'status 101';
	return { head: { status, headers }, contentLength };
}
