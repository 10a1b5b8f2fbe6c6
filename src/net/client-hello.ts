// What a TLS client asks for, read from its first flight before any of it is answered (RFC 8446
// §4.1.2, RFC 5246 §7.4.1.2): by it a filter chain and a certificate are chosen. Input is anybody's;
// what cannot be read is left to the TLS library to refuse.

export interface ClientHello {
	/** SNI in lower case; empty: none was sent. */
	readonly serverName: string;
	/** ALPN, in the client's order; empty: none. */
	readonly alpn: readonly string[];
	/** Curves of ECDSA certificates that the client can verify. */
	readonly ecdsaCurves: readonly EcdsaCurve[];
}

export type EcdsaCurve = 'P-256' | 'P-384' | 'P-521';

/** `incomplete`: more bytes are needed. `not_tls`: this never becomes a ClientHello. */
export type ClientHelloResult = ClientHello | 'incomplete' | 'not_tls';

/** The handshake message with its headers of records; BoringSSL takes no longer one either. */
export const CLIENT_HELLO_BYTES_MAX = 16 * 1024 + 256;

const RECORD_HANDSHAKE = 22;
const RECORD_HEADER_BYTES = 5;
/** RFC 8446 §5.1: 2^14 bytes of plaintext. */
const RECORD_BYTES_MAX = 16 * 1024;
const MESSAGE_CLIENT_HELLO = 1;
const MESSAGE_HEADER_BYTES = 4;

const SERVER_NAME_BYTES_MAX = 255;

const EXTENSION_SERVER_NAME = 0;
const EXTENSION_SUPPORTED_GROUPS = 10;
const EXTENSION_SIGNATURE_ALGORITHMS = 13;
const EXTENSION_ALPN = 16;
const EXTENSION_SUPPORTED_VERSIONS = 43;
const TLS_1_3 = 0x0304;

const ECDSA_SIGNATURES: ReadonlyMap<number, EcdsaCurve> = new Map([
	[0x0403, 'P-256'],
	[0x0503, 'P-384'],
	[0x0603, 'P-521'],
]);
const GROUPS: ReadonlyMap<number, EcdsaCurve> = new Map([
	[23, 'P-256'],
	[24, 'P-384'],
	[25, 'P-521'],
]);
const ECDSA_SUITES_TLS_1_2: ReadonlySet<number> = new Set([
	0xc009, 0xc00a, 0xc023, 0xc024, 0xc02b, 0xc02c, 0xc0ac, 0xc0ad, 0xc0ae, 0xc0af, 0xcca9,
]);

/** `bytes`: the start of what the client sent. */
export function readClientHello(bytes: Uint8Array): ClientHelloResult {
	const message = handshakeMessage(bytes);
	if (typeof message === 'string') return message;
	try {
		return parse(new Cursor(message, MESSAGE_HEADER_BYTES, message.length));
	} catch (error) {
		if (error instanceof RangeError) return 'not_tls';
		throw error;
	}
}

/** The first handshake message, put together from its records. */
function handshakeMessage(bytes: Uint8Array): Uint8Array | 'incomplete' | 'not_tls' {
	let message: Uint8Array | null = null;
	let filled = 0;
	let at = 0;
	for (;;) {
		if (bytes.length > at && bytes[at] !== RECORD_HANDSHAKE) return 'not_tls';
		if (bytes.length > at + 1 && bytes[at + 1] !== 3) return 'not_tls';
		if (bytes.length < at + RECORD_HEADER_BYTES) return tooLong(bytes) ? 'not_tls' : 'incomplete';
		const length = (bytes[at + 3]! << 8) | bytes[at + 4]!;
		if (length === 0 || length > RECORD_BYTES_MAX) return 'not_tls';
		const from = at + RECORD_HEADER_BYTES;
		const here = bytes.subarray(from, Math.min(from + length, bytes.length));
		if (message === null) {
			if (here.length > 0 && here[0] !== MESSAGE_CLIENT_HELLO) return 'not_tls';
			// A header that is itself split over records is legal and never seen.
			if (length < MESSAGE_HEADER_BYTES) return 'not_tls';
			if (here.length < MESSAGE_HEADER_BYTES) return 'incomplete';
			const size = MESSAGE_HEADER_BYTES + ((here[1]! << 16) | (here[2]! << 8) | here[3]!);
			if (size > CLIENT_HELLO_BYTES_MAX) return 'not_tls';
			if (here.length >= size) return here.subarray(0, size);
			message = new Uint8Array(size);
		}
		const take = Math.min(here.length, message.length - filled);
		message.set(here.subarray(0, take), filled);
		filled += take;
		if (filled === message.length) return message;
		if (here.length < length) return tooLong(bytes) ? 'not_tls' : 'incomplete';
		at = from + length;
	}
}

/** Many tiny records could make a small message endless. */
function tooLong(bytes: Uint8Array): boolean {
	return bytes.length > 2 * CLIENT_HELLO_BYTES_MAX;
}

function parse(hello: Cursor): ClientHello {
	hello.skip(2 + 32);
	hello.skip(hello.u8());
	const suites = hello.vector(hello.u16());
	hello.skip(hello.u8());
	let serverName = '';
	let alpn: string[] = [];
	let bySignature: EcdsaCurve[] = [];
	let byGroup: EcdsaCurve[] = [];
	let isTls13 = false;
	if (!hello.atEnd) {
		const extensions = hello.vector(hello.u16());
		while (!extensions.atEnd) {
			const type = extensions.u16();
			const body = extensions.vector(extensions.u16());
			if (type === EXTENSION_SERVER_NAME) serverName = readServerName(body);
			else if (type === EXTENSION_ALPN) alpn = readAlpn(body);
			else if (type === EXTENSION_SIGNATURE_ALGORITHMS) bySignature = curves(body.vector(body.u16()), ECDSA_SIGNATURES);
			else if (type === EXTENSION_SUPPORTED_GROUPS) byGroup = curves(body.vector(body.u16()), GROUPS);
			else if (type === EXTENSION_SUPPORTED_VERSIONS) isTls13 = numbers(body.vector(body.u8())).includes(TLS_1_3);
		}
	}
	// Before TLS 1.3 the curve of a certificate goes with the groups, and the suite says ECDSA.
	const canEcdsa = isTls13 || numbers(suites).some((suite) => ECDSA_SUITES_TLS_1_2.has(suite));
	return { serverName, alpn, ecdsaCurves: !canEcdsa ? [] : isTls13 ? bySignature : byGroup };
}

/**
 * RFC 6066 §3: one name, of a host. Longer ones than a host can have are as little one as for BoringSSL: who
 * chooses by the name looks it up label by label.
 */
function readServerName(body: Cursor): string {
	const list = body.vector(body.u16());
	const type = list.u8();
	const name = list.vector(list.u16()).text();
	if (type !== 0 || !list.atEnd || !body.atEnd) throw new RangeError('server name');
	if (name === '' || name.length > SERVER_NAME_BYTES_MAX || name.includes('\0')) throw new RangeError('server name');
	return name.toLowerCase();
}

function readAlpn(body: Cursor): string[] {
	const list = body.vector(body.u16());
	const names: string[] = [];
	while (!list.atEnd) names.push(list.vector(list.u8()).text());
	return names;
}

function curves(list: Cursor, known: ReadonlyMap<number, EcdsaCurve>): EcdsaCurve[] {
	const found: EcdsaCurve[] = [];
	for (const value of numbers(list)) {
		const curve = known.get(value);
		if (curve !== undefined && !found.includes(curve)) found.push(curve);
	}
	return found;
}

function numbers(list: Cursor): number[] {
	const all: number[] = [];
	while (!list.atEnd) all.push(list.u16());
	return all;
}

/** Throws RangeError where the bytes end before they should. */
class Cursor {
	constructor(
		private readonly bytes: Uint8Array,
		private at: number,
		private readonly end: number,
	) {}

	get atEnd(): boolean {
		return this.at === this.end;
	}

	u8(): number {
		this.need(1);
		return this.bytes[this.at++]!;
	}

	u16(): number {
		this.need(2);
		const value = (this.bytes[this.at]! << 8) | this.bytes[this.at + 1]!;
		this.at += 2;
		return value;
	}

	skip(length: number): void {
		this.need(length);
		this.at += length;
	}

	vector(length: number): Cursor {
		const from = this.at;
		this.skip(length);
		return new Cursor(this.bytes, from, from + length);
	}

	text(): string {
		return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.at, this.end - this.at).toString('latin1');
	}

	private need(length: number): void {
		if (this.end - this.at < length) throw new RangeError('ClientHello ends early');
	}
}
