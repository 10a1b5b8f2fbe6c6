import { test } from 'bun:test';
import { fuzzHttp1 } from './http1.ts';

const seed = Number(process.env.WEFT_TEST_SEED ?? Date.now() % 1_000_000);

test(`the HTTP/1.1 codecs hold their properties, seed ${seed}`, () => {
	fuzzHttp1(3000, seed);
});
