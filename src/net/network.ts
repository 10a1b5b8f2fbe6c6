// The transport that everything above is written against: connections of bytes, plain or TLS,
// over TCP or unix sockets, and a clock. `SystemNetwork` is the real one, `SimulatedNetwork` the one
// for tests. Nothing here knows HTTP.
//
//               startServerTls / connect with tls
//   accepted ──────────────┐
//      │ plain             ▼
//      │              handshaking ──failed──▶ onClose(error)
//      ▼                   │ onConnect
//     open ◀───────────────┘
//      │ end()/onEnd        each direction closes by itself (half-close)
//      ▼
//   closed: onClose exactly once, and nothing after it

import type { Clock } from '../std/clock.ts';
import { WeftError, type WeftErrorOptions } from '../std/errors.ts';
import type { ClientHello } from './client-hello.ts';

export interface IpAddress {
	readonly kind: 'ip';
	/** An IPv4 or IPv6 literal, never a name. */
	readonly host: string;
	readonly port: number;
	/**
	 * Path of the Linux network namespace in which the socket is made (`/proc/PID/ns/net`);
	 * absent: the process's own. Envoy `SocketAddress.network_namespace_filepath`.
	 */
	readonly networkNamespace?: string;
}

export interface PipeAddress {
	readonly kind: 'pipe';
	readonly path: string;
}

export type Address = IpAddress | PipeAddress;

/** `127.0.0.1:80`, `[::1]:80`, `unix:/run/x.sock`. */
export function formatAddress(address: Address): string {
	if (address.kind === 'pipe') return `unix:${address.path}`;
	return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

export interface PeerCertificate {
	/** DER, leaf first, as the peer sent them (Bun may give the leaf only). */
	readonly chainDer: readonly Uint8Array[];
	readonly subject: string;
	readonly uriSans: readonly string[];
	readonly dnsSans: readonly string[];
	readonly serialNumber: string;
	readonly notAfterMs: number;
}

export interface TlsInfo {
	/** `TLSv1.2` or `TLSv1.3`. */
	readonly version: string;
	readonly cipher: string;
	/** The protocol agreed by ALPN; null when none was. */
	readonly alpn: string | null;
	/** SNI, where known; null otherwise. */
	readonly serverName: string | null;
	/** Null when the peer sent none. Verified before `onConnect`, but for `acceptUntrusted`. */
	readonly peerCertificate: PeerCertificate | null;
	/** Its certificate was checked, and it held. Absent: true. */
	readonly peerValidated?: boolean;
	/** What did not hold of a peer that was let in all the same (`acceptUntrusted`). */
	readonly peerRefusal?: PeerRefusal | null;
	/** An earlier session was resumed. Default false. */
	readonly sessionReused?: boolean;
}

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** Why a peer is refused. `kind` is what it is counted as. */
export interface PeerRefusal {
	readonly kind: 'no_certificate' | 'chain' | 'name' | 'pin';
	readonly reason: string;
}

/** `protocol`: the two ends did not agree. */
export type HandshakeFailure = PeerRefusal['kind'] | 'protocol' | 'timeout' | 'closed';

/** `tls_handshake_failed`, and what it is counted as. */
export class HandshakeError extends WeftError {
	constructor(
		readonly failure: HandshakeFailure,
		message: string,
		options: WeftErrorOptions,
	) {
		super('tls_handshake_failed', message, options);
	}
}

/** What a handshake may agree on. Absent: what BoringSSL has by itself. */
export interface TlsParameters {
	/** Default `TLSv1.2`. */
	readonly minVersion?: TlsVersion;
	/** Default `TLSv1.3`. */
	readonly maxVersion?: TlsVersion;
	/** Of TLS 1.2, in BoringSSL's form: `ECDHE-RSA-AES128-GCM-SHA256:[A|B]`. Those of TLS 1.3 are fixed. */
	readonly cipherSuites?: string;
	/** Key exchange groups, first is best: `X25519:P-256`. */
	readonly curves?: string;
	/** Signature algorithms: `ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256`. */
	readonly signatureAlgorithms?: string;
	/** In order of preference. Default none. */
	readonly alpn?: readonly string[];
}

/** How the chain of a peer's certificate is checked. */
export interface ChainPolicy {
	/** PEM; when there are any, each certificate that is checked must have a list of its issuer that is in date. */
	readonly crlPem?: string;
	/** Only the leaf is looked for in the lists. Default false: the CAs too. */
	readonly crlLeafOnly?: boolean;
	/** Dates are not looked at. Default false. */
	readonly allowExpired?: boolean;
	/** CAs that may stand between the leaf and the trusted certificate. Default and maximum 10. */
	readonly intermediatesMax?: number;
}

export interface TlsVerification {
	/** PEM roots that the peer's chain must end in. Empty: the chain is not checked. */
	readonly rootsPem: string;
	readonly chainPolicy?: ChainPolicy;
	/** A peer whose certificate does not hold is let in all the same; see `TlsInfo.peerValidated`. Default false. */
	readonly acceptUntrusted?: boolean;
	/** Looks at the peer's names after its chain held; returns why it is refused, or null. Without roots all are refused. */
	readonly verifyPeer?: (peer: PeerCertificate) => string | null;
	/** Then, whether it is one of the certificates or keys that are known. Without roots it alone says who the peer is. */
	readonly verifyPin?: (peer: PeerCertificate) => string | null;
}

export interface ServerTlsOptions extends Partial<TlsVerification>, TlsParameters {
	readonly certificateChainPem: string;
	readonly privateKeyPem: string;
	/** The peer must show a certificate that passes `rootsPem` and `verifyPeer`. Default false. */
	readonly requireClientCertificate?: boolean;
	/** Clients are asked for a certificate. Default: when one is required, or there are roots. */
	readonly requestClientCertificate?: boolean;
	/** Default true: sessions may be resumed by tickets. Each time the peer is checked as if it were new. */
	readonly sessionTickets?: boolean;
	/** Seconds that a session may be resumed; default BoringSSL's. */
	readonly sessionTimeoutS?: number;
	/** Default 15000. */
	readonly handshakeTimeoutMs?: number;
	/** Asked once the client has said what it wants; what it gives is used in place of these options. */
	readonly select?: (hello: ClientHello) => ServerTlsOptions;
}

export interface ClientTlsOptions extends TlsVerification, TlsParameters {
	/** SNI; empty: none is sent. */
	readonly serverName: string;
	/** Shown when the server asks. */
	readonly certificateChainPem?: string;
	readonly privateKeyPem?: string;
	/** Sessions kept for resumption, for all connections with this object. Default 0: none. */
	readonly sessionsMax?: number;
}

export interface Connection {
	/** Unique within the process. */
	readonly id: number;
	readonly local: Address;
	/** Who is on the other end, or whom that one speaks for (`speakFor`). */
	readonly remote: Address;
	/** The other end of the socket itself. */
	readonly directRemote: Address;
	/** Null on plain connections and before the handshake is done. */
	readonly tls: TlsInfo | null;
	/** Bytes accepted by `write` and not yet taken by the kernel. */
	readonly bufferedBytes: number;
	/** Beyond so many buffered bytes `write` returns false; counts from the next write. Default 65536. */
	highWatermarkBytes: number;
	/** Must be set in the turn in which the connection is given out; may be replaced later. */
	handler: ConnectionHandler;
	/**
	 * Takes all of `bytes`; what is not sent in this turn is copied, so the caller may reuse them at once.
	 * All writes of one turn of the event loop leave in one system call where possible.
	 * Returns false when more than the high watermark is buffered: stop until `onDrain`.
	 * Ignored after `end`, `reset` or `onClose`.
	 */
	write(bytes: Uint8Array): boolean;
	/** Sends FIN (and TLS close_notify) once what was written is sent. Reading goes on. */
	end(): void;
	/**
	 * Closes at once; what is buffered is dropped; TCP sends RST where it can, unless our FIN is out: then the kernel goes
	 * on to deliver what it has. `onClose(null)` follows.
	 */
	reset(): void;
	/** Stops reading from the kernel, so that the peer is held back. Data already read may still be given once. */
	pause(): void;
	resume(): void;
	/**
	 * Makes an accepted connection a TLS server; `onConnect` follows. `received`: all that it has given out so
	 * far, with which the handshake begins; it is copied.
	 */
	startServerTls(options: ServerTlsOptions, received?: Uint8Array): void;
	/** The other end said whom it speaks for (PROXY protocol): that is `remote` from now on. */
	speakFor(address: Address): void;
	/** Where the connection was headed before it was redirected here (SO_ORIGINAL_DST); null when unknown. */
	originalDestination(): IpAddress | null;
	/** Who is on the other end of a unix socket (SO_PEERCRED); null otherwise. */
	peerCredentials(): { readonly pid: number; readonly uid: number; readonly gid: number } | null;
	setNoDelay(on: boolean): void;
}

export interface ConnectionHandler {
	/** Connected and, with TLS, handshaken and verified. Not called for accepted plain connections. */
	onConnect(connection: Connection): void;
	/** `bytes` are only valid during the call. */
	onData(connection: Connection, bytes: Uint8Array): void;
	/** Less than the low watermark, a quarter of the high one, is buffered, after `write` returned false. */
	onDrain(connection: Connection): void;
	/** The peer will send no more. Writing goes on until `end`. */
	onEnd(connection: Connection): void;
	/** Once, last. Null: closed in order, or by our own `reset`. */
	onClose(connection: Connection, error: WeftError | null): void;
}

export interface ListenOptions {
	/** Port 0: any free one; see `Listener.address`. */
	readonly address: Address;
	/** Several sockets of the same user may share the port. Default false. */
	readonly reusePort?: boolean;
	/** Connections that wait to be accepted; the kernel caps it. Default 4096. */
	readonly backlog?: number;
	/** Connections will become TLS: a hint that saves work, no promise. Default false. */
	readonly startsTls?: boolean;
	/** Mode of a unix socket's file. Default 0o600. */
	readonly mode?: number;
	/**
	 * Asked first of all for each connection; false: it is closed, and nobody hears of it. `scarce`: the process has
	 * hardly a descriptor left. Default: all are taken.
	 */
	readonly admit?: (scarce: boolean) => boolean;
}

export interface Listener {
	/** With the port that was taken. */
	readonly address: Address;
	/** Connections wait in the kernel's queue until `resumeAccepting`. False: this listener cannot. Idempotent. */
	pauseAccepting(): boolean;
	resumeAccepting(): void;
	/** Stops accepting and frees the port; accepted connections live on. Idempotent. */
	close(): void;
}

export interface ConnectOptions {
	readonly address: Address;
	/** TCP connect and TLS handshake together. Default 5000. */
	readonly timeoutMs?: number;
	readonly tls?: ClientTlsOptions;
}

export interface ResolvedName {
	/** IPv4 and IPv6 literals. Empty: the name exists and has none. */
	readonly addresses: readonly string[];
	/** How long it may be kept. */
	readonly ttlMs: number;
}

export interface Network {
	readonly clock: Clock;
	/**
	 * @throws WeftError `address_in_use`, `address_not_available`, `permission_denied`
	 * `onConnection` gets each accepted connection and must set its handler in that call.
	 */
	listen(options: ListenOptions, onConnection: (connection: Connection) => void): Listener;
	/**
	 * Returns at once. `handler.onConnect` follows, or `onClose` with `connect_refused`, `connect_timeout`,
	 * `connect_failed` or `tls_handshake_failed` (all retry-safe, origin upstream).
	 */
	connect(options: ConnectOptions, handler: ConnectionHandler): Connection;
	/** Rejects with WeftError `name_not_found` or `resolver_failed`. */
	resolve(name: string): Promise<ResolvedName>;
}

/** Buffered bytes above which `write` returns false; below a quarter of it `onDrain` comes. */
export const WRITE_HIGH_WATERMARK_BYTES = 64 * 1024;
