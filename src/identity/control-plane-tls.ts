// How a sidecar speaks to its control plane: TLS 1.3 and HTTP/2, and a server certificate that chains
// to the roots it knows and has the control plane's name.

import type { ClientTlsOptions, PeerCertificate } from '../net/network.ts';

/** What the client shows. */
export interface ClientCertificate {
	readonly certificateChainPem: string;
	readonly privateKeyPem: string;
}

const ALPN = ['h2'];

/** `own` null: it shows no certificate. */
export function controlPlaneTls(serverName: string, rootsPem: string, own: ClientCertificate | null): ClientTlsOptions {
	return {
		serverName,
		rootsPem,
		verifyPeer: (peer) => refusal(peer, serverName),
		alpn: ALPN,
		minVersion: 'TLSv1.3',
		...(own === null ? {} : { certificateChainPem: own.certificateChainPem, privateKeyPem: own.privateKeyPem }),
	};
}

function refusal(peer: PeerCertificate, serverName: string): string | null {
	const wanted = serverName.toLowerCase();
	if (peer.dnsSans.some((name) => name.toLowerCase() === wanted)) return null;
	return `the control plane's certificate is for ${peer.dnsSans.slice(0, 4).join(', ') || 'no name'}, expected ${serverName}`;
}
