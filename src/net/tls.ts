// Between our TLS options and those of Bun's sockets, and the verdict on a peer once the handshake is done.

import type { DetailedPeerCertificate } from 'node:tls';
import type { TLSOptions } from 'bun';
import { parseCertificate } from './certificate.ts';
import type {
	ChainPolicy,
	ClientTlsOptions,
	HandshakeFailure,
	PeerCertificate,
	PeerRefusal,
	ServerTlsOptions,
	TlsInfo,
} from './network.ts';
import { shownChain } from './shown-chain.ts';
import { handshakeFailureOf } from './socket-errors.ts';
import type { NativeSocket } from './socket-handlers.ts';
import { type ChainOptions, INTERMEDIATES_MAX, type PeerRole, verifyChain } from './verify-chain.ts';

const VERSION_NUMBERS = { 'TLSv1.2': 0x0303, 'TLSv1.3': 0x0304 } as const;
const ALPN_NAME_BYTES_MAX = 255;
/** BoringSSL's, as in ssl.h. */
const SSL_OP_CIPHER_SERVER_PREFERENCE = 0x00400000;
const SSL_OP_NO_TICKET = 0x00004000;
/** Certificates of a peer that are looked at. */
const PEER_CHAIN_MAX = INTERMEDIATES_MAX + 2;

/** Bun takes these; its types do not say so. */
interface NativeTls extends TLSOptions {
	readonly minVersion: number;
	readonly maxVersion: number;
	readonly ecdhCurve?: string;
	readonly sigalgs?: string;
	readonly sessionTimeout?: number;
	readonly allowPartialTrustChain: boolean;
}

// Bun caches the context by the content of these options, so an object per connection would cost
// only its digest (15 us); kept by identity, it costs nothing.
const serverCache = new WeakMap<ServerTlsOptions, NativeTls & { isServer: true }>();
const clientCache = new WeakMap<ClientTlsOptions, NativeTls>();

export function nativeServerTls(options: ServerTlsOptions): NativeTls {
	let native = serverCache.get(options);
	if (native === undefined) {
		const { requireClientCertificate = false, requestClientCertificate = false } = options;
		const requestCert = requireClientCertificate || requestClientCertificate || Boolean(options.rootsPem);
		native = {
			...common(options, requestCert),
			requestCert,
			secureOptions: SSL_OP_CIPHER_SERVER_PREFERENCE | (options.sessionTickets === false ? SSL_OP_NO_TICKET : 0),
			...(options.sessionTimeoutS === undefined ? {} : { sessionTimeout: options.sessionTimeoutS }),
			isServer: true,
		};
		serverCache.set(options, native);
	}
	return native;
}

export function nativeClientTls(options: ClientTlsOptions): NativeTls {
	let native = clientCache.get(options);
	if (native === undefined) {
		// Empty: none is sent. Absent, Bun would send the address (RFC 6066 §3 forbids it).
		native = { ...common(options, true), serverName: options.serverName };
		clientCache.set(options, native);
	}
	return native;
}

function common(options: ServerTlsOptions | ClientTlsOptions, judgesPeer: boolean): NativeTls {
	const { cipherSuites, curves, signatureAlgorithms, rootsPem = '' } = options;
	const shown = options.certificateChainPem === undefined ? null : shownChain(options.certificateChainPem, rootsPem);
	return {
		cert: shown?.chainPem,
		key: options.privateKeyPem,
		// Where no peer is judged: our own certificate, so that its issuers are looked for no further.
		ca: rootsPem || (shown?.isLeafAlone && !judgesPeer ? shown.chainPem : undefined),
		// Each certificate among the roots is trusted by itself, as in Envoy.
		allowPartialTrustChain: true,
		// The verdict is ours, in `checkPeer`.
		rejectUnauthorized: false,
		ALPNProtocols: encodeAlpn(options.alpn),
		minVersion: VERSION_NUMBERS[options.minVersion ?? 'TLSv1.2'],
		maxVersion: VERSION_NUMBERS[options.maxVersion ?? 'TLSv1.3'],
		...(cipherSuites === undefined ? {} : { ciphers: cipherSuites }),
		...(curves === undefined ? {} : { ecdhCurve: curves }),
		...(signatureAlgorithms === undefined ? {} : { sigalgs: signatureAlgorithms }),
	};
}

/**
 * Sessions that servers gave out, for the next connections with the same options. They are secrets: held here
 * and nowhere else. A session is offered once (RFC 8446 §C.4); TLS 1.2 may give one back.
 */
export class ClientSessions {
	private readonly sessions: Buffer[] = [];

	private constructor(private readonly max: number) {}

	/** Null: these options keep none. */
	static of(options: ClientTlsOptions): ClientSessions | null {
		const max = options.sessionsMax ?? 0;
		if (max <= 0) return null;
		let found = clientSessions.get(options);
		if (found === undefined) {
			found = new ClientSessions(max);
			clientSessions.set(options, found);
		}
		return found;
	}

	/** The newest. */
	take(): Buffer | null {
		return this.sessions.pop() ?? null;
	}

	put(session: Buffer): void {
		if (this.sessions.length >= this.max) this.sessions.shift();
		this.sessions.push(session);
	}
}

const clientSessions = new WeakMap<ClientTlsOptions, ClientSessions>();

/** RFC 7301 §3.1: each name with its length before it. */
export function encodeAlpn(names: readonly string[] | undefined): Uint8Array<ArrayBuffer> | undefined {
	if (names === undefined || names.length === 0) return undefined;
	const parts: number[] = [];
	for (const name of names) {
		const bytes = Buffer.from(name, 'latin1');
		if (bytes.length === 0 || bytes.length > ALPN_NAME_BYTES_MAX) throw new RangeError(`ALPN name "${name}"`);
		parts.push(bytes.length, ...bytes);
	}
	return Uint8Array.from(parts);
}

/** @throws DerError when the peer's certificate cannot be read */
export function readTlsInfo(socket: NativeSocket): TlsInfo {
	const der: Uint8Array | undefined = socket.getPeerX509Certificate()?.raw;
	return {
		version: socket.getTLSVersion(),
		cipher: socket.getCipher()?.name ?? '',
		alpn: socket.alpnProtocol || null,
		serverName: socket.getServername() || null,
		peerCertificate: der === undefined ? null : peerCertificate([der]),
		sessionReused: socket.isSessionReused(),
	};
}

type ReadPeerCertificate = (abbreviated: boolean) => DetailedPeerCertificate | undefined;

/** All certificates that the peer sent or that lead from it to a root, leaf first. Dear: asked for when the leaf is not enough. */
export function readPeerChain(socket: NativeSocket): Uint8Array[] {
	const chain: Uint8Array[] = [];
	// Bun's types know nothing of the argument: false asks for the issuers too.
	const read = socket.getPeerCertificate as unknown as ReadPeerCertificate;
	let current = read.call(socket, false);
	while (current?.raw !== undefined && chain.length < PEER_CHAIN_MAX) {
		chain.push(new Uint8Array(current.raw));
		// A root is its own issuer.
		if (current.issuerCertificate === current) break;
		current = current.issuerCertificate;
	}
	return chain;
}

export function peerCertificate(chainDer: readonly Uint8Array[]): PeerCertificate {
	const leaf = parseCertificate(chainDer[0]!);
	return {
		chainDer,
		subject: leaf.subject,
		uriSans: leaf.uriSans,
		dnsSans: leaf.dnsSans,
		serialNumber: leaf.serialNumber,
		notAfterMs: leaf.notAfterMs,
	};
}

// Verdicts of the TLS library on the chain alone: the handshake itself was in order, so the peer
// does hold the key of the certificate it showed. Any other error is a handshake that failed.
const DATE_ERRORS: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);
const CHAIN_ERRORS: ReadonlySet<string> = new Set([
	...DATE_ERRORS,
	'UNABLE_TO_GET_ISSUER_CERT',
	'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
	'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
	'DEPTH_ZERO_SELF_SIGNED_CERT',
	'SELF_SIGNED_CERT_IN_CHAIN',
	'CERT_UNTRUSTED',
	'CERT_REJECTED',
	'CERT_SIGNATURE_FAILURE',
	'CERT_CHAIN_TOO_LONG',
	'INVALID_CA',
	'INVALID_PURPOSE',
	'PATH_LENGTH_EXCEEDED',
	'UNSPECIFIED',
]);
// The chain holds, the name is not the one in SNI. Names are `verifyPeer`'s to judge.
const NAME_ERRORS: ReadonlySet<string> = new Set(['HOSTNAME_MISMATCH', 'ERR_TLS_CERT_ALTNAME_INVALID']);

export type Verdict =
	/** `refusal`: what was found, and is let pass. */
	| { readonly kind: 'accepted'; readonly validated: boolean; readonly refusal: PeerRefusal | null }
	/** The handshake was not what it should be. */
	| { readonly kind: 'failed'; readonly failure: HandshakeFailure; readonly reason: string }
	| { readonly kind: 'refused'; readonly refusal: PeerRefusal };

/**
 * What becomes of a connection whose handshake has ended.
 *
 * @param role what the peer is
 * @param libraryError what the TLS library had against the peer; null when nothing
 * @param readChain the peer's whole chain, asked for when its leaf is not enough
 */
export function checkPeer(
	info: TlsInfo,
	options: ServerTlsOptions | ClientTlsOptions,
	role: PeerRole,
	libraryError: Error | null,
	nowMs: number,
	readChain: () => readonly Uint8Array[],
): Verdict {
	const code = libraryError === null ? '' : String((libraryError as Error & { code?: unknown }).code);
	const isChainError = CHAIN_ERRORS.has(code);
	if (libraryError !== null && !isChainError && !NAME_ERRORS.has(code)) {
		return { kind: 'failed', failure: handshakeFailureOf(libraryError), reason: libraryError.message };
	}
	if (info.version !== 'TLSv1.3' && (info.version !== 'TLSv1.2' || options.minVersion === 'TLSv1.3')) {
		return { kind: 'failed', failure: 'protocol', reason: `the peer speaks ${info.version}` };
	}
	const refusal = judge(info, options, role, isChainError ? libraryError : null, code, nowMs, readChain);
	if (refusal !== null) {
		const lets = options.acceptUntrusted === true && refusal.kind !== 'no_certificate';
		return lets ? { kind: 'accepted', validated: false, refusal } : { kind: 'refused', refusal };
	}
	const checked = Boolean(options.rootsPem) || options.verifyPin !== undefined;
	return { kind: 'accepted', validated: info.peerCertificate !== null && checked, refusal: null };
}

function judge(
	info: TlsInfo,
	options: ServerTlsOptions | ClientTlsOptions,
	role: PeerRole,
	chainError: Error | null,
	code: string,
	nowMs: number,
	readChain: () => readonly Uint8Array[],
): PeerRefusal | null {
	const peer = info.peerCertificate;
	if (peer === null) {
		if (role === 'server') return { kind: 'no_certificate', reason: 'the server showed no certificate' };
		return 'requireClientCertificate' in options && options.requireClientCertificate
			? { kind: 'no_certificate', reason: 'the client showed no certificate' }
			: null;
	}
	if (options.rootsPem) {
		const policy = options.chainPolicy ?? NO_POLICY;
		const chainOptions: ChainOptions = { ...policy, libraryAgrees: chainError === null };
		let verdict = verifyChain(peer.chainDer, options.rootsPem, nowMs, role, chainOptions);
		if (verdict.kind === 'unknown_issuer') {
			const chain = readChain();
			if (chain.length > 1) verdict = verifyChain(chain, options.rootsPem, nowMs, role, chainOptions);
		}
		if (verdict.kind !== 'valid') return { kind: 'chain', reason: verdict.reason };
		const excused = policy.allowExpired === true && DATE_ERRORS.has(code);
		if (chainError !== null && !excused) return { kind: 'chain', reason: chainError.message };
	} else if (options.verifyPeer !== undefined) {
		// Anybody can write a name. An empty text of roots must not turn the check off by which it is believed.
		return { kind: 'chain', reason: 'there are no roots by which the names in the certificate could be believed' };
	}
	const wrongName = options.verifyPeer?.(peer) ?? null;
	if (wrongName !== null) return { kind: 'name', reason: wrongName };
	const wrongPin = options.verifyPin?.(peer) ?? null;
	return wrongPin === null ? null : { kind: 'pin', reason: wrongPin };
}

const NO_POLICY: ChainPolicy = {};
