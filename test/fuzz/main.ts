// One fuzz target for as long as one likes; see `fuzz.ts`.

import { bootstrapLoader } from './bootstrap-loader.ts';
import { certificates } from './certificate.ts';
import { chunkedDecoder } from './chunked-decoder.ts';
import { clientHello } from './client-hello.ts';
import { type FuzzTarget, fuzz, fuzzSeed } from './fuzz.ts';
import { grpcMessages } from './grpc-messages.ts';
import { grpcWebText } from './grpc-web.ts';
import { hpack, http2Client, http2Server } from './http2.ts';
import { http2Headers } from './http2-headers.ts';
import { listenerFilters } from './listener-filters.ts';
import { pathNormaliser } from './path-normaliser.ts';
import { requestParser } from './request-parser.ts';
import { responseParser } from './response-parser.ts';

const TARGETS: readonly FuzzTarget[] = [
	requestParser,
	responseParser,
	chunkedDecoder,
	pathNormaliser,
	bootstrapLoader,
	clientHello,
	certificates,
	listenerFilters,
	grpcMessages,
	hpack,
	http2Server,
	http2Client,
	http2Headers,
	grpcWebText,
];

const [name = '', seconds = '60', seedText] = process.argv.slice(2);
const target = TARGETS.find((one) => one.name === name);
if (target === undefined) {
	console.error(`no such target: ${name}; there are ${TARGETS.map((one) => one.name).join(', ')}`);
	process.exit(2);
}
const seed = seedText === undefined ? fuzzSeed() : Number(seedText);
console.log(`${target.name}: ${seconds} s, seed ${seed}`);
const { inputs } = fuzz(target, Number(seconds) * 1000, seed);
console.log(`${target.name}: no finding in ${inputs} inputs`);
