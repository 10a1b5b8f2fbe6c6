// Fuzz target of the gRPC message reader: messages with their prefixes, some of them broken. What must hold:
//
//  - messages(any split, any pauses) = messages(whole), and the same fault;
//  - no message is larger than the limit, and what is held is less than one message and one read.

import { frameMessage, MessageReader } from '../../src/grpc/message-reader.ts';
import type { Random } from '../../src/std/random.ts';
import { cutAtRandom, type FuzzTarget } from './fuzz.ts';

const BYTES_MAX = 200;

export const grpcMessages: FuzzTarget = { name: 'grpc-messages', run: check };

function check(random: Random): void {
	const input = grow(random);
	const whole = read([input], null);
	const cut = read(cutAtRandom(random, input), null);
	if (cut !== whole) throw new Error(`messages depend on the split:\n${cut}\nand\n${whole}`);
	const paused = read(cutAtRandom(random, input), random);
	if (paused !== whole) throw new Error(`messages depend on pauses:\n${paused}\nand\n${whole}`);
}

function grow(random: Random): Uint8Array {
	const parts: Uint8Array[] = [];
	for (let i = random.below(6); i >= 0; i--) {
		const length = random.below(5) === 0 ? random.below(BYTES_MAX + 4) : random.below(8);
		const framed = frameMessage(new Uint8Array(length).map(() => random.below(256)));
		if (random.below(8) === 0) framed[random.below(5)] = random.below(256);
		parts.push(framed);
	}
	const input = new Uint8Array(Buffer.concat(parts));
	return random.below(3) === 0 ? input.slice(0, random.below(input.length + 1)) : input;
}

/** `random`: pauses now and then. */
function read(parts: readonly Uint8Array[], random: Random | null): string {
	const got: string[] = [];
	const reader = new MessageReader(BYTES_MAX, (bytes) => {
		if (bytes.length > BYTES_MAX) throw new Error(`a message of ${bytes.length} bytes`);
		got.push(Buffer.from(bytes).toString('hex'));
		if (random !== null && random.below(2) === 0) reader.pause();
	});
	let fault = null;
	for (const part of parts) {
		const buffer = part.slice();
		fault = reader.push(buffer);
		// It belongs to the socket again.
		buffer.fill(0xee);
		if (random !== null && random.below(2) === 0) fault = reader.resume();
	}
	while (reader.isHolding) fault = reader.resume();
	return JSON.stringify([got, fault, reader.isAtBoundary]);
}
