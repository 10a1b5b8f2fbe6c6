// What a case of the corpus is: bytes as they stand on the wire, where the rule for them is written,
// and what weft must do. The tables beside this file hold the cases, one file per topic.
//
// Bytes are Latin-1 strings: '\xff' is one byte.

/** Which listener of the proxy it is sent to: see `corpus-proxies.ts`. */
export type Variant =
	/** Defaults, and upgrades to websocket. */
	| 'plain'
	/** `accept_http_10`, `default_host_for_http_10: old.example`. */
	| 'http10'
	/** `normalize_path`, `merge_slashes`, escaped slashes rejected. */
	| 'paths'
	/** Ports, trailing dots and escaped slashes undone, underscores in names refused: see `hosts.ts`. */
	| 'hosts'
	/** `max_request_headers_kb: 1`, `max_headers_count: 10`. */
	| 'small'
	/** CONNECT is allowed, and passed on. */
	| 'connect'
	/** CONNECT ends here (`connect_config`): what is in the tunnel reaches the upstream. */
	| 'terminate'
	/** `request_headers_timeout: 0.3s`. */
	| 'slow'
	/** Behind the listener filter `proxy_protocol`: see `RequestCase.preface`. */
	| 'proxy';

export interface RequestCase {
	/** Unique within its topic. */
	readonly name: string;
	/** Section of the RFC, or class of the weakness. */
	readonly section: string;
	readonly raw: string;
	/** Of the variant `proxy`: what comes before any HTTP, in the same bytes. */
	readonly preface: string;
	readonly variant: Variant;
	/** Status of each response, 1xx too, in order. */
	readonly answers: readonly number[];
	/**
	 * `METHOD TARGET` or `METHOD TARGET BODY` of each request that reaches the upstream, in order; behind PROXY heads
	 * with ` from ADDRESS` of whom the proxy takes for the client.
	 */
	readonly upstream: readonly string[];
	/**
	 * What becomes of the connection: another request is answered on it, it is closed, or the proxy waits for the
	 * rest of a request; `tunnel`: bytes go through as they are.
	 */
	readonly after: 'open' | 'closed' | 'waiting' | 'tunnel';
	/** Fields, `name: value` (`trailer name: value`), that the last request upstream must have, and names that it must not. */
	readonly has: readonly string[];
	readonly hasNot: readonly string[];
}

export type RequestOptions = Partial<Omit<RequestCase, 'name' | 'section' | 'raw'>>;

function requestCase(name: string, section: string, raw: string, options: RequestOptions): RequestCase {
	const defaults = {
		variant: 'plain',
		preface: '',
		answers: [],
		upstream: [],
		after: 'open',
		has: [],
		hasNot: [],
	} as const;
	return { name, section, raw, ...defaults, ...options };
}

/** Taken: `upstream` arrives, each request is answered 200, and the connection goes on. */
export function passes(
	name: string,
	section: string,
	raw: string,
	upstream: string | readonly string[],
	options: RequestOptions = {},
): RequestCase {
	const list = typeof upstream === 'string' ? [upstream] : upstream;
	return requestCase(name, section, raw, { upstream: list, answers: list.map(() => 200), ...options });
}

/** Answered with an error by the proxy itself, and closed; nothing goes upstream. */
export function refused(
	name: string,
	section: string,
	raw: string,
	status = 400,
	options: RequestOptions = {},
): RequestCase {
	return requestCase(name, section, raw, { answers: [status], after: 'closed', ...options });
}

/** Not complete: nothing is answered, and nothing whole goes upstream. */
export function waits(name: string, section: string, raw: string, options: RequestOptions = {}): RequestCase {
	return requestCase(name, section, raw, { after: 'waiting', ...options });
}

/** A GET with these fields, each with its line end. */
export function get(fields: string, more = ''): string {
	return `GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n${more}`;
}

/** A POST with these fields, each with its line end. */
export function post(fields: string, body = ''): string {
	return `POST / HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`;
}

/** A chunked POST. */
export function chunked(body: string): string {
	return post('Transfer-Encoding: chunked\r\n', body);
}

/** The request that a smuggler would like to see taken for one of somebody else's. */
export const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n';

export interface ResponseCase {
	readonly name: string;
	readonly section: string;
	/** What the upstream sends. */
	readonly raw: string;
	/** Of the request that it answers. */
	readonly method: string;
	/** What the upstream does after that. */
	readonly ending: 'open' | 'fin' | 'reset';
	/** Statuses the client sees, 1xx too. */
	readonly statuses: readonly number[];
	/** The body the client sees (of what came before an abort, a prefix); null: not looked at (it is the proxy's own). */
	readonly body: string | null;
	/** The client's response has its end; otherwise the connection broke off in it. */
	readonly complete: boolean;
	/** Another request goes to the same upstream connection. */
	readonly reused: boolean;
	readonly has: readonly string[];
	readonly hasNot: readonly string[];
}

export type ResponseOptions = Partial<Omit<ResponseCase, 'name' | 'section' | 'raw'>>;

function responseCase(name: string, section: string, raw: string, options: ResponseOptions): ResponseCase {
	const defaults = {
		method: 'GET',
		ending: 'open',
		statuses: [200],
		body: null,
		complete: true,
		reused: false,
		has: [],
		hasNot: [],
	} as const;
	return { name, section, raw, ...defaults, ...options };
}

/** Passed on whole; the upstream connection can be used again. */
export function answers(
	name: string,
	section: string,
	raw: string,
	body: string,
	options: ResponseOptions = {},
): ResponseCase {
	return responseCase(name, section, raw, { body, reused: true, ...options });
}

/** The client gets 502, and the upstream connection is closed. */
export function badGateway(name: string, section: string, raw: string, options: ResponseOptions = {}): ResponseCase {
	return responseCase(name, section, raw, { statuses: [502], ...options });
}

/** Passed on as far as it was good; then the client's connection breaks off. */
export function breaksOff(
	name: string,
	section: string,
	raw: string,
	body: string,
	options: ResponseOptions = {},
): ResponseCase {
	return responseCase(name, section, raw, { body, complete: false, ...options });
}
