// Which bytes may stand where (RFC 9110 §5.6.2, §5.5; RFC 3986 §3.2.2), as tables to index.

export const CR = 0x0d;
export const LF = 0x0a;
export const SP = 0x20;
export const DEL = 0x7f;
export const HTAB = 0x09;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;

const ALPHANUMERIC = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** tchar: method and field names. */
export const TOKEN = table(`!#$%&'*+-.^_\`|~${ALPHANUMERIC}`);

/** HTAB, SP, VCHAR and obs-text: field values, and the reason phrase. */
export const FIELD_VALUE = range(0x20, 0xff);
FIELD_VALUE[HTAB] = 1;
FIELD_VALUE[0x7f] = 0;

/** What a request line may hold: SP and VCHAR. */
export const REQUEST_LINE = range(0x20, 0x7e);

/** VCHAR without `#`: a request target has no fragment (RFC 9112 §3.2). */
export const TARGET = range(0x21, 0x7e);
TARGET[0x23] = 0;

/** reg-name, IPv4, IP-literal and port; never userinfo. */
export const HOST = table(`-._~%!$&'()*+,;=:[]${ALPHANUMERIC}`);

/** ASCII upper case to lower case; every other byte to itself. */
export const LOWER = new Uint8Array(256).map((_, byte) => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte));

/** Lower case of a tchar; 0 for any other byte. */
export const TOKEN_LOWER = LOWER.map((lower, byte) => (TOKEN[byte] === 1 ? lower : 0));

/** 1 for those of a field name in HTTP/2: of a token, and not upper case (RFC 9113 §8.2.1). */
export const NAME_LOWER = TOKEN.map((allowed, byte) => (allowed === 1 && LOWER[byte] === byte ? 1 : 0));

/** Value of a hexadecimal digit; 255: none. */
export const HEX = new Uint8Array(256).fill(255);
for (let i = 0; i < 16; i++) {
	HEX[i.toString(16).charCodeAt(0)] = i;
	HEX[i.toString(16).toUpperCase().charCodeAt(0)] = i;
}

/** Whether every character of `text` is in `allowed`. Characters beyond Latin-1 never are. */
export function consistsOf(text: string, allowed: Uint8Array): boolean {
	for (let i = 0; i < text.length; i++) {
		const code = text.charCodeAt(i);
		if (code > 0xff || allowed[code] === 0) return false;
	}
	return true;
}

/** Without SP and HTAB at its ends. `String.trim` takes more away: to HTTP a no-break space is content. */
export function trimSpace(text: string): string {
	let start = 0;
	let end = text.length;
	while (start < end && isSpace(text.charCodeAt(start))) start++;
	while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
	return start === 0 && end === text.length ? text : text.slice(start, end);
}

function isSpace(code: number): boolean {
	return code === SP || code === HTAB;
}

/** Host and optional port: a non-empty host of the right characters, and a port up to 65535 where there is one. */
export function isAuthority(text: string): boolean {
	// Asked of each request on its way in and on its way out, and mostly of the same name.
	if (text === lastAuthority) return true;
	if (!isNewAuthority(text)) return false;
	lastAuthority = text;
	return true;
}

let lastAuthority = 'localhost';

function isNewAuthority(text: string): boolean {
	if (text.length === 0 || text.length > 1024 || !consistsOf(text, HOST)) return false;
	let hostEnd: number;
	if (text.charCodeAt(0) === 0x5b) {
		hostEnd = text.indexOf(']') + 1;
		if (hostEnd < 3) return false;
		for (let i = 1; i < hostEnd - 1; i++) {
			const code = text.charCodeAt(i);
			if (HEX[code] === 255 && code !== COLON && code !== 0x2e) return false;
		}
	} else {
		hostEnd = text.indexOf(':');
		if (hostEnd === -1) hostEnd = text.length;
		if (hostEnd === 0) return false;
		for (let i = 0; i < hostEnd; i++) {
			const code = text.charCodeAt(i);
			if (code === 0x5b || code === 0x5d) return false;
		}
	}
	if (hostEnd === text.length) return true;
	if (text.charCodeAt(hostEnd) !== COLON || text.length - hostEnd > 6) return false;
	let port = 0;
	for (let i = hostEnd + 1; i < text.length; i++) {
		const digit = text.charCodeAt(i) - 0x30;
		if (digit < 0 || digit > 9) return false;
		port = port * 10 + digit;
	}
	return port <= 65535;
}

function table(characters: string): Uint8Array {
	const allowed = new Uint8Array(256);
	for (let i = 0; i < characters.length; i++) allowed[characters.charCodeAt(i)] = 1;
	return allowed;
}

function range(first: number, last: number): Uint8Array {
	return new Uint8Array(256).map((_, byte) => (byte >= first && byte <= last ? 1 : 0));
}
