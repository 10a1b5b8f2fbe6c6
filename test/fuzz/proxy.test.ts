// The fuzz targets of the proxy, each for a few seconds. Longer: WEFT_FUZZ_MS, or `fuzz.ts`.

import { test } from 'bun:test';
import { bootstrapLoader } from './bootstrap-loader.ts';
import { certificates } from './certificate.ts';
import { chunkedDecoder } from './chunked-decoder.ts';
import { clientHello } from './client-hello.ts';
import { fuzz, fuzzDurationMs, fuzzSeed } from './fuzz.ts';
import { grpcWebText } from './grpc-web.ts';
import { listenerFilters } from './listener-filters.ts';
import { pathNormaliser } from './path-normaliser.ts';
import { requestParser } from './request-parser.ts';
import { responseParser } from './response-parser.ts';

const seed = fuzzSeed();
const durationMs = fuzzDurationMs();

for (const target of [
	requestParser,
	responseParser,
	chunkedDecoder,
	pathNormaliser,
	bootstrapLoader,
	clientHello,
	certificates,
	listenerFilters,
	grpcWebText,
]) {
	test(
		`${target.name} holds its properties, seed ${seed}`,
		() => {
			fuzz(target, durationMs, seed);
		},
		durationMs + 30_000,
	);
}
