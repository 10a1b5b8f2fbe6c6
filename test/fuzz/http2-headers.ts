// Fuzz target of the rules for messages of HTTP/2: header lists against rules that are written a second time here, as
// regular expressions from RFC 9113 §8 and RFC 9110 §5. What must hold for each list:
//
//  - it is taken as a request, a response or trailers exactly when the rules here take it, and as the same;
//  - that is so too when its fields come as references to the table.

import { isTrailerAllowed } from '../../src/http/field-rules.ts';
import { type DecodedFields, HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { readRequest, readTrailers } from '../../src/http2/request-head.ts';
import { readResponse } from '../../src/http2/response-head.ts';
import { concat, rawBlock } from '../../src/http2/testing.ts';
import type { Random } from '../../src/std/random.ts';
import { type FuzzTarget, pick, same } from './fuzz.ts';

type Field = readonly [string, string];

export const http2Headers: FuzzTarget = { name: 'http2-headers', run: check };

const NAME = /^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-zA-Z]+$/;
const PATH = /^\/[\x21\x22\x24-\x7e]*$/;
const ABOUT_CONNECTION = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);
const REQUEST_PSEUDO = new Set([':method', ':scheme', ':authority', ':path', ':protocol']);

/** Whether each may stand as an authority, and as one with a port. */
const AUTHORITIES = new Map<string, 'host' | 'host and port' | 'bad'>([
	['a.example', 'host'],
	['a.example:80', 'host and port'],
	['[::1]:80', 'host and port'],
	['[::1]', 'host'],
	['a.example:', 'host'],
	['a.example:65536', 'bad'],
	['user@a.example', 'bad'],
	['a b', 'bad'],
	['a/b', 'bad'],
	[':80', 'bad'],
]);
const VALUES: Readonly<Record<string, readonly string[]>> = {
	':method': ['GET', 'POST', 'CONNECT', 'OPTIONS', 'get', '', 'GE T', 'GET\t'],
	':scheme': ['http', 'https', 'HTTP', 'ftp', ''],
	':authority': [...AUTHORITIES.keys()],
	host: [...AUTHORITIES.keys()],
	':path': ['/', '/a?b=c', '*', '', 'a', '/a b', '/#', '/\x7f', '/\xe9', '//'],
	':protocol': ['websocket', 'connect-udp', '', 'a b', 'WebSocket'],
	':status': ['200', '101', '100', '99', '2000', '600', '2x0', ''],
	'content-length': ['0', '5', '5, 5', '5,6', '+5', '', '05', '9999999999999999', '5,'],
	te: ['trailers', 'gzip', 'Trailers', ''],
};
const NAMES = [...Object.keys(VALUES), 'cookie', 'cookie', 'x', 'date', ':x', 'http2-settings', ...ABOUT_CONNECTION];

function check(random: Random): void {
	const fields = randomFields(random);
	const decoder = new HpackDecoder(4096, 1 << 16, 100);
	const input = JSON.stringify(fields);
	const meaning = (of: DecodedFields): unknown => {
		const allowConnect = fields.length % 2 === 0;
		const request = readRequest(of, allowConnect);
		const response = readResponse(of);
		const trailers = readTrailers(of);
		return [
			typeof request === 'string' ? null : request.head.headers,
			typeof response === 'string' ? null : [response.head.status, response.head.headers],
			typeof trailers === 'string' ? null : trailers,
		];
	};
	const expected = [expectedRequest(fields), expectedResponse(fields), expectedTrailers(fields)];
	const block = concat(...fields.map((field) => rawBlock([field]).map((byte, i) => (i === 0 ? 0x40 : byte))));
	if (!decoder.decode(block, 0, block.length)) throw new Error(`is no HPACK: ${input}`);
	same(meaning(decoder.fields), expected, 'the codec and the rules differ', input);
	// Entry 62 is the newest: the last field.
	const references = Uint8Array.from(fields.map((_, i) => 0x80 | (62 + fields.length - 1 - i)));
	if (!decoder.decode(references, 0, references.length)) throw new Error(`the table is not in step: ${input}`);
	same(meaning(decoder.fields), expected, 'by reference the list means something else', input);
}

function randomFields(random: Random): Field[] {
	const fields: Field[] = [];
	const method = random.below(5) === 0 ? 'CONNECT' : 'GET';
	const start: Field[] =
		random.below(3) === 0
			? [[':status', '200']]
			: [
					[':method', method],
					[':scheme', 'https'],
					[':authority', 'a.example:80'],
					[':path', '/'],
				];
	if (random.below(8) > 0) fields.push(...start);
	if (random.below(4) === 0) fields.splice(random.below(fields.length + 1), random.below(3));
	if (method === 'CONNECT' && random.below(2) === 0) fields.push([':protocol', 'websocket']);
	for (let i = random.below(4); i > 0; i--) {
		const at = random.below(3) === 0 ? random.below(fields.length + 1) : fields.length;
		fields.splice(at, random.below(3) === 0 ? 1 : 0, randomField(random));
	}
	return fields;
}

function randomField(random: Random): Field {
	const name = spoiled(random, pick(random, NAMES));
	const values = VALUES[name];
	if (values !== undefined) return [name, pick(random, values)];
	return [name, spoiled(random, pick(random, ['', 'a', 'a b', 'close', 'a=1', 'x'.repeat(40)]))];
}

/** Any byte at any place, now and then. */
function spoiled(random: Random, text: string): string {
	if (random.below(3) > 0) return text;
	const at = random.below(text.length + 1);
	return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + random.below(2));
}

/** -1: none; null: not one number. */
function lengthOf(fields: readonly Field[]): number | null {
	const all = fields.filter(([name]) => name === 'content-length').flatMap(([, value]) => value.split(','));
	const lengths = all.map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ''));
	if (lengths.length === 0) return -1;
	if (!lengths.every((text) => /^\d{1,15}$/.test(text))) return null;
	const numbers = new Set(lengths.map(Number));
	return numbers.size === 1 ? Number(lengths[0]) : null;
}

function wellFormed(fields: readonly Field[]): boolean {
	return fields.every(([name, value]) => NAME.test(name) && VALUE.test(value) && !ABOUT_CONNECTION.has(name));
}

/** Pseudo-headers come first, none twice, of these only. */
function pseudoInOrder(fields: readonly Field[], allowed: ReadonlySet<string>): boolean {
	const pseudo = fields.filter(([name]) => name.startsWith(':')).map(([name]) => name);
	return (
		new Set(pseudo).size === pseudo.length &&
		pseudo.every((name) => allowed.has(name)) &&
		fields.slice(0, pseudo.length).every(([name]) => name.startsWith(':'))
	);
}

function expectedRequest(fields: readonly Field[]): string[] | null {
	const allowConnect = fields.length % 2 === 0;
	if (!wellFormed(fields) || !pseudoInOrder(fields, REQUEST_PSEUDO)) return null;
	const fieldOf = (wanted: string): string | undefined => fields.find(([name]) => name === wanted)?.[1];
	const hosts = fields.filter(([name]) => name === 'host');
	const length = lengthOf(fields);
	if (length === null || hosts.length > 1) return null;
	if (fields.some(([name, value]) => name === 'te' && value !== 'trailers')) return null;
	const method = fieldOf(':method') ?? '';
	if (!TOKEN.test(method)) return null;
	const authority = fieldOf(':authority') ?? hosts[0]?.[1] ?? '';
	const kind = AUTHORITIES.get(authority) ?? (authority === '' ? 'none' : 'bad');
	if (kind === 'bad') return null;
	const path = fieldOf(':path');
	const scheme = fieldOf(':scheme');
	const protocol = fieldOf(':protocol');
	if (method === 'CONNECT' && protocol === undefined) {
		if (path !== undefined || scheme !== undefined || kind !== 'host and port') return null;
	} else {
		if (scheme !== 'http' && scheme !== 'https') return null;
		if (path === undefined || !(PATH.test(path) || (path === '*' && method === 'OPTIONS'))) return null;
	}
	if (protocol !== undefined && (method !== 'CONNECT' || !allowConnect || !TOKEN.test(protocol) || length > 0)) {
		return null;
	}
	return kept(fields, ['host', 'http2-settings']);
}

function expectedResponse(fields: readonly Field[]): unknown {
	if (!wellFormed(fields) || !pseudoInOrder(fields, new Set([':status'])) || lengthOf(fields) === null) return null;
	const status = fields[0]?.[0] === ':status' ? fields[0][1] : '';
	if (!/^[1-5][0-9]{2}$/.test(status) || status === '101') return null;
	return [Number(status), kept(fields, ['host', 'http2-settings', 'te'], false)];
}

function expectedTrailers(fields: readonly Field[]): string[] | null {
	if (!wellFormed(fields) || fields.some(([name]) => name.startsWith(':'))) return null;
	const never = new Set(['host', 'content-length', 'cookie', 'te', 'http2-settings']);
	return fields.filter(([name]) => !never.has(name) && isTrailerAllowed(name)).flat();
}

/** Fields that go on: one content-length, of a request one cookie too. */
function kept(fields: readonly Field[], without: readonly string[], joinCookies = true): string[] {
	const list: string[] = [];
	let cookie = -1;
	for (const [name, value] of fields) {
		if (name.startsWith(':') || without.includes(name)) continue;
		if (name === 'content-length') {
			if (!list.includes('content-length')) list.push(name, String(lengthOf(fields)));
		} else if (name === 'cookie' && joinCookies && cookie >= 0) list[cookie] += `; ${value}`;
		else {
			if (name === 'cookie') cookie = list.length + 1;
			list.push(name, value);
		}
	}
	return list;
}
