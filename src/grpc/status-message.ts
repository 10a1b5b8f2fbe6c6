// The percent-encoding of `grpc-message` (gRPC over HTTP/2, "Responses"): UTF-8 in which all but the
// printable ASCII characters, and the percent sign, are written as %XX.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const PERCENT = 0x25;

export function encodeGrpcMessage(text: string): string {
	return encodeGrpcMessageBytes(encoder.encode(text));
}

/** The same for text that is bytes already; what is no UTF-8 goes through unchanged. */
export function encodeGrpcMessageBytes(bytes: Uint8Array): string {
	let out = '';
	for (const byte of bytes) {
		if (byte >= 0x20 && byte <= 0x7e && byte !== PERCENT) out += String.fromCharCode(byte);
		else out += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
	}
	return out;
}

/** Never fails: a percent sign that begins no %XX stands for itself, bytes that are no UTF-8 become U+FFFD. */
export function decodeGrpcMessage(text: string): string {
	if (!text.includes('%')) return text;
	const bytes = encoder.encode(text);
	let length = 0;
	for (let i = 0; i < bytes.length; i++) {
		const high = bytes[i] === PERCENT ? hexDigit(bytes[i + 1]) : -1;
		const low = high < 0 ? -1 : hexDigit(bytes[i + 2]);
		if (low < 0) bytes[length++] = bytes[i]!;
		else {
			bytes[length++] = high * 16 + low;
			i += 2;
		}
	}
	return decoder.decode(bytes.subarray(0, length));
}

function hexDigit(byte: number | undefined): number {
	if (byte === undefined) return -1;
	if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
	const lower = byte | 0x20;
	return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
