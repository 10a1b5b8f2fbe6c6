// What a connection manager does to a request's head before routes and filters see it: who the
// client is, what it may not say, the request's id, the form of its path. As Envoy does.

import { isIPv4 } from 'node:net';
import { trimSpace } from '../../http/characters.ts';
import { getHeaderJoined, type HeaderList, hasHeader, removeHeader, setHeader } from '../../http/headers.ts';
import type { RequestHead } from '../../http/stream.ts';
import type { Exchange } from '../http-filters/exchange.ts';
import { forwardClientCertificate } from './client-certificate-header.ts';
import type { HttpSettings } from './http-settings.ts';
import { normalizedPath, withMergedSlashes } from './normalize-path.ts';
import { requestId } from './request-id.ts';

export interface RefusedRequest {
	readonly status: number;
	readonly body: string;
	/** Bits of `ResponseFlag`. */
	readonly flags: number;
	readonly details: string;
	readonly headers: HeaderList | null;
}

export const REQUEST_OK = null;

/** Null: the request may go on. */
export function prepareRequest(exchange: Exchange, settings: HttpSettings, localUriSan: string): RefusedRequest | null {
	const head = exchange.requestHead;
	if (head.upgrade !== '' && head.upgrade.toLowerCase() === 'h2c') head.upgrade = '';
	if (settings.underscores !== 'allow' && !underscoresAllowed(head.headers, settings.underscores === 'drop')) {
		return { ...refused(400, 'http1.unexpected_underscore'), body: 'Bad Request' };
	}
	if (settings.stripTrailingHostDot) stripTrailingDot(head);
	if (settings.stripPort !== 'no') stripPort(exchange, settings.stripPort === 'any');
	const path = preparePath(head, settings);
	if (path !== null) return path;
	identifyClient(exchange, settings);
	if (settings.via !== '') appendVia(head.headers, settings.via);
	forwardClientCertificate(exchange, settings, localUriSan);
	return REQUEST_OK;
}

/** RFC 9110 §7.6.3. */
export function appendVia(headers: HeaderList, via: string): void {
	const before = getHeaderJoined(headers, 'via');
	setHeader(headers, 'via', before === undefined ? via : `${before}, ${via}`);
}

function refused(status: number, details: string): RefusedRequest {
	return { status, body: '', flags: 0, details, headers: null };
}

function preparePath(head: RequestHead, settings: HttpSettings): RefusedRequest | null {
	if (head.path.charCodeAt(0) !== 0x2f) return REQUEST_OK;
	let redirects = false;
	if (settings.escapedSlashes !== 'keep') {
		const query = head.path.indexOf('?');
		const only = query < 0 ? head.path : head.path.slice(0, query);
		if (/%2f|%5c/i.test(only)) {
			if (settings.escapedSlashes === 'reject') return refused(400, 'path_normalization_failed');
			const unescaped = only.replace(/%2f/gi, '/').replace(/%5c/gi, '\\');
			head.path = query < 0 ? unescaped : unescaped + head.path.slice(query);
			redirects = settings.escapedSlashes === 'redirect';
		}
	}
	if (settings.normalizePath) {
		const path = normalizedPath(head.path);
		if (path === null) return refused(400, 'path_normalization_failed');
		head.path = path;
	}
	if (settings.mergeSlashes) head.path = withMergedSlashes(head.path);
	// The client is to see the form that policies saw, and to ask for that.
	if (redirects) return { ...refused(307, 'path_normalization_redirect'), headers: ['location', head.path] };
	return REQUEST_OK;
}

function identifyClient(exchange: Exchange, settings: HttpSettings): void {
	const headers = exchange.requestHead.headers;
	const remote = exchange.connection.remote;
	const peer = remote.kind === 'ip' ? remote.host : '';
	const scheme = exchange.connection.tls === null ? 'http' : 'https';
	const forwarded = getHeaderJoined(headers, 'x-forwarded-for');
	let client = peer;
	let single: boolean;
	if (settings.useRemoteAddress) {
		// Envoy appends its node's own address in place of a loopback one; a loopback address says what is so.
		single = forwarded === undefined;
		if (settings.trustedHops > 0) client = hopFromEnd(forwarded, settings.trustedHops - 1)?.host ?? peer;
		if (!settings.skipForwardedForAppend && peer !== '') {
			const appended = settings.mapsIpv4 && isIPv4(peer) ? `::ffff:${peer}` : peer;
			setHeader(headers, 'x-forwarded-for', forwarded === undefined ? appended : `${forwarded},${appended}`);
		}
		const trusts = settings.trustedHops > 0;
		if (!trusts) setHeader(headers, 'x-forwarded-proto', scheme);
		else if (!hasHeader(headers, 'x-forwarded-proto')) headers.push('x-forwarded-proto', scheme);
		if (settings.appendForwardedPort) sayPort(exchange, trusts);
	} else {
		const hop = hopFromEnd(forwarded, settings.trustedHops);
		single = hop?.single ?? false;
		client = hop?.host ?? peer;
		if (!hasHeader(headers, 'x-forwarded-proto')) headers.push('x-forwarded-proto', scheme);
		if (settings.appendForwardedPort) sayPort(exchange, true);
	}
	exchange.clientAddress = client;
	const internal = single && settings.isInternalAddress(client);
	const edge = !internal && settings.useRemoteAddress;
	if (internal) setHeader(headers, 'x-envoy-internal', 'true');
	else removeInternalHeaders(headers, edge);
	if (edge && client !== '') setHeader(headers, 'x-envoy-external-address', client);
	if (settings.generateRequestId) {
		const has = hasHeader(headers, 'x-request-id');
		if (!has || (edge && !settings.preserveExternalRequestId)) {
			setHeader(headers, 'x-request-id', requestId(exchange.random));
		}
	}
}

/** `keeps`: a port that a hop before us said stays. */
function sayPort(exchange: Exchange, keeps: boolean): void {
	const { headers } = exchange.requestHead;
	const { local } = exchange.connection;
	if (local.kind !== 'ip' || (keeps && hasHeader(headers, 'x-forwarded-port'))) return;
	setHeader(headers, 'x-forwarded-port', String(local.port));
}

/** The `fromEnd`-th address of x-forwarded-for counted from its end; null when there is none. */
function hopFromEnd(forwarded: string | undefined, fromEnd: number): { host: string; single: boolean } | null {
	if (forwarded === undefined) return null;
	const hops = forwarded.split(',');
	const hop = trimSpace(hops[hops.length - 1 - fromEnd] ?? '');
	if (!/^[0-9a-fA-F.:]{2,45}$/.test(hop)) return null;
	return { host: hop, single: hops.length === 1 };
}

/** What only a trusted client may ask the proxy for. */
const INTERNAL_HEADERS: ReadonlySet<string> = new Set([
	'x-envoy-internal',
	'x-envoy-retry-on',
	'x-envoy-retry-grpc-on',
	'x-envoy-max-retries',
	'x-envoy-retriable-status-codes',
	'x-envoy-retriable-header-names',
	'x-envoy-upstream-alt-stat-name',
	'x-envoy-upstream-rq-timeout-ms',
	'x-envoy-upstream-rq-per-try-timeout-ms',
	'x-envoy-upstream-rq-timeout-alt-response',
	'x-envoy-expected-rq-timeout-ms',
	'x-envoy-force-trace',
	'x-envoy-ip-tags',
	'x-envoy-original-url',
	'x-envoy-hedge-on-per-try-timeout',
]);
const EDGE_HEADERS: ReadonlySet<string> = new Set([
	'x-envoy-decorator-operation',
	'x-envoy-downstream-service-cluster',
	'x-envoy-downstream-service-node',
	'x-envoy-original-path',
]);

function removeInternalHeaders(headers: HeaderList, edge: boolean): void {
	for (let i = 0; i < headers.length; ) {
		const name = headers[i]!;
		if (name.startsWith('x-envoy-') && (INTERNAL_HEADERS.has(name) || (edge && EDGE_HEADERS.has(name)))) {
			removeHeader(headers, name);
		} else i += 2;
	}
}

/** `shop.example.` and `shop.example.:80` name the host without its last dot; a dot alone is nobody's name and stays. */
function stripTrailingDot(head: RequestHead): void {
	const { authority } = head;
	const colon = authority.lastIndexOf(':');
	const end = colon < 0 || authority.indexOf(']', colon) > 0 ? authority.length : colon;
	if (end < 2 || authority.charCodeAt(end - 1) !== 0x2e) return;
	head.authority = authority.slice(0, end - 1) + authority.slice(end);
}

function stripPort(exchange: Exchange, any: boolean): void {
	const head = exchange.requestHead;
	const colon = head.authority.lastIndexOf(':');
	if (colon < 0 || head.authority.indexOf(']', colon) > 0 || head.method === 'CONNECT') return;
	const local = exchange.connection.local;
	const port = local.kind === 'ip' ? String(local.port) : '';
	if (any || head.authority.slice(colon + 1) === port) head.authority = head.authority.slice(0, colon);
}

/** False: there is one, and it is not to be dropped. */
function underscoresAllowed(headers: HeaderList, drop: boolean): boolean {
	for (let i = 0; i < headers.length; ) {
		if (!headers[i]!.includes('_')) i += 2;
		else if (drop) headers.splice(i, 2);
		else return false;
	}
	return true;
}
