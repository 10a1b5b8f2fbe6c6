// Which cipher suites, groups and signature algorithms there are to choose from, as BoringSSL names
// them. What it does not know is found here, when configuration is compiled, and not at a handshake:
// of a list of suites BoringSSL takes those it knows and is silent about the rest.

import { createSecureContext } from 'node:tls';
import { errorMessage } from '../std/errors.ts';

/** Of TLS 1.2: BoringSSL's name and the one of the registry. Those of TLS 1.3 cannot be chosen. */
const CIPHER_SUITES: ReadonlySet<string> = new Set([
	'ECDHE-ECDSA-AES128-GCM-SHA256',
	'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256',
	'ECDHE-ECDSA-AES256-GCM-SHA384',
	'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384',
	'ECDHE-ECDSA-CHACHA20-POLY1305',
	'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256',
	'ECDHE-ECDSA-AES128-SHA',
	'TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA',
	'ECDHE-ECDSA-AES256-SHA',
	'TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA',
	'ECDHE-RSA-AES128-GCM-SHA256',
	'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256',
	'ECDHE-RSA-AES256-GCM-SHA384',
	'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384',
	'ECDHE-RSA-CHACHA20-POLY1305',
	'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256',
	'ECDHE-RSA-AES128-SHA',
	'TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA',
	'ECDHE-RSA-AES256-SHA',
	'TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA',
	'AES128-GCM-SHA256',
	'TLS_RSA_WITH_AES_128_GCM_SHA256',
	'AES256-GCM-SHA384',
	'TLS_RSA_WITH_AES_256_GCM_SHA384',
	'AES128-SHA',
	'TLS_RSA_WITH_AES_128_CBC_SHA',
	'AES256-SHA',
	'TLS_RSA_WITH_AES_256_CBC_SHA',
]);

/** Envoy's: forward secrecy and authenticated encryption only. */
export const CIPHER_SUITES_DEFAULT = [
	'[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]',
	'[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]',
	'ECDHE-ECDSA-AES256-GCM-SHA384',
	'ECDHE-RSA-AES256-GCM-SHA384',
].join(':');

/**
 * The first that is no cipher suite; null: all are. `entry`: a name, or several of equal preference, `[A|B]`.
 */
export function unknownCipherSuite(entry: string): string | null {
	const names = entry.startsWith('[') && entry.endsWith(']') ? entry.slice(1, -1).split('|') : [entry];
	return names.find((name) => !CIPHER_SUITES.has(name)) ?? null;
}

/** Why BoringSSL does not take it; null: it does. */
export function curveError(name: string): string | null {
	return name.includes(':') ? 'one name, without ":"' : attempt({ ecdhCurve: name });
}

export function signatureAlgorithmError(name: string): string | null {
	return name.includes(':') ? 'one name, without ":"' : attempt({ sigalgs: name });
}

function attempt(options: { ecdhCurve: string } | { sigalgs: string }): string | null {
	try {
		createSecureContext(options);
		return null;
	} catch (error) {
		return errorMessage(error);
	}
}
