// The command operators that weft knows, each compiled to a function of a stream. Names and
// meaning are Envoy's ("Access log command operators").

import { hostname } from 'node:os';
import { GRPC_STATUS_NAMES, GrpcStatus, grpcStatusOfHttp, parseGrpcStatus } from '../../grpc/status.ts';
import { getHeader } from '../../http/headers.ts';
import { type Address, formatAddress } from '../../net/network.ts';
import { isGrpc } from '../route/route-match.ts';
import { formatLongResponseFlags, formatResponseFlags, type StreamInfo } from '../stream-info.ts';
import {
	durationOperator,
	metadataOperator,
	pathOperator,
	queryParameter,
	type Structured,
} from './argument-operators.ts';
import { peerFingerprint, peerIssuer, peerNames, peerValidity } from './peer-details.ts';

/** Null: no value. */
export type OperatorValue = string | number | Structured | null;
type Operator = (info: StreamInfo) => OperatorValue;

/** Null when there is no such command, or its argument is wrong. */
export function compileOperator(command: string, argument: string | null): Operator | null {
	const plain = OPERATORS[command];
	if (plain !== undefined) return argument === null ? plain : null;
	switch (command) {
		case 'REQ':
		case 'RESP':
		case 'TRAILER':
			return argument === null || argument === '' ? null : headerOperator(command, argument);
		case 'GRPC_STATUS':
			return grpcStatusOperator(argument);
		case 'START_TIME':
			return argument === null || argument === '' ? startTime : timeFormat(argument, (info) => info.startWallMs);
		case 'EMIT_TIME':
			return argument === null || argument === ''
				? () => new Date().toISOString()
				: timeFormat(argument, () => Date.now());
		case 'QUERY_PARAM':
			return queryParameter(argument);
		case 'PATH':
			return pathOperator(argument, (info) => requestHeader(info, 'x-envoy-original-path'));
		case 'UPSTREAM_METADATA':
			return metadataOperator(argument, (info) => info.host?.metadata ?? null);
		case 'CLUSTER_METADATA':
			return metadataOperator(argument, (info) => info.cluster?.metadata ?? null);
		case 'COMMON_DURATION':
			return durationOperator(argument);
		case 'ENVIRONMENT': {
			if (argument === null) return null;
			const value = process.env[argument] ?? null;
			return () => value;
		}
		default:
			return null;
	}
}

/** Every command, for the documentation. */
export function operatorNames(): string[] {
	return [...Object.keys(OPERATORS), ...WITH_ARGUMENT].sort();
}

const WITH_ARGUMENT = `REQ RESP TRAILER GRPC_STATUS START_TIME EMIT_TIME ENVIRONMENT QUERY_PARAM PATH
UPSTREAM_METADATA CLUSTER_METADATA COMMON_DURATION`.split(/\s+/);

const HOSTNAME = hostname();
/** Of Envoy's `AccessLogType`, by `StreamInfo.logType`. */
const LOG_TYPES = [
	'NotSet',
	'TcpUpstreamConnected',
	'TcpPeriodic',
	'TcpConnectionEnd',
	'DownstreamStart',
	'DownstreamPeriodic',
	'DownstreamEnd',
];

const OPERATORS: Readonly<Record<string, Operator>> = {
	RESPONSE_CODE: (info) => info.status,
	RESPONSE_CODE_DETAILS: (info) => textOrNull(info.responseCodeDetails),
	RESPONSE_FLAGS: (info) => formatResponseFlags(info.responseFlags),
	RESPONSE_FLAGS_LONG: (info) => formatLongResponseFlags(info.responseFlags),
	// Only the formats of local replies are told.
	LOCAL_REPLY_BODY: (info) => info.localReplyBody,
	ACCESS_LOG_TYPE: (info) => LOG_TYPES[info.logType] ?? null,
	STREAM_ID: (info) => requestHeader(info, 'x-request-id'),
	UNIQUE_ID: () => crypto.randomUUID(),
	REQUEST_HEADERS_BYTES: requestHeadersBytes,
	RESPONSE_HEADERS_BYTES: (info) =>
		info.responseHead === null ? 0 : ':status'.length + 3 + listBytes(info.responseHead.headers),
	RESPONSE_TRAILERS_BYTES: (info) => (info.responseTrailers === null ? 0 : listBytes(info.responseTrailers)),
	UPSTREAM_HOST_NAME: (info) =>
		info.host === null ? null : info.host.hostname === '' ? info.host.addressText : info.host.hostname,
	UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (info) => (info.host === null ? null : hostOf(info.host.address)),
	UPSTREAM_REMOTE_PORT: (info) => (info.host === null ? null : portOf(info.host.address)),
	DOWNSTREAM_REMOTE_PORT: (info) =>
		info.clientAddress === '' || info.clientAddress === hostOf(info.connection.remote)
			? portOf(info.connection.remote)
			: 0,
	DOWNSTREAM_DIRECT_REMOTE_PORT: (info) => portOf(info.connection.directRemote),
	PROTOCOL: (info) => textOrNull(info.protocol),
	DURATION: (info) => since(info, info.endMs),
	REQUEST_DURATION: (info) => since(info, info.requestEndMs),
	RESPONSE_DURATION: (info) => since(info, info.upstreamFirstByteMs),
	RESPONSE_TX_DURATION: (info) =>
		info.upstreamFirstByteMs === 0 || info.endMs === 0 ? null : Math.round(info.endMs - info.upstreamFirstByteMs),
	BYTES_RECEIVED: (info) => info.bytesReceived,
	BYTES_SENT: (info) => info.bytesSent,
	UPSTREAM_HOST: (info) => (info.host === null ? null : info.host.addressText),
	UPSTREAM_REMOTE_ADDRESS: (info) => (info.host === null ? null : info.host.addressText),
	UPSTREAM_CLUSTER: (info) => (info.cluster === null ? null : info.cluster.statName),
	UPSTREAM_CLUSTER_RAW: (info) => (info.cluster === null ? null : info.cluster.name),
	UPSTREAM_REQUEST_ATTEMPT_COUNT: (info) => info.attempts,
	UPSTREAM_TRANSPORT_FAILURE_REASON: (info) => textOrNull(info.upstreamFailureReason.replaceAll(' ', '_')),
	UPSTREAM_TLS_VERSION: (info) => info.upstreamTls?.version ?? null,
	UPSTREAM_TLS_CIPHER: (info) => info.upstreamTls?.cipher ?? null,
	UPSTREAM_PEER_URI_SAN: (info) => joined(info.upstreamTls?.peerCertificate?.uriSans),
	UPSTREAM_PEER_DNS_SAN: (info) => joined(info.upstreamTls?.peerCertificate?.dnsSans),
	UPSTREAM_PEER_ISSUER: (info) => peerIssuer(info.upstreamTls),
	UPSTREAM_PEER_SUBJECT: (info) => info.upstreamTls?.peerCertificate?.subject ?? null,
	DOWNSTREAM_REMOTE_ADDRESS: remoteAddress,
	DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (info) => textOrNull(info.clientAddress) ?? hostOf(info.connection.remote),
	DOWNSTREAM_DIRECT_REMOTE_ADDRESS: (info) => formatAddress(info.connection.directRemote),
	DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (info) => hostOf(info.connection.directRemote),
	DOWNSTREAM_LOCAL_ADDRESS: (info) => formatAddress(localAddress(info)),
	DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (info) => hostOf(localAddress(info)),
	DOWNSTREAM_LOCAL_PORT: (info) => portOf(localAddress(info)),
	DOWNSTREAM_DIRECT_LOCAL_ADDRESS: (info) => formatAddress(info.connection.local),
	DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT: (info) => hostOf(info.connection.local),
	DOWNSTREAM_DIRECT_LOCAL_PORT: (info) => portOf(info.connection.local),
	CONNECTION_TERMINATION_DETAILS: (info) => textOrNull(info.connectionTerminationDetails),
	DOWNSTREAM_TLS_VERSION: (info) => info.connection.tls?.version ?? null,
	DOWNSTREAM_TLS_CIPHER: (info) => info.connection.tls?.cipher ?? null,
	DOWNSTREAM_PEER_URI_SAN: (info) => joined(info.connection.tls?.peerCertificate?.uriSans),
	DOWNSTREAM_PEER_DNS_SAN: (info) => joined(info.connection.tls?.peerCertificate?.dnsSans),
	DOWNSTREAM_PEER_SUBJECT: (info) => info.connection.tls?.peerCertificate?.subject ?? null,
	DOWNSTREAM_PEER_SERIAL: (info) => info.connection.tls?.peerCertificate?.serialNumber ?? null,
	DOWNSTREAM_PEER_ISSUER: (info) => peerIssuer(info.connection.tls),
	DOWNSTREAM_PEER_FINGERPRINT_1: (info) => peerFingerprint(info.connection.tls, 'sha1'),
	DOWNSTREAM_PEER_FINGERPRINT_256: (info) => peerFingerprint(info.connection.tls, 'sha256'),
	DOWNSTREAM_PEER_CERT_V_START: (info) => peerValidity(info.connection.tls, 'notBeforeMs'),
	DOWNSTREAM_PEER_CERT_V_END: (info) => peerValidity(info.connection.tls, 'notAfterMs'),
	DOWNSTREAM_PEER_IP_SAN: (info) => joined(peerNames(info.connection.tls, 'ipSans')),
	DOWNSTREAM_PEER_EMAIL_SAN: (info) => joined(peerNames(info.connection.tls, 'emailSans')),
	REQUESTED_SERVER_NAME: (info) => textOrNull(info.requestedServerName),
	ROUTE_NAME: (info) => textOrNull(info.routeName),
	VIRTUAL_HOST_NAME: (info) => textOrNull(info.virtualHostName),
	LISTENER_NAME: (info) => textOrNull(info.listenerName),
	CONNECTION_ID: (info) => info.connection.id,
	GRPC_STATUS_NUMBER: grpcStatusOf,
	HOSTNAME: () => HOSTNAME,
};

function headerOperator(command: 'REQ' | 'RESP' | 'TRAILER', argument: string): Operator | null {
	const [first, second, ...rest] = argument.toLowerCase().split('?');
	if (first === undefined || first === '' || rest.length > 0) return null;
	const other = second === undefined || second === '' ? null : second;
	switch (command) {
		case 'REQ':
			return (info) => requestHeader(info, first) ?? (other === null ? null : requestHeader(info, other));
		case 'RESP':
			return (info) => responseHeader(info, first) ?? (other === null ? null : responseHeader(info, other));
		case 'TRAILER':
			return (info) => {
				const trailers = info.responseTrailers;
				if (trailers === null) return null;
				return getHeader(trailers, first) ?? (other === null ? null : (getHeader(trailers, other) ?? null));
			};
	}
}

/** What the response says, else what its HTTP status means, of whatever request. */
export function grpcStatusOfAny(info: StreamInfo): number {
	const { responseHead, responseTrailers } = info;
	const said =
		(responseTrailers === null ? undefined : getHeader(responseTrailers, 'grpc-status')) ??
		(responseHead === null ? undefined : getHeader(responseHead.headers, 'grpc-status'));
	return (said === undefined ? null : parseGrpcStatus(said)) ?? grpcStatusOfHttp(info.status);
}

/** Of a gRPC request: what the response says, else what its HTTP status means; null when there is none. */
function grpcStatusOf(info: StreamInfo): number | null {
	const { requestHead, responseHead, responseTrailers } = info;
	if (requestHead === null || !isGrpc(getHeader(requestHead.headers, 'content-type'))) return null;
	const said =
		(responseTrailers === null ? undefined : getHeader(responseTrailers, 'grpc-status')) ??
		(responseHead === null ? undefined : getHeader(responseHead.headers, 'grpc-status'));
	if (said !== undefined && said !== '') return parseGrpcStatus(said);
	return info.status === 0 ? null : grpcStatusOfHttp(info.status);
}

/** A code without a name is its number in every form. */
function grpcStatusOperator(argument: string | null): Operator | null {
	switch (argument) {
		case null:
		case '':
		case 'CAMEL_STRING':
			return (info) => grpcStatusName(grpcStatusOf(info), CAMEL_GRPC_STATUS_NAMES);
		case 'SNAKE_STRING':
			return (info) => grpcStatusName(grpcStatusOf(info), GRPC_STATUS_NAMES);
		case 'NUMBER':
			return grpcStatusOf;
		default:
			return null;
	}
}

function grpcStatusName(status: number | null, names: readonly string[]): string | null {
	return status === null ? null : (names[status] ?? String(status));
}

/** `NotFound`; Envoy writes the first with one l. */
const CAMEL_GRPC_STATUS_NAMES: readonly string[] = GRPC_STATUS_NAMES.map((name, status) => {
	if (status === GrpcStatus.ok) return 'OK';
	if (status === GrpcStatus.cancelled) return 'Canceled';
	return name
		.split('_')
		.map((word) => word.charAt(0) + word.slice(1).toLowerCase())
		.join('');
});

function requestHeader(info: StreamInfo, name: string): string | null {
	const head = info.requestHead;
	if (head === null) return null;
	switch (name) {
		case ':method':
			return head.method;
		case ':path':
			return head.path;
		case ':authority':
		case 'host':
			return head.authority;
		case ':scheme':
			return head.scheme;
		default:
			return getHeader(head.headers, name) ?? null;
	}
}

function responseHeader(info: StreamInfo, name: string): string | null {
	const head = info.responseHead;
	if (head === null) return null;
	return name === ':status' ? String(head.status) : (getHeader(head.headers, name) ?? null);
}

/** Where the client meant to go. */
function localAddress(info: StreamInfo): Address {
	return info.originalDestination ?? info.connection.local;
}

function portOf(address: Address): number | null {
	return address.kind === 'ip' ? address.port : null;
}

function remoteAddress(info: StreamInfo): string {
	const remote = info.connection.remote;
	if (info.clientAddress === '' || info.clientAddress === hostOf(remote)) return formatAddress(remote);
	return `${info.clientAddress.includes(':') ? `[${info.clientAddress}]` : info.clientAddress}:0`;
}

function hostOf(address: Address): string {
	return address.kind === 'ip' ? address.host : address.path;
}

function listBytes(list: readonly string[]): number {
	let bytes = 0;
	for (let i = 0; i < list.length; i++) bytes += list[i]!.length;
	return bytes;
}

/** With what HTTP/1.1 has in its request line, as pseudo-headers. */
function requestHeadersBytes(info: StreamInfo): number {
	const head = info.requestHead;
	if (head === null) return 0;
	const pseudo = ':method:path:authority:scheme'.length;
	const values = head.method.length + head.path.length + head.authority.length + head.scheme.length;
	return pseudo + values + listBytes(head.headers);
}

function textOrNull(text: string): string | null {
	return text === '' ? null : text;
}

function joined(list: readonly string[] | undefined): string | null {
	return list === undefined || list.length === 0 ? null : list.join(',');
}

function since(info: StreamInfo, atMs: number): number | null {
	return atMs === 0 ? null : Math.round(atMs - info.startMs);
}

function startTime(info: StreamInfo): string {
	return new Date(info.startWallMs).toISOString();
}

const STRFTIME: Readonly<Record<string, (date: Date) => string>> = {
	Y: (date) => String(date.getUTCFullYear()),
	m: (date) => pad(date.getUTCMonth() + 1, 2),
	d: (date) => pad(date.getUTCDate(), 2),
	H: (date) => pad(date.getUTCHours(), 2),
	M: (date) => pad(date.getUTCMinutes(), 2),
	S: (date) => pad(date.getUTCSeconds(), 2),
	F: (date) => date.toISOString().slice(0, 10),
	T: (date) => date.toISOString().slice(11, 19),
	s: (date) => String(Math.floor(date.getTime() / 1000)),
	f: (date) => pad(date.getUTCMilliseconds() * 1_000_000, 9),
	'3f': (date) => pad(date.getUTCMilliseconds(), 3),
	'6f': (date) => pad(date.getUTCMilliseconds() * 1000, 6),
	'9f': (date) => pad(date.getUTCMilliseconds() * 1_000_000, 9),
	z: () => '+0000',
	Z: () => 'UTC',
	'%': () => '%',
};

function timeFormat(format: string, wallMs: (info: StreamInfo) => number): Operator | null {
	for (const match of format.matchAll(/%(\df|.)/g)) if (STRFTIME[match[1]!] === undefined) return null;
	return (info) => {
		const date = new Date(wallMs(info));
		return format.replace(/%(\df|.)/g, (_, code: string) => STRFTIME[code]!(date));
	};
}

function pad(value: number, digits: number): string {
	return String(value).padStart(digits, '0');
}
