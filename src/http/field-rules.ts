// Rules for single fields that hold in every version of HTTP (RFC 9110 §6.5.1, §8.6).

import { trimSpace } from './characters.ts';

/** Fields that a trailer section may not carry (RFC 9110 §6.5.1): framing, routing, authentication, how to read the content. */
const FORBIDDEN_TRAILERS = new Set([
	'age',
	'authorization',
	'cache-control',
	'content-encoding',
	'content-length',
	'content-range',
	'content-type',
	'cookie',
	'date',
	'expect',
	'expires',
	'forwarded',
	'location',
	'max-forwards',
	'proxy-authenticate',
	'proxy-authorization',
	'range',
	'retry-after',
	'set-cookie',
	'trailer',
	'vary',
	'www-authenticate',
]);
const FORBIDDEN_TRAILER_PREFIXES = ['x-forwarded-', 'x-envoy-', 'x-weft-', 'if-', 'sec-'];

/** Whether a trailer of that lower-case name may be passed on. */
export function isTrailerAllowed(name: string): boolean {
	return !FORBIDDEN_TRAILERS.has(name) && !FORBIDDEN_TRAILER_PREFIXES.some((prefix) => name.startsWith(prefix));
}

const CONTENT_LENGTH_DIGITS_MAX = 15;

/** Digits, or a list of the same digits (RFC 9110 §8.6); -1 for anything else, and past 10^15. */
export function parseContentLength(value: string): number {
	const single = parseDigits(value);
	if (single === -1 && value.includes(',')) {
		let length = -1;
		for (const part of value.split(',')) {
			const one = parseDigits(trimSpace(part));
			if (one === -1 || (length !== -1 && one !== length)) return -1;
			length = one;
		}
		return length;
	}
	return single;
}

function parseDigits(text: string): number {
	if (text.length === 0 || text.length > CONTENT_LENGTH_DIGITS_MAX) return -1;
	let value = 0;
	for (let i = 0; i < text.length; i++) {
		const digit = text.charCodeAt(i) - 0x30;
		if (digit < 0 || digit > 9) return -1;
		value = value * 10 + digit;
	}
	return value;
}
