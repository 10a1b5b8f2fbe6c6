// What a field of a header block is to the codec, found once per name or table entry and not once
// per message (RFC 9113 §8.2, §8.3).

/** Bit-free marks; `plain` is the usual one. */
export const FieldKind = {
	plain: 0,
	method: 1,
	scheme: 2,
	authority: 3,
	path: 4,
	protocol: 5,
	status: 6,
	/** A pseudo-header that does not exist. */
	unknownPseudo: 7,
	host: 8,
	contentLength: 9,
	cookie: 10,
	te: 11,
	/** About an HTTP/1.1 connection: makes a message malformed (RFC 9113 §8.2.2). */
	connection: 12,
	/** `http2-settings`: of an upgrade that nobody here makes; dropped. */
	dropped: 13,
	/** A name or value with a character that may not stand there. */
	invalid: 14,
} as const;

const kinds = new Map<string, number>([
	[':method', FieldKind.method],
	[':scheme', FieldKind.scheme],
	[':authority', FieldKind.authority],
	[':path', FieldKind.path],
	[':protocol', FieldKind.protocol],
	[':status', FieldKind.status],
	['host', FieldKind.host],
	['content-length', FieldKind.contentLength],
	['cookie', FieldKind.cookie],
	['te', FieldKind.te],
	['connection', FieldKind.connection],
	['keep-alive', FieldKind.connection],
	['proxy-connection', FieldKind.connection],
	['transfer-encoding', FieldKind.connection],
	['upgrade', FieldKind.connection],
	['http2-settings', FieldKind.dropped],
]);

/** Of a name in its valid form. */
export function fieldKindOf(name: string): number {
	const kind = kinds.get(name);
	if (kind !== undefined) return kind;
	return name.charCodeAt(0) === 0x3a ? FieldKind.unknownPseudo : FieldKind.plain;
}
