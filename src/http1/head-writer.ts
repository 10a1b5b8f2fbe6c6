// Heads written anew from the parsed form: every character is held to the grammar on its way out,
// so that no value can end a line (response splitting, request smuggling), and nothing that is
// about framing or the connection comes from the list of headers. One head is one write.

import { DEL, HTAB, isAuthority, SP, TARGET, TOKEN } from '../http/characters.ts';
import { isTrailerAllowed, parseContentLength } from '../http/field-rules.ts';
import type { HeaderList } from '../http/headers.ts';
import type { RequestHead, ResponseHead } from '../http/stream.ts';
import type { ErrorOrigin } from '../std/errors.ts';
import { Http1Error } from './errors.ts';

/** What a head says about the body that follows. */
export type HeadFraming =
	/** Nothing: no body can follow, or it ends with the connection. */
	| 'none'
	/** None either, and no Content-Length that the head has: what follows CONNECT is a tunnel (RFC 9110 §9.3.6). */
	| 'tunnel'
	/** Content-Length as given, which is there; 0 when it is not. */
	| 'length'
	| 'chunked';

const SCRATCH_BYTES = 32 * 1024;
const shared = new Uint8Array(SCRATCH_BYTES);

// One head is encoded at a time and handed on before the next begins.
let target = shared;
let at = 0;
let good = true;

/** Valid until the next head is encoded. `connection`: value of that header, empty: none. */
export function encodeRequestHead(
	head: RequestHead,
	framing: HeadFraming,
	connection: string,
): Uint8Array | Http1Error {
	begin(head.headers, head.method.length + head.path.length + head.authority.length * 2 + head.upgrade.length);
	const connect = head.method === 'CONNECT';
	put(head.method, TOKEN);
	target[at++] = 0x20;
	put(connect ? head.authority : head.path, TARGET);
	if (!good || head.method === '' || !(connect || isPath(head)))
		return refuse('http1_bad_target', 'request line', 'local');
	putLatin1(' HTTP/1.1\r\nhost: ');
	if (!isAuthority(head.authority)) return refuse('http1_bad_host', 'authority', 'local');
	putLatin1(head.authority);
	putLatin1('\r\n');
	return finishHead(head.headers, framing, connection, head.upgrade, '');
}

/** Valid until the next head is encoded. `upgrade`: for 101; `date`: added when there is none and not empty. */
export function encodeResponseHead(
	head: ResponseHead,
	framing: HeadFraming,
	connection: string,
	upgrade: string,
	date: string,
): Uint8Array | Http1Error {
	begin(head.headers, 64 + upgrade.length + date.length);
	putLatin1(statusLine(head.status));
	return finishHead(head.headers, framing, connection, upgrade, date);
}

/** The last chunk, trailers that may be sent, and the end. */
export function encodeTrailers(trailers: HeaderList): Uint8Array | Http1Error {
	begin(trailers, 0);
	putLatin1('0\r\n');
	for (let i = 0; i < trailers.length; i += 2) {
		const name = trailers[i]!;
		if (isConnectionField(name) || name === 'host' || !isTrailerAllowed(name)) continue;
		putField(name, trailers[i + 1]!);
		if (!good) return refuse('http1_bad_header_value', `trailer ${JSON.stringify(name)}`, 'local');
	}
	putLatin1('\r\n');
	return done();
}

/**
 * Content-Length among `headers`: the number; -1: none; an error when it is not one number.
 */
export function declaredLength(headers: HeaderList): number | Http1Error {
	let declared = -1;
	for (let i = 0; i < headers.length; i += 2) {
		if (headers[i] !== 'content-length') continue;
		const length = parseContentLength(headers[i + 1]!);
		if (length === -1 || (declared !== -1 && declared !== length)) {
			return new Http1Error('http1_bad_content_length', 'content-length to be written is not one number', 'local');
		}
		declared = length;
	}
	return declared;
}

function finishHead(
	headers: HeaderList,
	framing: HeadFraming,
	connection: string,
	upgrade: string,
	date: string,
): Uint8Array | Http1Error {
	let lengthWritten = false;
	let dateWritten = date === '';
	let trailersTaken = false;
	for (let i = 0; i < headers.length; i += 2) {
		const name = headers[i]!;
		const value = headers[i + 1]!;
		if (isConnectionField(name) || name === 'host') {
			if (name === 'te' && value === 'trailers') trailersTaken = true;
			continue;
		}
		if (name === 'content-length') {
			if (lengthWritten || framing === 'chunked' || framing === 'tunnel') continue;
			lengthWritten = true;
		} else if (name === 'date') dateWritten = true;
		putField(name, value);
		if (!good) return refuse('http1_bad_header_value', `header ${JSON.stringify(name)}`, 'local');
	}
	if (framing === 'chunked') putLatin1('transfer-encoding: chunked\r\n');
	else if (framing === 'length' && !lengthWritten) putLatin1('content-length: 0\r\n');
	if (!dateWritten) putField('date', date);
	if (upgrade !== '') putField('upgrade', upgrade);
	if (trailersTaken) putLatin1('te: trailers\r\n');
	if (connection !== '' || trailersTaken) {
		putLatin1('connection: ');
		putLatin1(connection);
		if (trailersTaken) putLatin1(connection === '' ? 'te' : ', te');
		putLatin1('\r\n');
	}
	putLatin1('\r\n');
	if (!good) return refuse('http1_bad_header_value', 'head', 'local');
	return done();
}

/** About the connection or the framing: the codec writes these itself where they belong. */
function isConnectionField(name: string): boolean {
	switch (name.length) {
		case 2:
			return name === 'te';
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
			return false;
	}
}

function isPath(head: RequestHead): boolean {
	return head.path.charCodeAt(0) === 0x2f || (head.path === '*' && head.method === 'OPTIONS');
}

function begin(headers: HeaderList, otherBytes: number): void {
	// Start line, framing, connection and line ends fit the constant.
	let bytes = otherBytes + 512;
	for (let i = 0; i < headers.length; i++) bytes += headers[i]!.length + 2;
	target = bytes <= SCRATCH_BYTES ? shared : new Uint8Array(bytes);
	at = 0;
	good = true;
}

/** Views of the shared buffer, by length: heads of the same length are one after the other the same view. */
const views: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(1024).fill(undefined);

function done(): Uint8Array {
	if (target !== shared || at >= views.length) return target.subarray(0, at);
	let view = views[at];
	if (view === undefined) {
		view = shared.subarray(0, at);
		views[at] = view;
	}
	return view;
}

function refuse(code: Http1Error['code'], what: string, origin: ErrorOrigin): Http1Error {
	return new Http1Error(code, `${what} has a character that may not be sent`, origin);
}

function putField(name: string, value: string): void {
	put(name, TOKEN);
	if (name.length === 0) good = false;
	target[at++] = 0x3a;
	target[at++] = 0x20;
	putValue(value);
	target[at++] = 0x0d;
	target[at++] = 0x0a;
}

/** `good` falls when a character is not in `allowed`. One beyond Latin-1 has no place there and falls too. */
function put(text: string, allowed: Uint8Array): void {
	const bytes = target;
	let to = at;
	for (let i = 0; i < text.length; i++) {
		const code = text.charCodeAt(i);
		if (allowed[code] !== 1) good = false;
		bytes[to++] = code;
	}
	at = to;
}

/** As `put` with FIELD_VALUE, by comparisons. */
function putValue(text: string): void {
	const bytes = target;
	let to = at;
	for (let i = 0; i < text.length; i++) {
		const code = text.charCodeAt(i);
		if (code < SP ? code !== HTAB : code === DEL || code > 0xff) good = false;
		bytes[to++] = code;
	}
	at = to;
}

/** For text of our own. */
function putLatin1(text: string): void {
	const bytes = target;
	let to = at;
	for (let i = 0; i < text.length; i++) bytes[to++] = text.charCodeAt(i);
	at = to;
}

const REASONS: Readonly<Record<number, string>> = {
	100: 'Continue',
	101: 'Switching Protocols',
	102: 'Processing',
	103: 'Early Hints',
	200: 'OK',
	201: 'Created',
	202: 'Accepted',
	203: 'Non-Authoritative Information',
	204: 'No Content',
	205: 'Reset Content',
	206: 'Partial Content',
	207: 'Multi-Status',
	300: 'Multiple Choices',
	301: 'Moved Permanently',
	302: 'Found',
	303: 'See Other',
	304: 'Not Modified',
	307: 'Temporary Redirect',
	308: 'Permanent Redirect',
	400: 'Bad Request',
	401: 'Unauthorized',
	402: 'Payment Required',
	403: 'Forbidden',
	404: 'Not Found',
	405: 'Method Not Allowed',
	406: 'Not Acceptable',
	407: 'Proxy Authentication Required',
	408: 'Request Timeout',
	409: 'Conflict',
	410: 'Gone',
	411: 'Length Required',
	412: 'Precondition Failed',
	413: 'Content Too Large',
	414: 'URI Too Long',
	415: 'Unsupported Media Type',
	416: 'Range Not Satisfiable',
	417: 'Expectation Failed',
	421: 'Misdirected Request',
	422: 'Unprocessable Content',
	425: 'Too Early',
	426: 'Upgrade Required',
	428: 'Precondition Required',
	429: 'Too Many Requests',
	431: 'Request Header Fields Too Large',
	451: 'Unavailable For Legal Reasons',
	500: 'Internal Server Error',
	501: 'Not Implemented',
	502: 'Bad Gateway',
	503: 'Service Unavailable',
	504: 'Gateway Timeout',
	505: 'HTTP Version Not Supported',
	507: 'Insufficient Storage',
	511: 'Network Authentication Required',
};

/** The reason phrase; empty: none is known. */
export function reasonOf(status: number): string {
	return REASONS[status] ?? '';
}

const STATUS_LINES: string[] = Array.from(
	{ length: 600 },
	(_, status) => `HTTP/1.1 ${status} ${REASONS[status] ?? ''}\r\n`,
);

function statusLine(status: number): string {
	const line = STATUS_LINES[status];
	if (line === undefined || status < 100) {
		good = false;
		return '';
	}
	return line;
}
