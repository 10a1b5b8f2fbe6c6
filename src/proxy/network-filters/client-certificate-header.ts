// `x-forwarded-client-cert`: who the client proved to be. What a client says of itself is believed
// only where the configuration says so (`forward_client_cert_details`).

import { createHash } from 'node:crypto';
import { getHeaderJoined, removeHeader, setHeader } from '../../http/headers.ts';
import type { PeerCertificate } from '../../net/network.ts';
import type { Exchange } from '../http-filters/exchange.ts';
import type { HttpSettings } from './http-settings.ts';

const NAME = 'x-forwarded-client-cert';
/** Made once per certificate, not per request. */
const fingerprints = new WeakMap<PeerCertificate, string>();
const pems = new WeakMap<PeerCertificate, string>();

export function forwardClientCertificate(exchange: Exchange, settings: HttpSettings, localUriSan: string): void {
	const mode = settings.forwardClientCert;
	if (mode === 'always_forward_only') return;
	const headers = exchange.requestHead.headers;
	const peer = exchange.connection.tls?.peerCertificate ?? null;
	if (mode === 'sanitize' || peer === null) {
		removeHeader(headers, NAME);
		return;
	}
	if (mode === 'forward_only') return;
	const entry = describe(peer, settings, localUriSan);
	const before = mode === 'append_forward' ? getHeaderJoined(headers, NAME) : undefined;
	setHeader(headers, NAME, before === undefined ? entry : `${before},${entry}`);
}

function describe(peer: PeerCertificate, settings: HttpSettings, localUriSan: string): string {
	let text = localUriSan === '' ? '' : `By=${quoted(localUriSan)};`;
	text += `Hash=${fingerprint(peer)}`;
	const fields = settings.clientCertFields;
	if (fields.cert) text += `;Cert="${encodedPem(peer)}"`;
	if (fields.subject) text += `;Subject="${peer.subject.replace(/[\\"]/g, '\\$&').replace(/[\r\n\0]/g, ' ')}"`;
	if (fields.uri) for (const uri of peer.uriSans) text += `;URI=${quoted(uri)}`;
	if (fields.dns) for (const dns of peer.dnsSans) text += `;DNS=${quoted(dns)}`;
	return text;
}

/** A value with a delimiter in it must not look like two. */
function quoted(value: string): string {
	return /[,;="\\\r\n\0]/.test(value) ? `"${value.replace(/[\\"]/g, '\\$&').replace(/[\r\n\0]/g, ' ')}"` : value;
}

/** PEM with percent-encoding, as Envoy writes it. */
function encodedPem(peer: PeerCertificate): string {
	let found = pems.get(peer);
	if (found === undefined) {
		const lines = Buffer.from(peer.chainDer[0] ?? new Uint8Array(0))
			.toString('base64')
			.replace(/.{64}(?=.)/g, '$&\n');
		const pem = `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
		found = pem.replace(/[\n +/=]/g, encodeURIComponent);
		pems.set(peer, found);
	}
	return found;
}

function fingerprint(peer: PeerCertificate): string {
	let found = fingerprints.get(peer);
	if (found === undefined) {
		found = createHash('sha256')
			.update(peer.chainDer[0] ?? new Uint8Array(0))
			.digest('hex');
		fingerprints.set(peer, found);
	}
	return found;
}
