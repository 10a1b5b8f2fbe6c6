// Heads and trailers to header blocks. Nothing that is about framing or an HTTP/1.1 connection goes
// out, and every character is held to the grammar by the encoder.

import { consistsOf, isAuthority, TARGET, TOKEN } from '../http/characters.ts';
import { isTrailerAllowed } from '../http/field-rules.ts';
import type { HeaderList } from '../http/headers.ts';
import type { RequestHead } from '../http/stream.ts';
import type { HpackEncoder } from './hpack-encoder.ts';

const STATUS_TEXT: readonly string[] = Array.from({ length: 600 }, (_, status) => String(status));

/** Valid until the next block of any encoder; null: something in it may not be sent. */
export function encodeResponseHead(
	encoder: HpackEncoder,
	status: number,
	headers: HeaderList,
	date: string,
): Uint8Array | null {
	const text = STATUS_TEXT[status];
	if (text === undefined || status < 100) return null;
	encoder.begin(characters(headers) + 64, headers.length / 2 + 2);
	encoder.field(':status', text);
	let dated = date === '';
	for (let i = 0; i < headers.length; i += 2) {
		const name = headers[i]!;
		if (isConnectionField(name) || name === 'te') continue;
		if (name === 'date') dated = true;
		encoder.field(name, headers[i + 1]!);
	}
	if (!dated) encoder.field('date', date);
	return encoder.finish();
}

/** An upgrade becomes extended CONNECT. As `encodeResponseHead`. */
export function encodeRequestHead(encoder: HpackEncoder, head: RequestHead): Uint8Array | null {
	const { headers, authority, path, scheme, upgrade } = head;
	const connect = head.method === 'CONNECT';
	if (!isAuthority(authority) || !consistsOf(head.method, TOKEN) || !(connect || isPath(head))) return null;
	encoder.begin(
		characters(headers) + authority.length + path.length + upgrade.length + head.method.length + 64,
		headers.length / 2 + 5,
	);
	encoder.field(':method', upgrade === '' ? head.method : 'CONNECT');
	if (!connect) encoder.field(':scheme', scheme === 'https' ? 'https' : 'http');
	encoder.field(':authority', authority);
	if (!connect) encoder.field(':path', path);
	if (upgrade !== '') encoder.field(':protocol', upgrade);
	for (let i = 0; i < headers.length; i += 2) {
		const name = headers[i]!;
		const value = headers[i + 1]!;
		if (isConnectionField(name) || name === 'host' || (name === 'te' && value !== 'trailers')) continue;
		if ((connect || upgrade !== '') && name === 'content-length') continue;
		encoder.field(name, value);
	}
	return encoder.finish();
}

/** Trailers that may be sent; an empty block when there are none. */
export function encodeTrailers(encoder: HpackEncoder, trailers: HeaderList): Uint8Array | null {
	encoder.begin(characters(trailers), trailers.length / 2);
	for (let i = 0; i < trailers.length; i += 2) {
		const name = trailers[i]!;
		if (isConnectionField(name) || name === 'te' || name === 'host' || !isTrailerAllowed(name)) continue;
		encoder.field(name, trailers[i + 1]!);
	}
	return encoder.finish();
}

function characters(headers: HeaderList): number {
	let sum = 0;
	for (let i = 0; i < headers.length; i++) sum += headers[i]!.length;
	return sum;
}

function isPath(head: RequestHead): boolean {
	const { path } = head;
	if (path.charCodeAt(0) !== 0x2f && !(path === '*' && head.method === 'OPTIONS')) return false;
	return consistsOf(path, TARGET);
}

function isConnectionField(name: string): boolean {
	switch (name.length) {
		case 7:
			return name === 'upgrade';
		case 10:
			return name === 'connection' || name === 'keep-alive';
		case 14:
			return name === 'http2-settings';
		case 16:
			return name === 'proxy-connection';
		case 17:
			return name === 'transfer-encoding';
		default:
			return name.charCodeAt(0) === 0x3a;
	}
}
