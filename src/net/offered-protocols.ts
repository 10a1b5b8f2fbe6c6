// TLS options by which a client offers the protocol that it is going to speak.

import type { ClientTlsOptions } from './network.ts';

const made = new WeakMap<ClientTlsOptions, Map<string, ClientTlsOptions>>();

/**
 * `tls`, offering `protocol` where it names none itself. The same object each time: contexts and sessions are kept by
 * the options' identity.
 */
export function offering(tls: ClientTlsOptions, protocol: string): ClientTlsOptions {
	if (tls.alpn !== undefined && tls.alpn.length > 0) return tls;
	let byProtocol = made.get(tls);
	if (byProtocol === undefined) {
		byProtocol = new Map();
		made.set(tls, byProtocol);
	}
	let options = byProtocol.get(protocol);
	if (options === undefined) {
		options = { ...tls, alpn: [protocol] };
		byProtocol.set(protocol, options);
	}
	return options;
}
