// Between our TLS options and those of Bun's sockets, and the verdict on a peer once the handshake is done.

import type { TLSOptions } from 'bun';
import type { NativeSocket } from './bun-socket-handlers.ts';
import { parseCertificate } from './certificate.ts';
import type { ClientTlsOptions, PeerCertificate, ServerTlsOptions, TlsInfo } from './network.ts';
import { type PeerRole, verifyChain } from './verify-chain.ts';

const VERSION_NUMBERS = { 'TLSv1.2': 0x0303, 'TLSv1.3': 0x0304 } as const;
const ALPN_NAME_BYTES_MAX = 255;

/** Bun takes it (`TLSOptions.minVersion must be a number`); its types do not say so. */
type NativeTls = TLSOptions & { readonly minVersion: number };

// Bun caches the context by the content of these options, so an object per connection would cost
// only its digest (15 us); kept by identity, it costs nothing.
const serverCache = new WeakMap<ServerTlsOptions, NativeTls & { isServer: true }>();
const clientCache = new WeakMap<ClientTlsOptions, NativeTls>();

export function nativeServerTls(options: ServerTlsOptions): NativeTls {
	let native = serverCache.get(options);
	if (native === undefined) {
		native = {
			cert: options.certificateChainPem,
			key: options.privateKeyPem,
			ca: options.rootsPem || undefined,
			requestCert: options.requireClientCertificate === true || Boolean(options.rootsPem),
			// The verdict is ours, in `checkPeer`.
			rejectUnauthorized: false,
			ALPNProtocols: encodeAlpn(options.alpn),
			minVersion: VERSION_NUMBERS[options.minVersion ?? 'TLSv1.2'],
			isServer: true,
		};
		serverCache.set(options, native);
	}
	return native;
}

export function nativeClientTls(options: ClientTlsOptions): NativeTls {
	let native = clientCache.get(options);
	if (native === undefined) {
		native = {
			serverName: options.serverName || undefined,
			cert: options.certificateChainPem,
			key: options.privateKeyPem,
			ca: options.rootsPem || undefined,
			rejectUnauthorized: false,
			ALPNProtocols: encodeAlpn(options.alpn),
			minVersion: VERSION_NUMBERS[options.minVersion ?? 'TLSv1.2'],
		};
		clientCache.set(options, native);
	}
	return native;
}

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
	};
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
const CHAIN_ERRORS: ReadonlySet<string> = new Set([
	'UNABLE_TO_GET_ISSUER_CERT',
	'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
	'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
	'DEPTH_ZERO_SELF_SIGNED_CERT',
	'SELF_SIGNED_CERT_IN_CHAIN',
	'CERT_UNTRUSTED',
	'CERT_REJECTED',
	'CERT_HAS_EXPIRED',
	'CERT_NOT_YET_VALID',
	'INVALID_CA',
	'INVALID_PURPOSE',
	'PATH_LENGTH_EXCEEDED',
]);
// The chain holds, the name is not the one in SNI. Names are `verifyPeer`'s to judge.
const NAME_ERRORS: ReadonlySet<string> = new Set(['HOSTNAME_MISMATCH', 'ERR_TLS_CERT_ALTNAME_INVALID']);

/**
 * Why the peer is refused; null: it is not.
 *
 * @param role what the peer is
 * @param libraryError what the TLS library had against the peer; null when nothing
 */
export function checkPeer(
	info: TlsInfo,
	options: ServerTlsOptions | ClientTlsOptions,
	role: PeerRole,
	libraryError: Error | null,
	nowMs: number,
): string | null {
	const code = libraryError === null ? '' : String((libraryError as Error & { code?: unknown }).code);
	const isChainError = CHAIN_ERRORS.has(code);
	if (libraryError !== null && !isChainError && !NAME_ERRORS.has(code)) return libraryError.message;
	if (info.version !== 'TLSv1.3' && (info.version !== 'TLSv1.2' || options.minVersion === 'TLSv1.3')) {
		return `the peer speaks ${info.version}`;
	}
	const peer = info.peerCertificate;
	if (peer === null) {
		if (role === 'server') return 'the server showed no certificate';
		return 'requireClientCertificate' in options && options.requireClientCertificate
			? 'the client showed no certificate'
			: null;
	}
	if (options.rootsPem) {
		const verdict = verifyChain(peer.chainDer, options.rootsPem, nowMs, role);
		if (verdict.kind === 'refused') return verdict.reason;
		// Bun gives only the leaf: where intermediates lead to the root, the library has checked them.
		if (isChainError) return verdict.kind === 'unknown_issuer' ? verdict.reason : (libraryError?.message ?? code);
	}
	return options.verifyPeer?.(peer) ?? null;
}
