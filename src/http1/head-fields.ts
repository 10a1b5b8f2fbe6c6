// The fields of a parsed head: those that are about the message go into the flat list, those that
// are about framing or the connection are read here, held to their grammar, and go no further.

import { consistsOf, HTAB, SP, TOKEN, trimSpace } from '../http/characters.ts';
import { isTrailerAllowed, parseContentLength } from '../http/field-rules.ts';
import { type HeaderList, removeHeader } from '../http/headers.ts';
import type { ErrorOrigin } from '../std/errors.ts';
import { Http1Error } from './errors.ts';
import { FieldKind, fieldKindAt, fieldNameAt, fieldValueAt, findFieldName } from './field-names.ts';
import { type HeadScanner, OFFSETS_PER_FIELD } from './head-scanner.ts';

export interface HeadFields {
	/** End-to-end fields, `content-length` (normalised) and `te: trailers` among them. */
	readonly headers: HeaderList;
	/** Value of the last Host field. */
	host: string;
	hostCount: number;
	/** -1: none. */
	contentLength: number;
	/** `chunked`; the only coding that is taken. */
	chunked: boolean;
	close: boolean;
	keepAlive: boolean;
	/** `Connection: upgrade`. */
	connectionUpgrade: boolean;
	/** Value of Upgrade, empty: none. */
	upgrade: string;
}

/**
 * Fields for all recipients that a Connection header must not take away (RFC 9110 §7.6.1): nominating one is a
 * known way to make a proxy drop what the next hop relies on. Such a nomination is ignored.
 */
const NOT_NOMINABLE = new Set([
	'authorization',
	'cache-control',
	'content-encoding',
	'content-length',
	'content-range',
	'content-type',
	'cookie',
	'forwarded',
	'host',
	'set-cookie',
	'transfer-encoding',
]);
const NOT_NOMINABLE_PREFIXES = ['x-forwarded-', 'x-envoy-', 'x-weft-', 'x-request-id', 'traceparent', 'tracestate'];

/** The scanner must be complete and no other may have run since. Gives an error where a field breaks its grammar. */
export function readHeadFields(scanner: HeadScanner, origin: ErrorOrigin): HeadFields | Http1Error {
	const head = scanner.text;
	const offsets = scanner.offsets;
	const headers: HeaderList = [];
	const fields: HeadFields = {
		headers,
		host: '',
		hostCount: 0,
		contentLength: -1,
		chunked: false,
		close: false,
		keepAlive: false,
		connectionUpgrade: false,
		upgrade: '',
	};
	let nominated: string[] | null = null;
	let transferEncodings = 0;

	const end = scanner.fieldCount * OFFSETS_PER_FIELD;
	for (let i = 0; i < end; i += OFFSETS_PER_FIELD) {
		const nameStart = offsets[i]!;
		const nameEnd = offsets[i + 1]!;
		const valueStart = offsets[i + 3]!;
		let valueEnd = offsets[i + 4]!;
		while (valueEnd > valueStart) {
			const last = head.charCodeAt(valueEnd - 1);
			if (last !== SP && last !== HTAB) break;
			valueEnd--;
		}
		const slot = findFieldName(head, nameStart, nameEnd, offsets[i + 2]!);
		if (slot === -1) {
			headers.push(head.substring(nameStart, nameEnd).toLowerCase(), head.substring(valueStart, valueEnd));
			continue;
		}
		const value = fieldValueAt(slot, head, valueStart, valueEnd);
		const kind = fieldKindAt(slot);
		switch (kind) {
			case FieldKind.plain:
				headers.push(fieldNameAt(slot), value);
				break;
			case FieldKind.host:
				fields.host = value;
				fields.hostCount++;
				break;
			case FieldKind.contentLength: {
				const length = parseContentLength(value);
				if (length === -1 || (fields.contentLength !== -1 && fields.contentLength !== length)) {
					return new Http1Error('http1_bad_content_length', 'content-length is not one number', origin);
				}
				if (fields.contentLength === -1) headers.push('content-length', String(length));
				fields.contentLength = length;
				break;
			}
			case FieldKind.transferEncoding:
				transferEncodings++;
				if (transferEncodings > 1) {
					return new Http1Error('http1_ambiguous_framing', 'more than one transfer-encoding field', origin);
				}
				if (value !== 'chunked' && value.toLowerCase() !== 'chunked') {
					return badTransferEncoding(value, origin);
				}
				fields.chunked = true;
				break;
			case FieldKind.connection:
				if (value === 'keep-alive') fields.keepAlive = true;
				else if (value === 'close') fields.close = true;
				else {
					nominated = readConnection(value, fields, nominated);
					if (nominated === null) {
						return new Http1Error('http1_bad_connection', 'connection is not a list of tokens', origin);
					}
				}
				break;
			case FieldKind.upgrade:
				fields.upgrade = fields.upgrade === '' ? value : `${fields.upgrade}, ${value}`;
				break;
			case FieldKind.te:
				if (namesTrailers(value)) headers.push('te', 'trailers');
				break;
			default:
				break;
		}
	}

	if (fields.chunked && fields.contentLength !== -1) {
		return new Http1Error('http1_ambiguous_framing', 'content-length together with transfer-encoding', origin);
	}
	if (nominated !== null) for (const name of nominated) removeHeader(headers, name);
	return fields;
}

/** The fields of a complete trailer section that may be passed on. */
export function readTrailers(scanner: HeadScanner): HeaderList {
	const head = scanner.text;
	const offsets = scanner.offsets;
	const trailers: HeaderList = [];
	for (let i = 0; i < scanner.fieldCount * OFFSETS_PER_FIELD; i += OFFSETS_PER_FIELD) {
		const nameStart = offsets[i]!;
		const nameEnd = offsets[i + 1]!;
		const slot = findFieldName(head, nameStart, nameEnd, offsets[i + 2]!);
		if (slot !== -1 && fieldKindAt(slot) !== FieldKind.plain) continue;
		const name = slot === -1 ? head.substring(nameStart, nameEnd).toLowerCase() : fieldNameAt(slot);
		if (!isTrailerAllowed(name)) continue;
		trailers.push(name, trimSpace(head.substring(offsets[i + 3]!, offsets[i + 4]!)));
	}
	return trailers;
}

function badTransferEncoding(value: string, origin: ErrorOrigin): Http1Error {
	const codings = value.toLowerCase().split(',');
	const chunked = codings.filter((coding) => trimSpace(coding) === 'chunked').length;
	if (value === '' || chunked > 1 || codings.some((coding) => trimSpace(coding) === '')) {
		return new Http1Error('http1_ambiguous_framing', 'transfer-encoding is not one coding', origin);
	}
	return new Http1Error('http1_unsupported_transfer_encoding', 'a transfer-encoding other than chunked', origin);
}

/** Adds to `nominated` the fields that go with the connection; null: not a list of tokens. */
function readConnection(value: string, fields: HeadFields, nominated: string[] | null): string[] | null {
	const names = nominated ?? [];
	for (const part of value.toLowerCase().split(',')) {
		const option = trimSpace(part);
		if (option === '') continue;
		if (!consistsOf(option, TOKEN)) return null;
		switch (option) {
			case 'close':
				fields.close = true;
				break;
			case 'keep-alive':
				fields.keepAlive = true;
				break;
			case 'upgrade':
				fields.connectionUpgrade = true;
				break;
			case 'te':
				break;
			default:
				if (!NOT_NOMINABLE.has(option) && !NOT_NOMINABLE_PREFIXES.some((prefix) => option.startsWith(prefix))) {
					names.push(option);
				}
		}
	}
	return names;
}

function namesTrailers(te: string): boolean {
	return te
		.toLowerCase()
		.split(',')
		.some((part) => trimSpace(part) === 'trailers');
}
