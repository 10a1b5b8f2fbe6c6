// The fuzz targets of HTTP/2 and gRPC, each for a few seconds, and our header blocks read by Python's hpack.

import { describe, expect, test } from 'bun:test';
import { peerPath } from '../support/peers.ts';
import { fuzz, fuzzDurationMs, fuzzSeed } from './fuzz.ts';
import { grpcMessages } from './grpc-messages.ts';
import { encodedLists, hpack, http2Client, http2Server, mutatedBlocks } from './http2.ts';
import { http2Headers } from './http2-headers.ts';

const seed = fuzzSeed();
const durationMs = fuzzDurationMs();

for (const target of [hpack, http2Server, http2Client, http2Headers, grpcMessages]) {
	test(
		`${target.name} holds its properties, seed ${seed}`,
		() => {
			fuzz(target, durationMs, seed);
		},
		durationMs + 30_000,
	);
}

const READ_BLOCKS = `
import json, sys
from hpack import Decoder
decoder = Decoder()
decoder.max_header_list_size = 1 << 20
print(json.dumps([
    [[name.decode('latin-1'), value.decode('latin-1')] for name, value in decoder.decode(bytes.fromhex(line.strip()), raw=True)]
    for line in sys.stdin
]))
`;

const READ_EACH = `
import json, sys
from hpack import Decoder, HPACKError
for line in sys.stdin:
    decoder = Decoder()
    decoder.max_header_list_size = 1 << 20
    try:
        fields = decoder.decode(bytes.fromhex(line.strip()), raw=True)
        print(json.dumps([[name.decode('latin-1'), value.decode('latin-1')] for name, value in fields]))
    except HPACKError:
        print('null')
`;

/** A block that is empty is a line too, also the last. */
function hexLines(blocks: readonly { readonly block: Uint8Array }[]): string {
	return blocks.map(({ block }) => `${Buffer.from(block).toString('hex')}\n`).join('');
}

function pythonWithHpack(): string | null {
	const python = peerPath('python3');
	if (python === null) return null;
	const found = Bun.spawnSync([python, '-c', 'import hpack']).exitCode === 0;
	if (!found && process.env.CI === 'true') throw new Error('hpack is not installed; run scripts/setup --tests');
	if (!found) console.log('skipped: Python has no hpack (scripts/setup --tests)');
	return found ? python : null;
}

const python = pythonWithHpack();

describe.skipIf(python === null)("Python's hpack", () => {
	test(`reads what we write, seed ${seed}`, () => {
		const lists = encodedLists(seed, 500);
		const input = hexLines(lists);
		const child = Bun.spawnSync([python!, '-c', READ_BLOCKS], { stdin: new TextEncoder().encode(input) });
		expect(child.exitCode, child.stderr.toString()).toBe(0);
		expect(JSON.parse(child.stdout.toString())).toEqual(lists.map(({ fields }) => fields));
	});

	test(`reads what is wrong as we do, seed ${seed}`, () => {
		const blocks = mutatedBlocks(seed, 5000);
		const input = hexLines(blocks);
		const child = Bun.spawnSync([python!, '-c', READ_EACH], { stdin: new TextEncoder().encode(input) });
		expect(child.exitCode, child.stderr.toString()).toBe(0);
		const lines = child.stdout.toString().trim().split('\n');
		expect(lines).toHaveLength(blocks.length);
		const differences = blocks.flatMap(({ block, fields }, i) => {
			const line = JSON.stringify(fields);
			const read = JSON.stringify(JSON.parse(lines[i]!));
			return line === read ? [] : [`${Buffer.from(block).toString('hex')}\n${line}\n${read}`];
		});
		expect(differences).toEqual([]);
	}, 60_000);
});
