// The numbers of RFC 9113 §6, §7 and RFC 8441, by name.

export const FrameType = {
	data: 0x0,
	headers: 0x1,
	priority: 0x2,
	rstStream: 0x3,
	settings: 0x4,
	pushPromise: 0x5,
	ping: 0x6,
	goaway: 0x7,
	windowUpdate: 0x8,
	continuation: 0x9,
} as const;

export const Flag = {
	endStream: 0x1,
	/** Of SETTINGS and PING. */
	ack: 0x1,
	endHeaders: 0x4,
	padded: 0x8,
	priority: 0x20,
} as const;

export const ErrorCode = {
	noError: 0x0,
	protocolError: 0x1,
	internalError: 0x2,
	flowControlError: 0x3,
	settingsTimeout: 0x4,
	streamClosed: 0x5,
	frameSizeError: 0x6,
	refusedStream: 0x7,
	cancel: 0x8,
	compressionError: 0x9,
	connectError: 0xa,
	enhanceYourCalm: 0xb,
	inadequateSecurity: 0xc,
	http11Required: 0xd,
} as const;

const ERROR_NAMES = [
	...['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED'],
	...['FRAME_SIZE_ERROR', 'REFUSED_STREAM', 'CANCEL', 'COMPRESSION_ERROR', 'CONNECT_ERROR', 'ENHANCE_YOUR_CALM'],
	...['INADEQUATE_SECURITY', 'HTTP_1_1_REQUIRED'],
];

export function errorName(code: number): string {
	return ERROR_NAMES[code] ?? `error ${code}`;
}

export const Setting = {
	headerTableSize: 0x1,
	enablePush: 0x2,
	maxConcurrentStreams: 0x3,
	initialWindowSize: 0x4,
	maxFrameSize: 0x5,
	maxHeaderListSize: 0x6,
	enableConnectProtocol: 0x8,
} as const;

export const FRAME_HEADER_BYTES = 9;
/** SETTINGS_MAX_FRAME_SIZE that both sides begin with, and that we keep. */
export const FRAME_BYTES_DEFAULT = 16 * 1024;
export const FRAME_BYTES_CEILING = 2 ** 24 - 1;
export const WINDOW_BYTES_DEFAULT = 65_535;
export const WINDOW_BYTES_MAX = 2 ** 31 - 1;
export const STREAM_ID_MAX = 2 ** 31 - 1;

/** What a client says first (RFC 9113 §3.4). */
export const CLIENT_PREFACE: Uint8Array = new TextEncoder().encode('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export function putFrameHeader(
	target: Uint8Array,
	at: number,
	length: number,
	type: number,
	flags: number,
	streamId: number,
): number {
	target[at] = length >> 16;
	target[at + 1] = length >> 8;
	target[at + 2] = length;
	target[at + 3] = type;
	target[at + 4] = flags;
	return putUint32(target, at + 5, streamId);
}

export function putUint32(target: Uint8Array, at: number, value: number): number {
	target[at] = value >>> 24;
	target[at + 1] = value >>> 16;
	target[at + 2] = value >>> 8;
	target[at + 3] = value;
	return at + 4;
}

/** Of the frame that begins at `at`. */
export function streamIdAt(bytes: Uint8Array, at: number): number {
	return ((bytes[at + 5]! & 0x7f) << 24) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 8) | bytes[at + 8]!;
}
