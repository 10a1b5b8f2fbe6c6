// From a scanned head to a request: request line, target forms, authority, version, and how the
// body is framed (RFC 9112 §3, §6).

import { consistsOf, isAuthority, TARGET, TOKEN, trimSpace } from '../http/characters.ts';
import type { RequestHead } from '../http/stream.ts';
import { Http1Error } from './errors.ts';
import { readHeadFields } from './head-fields.ts';
import type { HeadScanner } from './head-scanner.ts';

export interface ParsedRequest {
	readonly head: RequestHead;
	/** Bytes of the body; -1: chunked. */
	readonly bodyBytes: number;
	readonly http10: boolean;
	/** The connection may be used again, as far as the client says. */
	readonly keepAlive: boolean;
}

export interface RequestRules {
	readonly scheme: string;
	readonly acceptHttp10: boolean;
	readonly defaultHostForHttp10: string;
}

/** Strings that are there already are cheaper to pass on and to compare than new ones. */
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS', 'CONNECT', 'TRACE'];

export function readRequest(scanner: HeadScanner, rules: RequestRules): ParsedRequest | Http1Error {
	const text = scanner.text;
	const lineEnd = scanner.startLineEnd;
	const methodStart = scanner.startLineStart;
	const methodEnd = text.indexOf(' ', methodStart);
	const targetEnd = text.indexOf(' ', methodEnd + 1);
	if (methodEnd === -1 || methodEnd >= lineEnd || targetEnd === -1 || targetEnd >= lineEnd) {
		return bad('http1_bad_request_line', 'request line is not method, target and version');
	}
	const method = readMethod(text, methodStart, methodEnd);
	if (method === '') return bad('http1_bad_method', 'method is not a token');
	const target = text.substring(methodEnd + 1, targetEnd);
	const isHttp11 = lineEnd - targetEnd === 9 && text.startsWith('HTTP/1.1', targetEnd + 1);
	const version = isHttp11 ? 11 : readVersion(text.substring(targetEnd + 1, lineEnd));
	if (version instanceof Http1Error) return version;
	const http10 = version === 10;
	if (http10 && !rules.acceptHttp10) return bad('http1_unsupported_version', 'HTTP/1.0 is not accepted');
	if (target === '' || !consistsOf(target, TARGET))
		return bad('http1_bad_target', 'request target has a bad character');

	const fields = readHeadFields(scanner, 'downstream');
	if (fields instanceof Http1Error) return fields;
	if (http10 && fields.chunked) return bad('http1_ambiguous_framing', 'transfer-encoding in an HTTP/1.0 message');
	if (fields.hostCount > 1) return bad('http1_duplicate_host', 'more than one Host');
	if (fields.hostCount === 0) {
		if (!http10) return bad('http1_missing_host', 'no Host');
		fields.host = rules.defaultHostForHttp10;
	}

	const head: RequestHead = {
		method,
		scheme: rules.scheme,
		authority: fields.host,
		path: target,
		headers: fields.headers,
		upgrade: '',
	};
	if (target.charCodeAt(0) !== 0x2f || method === 'CONNECT') {
		const error = readOtherTarget(head, target);
		if (error !== null) return error;
	}
	// Where an absolute-form target is taken, Host is ignored, but must be valid still (RFC 9112 §3.2.2).
	if (
		!isAuthority(head.authority) ||
		(fields.hostCount === 1 && fields.host !== head.authority && !isAuthority(fields.host))
	) {
		return bad('http1_bad_host', 'Host is not a host and port');
	}

	const bodyBytes = fields.chunked ? -1 : fields.contentLength === -1 ? 0 : fields.contentLength;
	if (method === 'CONNECT') {
		if (bodyBytes !== 0) return bad('http1_ambiguous_framing', 'CONNECT with content');
	} else if (fields.connectionUpgrade && fields.upgrade !== '' && !http10 && bodyBytes === 0) {
		// With content an upgrade is ignored, as RFC 9110 §7.8 lets a server: what follows it would be ambiguous.
		head.upgrade = firstProtocol(fields.upgrade);
	}
	const keepAlive = http10 ? fields.keepAlive && !fields.close : !fields.close;
	return { head, bodyBytes, http10, keepAlive };
}

/** Empty: it is not a token. */
function readMethod(text: string, start: number, end: number): string {
	for (let i = 0; i < METHODS.length; i++) {
		const method = METHODS[i]!;
		if (method.length === end - start && text.startsWith(method, start)) return method;
	}
	const method = text.substring(start, end);
	return consistsOf(method, TOKEN) ? method : '';
}

/** 10 or 11. */
export function readVersion(version: string): 10 | 11 | Http1Error {
	if (version === 'HTTP/1.1') return 11;
	if (version === 'HTTP/1.0') return 10;
	if (/^HTTP\/\d\.\d$/.test(version))
		return bad('http1_unsupported_version', 'version is neither HTTP/1.1 nor HTTP/1.0');
	return bad('http1_bad_request_line', 'no HTTP version');
}

/** Authority-form, absolute-form and asterisk-form (RFC 9112 §3.2.2 to §3.2.4). */
function readOtherTarget(head: RequestHead, target: string): Http1Error | null {
	if (head.method === 'CONNECT') {
		const colon = target.lastIndexOf(':');
		if (!isAuthority(target) || colon <= 0 || colon === target.length - 1 || target.endsWith(']')) {
			return bad('http1_bad_target', 'the target of CONNECT is not host and port');
		}
		head.authority = target;
		head.path = '';
		return null;
	}
	if (target === '*') {
		return head.method === 'OPTIONS' ? null : bad('http1_bad_target', 'only OPTIONS may ask for *');
	}
	const schemeEnd = target.indexOf('://');
	const scheme = schemeEnd === -1 ? '' : target.substring(0, schemeEnd).toLowerCase();
	if (scheme !== 'http' && scheme !== 'https') {
		return bad('http1_bad_target', 'request target is neither a path nor an http URI');
	}
	const authorityStart = schemeEnd + 3;
	let authorityEnd = authorityStart;
	while (authorityEnd < target.length) {
		const code = target.charCodeAt(authorityEnd);
		if (code === 0x2f || code === 0x3f) break;
		authorityEnd++;
	}
	head.scheme = scheme;
	head.authority = target.substring(authorityStart, authorityEnd);
	const rest = target.substring(authorityEnd);
	if (rest === '') head.path = head.method === 'OPTIONS' ? '*' : '/';
	else head.path = rest.charCodeAt(0) === 0x3f ? `/${rest}` : rest;
	return null;
}

/** The first that a proxy may pass on, in lower case; empty: none. */
function firstProtocol(upgrade: string): string {
	for (const part of upgrade.toLowerCase().split(',')) {
		const protocol = trimSpace(part);
		// h2c is between neighbours only, and not offered here.
		if (protocol === '' || protocol === 'h2c') continue;
		if (consistsOf(protocol.replace('/', ''), TOKEN)) return protocol;
	}
	return '';
}

function bad(code: Http1Error['code'], message: string): Http1Error {
	return new Http1Error(code, message, 'downstream');
}
