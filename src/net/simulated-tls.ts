// TLS without its cryptography: what the two ends agree on and whether each accepts the other's
// certificate, judged by the same code as on real sockets.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { EcdsaCurve } from './client-hello.ts';
import type { ClientTlsOptions, PeerRefusal, ServerTlsOptions, TlsInfo, TlsParameters, TlsVersion } from './network.ts';
import { checkPeer, peerCertificate } from './tls.ts';
import type { PeerRole } from './verify-chain.ts';

export interface SimulatedHello {
	readonly options: ClientTlsOptions;
}

export interface SimulatedSession {
	readonly server: ServerTlsOptions;
	readonly client: ClientTlsOptions;
	readonly alpn: string | null;
}

const ECDSA_CURVES: readonly EcdsaCurve[] = ['P-256', 'P-384', 'P-521'];

/** @returns the session, or why there can be none */
export function negotiate(options: ServerTlsOptions, client: ClientTlsOptions): SimulatedSession | string {
	const hello = { serverName: client.serverName.toLowerCase(), alpn: client.alpn ?? [], ecdsaCurves: ECDSA_CURVES };
	const server = options.select?.(hello) ?? options;
	if (!keyFits(server.certificateChainPem, server.privateKeyPem)) return 'the key does not fit the certificate';
	if (versionOf(server, client) === null) return 'there is no version of TLS that both speak';
	const alpn = server.alpn?.find((name) => client.alpn?.includes(name)) ?? null;
	return { server, client, alpn };
}

/** The client's view of the server, or why it refuses it. */
export function judgeServer(session: SimulatedSession, nowMs: number): TlsInfo | PeerRefusal {
	const chain = chainOf(session.server.certificateChainPem);
	return judge(infoOf(session, chain), session.client, 'server', chain, nowMs);
}

/** The server's view of the client, or why it refuses it. */
export function judgeClient(session: SimulatedSession, nowMs: number): TlsInfo | PeerRefusal {
	const { client, server } = session;
	const { requireClientCertificate = false, requestClientCertificate = false, rootsPem = '' } = server;
	const asked = requireClientCertificate || requestClientCertificate || rootsPem !== '';
	const pem = asked ? client.certificateChainPem : undefined;
	if (pem !== undefined && !keyFits(pem, client.privateKeyPem ?? '')) {
		return { kind: 'chain', reason: 'the key does not fit the certificate' };
	}
	const chain = pem === undefined ? [] : chainOf(pem);
	return judge(infoOf(session, chain), server, 'client', chain, nowMs);
}

function judge(
	info: TlsInfo,
	options: ServerTlsOptions | ClientTlsOptions,
	role: PeerRole,
	chain: readonly Uint8Array[],
	nowMs: number,
): TlsInfo | PeerRefusal {
	const verdict = checkPeer(info, options, role, null, nowMs, () => chain);
	switch (verdict.kind) {
		case 'accepted':
			return { ...info, peerValidated: verdict.validated, peerRefusal: verdict.refusal };
		case 'refused':
			return verdict.refusal;
		case 'failed':
			return { kind: 'chain', reason: verdict.reason };
	}
}

function infoOf(session: SimulatedSession, peerChain: readonly Uint8Array[]): TlsInfo {
	return {
		version: versionOf(session.server, session.client) ?? '',
		cipher: 'TLS_AES_128_GCM_SHA256',
		alpn: session.alpn,
		serverName: session.client.serverName || null,
		peerCertificate: peerChain.length === 0 ? null : peerCertificate(peerChain),
	};
}

function versionOf(server: ServerTlsOptions, client: ClientTlsOptions): TlsVersion | null {
	const speaks = (options: TlsParameters, version: TlsVersion): boolean =>
		(options.minVersion ?? 'TLSv1.2') <= version && version <= (options.maxVersion ?? 'TLSv1.3');
	for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
		if (speaks(server, version) && speaks(client, version)) return version;
	}
	return null;
}

function chainOf(pem: string): Uint8Array[] {
	const chain: Uint8Array[] = [];
	for (const match of pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g)) {
		chain.push(new Uint8Array(Buffer.from(match[1]!, 'base64')));
	}
	return chain;
}

function keyFits(certificatePem: string, privateKeyPem: string): boolean {
	try {
		return new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(privateKeyPem));
	} catch {
		return false;
	}
}
