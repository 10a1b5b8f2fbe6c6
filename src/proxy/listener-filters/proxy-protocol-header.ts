// The header of the PROXY protocol, versions 1 and 2 (HAProxy's specification): for whom a connection
// speaks. Input is anybody's; what the specification does not allow is an error, also where Envoy is
// more lenient.

import { isIPv4, isIPv6 } from 'node:net';
import { formatIpv6 } from '../../net/linux.ts';

export interface ProxyEndpoints {
	readonly sourceHost: string;
	readonly sourcePort: number;
	readonly destinationHost: string;
	readonly destinationPort: number;
}

export interface ProxyHeader {
	readonly version: 1 | 2;
	/** Of the header; what follows is the connection's own. */
	readonly byteLength: number;
	/** Null: the connection speaks for itself (`LOCAL`, `UNKNOWN`). */
	readonly endpoints: ProxyEndpoints | null;
}

/** `absent`: it does not begin with a header. */
export type ProxyHeaderResult =
	| ProxyHeader
	| 'incomplete'
	| 'absent'
	| { readonly error: string; readonly version: 1 | 2 };

const SIGNATURE_V1 = Buffer.from('PROXY ');
const SIGNATURE_V2 = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
/** §2.1: the longest line, with its end. */
const V1_BYTES_MAX = 107;
const V2_FIXED_BYTES = 16;
const TLV_HEADER_BYTES = 3;
const ADDRESS_BYTES = { inet: 12, inet6: 36, unix: 216 } as const;

/** `bytes`: the start of what came. */
export function readProxyHeader(bytes: Uint8Array): ProxyHeaderResult {
	if (bytes.length === 0) return 'incomplete';
	if (startsLike(bytes, SIGNATURE_V1)) return bytes.length < SIGNATURE_V1.length ? 'incomplete' : readV1(bytes);
	if (startsLike(bytes, SIGNATURE_V2)) return bytes.length < SIGNATURE_V2.length ? 'incomplete' : readV2(bytes);
	return 'absent';
}

function startsLike(bytes: Uint8Array, signature: Uint8Array): boolean {
	const length = Math.min(bytes.length, signature.length);
	for (let i = 0; i < length; i++) if (bytes[i] !== signature[i]) return false;
	return true;
}

function readV1(bytes: Uint8Array): ProxyHeaderResult {
	const feed = bytes.subarray(0, V1_BYTES_MAX).indexOf(10);
	if (feed < 0) return bytes.length < V1_BYTES_MAX ? 'incomplete' : failure(1, 'the line does not end');
	if (bytes[feed - 1] !== 13) return failure(1, 'the line ends without CR');
	const line = Buffer.from(bytes.buffer, bytes.byteOffset, feed - 1).toString('latin1');
	const byteLength = feed + 1;
	const parts = line.split(' ');
	if (parts[1] === 'UNKNOWN') return { version: 1, byteLength, endpoints: null };
	const isAddress = parts[1] === 'TCP4' ? isIPv4 : parts[1] === 'TCP6' ? isPlainIpv6 : null;
	if (isAddress === null) return failure(1, 'the protocol is none of TCP4, TCP6, UNKNOWN');
	if (parts.length !== 6) return failure(1, 'it has not six parts');
	const [, , sourceHost, destinationHost, sourceText, destinationText] = parts as [
		string,
		string,
		string,
		string,
		string,
		string,
	];
	if (!isAddress(sourceHost) || !isAddress(destinationHost)) return failure(1, 'an address is none of its family');
	const sourcePort = portOf(sourceText);
	const destinationPort = portOf(destinationText);
	if (sourcePort === null || destinationPort === null) return failure(1, 'a port is none');
	return checked({ sourceHost, sourcePort, destinationHost, destinationPort }, 1, byteLength);
}

function isPlainIpv6(text: string): boolean {
	return isIPv6(text) && !text.includes('%');
}

function portOf(text: string): number | null {
	if (!/^(0|[1-9]\d{0,4})$/.test(text)) return null;
	const port = Number(text);
	return port <= 65535 ? port : null;
}

function readV2(bytes: Uint8Array): ProxyHeaderResult {
	if (bytes.length < V2_FIXED_BYTES) return 'incomplete';
	const version = bytes[12]! >> 4;
	const command = bytes[12]! & 0x0f;
	const family = bytes[13]! >> 4;
	const transport = bytes[13]! & 0x0f;
	const length = (bytes[14]! << 8) | bytes[15]!;
	const byteLength = V2_FIXED_BYTES + length;
	if (version !== 2) return failure(2, 'the version is not 2');
	if (command > 1) return failure(2, 'the command is none of LOCAL, PROXY');
	if (command === 0) {
		return bytes.length < byteLength ? 'incomplete' : { version: 2, byteLength, endpoints: null };
	}
	const addressBytes = family === 1 ? ADDRESS_BYTES.inet : family === 2 ? ADDRESS_BYTES.inet6 : null;
	if (addressBytes === null) return failure(2, 'the address family is none of IPv4, IPv6');
	if (transport !== 1) return failure(2, 'the transport is no stream');
	if (length < addressBytes) return failure(2, 'it is too short for its addresses');
	if (bytes.length < byteLength) return 'incomplete';
	if (!hasWholeTlvs(bytes, V2_FIXED_BYTES + addressBytes, byteLength)) {
		return failure(2, 'an extension reaches beyond its end');
	}
	const view = new DataView(bytes.buffer, bytes.byteOffset + V2_FIXED_BYTES, addressBytes);
	const half = addressBytes === ADDRESS_BYTES.inet ? 4 : 16;
	const host = (offset: number): string =>
		half === 4
			? bytes.subarray(V2_FIXED_BYTES + offset, V2_FIXED_BYTES + offset + 4).join('.')
			: formatIpv6(bytes, V2_FIXED_BYTES + offset);
	const endpoints: ProxyEndpoints = {
		sourceHost: host(0),
		destinationHost: host(half),
		sourcePort: view.getUint16(2 * half),
		destinationPort: view.getUint16(2 * half + 2),
	};
	return checked(endpoints, 2, byteLength);
}

function hasWholeTlvs(bytes: Uint8Array, from: number, end: number): boolean {
	let at = from;
	while (at < end) {
		if (end - at < TLV_HEADER_BYTES) return false;
		at += TLV_HEADER_BYTES + ((bytes[at + 1]! << 8) | bytes[at + 2]!);
	}
	return at === end;
}

/** TCP has unicast addresses only. */
function checked(endpoints: ProxyEndpoints, version: 1 | 2, byteLength: number): ProxyHeaderResult {
	if (!isUnicast(endpoints.sourceHost) || !isUnicast(endpoints.destinationHost)) {
		return failure(version, 'an address is no unicast address');
	}
	return { version, byteLength, endpoints };
}

function isUnicast(host: string): boolean {
	if (!isIPv4(host)) return !/^ff/i.test(host) && !/^[0:]*$/.test(host);
	const first = Number(host.slice(0, host.indexOf('.')));
	return host !== '0.0.0.0' && host !== '255.255.255.255' && (first < 224 || first > 239);
}

function failure(version: 1 | 2, error: string): ProxyHeaderResult {
	return { error, version };
}
