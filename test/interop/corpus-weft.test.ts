// The corpus of raw HTTP/1.1 against weft, over real sockets and at several splits. Beside what each
// case says, it holds for all that an independent strict reader finds what weft writes to be plain:
// never more requests than the client sent, each with the meaning that it had, and no byte over.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Variant } from '../corpus/case.ts';
import { REQUESTS, RESPONSES, type RequestCase, type ResponseCase } from '../corpus/corpus.ts';
import { DIFFERENCES } from '../corpus/differences.ts';
import { readPage } from '../corpus/differences-page.ts';
import { expectedOfRequest, expectedOfResponse } from '../corpus/outcome.ts';
import { SPLITS, type Split } from '../support/byte-split.ts';
import { type CorpusProxy, startWeft } from '../support/corpus-proxies.ts';
import { describeRequest, observeRequest, observeResponse, SENTINEL_TARGET } from '../support/observe-corpus.ts';
import { type Field, type ReadRequest, readRequests, values } from '../support/strict-reader.ts';

let weft: CorpusProxy;
beforeAll(async () => {
	weft = await startWeft();
});
afterAll(() => weft.stop());

test('the corpus has more than 300 cases, each with its section, and no name twice', () => {
	const all = [...REQUESTS.flatMap(({ cases }) => cases), ...RESPONSES];
	expect(all.length).toBeGreaterThan(300);
	for (const one of all) expect(one.section).toMatch(/^(RFC \d+|CWE-\d+|CVE-\d+-\d+|PROXY §)/);
	for (const cases of [...REQUESTS.map((topic) => topic.cases), RESPONSES]) {
		expect(new Set(cases.map((one) => one.name)).size).toBe(cases.length);
	}
});

const NOT_HTTP_ALONE: readonly Variant[] = ['connect', 'terminate', 'proxy', 'slow'];

test('the strict reader takes and refuses what the corpus says, save for limits and what is policy', () => {
	const otherwise: string[] = [];
	for (const one of REQUESTS.flatMap(({ cases }) => cases)) {
		const { requests, rest } = readRequests(one.raw);
		const last = one.answers.at(-1) ?? 0;
		const syntax = [400, 501, 505].includes(last) && one.variant !== 'paths' && one.variant !== 'hosts';
		// Of tunnels, and of what comes before HTTP, it knows nothing.
		if (!syntax && NOT_HTTP_ALONE.includes(one.variant)) continue;
		const agreed = requests.length === one.upstream.length && (!syntax || rest === 'invalid');
		if ((syntax || last < 400) && !agreed) otherwise.push(one.name);
	}
	expect(otherwise.sort()).toEqual([
		'Connection in quotation marks',
		'Connection that is no list of tokens',
		'Connection with a no-break space',
		'HTTP/1.0 where it is not accepted',
		'a TLS client hello in plain text',
		'a chunk size with an overflow',
		'a hundred zeros before the size',
		'a size of 13 digits',
		'a size of 2^64',
		'a size of 2^64 + 5',
		'a size of 2^64 - 1',
		'a size of leading zeros without end',
		'an extension of 20,000 bytes',
		'ended here, HTTP/1.0',
		'many extensions that are together too long',
		'what follows HTTP/1.0 without keep-alive is not read',
		'what follows close is not read',
	]);
});

test('the page of differences says of weft what is so', () => {
	const said = new Map<string, string>();
	for (const { topic, cases } of REQUESTS) {
		for (const one of cases) said.set(`${topic} > ${one.name}`, expectedOfRequest(one));
	}
	for (const one of RESPONSES) said.set(`Responses > ${one.name}`, expectedOfResponse(one));
	const page = readPage();
	expect(page.size).toBeGreaterThan(50);
	for (const row of page.values()) expect(`${row.key}: ${row.weft}`).toBe(`${row.key}: ${said.get(row.key)}`);
	expect([...page.keys()].sort()).toEqual(DIFFERENCES.flatMap((difference) => difference.cases).sort());
});

for (const { topic, cases } of REQUESTS) {
	describe(topic, () => {
		for (const one of cases) {
			test(one.name, async () => {
				for (const split of SPLITS) await holdsForRequest(one, split);
				if (one.variant !== 'proxy') await holdsForRequest(behindAnother(one), 'random');
			});
		}
	});
}

describe('Responses', () => {
	for (const one of RESPONSES) {
		test(one.name, async () => {
			for (const split of SPLITS) await holdsForResponse(one, split);
		});
	}
});

async function holdsForRequest(one: RequestCase, split: Split): Promise<void> {
	const lane = weft.lanes[0]!;
	const outcome = await observeRequest(lane, lane.port(one.variant)!, one, split, one);
	const { answers, upstream, after } = one;
	expect({ split, answers: outcome.answers, upstream: outcome.upstream, after: outcome.after }).toEqual({
		split,
		answers: [...answers],
		upstream: [...upstream],
		after,
	});
	expect(outcome.violations).toEqual([]);
	const last = outcome.arrived.at(-1)?.request;
	for (const field of one.has) expect(lines(last?.fields ?? [], last?.trailers ?? [])).toContain(field);
	for (const name of one.hasNot) expect(values(last?.fields ?? [], name)).toEqual([]);

	const sent = readRequests(one.raw).requests;
	const passed = lane.upstream.arrived.map((arrived) => arrived.request).filter(isOfTheCase);
	expect(passed.length).toBeLessThanOrEqual(sent.length);
	expectSubsequence(passed, sent, one.variant);
	for (const arrived of lane.upstream.arrived) expectPlain(arrived.request, arrived.raw);
	// A request that was not whole is not left hanging on a connection that others will use.
	if (outcome.after !== 'waiting') expect(lane.upstream.unfinished()).toBe('');
}

/** The same behind a request that is answered: nothing of that one may matter to it. */
function behindAnother(one: RequestCase): RequestCase {
	return {
		...one,
		raw: `GET /first HTTP/1.1\r\nHost: first\r\n\r\n${one.raw}`,
		answers: [200, ...one.answers],
		upstream: ['GET /first', ...one.upstream],
	};
}

function isOfTheCase(request: ReadRequest): boolean {
	return request.target !== SENTINEL_TARGET;
}

/** Each request that went upstream means what one of those sent meant, in the same order. */
function expectSubsequence(passed: readonly ReadRequest[], sent: readonly ReadRequest[], variant: Variant): void {
	let at = 0;
	for (const request of passed) {
		const meaning = meaningOf(request, variant);
		while (at < sent.length && meaningOf(sent[at]!, variant) !== meaning) at++;
		if (at === sent.length) throw new Error(`nobody sent ${describeRequest(request)} (${meaning})`);
		at++;
	}
}

/** Without what the variant rewrites. */
function meaningOf(request: ReadRequest, variant: Variant): string {
	const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(request.target);
	if (request.method === 'CONNECT') return JSON.stringify([request.method, request.target, request.body]);
	let path = absolute === null ? request.target : absolute[2]!;
	if (path === '') path = request.method === 'OPTIONS' ? '*' : '/';
	if (path.startsWith('?')) path = `/${path}`;
	const host = absolute?.[1] ?? values(request.fields, 'host')[0] ?? 'old.example';
	const kept = [variant === 'paths' || variant === 'hosts' ? '' : path, variant === 'hosts' ? '' : host];
	return JSON.stringify([request.method, ...kept, request.body]);
}

/** Framing, routing, authentication (RFC 9110 §6.5.1), and what a proxy says of a client. */
const FORBIDDEN_TRAILER =
	/^(content-length|transfer-encoding|host|connection|te|upgrade|trailer|authorization|proxy-authorization|cookie|x-forwarded-.*)$/;

/** What no two parsers can read in two ways. */
function expectPlain(request: ReadRequest, raw: string): void {
	const head = raw.slice(0, raw.indexOf('\r\n\r\n'));
	expect(readRequests(raw).requests.length).toBe(1);
	expect(values(request.fields, 'host').length).toBe(1);
	const lengths = values(request.fields, 'content-length');
	const codings = values(request.fields, 'transfer-encoding');
	expect(lengths.length + codings.length).toBeLessThanOrEqual(1);
	if (lengths.length === 1) expect(lengths[0]).toMatch(/^(0|[1-9]\d*)$/);
	if (codings.length === 1) expect(codings[0]).toBe('chunked');
	for (const [name] of request.trailers) expect(name).not.toMatch(FORBIDDEN_TRAILER);
	expect(request.version).toBe('HTTP/1.1');
	if (request.method === 'CONNECT') {
		expect(values(request.fields, 'host')).toEqual([request.target]);
		expect([...lengths, ...codings]).toEqual([]);
	} else expect(request.target).toMatch(/^(\/|\*$)/);
	expect(head).not.toMatch(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n|\r\n[ \t]/);
}

async function holdsForResponse(one: ResponseCase, split: Split): Promise<void> {
	const lane = weft.lanes[0]!;
	const outcome = await observeResponse(lane, lane.port('plain')!, one, split, true);
	const { statuses, complete, reused } = one;
	// What came before the error may be lost with the connection, but nothing else may come.
	const lost = !complete && outcome.statuses.length === 0;
	expect({ split, statuses: outcome.statuses, complete: outcome.complete, reused: outcome.reused }).toEqual({
		split,
		statuses: lost ? [] : [...statuses],
		complete,
		reused,
	});
	expect(outcome.violations).toEqual([]);
	if (one.body !== null && complete) expect(outcome.body).toBe(one.body);
	if (one.body !== null && !complete) expect(one.body.startsWith(outcome.body)).toBe(true);
	for (const field of one.has) expect(lines(outcome.fields, outcome.trailers)).toContain(field);
	for (const name of one.hasNot) expect(values(outcome.fields, name)).toEqual([]);
}

function lines(fields: readonly Field[], trailers: readonly Field[]): string[] {
	const text = ([name, value]: Field) => `${name}: ${value}`;
	return [...fields.map(text), ...trailers.map((trailer) => `trailer ${text(trailer)}`)];
}
