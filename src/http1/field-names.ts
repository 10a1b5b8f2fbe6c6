// Names of header fields that are known beforehand: found by a hash that the scanner computes on
// the way, so that a usual message makes no string for a name, and with a mark on those that the
// codec itself reads.

import { LOWER } from '../http/characters.ts';

/** What the codec must do with a field. */
export const FieldKind = {
	plain: 0,
	host: 1,
	contentLength: 2,
	transferEncoding: 3,
	connection: 4,
	upgrade: 5,
	te: 6,
	/** About the connection alone (RFC 9110 §7.6.1); dropped unread. */
	hopByHop: 7,
} as const;

const SPECIAL: readonly (readonly [string, number])[] = [
	['host', FieldKind.host],
	['content-length', FieldKind.contentLength],
	['transfer-encoding', FieldKind.transferEncoding],
	['connection', FieldKind.connection],
	['upgrade', FieldKind.upgrade],
	['te', FieldKind.te],
	['keep-alive', FieldKind.hopByHop],
	['proxy-connection', FieldKind.hopByHop],
	['http2-settings', FieldKind.hopByHop],
];

const PLAIN = `accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials
access-control-allow-headers access-control-allow-methods access-control-allow-origin access-control-expose-headers
access-control-max-age access-control-request-headers access-control-request-method age allow alt-svc authorization
b3 baggage cache-control content-disposition content-encoding content-language content-location content-range
content-security-policy content-type cookie date dnt etag expect expires forwarded from grpc-accept-encoding
grpc-encoding grpc-message grpc-status grpc-timeout if-match if-modified-since if-none-match if-range
if-unmodified-since last-modified link location max-forwards origin pragma priority proxy-authenticate
proxy-authorization range referer referrer-policy retry-after sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform
sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-websocket-accept sec-websocket-extensions
sec-websocket-key sec-websocket-protocol sec-websocket-version server server-timing set-cookie
strict-transport-security timing-allow-origin traceparent tracestate trailer upgrade-insecure-requests user-agent
vary via warning www-authenticate x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid x-content-type-options
x-envoy-attempt-count x-envoy-decorator-operation x-envoy-external-address x-envoy-internal x-envoy-original-path
x-envoy-peer-metadata x-envoy-peer-metadata-id x-envoy-upstream-service-time x-forwarded-client-cert x-forwarded-for
x-forwarded-host x-forwarded-port x-forwarded-proto x-frame-options x-powered-by x-real-ip x-request-id
x-requested-with x-weft-peer x-weft-retry x-xss-protection`.split(/\s+/);

const SLOTS = 2048;
const slotNames: (string | undefined)[] = new Array<string | undefined>(SLOTS).fill(undefined);
const slotKinds = new Uint8Array(SLOTS);

for (const [name, kind] of SPECIAL) intern(name, kind);
for (const name of PLAIN) intern(name, FieldKind.plain);

/** One step of the hash over a name's lower-case bytes; begin with 0. */
export function hashStep(hash: number, lowerByte: number): number {
	return (Math.imul(hash, 31) + lowerByte) | 0;
}

/**
 * The slot of the known name that stands in `head` from `start` to `end` in any case; -1: not known.
 * `hash` is of its lower-case bytes.
 */
export function findFieldName(head: string, start: number, end: number, hash: number): number {
	let slot = slotOf(hash);
	for (;;) {
		const name = slotNames[slot];
		if (name === undefined) return -1;
		if (name.length === end - start && equalsLower(name, head, start)) return slot;
		slot = (slot + 1) & (SLOTS - 1);
	}
}

export function fieldNameAt(slot: number): string {
	return slotNames[slot]!;
}

export function fieldKindAt(slot: number): number {
	return slotKinds[slot]!;
}

/** A value that stays the same from message to message is made once. Longer ones, and heads, are not worth keeping. */
const RECENT_VALUE_CHARACTERS_MAX = 64;
const RECENT_HEAD_CHARACTERS_MAX = 2048;
const recentValues: string[] = new Array<string>(SLOTS).fill('');
/** Of these nothing is kept longer than its message. */
const SECRETS = ['authorization', 'cookie', 'proxy-authorization', 'set-cookie', 'sec-websocket-key'];
const isSecret = new Uint8Array(SLOTS);
for (let slot = 0; slot < SLOTS; slot++) if (SECRETS.includes(slotNames[slot] ?? '')) isSecret[slot] = 1;

/** `head` from `start` to `end`, the value of the field at `slot`: the string of the last message when it is the same. */
export function fieldValueAt(slot: number, head: string, start: number, end: number): string {
	const recent = recentValues[slot]!;
	if (recent.length === end - start && head.startsWith(recent, start)) return recent;
	const value = head.substring(start, end);
	// A substring holds on to the whole.
	if (end - start <= RECENT_VALUE_CHARACTERS_MAX && head.length <= RECENT_HEAD_CHARACTERS_MAX && isSecret[slot] === 0) {
		recentValues[slot] = value;
	}
	return value;
}

const specialKinds = new Map(SPECIAL);

/** As `fieldKindAt`, by name. */
export function fieldKindOf(lowerName: string): number {
	return specialKinds.get(lowerName) ?? FieldKind.plain;
}

function equalsLower(name: string, head: string, start: number): boolean {
	for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) !== LOWER[head.charCodeAt(start + i)]) return false;
	return true;
}

function slotOf(hash: number): number {
	return (hash ^ (hash >>> 11) ^ (hash >>> 22)) & (SLOTS - 1);
}

function intern(name: string, kind: number): void {
	let hash = 0;
	for (let i = 0; i < name.length; i++) hash = hashStep(hash, name.charCodeAt(i));
	let slot = slotOf(hash);
	while (slotNames[slot] !== undefined) slot = (slot + 1) & (SLOTS - 1);
	slotNames[slot] = name;
	slotKinds[slot] = kind;
}
