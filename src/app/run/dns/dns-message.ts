// DNS messages (RFC 1035 §4) as far as a relay looks into them: the header, the one question, and the
// answers that it gives itself. What it passes on stays the bytes that came.

import { type Answer, AUTHORITATIVE_ANSWER, decode, encode, RECURSION_AVAILABLE } from 'dns-packet';
import { ZONE, type ZoneAnswer } from './mesh-zone.ts';

export interface Question {
	/** Without the last dot, as it was sent. */
	readonly name: string;
	readonly type: number;
	readonly class: number;
	/** First byte after it. */
	readonly end: number;
}

export const MESSAGE_BYTES_MAX = 65_535;
export const RCODE = { ok: 0, formatError: 1, serverFailure: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;
const HEADER_BYTES = 12;
const NAME_BYTES_MAX = 255;
const CLASS_IN = 1;
const FLAG_RESPONSE = 0x80;
const OPCODE_MASK = 0x78;
const FLAG_RECURSION_DESIRED = 0x01;
/** Services come and go; nobody should remember for long that one was not there. */
const TTL_S = 5;
const UDP_PAYLOAD_BYTES = 1232;

export function messageId(message: Uint8Array): number {
	return (message[0]! << 8) | message[1]!;
}

/** A copy with another id. */
export function withId(message: Uint8Array, id: number): Uint8Array {
	const copy = new Uint8Array(message);
	copy[0] = id >>> 8;
	copy[1] = id & 255;
	return copy;
}

export function rcodeOf(message: Uint8Array): number {
	return message[3]! & 15;
}

/** Null: no standard query with one question, in a message that could be one. */
export function readQuery(message: Uint8Array): Question | null {
	if (message.length < HEADER_BYTES + 5) return null;
	if ((message[2]! & (FLAG_RESPONSE | OPCODE_MASK)) !== 0) return null;
	if (message[4] !== 0 || message[5] !== 1) return null;
	return readQuestion(message);
}

/** That `response` is one to `query`: its id, and what was asked (letters of either case). */
export function answers(response: Uint8Array, query: Uint8Array, question: Question): boolean {
	if (response.length < question.end || messageId(response) !== messageId(query)) return false;
	if ((response[2]! & FLAG_RESPONSE) === 0 || response[4] !== 0 || response[5] !== 1) return false;
	for (let index = HEADER_BYTES; index < question.end; index++) {
		if (lowerCase(response[index]!) !== lowerCase(query[index]!)) return false;
	}
	return true;
}

/** A response that says no more than `rcode`; null when the message is too short to be answered. */
export function bareResponse(query: Uint8Array, question: Question | null, rcode: number): Uint8Array | null {
	if (query.length < HEADER_BYTES || (query[2]! & FLAG_RESPONSE) !== 0) return null;
	const response = new Uint8Array(query.subarray(0, question?.end ?? HEADER_BYTES));
	response[2] = FLAG_RESPONSE | (query[2]! & (OPCODE_MASK | FLAG_RECURSION_DESIRED));
	response[3] = FLAG_RESPONSE | rcode;
	response.fill(0, 4, HEADER_BYTES);
	if (question !== null) response[5] = 1;
	return response;
}

/** What the mesh itself says. */
export function zoneResponse(query: Uint8Array, question: Question, answer: ZoneAnswer): Uint8Array | null {
	if (answer.kind === 'elsewhere') return null;
	if (question.class !== CLASS_IN) return bareResponse(query, question, RCODE.refused);
	let asked: ReturnType<typeof decode>;
	try {
		asked = decode(Buffer.from(query));
	} catch {
		return bareResponse(query, question, RCODE.formatError);
	}
	const [first] = asked.questions ?? [];
	if (first === undefined) return bareResponse(query, question, RCODE.formatError);
	const withOptions = (asked.additionals ?? []).some((record) => record.type === 'OPT');
	const found: Answer[] =
		answer.kind === 'address' ? [{ type: 'A', name: first.name, ttl: TTL_S, data: answer.address }] : [];
	const desired = query[2]! & FLAG_RECURSION_DESIRED ? 0x100 : 0;
	const rcode = answer.kind === 'no such name' ? RCODE.noSuchName : RCODE.ok;
	return encode({
		type: 'response',
		id: messageId(query),
		flags: AUTHORITATIVE_ANSWER | RECURSION_AVAILABLE | desired | rcode,
		questions: [first],
		answers: found,
		// Says for how long the absence may be remembered (RFC 2308 §3).
		authorities: found.length > 0 ? [] : [START_OF_AUTHORITY],
		additionals: withOptions
			? [
					{
						type: 'OPT',
						name: '.',
						udpPayloadSize: UDP_PAYLOAD_BYTES,
						extendedRcode: 0,
						ednsVersion: 0,
						flags: 0,
						flag_do: false,
						options: [],
					},
				]
			: [],
	});
}

const START_OF_AUTHORITY: Answer = {
	type: 'SOA',
	name: ZONE,
	ttl: TTL_S,
	data: {
		mname: `ns.${ZONE}`,
		rname: `hostmaster.${ZONE}`,
		serial: 1,
		refresh: 3600,
		retry: 600,
		expire: 86_400,
		minimum: TTL_S,
	},
};

/** Null: cut off, too long, or compressed, which a first name cannot be. */
function readQuestion(message: Uint8Array): Question | null {
	const labels: string[] = [];
	let at = HEADER_BYTES;
	for (;;) {
		const length = message[at];
		if (length === undefined || length > 63) return null;
		at += 1;
		if (length === 0) break;
		if (at + length > message.length || at + length - HEADER_BYTES > NAME_BYTES_MAX) return null;
		labels.push(Buffer.from(message.buffer, message.byteOffset + at, length).toString('latin1'));
		at += length;
	}
	if (at + 4 > message.length) return null;
	return {
		name: labels.join('.'),
		type: (message[at]! << 8) | message[at + 1]!,
		class: (message[at + 2]! << 8) | message[at + 3]!,
		end: at + 4,
	};
}

function lowerCase(byte: number): number {
	return byte >= 65 && byte <= 90 ? byte + 32 : byte;
}
