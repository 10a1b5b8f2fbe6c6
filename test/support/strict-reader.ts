// A strict reader of HTTP/1.1, the reference that codecs and proxies are held to: slow, whole input
// at once, by regular expressions over lines, and sharing nothing with the code under test. What
// RFC 9112 lets a recipient be lenient about, it refuses.

export type Field = readonly [name: string, value: string];

export interface ReadRequest {
	readonly method: string;
	readonly target: string;
	readonly version: string;
	/** Names in lower case, values trimmed, in the order of the wire. */
	readonly fields: readonly Field[];
	readonly body: string;
	readonly trailers: readonly Field[];
}

export interface ReadResponse {
	readonly status: number;
	readonly fields: readonly Field[];
	readonly body: string;
	readonly trailers: readonly Field[];
	/** The body lasts until the close. */
	readonly untilClose: boolean;
}

/** `length`: characters taken. `incomplete`: more is needed; `body` is what is there of it, when the head is complete. */
export type Reading<Message> =
	| { readonly kind: 'message'; readonly message: Message; readonly length: number }
	| { readonly kind: 'incomplete'; readonly head: Message | null }
	| { readonly kind: 'invalid'; readonly why: string };

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([\\x21-\\x22\\x24-\\x7e]+) (HTTP/1\\.[01])$`);
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const FIELD = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`);
const AUTHORITY = /^(?:\[[0-9A-Fa-f:.]+\]|[-A-Za-z0-9._~%!$&'()*+,;=]+)(?::\d{0,5})?$/;
const CHUNK_LINE = /^([0-9A-Fa-f]+)(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/;

export function readRequest(input: string): Reading<ReadRequest> {
	// RFC 9112 §2.2: one empty line before a request line is skipped.
	const start = input.startsWith('\r\n') ? 2 : 0;
	const head = readHead(input.slice(start));
	if (typeof head === 'string') return { kind: 'invalid', why: head };
	if (head === null) return { kind: 'incomplete', head: null };
	const line = REQUEST_LINE.exec(head.startLine);
	if (line === null) return { kind: 'invalid', why: 'request line' };
	const [, method = '', target = '', version = ''] = line;
	const hosts = values(head.fields, 'host');
	if (hosts.length > 1 || (hosts.length === 0 && version === 'HTTP/1.1')) return { kind: 'invalid', why: 'host' };
	if (hosts.length === 1 && !isAuthority(hosts[0]!)) return { kind: 'invalid', why: 'host' };
	if (!targetIsGood(method, target)) return { kind: 'invalid', why: 'target' };
	const framing = framingOf(head.fields, version);
	if (typeof framing === 'string') return { kind: 'invalid', why: framing };
	if (method === 'CONNECT' && framing !== null && (framing.chunked || framing.length > 0)) {
		return { kind: 'invalid', why: 'CONNECT with content' };
	}
	const body = readBody(input.slice(start + head.length), framing ?? { chunked: false, length: 0 });
	if (typeof body === 'string') return { kind: 'invalid', why: body };
	const shared = { method, target, version, fields: head.fields };
	if (!body.complete) return { kind: 'incomplete', head: { ...shared, body: body.body, trailers: [] } };
	const message = { ...shared, body: body.body, trailers: body.trailers };
	return { kind: 'message', message, length: start + head.length + body.length };
}

export interface ReadRequests {
	readonly requests: readonly ReadRequest[];
	/** Of what follows the last complete request. */
	readonly rest: 'nothing' | 'incomplete' | 'invalid';
	/** Empty, or what is wrong with the rest. */
	readonly why: string;
}

/** All requests that stand one after another at the beginning of `input`. */
export function readRequests(input: string): ReadRequests {
	const requests: ReadRequest[] = [];
	let rest = input;
	for (;;) {
		if (rest === '') return { requests, rest: 'nothing', why: '' };
		const reading = readRequest(rest);
		if (reading.kind === 'incomplete') return { requests, rest: 'incomplete', why: '' };
		if (reading.kind === 'invalid') return { requests, rest: 'invalid', why: reading.why };
		requests.push(reading.message);
		rest = rest.slice(reading.length);
	}
}

/** `method` is that of the request answered; `closed`: nothing will follow `input`. 1xx are messages of their own. */
export function readResponse(input: string, method: string, closed: boolean): Reading<ReadResponse> {
	const head = readHead(input);
	if (typeof head === 'string') return { kind: 'invalid', why: head };
	if (head === null) return { kind: 'incomplete', head: null };
	const line = STATUS_LINE.exec(head.startLine);
	if (line === null) return { kind: 'invalid', why: 'status line' };
	const status = Number(line[2]);
	const framing = framingOf(head.fields, `HTTP/1.${line[1]}`);
	if (typeof framing === 'string') return { kind: 'invalid', why: framing };
	const { fields } = head;
	const rest = input.slice(head.length);
	const tunnel = status === 101 || (method === 'CONNECT' && status >= 200 && status < 300);
	if (status < 200 || status === 204 || status === 304 || method === 'HEAD' || tunnel) {
		const message = { status, fields, body: '', trailers: [], untilClose: false };
		return { kind: 'message', message, length: head.length };
	}
	if (framing === null) {
		const message = { status, fields, body: rest, trailers: [], untilClose: true };
		return closed ? { kind: 'message', message, length: input.length } : { kind: 'incomplete', head: message };
	}
	const body = readBody(rest, framing);
	if (typeof body === 'string') return { kind: 'invalid', why: body };
	const message = { status, fields, body: body.body, trailers: body.trailers, untilClose: false };
	if (!body.complete) return { kind: 'incomplete', head: message };
	return { kind: 'message', message, length: head.length + body.length };
}

/** All values of fields of that lower-case name. */
export function values(fields: readonly Field[], name: string): string[] {
	return fields.filter(([key]) => key === name).map(([, value]) => value);
}

interface Head {
	readonly startLine: string;
	readonly fields: readonly Field[];
	readonly length: number;
}

/** A string says what is wrong; null: incomplete. */
function readHead(input: string): Head | string | null {
	const end = input.indexOf('\r\n\r\n');
	const known = end === -1 ? input : input.slice(0, end + 4);
	if (/\r(?!\n|$)/.test(known) || /(?<!\r)\n/.test(known)) return 'line end';
	if (end === -1) return null;
	const [startLine = '', ...lines] = input.slice(0, end).split('\r\n');
	const fields: Field[] = [];
	for (const line of lines) {
		const field = FIELD.exec(line);
		if (field === null) return `field ${JSON.stringify(line.slice(0, 60))}`;
		fields.push([field[1]!.toLowerCase(), field[2]!]);
	}
	return { startLine, fields, length: end + 4 };
}

/** `length` of `chunked`: known at the end only. */
type Framing = { readonly chunked: boolean; readonly length: number };

/** A string says what is wrong; null: nothing says how long the body is. */
function framingOf(fields: readonly Field[], version: string): Framing | string | null {
	const codings = values(fields, 'transfer-encoding');
	const lengths = values(fields, 'content-length').flatMap((value) => value.split(/[ \t]*,[ \t]*/));
	if (codings.length > 0) {
		if (lengths.length > 0) return 'content-length with transfer-encoding';
		if (codings.length > 1 || codings[0]!.toLowerCase() !== 'chunked') return 'transfer-encoding';
		return version === 'HTTP/1.1' ? { chunked: true, length: 0 } : 'transfer-encoding in HTTP/1.0';
	}
	if (lengths.length === 0) return null;
	if (lengths.some((length) => !/^\d{1,15}$/.test(length) || Number(length) !== Number(lengths[0])))
		return 'content-length';
	return { chunked: false, length: Number(lengths[0]) };
}

interface Body {
	readonly body: string;
	readonly trailers: readonly Field[];
	readonly length: number;
	readonly complete: boolean;
}

function readBody(input: string, framing: Framing): Body | string {
	if (framing.chunked) return readChunks(input);
	const body = input.slice(0, framing.length);
	return { body, trailers: [], length: framing.length, complete: input.length >= framing.length };
}

function readChunks(input: string): Body | string {
	let body = '';
	let rest = input;
	const incomplete = (): Body => ({ body, trailers: [], length: 0, complete: false });
	for (;;) {
		const lineEnd = rest.indexOf('\r\n');
		const line = lineEnd === -1 ? rest : rest.slice(0, lineEnd);
		if (/\r(?!$)|\n/.test(line)) return 'line end of a chunk size';
		if (lineEnd === -1) {
			return line === '' || CHUNK_LINE.test(line.replace(/[\r; \t]*$/, '')) ? incomplete() : 'chunk size';
		}
		const match = CHUNK_LINE.exec(line);
		if (match === null) return 'chunk size';
		const size = Number.parseInt(match[1]!, 16);
		rest = rest.slice(lineEnd + 2);
		if (size === 0) break;
		body += rest.slice(0, size);
		if (rest.length < size + 2) {
			return rest.length > size && rest[size] !== '\r' ? 'chunk end' : incomplete();
		}
		if (rest.slice(size, size + 2) !== '\r\n') return 'chunk end';
		rest = rest.slice(size + 2);
	}
	if (rest.startsWith('\r\n')) return { body, trailers: [], length: input.length - rest.length + 2, complete: true };
	// A trailer section is read as a head without a start line.
	const section = readHead(`x\r\n${rest}`);
	if (typeof section === 'string') return section;
	if (section === null) return incomplete();
	return {
		body,
		trailers: section.fields,
		length: input.length - rest.length + section.length - 3,
		complete: true,
	};
}

function targetIsGood(method: string, target: string): boolean {
	if (method === 'CONNECT') return isAuthority(target) && /:\d+$/.test(target);
	if (target.startsWith('/')) return true;
	if (target === '*') return method === 'OPTIONS';
	const absolute = /^https?:\/\/([^/?]*)(?:[/?].*)?$/i.exec(target);
	return absolute !== null && isAuthority(absolute[1]!);
}

function isAuthority(text: string): boolean {
	return AUTHORITY.test(text) && Number(/(?<=[^:\]]:|\]:)\d*$/.exec(text)?.[0] ?? 0) <= 65535;
}
