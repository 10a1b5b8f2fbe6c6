// TLS without its cryptography: what the two ends agree on and whether each accepts the other's
// certificate, judged by the same code as on real sockets.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { ClientTlsOptions, ServerTlsOptions, TlsInfo } from './network.ts';
import { checkPeer, peerCertificate } from './tls.ts';
import { verifyChain } from './verify-chain.ts';

export interface SimulatedHello {
	readonly options: ClientTlsOptions;
}

export interface SimulatedSession {
	readonly server: ServerTlsOptions;
	readonly client: ClientTlsOptions;
	readonly alpn: string | null;
}

/** @returns the session, or why there can be none */
export function negotiate(server: ServerTlsOptions, client: ClientTlsOptions): SimulatedSession | string {
	if (!keyFits(server.certificateChainPem, server.privateKeyPem)) return 'the key does not fit the certificate';
	const alpn = server.alpn?.find((name) => client.alpn?.includes(name)) ?? null;
	return { server, client, alpn };
}

/** The client's view of the server, or why it refuses it. */
export function judgeServer(session: SimulatedSession, nowMs: number): TlsInfo | string {
	const { client, server } = session;
	const chain = chainOf(server.certificateChainPem);
	if (client.rootsPem !== '') {
		const verdict = verifyChain(chain, client.rootsPem, nowMs, 'server');
		if (verdict.kind !== 'valid') return verdict.reason;
	}
	const info = infoOf(session, chain);
	return checkPeer(info, client, 'server', null, nowMs) ?? info;
}

/** The server's view of the client, or why it refuses it. */
export function judgeClient(session: SimulatedSession, nowMs: number): TlsInfo | string {
	const { client, server } = session;
	const asked = server.requireClientCertificate === true || Boolean(server.rootsPem);
	const pem = asked ? client.certificateChainPem : undefined;
	if (pem !== undefined && !keyFits(pem, client.privateKeyPem ?? '')) return 'the key does not fit the certificate';
	const chain = pem === undefined ? [] : chainOf(pem);
	if (server.rootsPem && chain.length > 0) {
		const verdict = verifyChain(chain, server.rootsPem, nowMs, 'client');
		if (verdict.kind !== 'valid') return verdict.reason;
	}
	const info = infoOf(session, chain);
	return checkPeer(info, server, 'client', null, nowMs) ?? info;
}

function infoOf(session: SimulatedSession, peerChain: readonly Uint8Array[]): TlsInfo {
	return {
		version: 'TLSv1.3',
		cipher: 'TLS_AES_128_GCM_SHA256',
		alpn: session.alpn,
		serverName: session.client.serverName || null,
		peerCertificate: peerChain.length === 0 ? null : peerCertificate(peerChain),
	};
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
