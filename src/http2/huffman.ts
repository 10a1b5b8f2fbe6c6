// The Huffman code of HPACK (RFC 7541 §5.2, appendix B). The code is canonical, so that the lengths
// of its words are all there is to know. Decoding takes four bits a step through a table of states.

import { assert } from '../std/assert.ts';

/** Bits of the word of each byte, and of the end of string at last: a letter each, `a` for 5. */
const WORD_BITS =
	'isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhfibccccccccccccccccccccccdcdioijb' +
	'kabababbbaccbbbabcbaabccccckgjixprpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrsv' +
	'vporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwvz';

const SYMBOLS = 257;
const END_OF_STRING = 256;
const bitsOf = new Uint8Array(SYMBOLS);
const wordOf = new Uint32Array(SYMBOLS);

// A step of the decoder: low byte the symbol, then flags, then the next state.
const EMITS = 0x100;
const FAILS = 0x200;
const STATE_SHIFT = 10;
/** Index: state × 16 + four bits. */
const steps: Uint32Array = new Uint32Array(256 * 16);
/** A string may end here: what is left are at most 7 bits, all ones (RFC 7541 §5.2). */
const mayEnd: Uint8Array = new Uint8Array(256);

buildWords();
buildSteps();

/** Bytes that `text` (Latin-1) takes when coded. */
export function huffmanLength(text: string): number {
	let bits = 0;
	for (let i = 0; i < text.length; i++) bits += bitsOf[text.charCodeAt(i) & 0xff]!;
	return (bits + 7) >> 3;
}

/** Writes the coded text (Latin-1) at `at`; returns where it ends. There must be room for `huffmanLength`. */
export function huffmanEncode(text: string, target: Uint8Array, at: number): number {
	let to = at;
	// At most 7 bits wait; a word has up to 30, so the two are put together in parts of 32.
	let pending = 0;
	let pendingBits = 0;
	for (let i = 0; i < text.length; i++) {
		const symbol = text.charCodeAt(i) & 0xff;
		let bits = bitsOf[symbol]!;
		const word = wordOf[symbol]!;
		while (bits > 0) {
			const take = Math.min(bits, 8 - pendingBits);
			pending = (pending << take) | ((word >>> (bits - take)) & ((1 << take) - 1));
			pendingBits += take;
			bits -= take;
			if (pendingBits === 8) {
				target[to++] = pending;
				pending = 0;
				pendingBits = 0;
			}
		}
	}
	if (pendingBits > 0) target[to++] = (pending << (8 - pendingBits)) | ((1 << (8 - pendingBits)) - 1);
	return to;
}

/**
 * Decodes `bytes[from..to)` into `target`; returns the number of bytes, -1 for what is no such code.
 * `target` must hold 8/5 of the coded length.
 */
export function huffmanDecode(bytes: Uint8Array, from: number, to: number, target: Uint8Array): number {
	let state = 0;
	let length = 0;
	for (let i = from; i < to; i++) {
		const byte = bytes[i]!;
		let step = steps[(state << 4) | (byte >> 4)]!;
		if ((step & EMITS) !== 0) target[length++] = step;
		else if ((step & FAILS) !== 0) return -1;
		step = steps[((step >> STATE_SHIFT) << 4) | (byte & 15)]!;
		if ((step & EMITS) !== 0) target[length++] = step;
		else if ((step & FAILS) !== 0) return -1;
		state = step >> STATE_SHIFT;
	}
	return mayEnd[state] === 1 ? length : -1;
}

function buildWords(): void {
	for (let i = 0; i < SYMBOLS; i++) bitsOf[i] = WORD_BITS.charCodeAt(i) - 0x61 + 5;
	let word = 0;
	for (let bits = 5; bits <= 30; bits++) {
		for (let symbol = 0; symbol < SYMBOLS; symbol++) {
			if (bitsOf[symbol] === bits) wordOf[symbol] = word++;
		}
		word *= 2;
	}
}

interface Node {
	readonly index: number;
	/** Depth, and whether the way to it is all ones. */
	readonly depth: number;
	readonly ones: boolean;
	/** A node, or the symbol of a leaf. */
	readonly next: (Node | number | null)[];
}

function buildSteps(): void {
	const nodes: Node[] = [];
	const grow = (depth: number, ones: boolean): Node => {
		const node: Node = { index: nodes.length, depth, ones, next: [null, null] };
		nodes.push(node);
		return node;
	};
	const root = grow(0, true);
	for (let symbol = 0; symbol < SYMBOLS; symbol++) {
		let node = root;
		const bits = bitsOf[symbol]!;
		for (let at = bits - 1; at >= 0; at--) {
			const bit = (wordOf[symbol]! >>> at) & 1;
			if (at === 0) {
				node.next[bit] = symbol;
				break;
			}
			const known = node.next[bit];
			const child: Node =
				known === null || known === undefined ? grow(node.depth + 1, node.ones && bit === 1) : (known as Node);
			node.next[bit] = child;
			node = child;
		}
	}
	assert(nodes.length === 256, 'a full binary tree of 257 leaves');
	for (const node of nodes) {
		mayEnd[node.index] = node.ones && node.depth < 8 ? 1 : 0;
		for (let four = 0; four < 16; four++) {
			let at: Node = node;
			let emitted = -1;
			for (let bit = 3; bit >= 0; bit--) {
				const next = at.next[(four >> bit) & 1]!;
				if (typeof next !== 'number') at = next as Node;
				else {
					emitted = next;
					at = root;
				}
			}
			const flags = emitted === END_OF_STRING ? FAILS : emitted === -1 ? 0 : EMITS | emitted;
			steps[(node.index << 4) | four] = flags | (at.index << STATE_SHIFT);
		}
	}
}
