// From a header list to a request, by the rules of RFC 9113 §8.2 and §8.3 to the letter: what is
// wrong here could be read as something else once it goes on as HTTP/1.1.

import { consistsOf, isAuthority, TARGET, TOKEN } from '../http/characters.ts';
import { isTrailerAllowed, parseContentLength } from '../http/field-rules.ts';
import type { HeaderList } from '../http/headers.ts';
import type { RequestHead } from '../http/stream.ts';
import { FieldKind } from './field-kinds.ts';
import type { DecodedFields } from './hpack-decoder.ts';

export interface ParsedRequest {
	readonly head: RequestHead;
	/** -1: none. */
	readonly contentLength: number;
	/** Extended CONNECT (RFC 8441): told as an upgrade, answered by a 2xx. */
	readonly extendedConnect: boolean;
}

/** A string: why it is malformed. Neither `:authority` nor Host: the authority is empty. */
export function readRequest(fields: DecodedFields, allowConnect: boolean): ParsedRequest | string {
	const { names, values, kinds, count } = fields;
	const headers: HeaderList = [];
	let method = '';
	let scheme = '';
	let authority = '';
	let path = '';
	let protocol = '';
	let host = '';
	let hosts = 0;
	let cookie = -1;
	let contentLength = -1;
	let seen = 0;
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
			if (regular) return 'a pseudo-header after other fields';
			const bit = 1 << kind;
			if ((seen & bit) !== 0) return 'a pseudo-header twice';
			seen |= bit;
			switch (kind) {
				case FieldKind.method:
					method = value;
					break;
				case FieldKind.scheme:
					scheme = value;
					break;
				case FieldKind.authority:
					authority = value;
					break;
				case FieldKind.path:
					path = value;
					break;
				case FieldKind.protocol:
					protocol = value;
					break;
				default:
					return 'a pseudo-header that requests do not have';
			}
			continue;
		}
		regular = true;
		switch (kind) {
			case FieldKind.host:
				host = value;
				hosts++;
				break;
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
				// Crumbs are one field again (RFC 9113 §8.2.3).
				if (cookie === -1) {
					cookie = headers.length + 1;
					headers.push('cookie', value);
				} else headers[cookie] = `${headers[cookie]}; ${value}`;
				break;
			case FieldKind.te:
				if (value !== 'trailers') return 'te is not trailers';
				headers.push('te', 'trailers');
				break;
			case FieldKind.dropped:
				break;
			case FieldKind.connection:
				return 'a field about an HTTP/1.1 connection';
			default:
				return 'a field with a character that may not stand there';
		}
	}

	if (method === '' || !consistsOf(method, TOKEN)) return 'method is not a token';
	const hasPath = (seen & (1 << FieldKind.path)) !== 0;
	const hasScheme = (seen & (1 << FieldKind.scheme)) !== 0;
	if (hosts > 1) return 'more than one Host';
	// As Envoy: Host is dropped where there is an authority.
	if ((seen & (1 << FieldKind.authority)) === 0) authority = host;
	if (authority !== '' && !isAuthority(authority)) return 'authority is not a host and port';

	const head: RequestHead = { method, scheme, authority, path, headers, upgrade: '' };
	if (method === 'CONNECT' && (seen & (1 << FieldKind.protocol)) === 0) {
		if (hasPath || hasScheme) return 'CONNECT with a scheme or a path';
		const colon = authority.lastIndexOf(':');
		if (colon <= 0 || colon === authority.length - 1 || authority.endsWith(']')) {
			return 'the target of CONNECT is not host and port';
		}
		if (contentLength > 0) return 'CONNECT with content';
		return { head, contentLength: -1, extendedConnect: false };
	}
	if (!hasPath || !hasScheme) return 'no scheme or no path';
	if (scheme !== 'http' && scheme !== 'https') return 'scheme is neither http nor https';
	if (path.charCodeAt(0) !== 0x2f && !(path === '*' && method === 'OPTIONS')) return 'path does not begin with /';
	if (!consistsOf(path, TARGET)) return 'path has a character that may not stand there';
	if ((seen & (1 << FieldKind.protocol)) === 0) return { head, contentLength, extendedConnect: false };

	if (method !== 'CONNECT') return ':protocol without CONNECT';
	if (!allowConnect) return 'extended CONNECT was not offered';
	if (protocol === '' || !consistsOf(protocol.replace('/', ''), TOKEN)) return 'protocol is not a token';
	if (contentLength > 0) return 'CONNECT with content';
	// The form that upgrades have in HTTP/1.1, and everywhere beyond the codecs.
	head.method = 'GET';
	head.upgrade = protocol.toLowerCase();
	return { head, contentLength: -1, extendedConnect: true };
}

/** Trailers that may be passed on; a string: why they are malformed. */
export function readTrailers(fields: DecodedFields): HeaderList | string {
	const { names, values, kinds, count } = fields;
	const trailers: HeaderList = [];
	for (let i = 0; i < count; i++) {
		const kind = kinds[i]!;
		if (kind !== FieldKind.plain) {
			if (kind <= FieldKind.unknownPseudo) return 'a pseudo-header among trailers';
			if (kind === FieldKind.connection || kind === FieldKind.invalid) return 'a trailer that may not be sent';
			continue;
		}
		if (isTrailerAllowed(names[i]!)) trailers.push(names[i]!, values[i]!);
	}
	return trailers;
}
