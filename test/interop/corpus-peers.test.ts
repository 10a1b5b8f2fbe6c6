// The corpus through Envoy, HAProxy and nginx, to know where parsers differ: what weft passes on,
// none of them reads in another way, and where weft differs from Envoy is written down with its
// reason. WEFT_WRITE_PAGES=1 writes docs/http1-differences.md anew.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { passes, type RequestCase } from '../corpus/case.ts';
import { REQUESTS, RESPONSES } from '../corpus/corpus.ts';
import { PAGE_PATH, pageOf, type Row, readPage } from '../corpus/differences-page.ts';
import { expectedOfRequest, expectedOfResponse, requestOutcomeText, responseOutcomeText } from '../corpus/outcome.ts';
import {
	type CorpusProxy,
	type Lane,
	startEnvoyPeer,
	startHaproxyPeer,
	startNginxPeer,
	startWeft,
} from '../support/corpus-proxies.ts';
import { describeRequest, observeRequest, observeResponse, type RequestOutcome } from '../support/observe-corpus.ts';
import { describeWithPeers } from '../support/peers.ts';

type Peer = 'envoy' | 'haproxy' | 'nginx';
const PEERS: readonly Peer[] = ['envoy', 'haproxy', 'nginx'];
const LANES = 12;
/** A machine under load gets this long before a proxy is said to be waiting. */
const PATIENT_QUIET_MS = 1500;

interface Job {
	readonly key: string;
	readonly section: string;
	/** What the table says of weft. */
	readonly expected: string;
	readonly request: RequestCase | null;
	/** Null: the proxy has no listener for it. */
	run(lane: Lane, quietMs: number | undefined): Promise<string | null>;
}

describeWithPeers(PEERS, 'the corpus through other proxies', () => {
	const proxies = new Map<Peer, CorpusProxy>();
	/** By key, then by peer. */
	const texts = new Map<string, Map<Peer, string>>();
	const outcomes = new Map<string, Map<Peer, RequestOutcome>>();
	const jobs: Job[] = [];

	for (const { topic, cases } of REQUESTS)
		for (const one of cases) jobs.push(requestJob(`${topic} > ${one.name}`, one));
	for (const one of RESPONSES) {
		jobs.push({
			key: `Responses > ${one.name}`,
			section: one.section,
			expected: expectedOfResponse(one),
			request: null,
			run: async (lane, quietMs) =>
				responseOutcomeText(one, await observeResponse(lane, lane.port('plain')!, one, 'whole', false, quietMs)),
		});
	}

	function requestJob(key: string, one: RequestCase): Job {
		return {
			key,
			section: one.section,
			expected: expectedOfRequest(one),
			request: one,
			run: async (lane, quietMs) => {
				const port = lane.port(one.variant);
				if (port === null) return null;
				const outcome = await observeRequest(lane, port, one, 'whole', null, quietMs);
				for (const [peer, proxy] of proxies) {
					if (!proxy.lanes.includes(lane)) continue;
					const byPeer = outcomes.get(key) ?? new Map<Peer, RequestOutcome>();
					outcomes.set(key, byPeer.set(peer, outcome));
				}
				return requestOutcomeText(outcome);
			},
		};
	}

	beforeAll(async () => {
		const started = await Promise.all([startEnvoyPeer(LANES), startHaproxyPeer(LANES), startNginxPeer(LANES)]);
		PEERS.forEach((peer, i) => {
			proxies.set(peer, started[i]!);
		});
		await Promise.all(
			PEERS.map((peer) =>
				overLanes(proxies.get(peer)!, jobs, async (lane, job) => {
					const text = await job.run(lane, undefined);
					if (text === null) return;
					const byPeer = texts.get(job.key) ?? new Map<Peer, string>();
					texts.set(job.key, byPeer.set(peer, text));
				}),
			),
		);
		await lookAgain();
	}, 120_000);

	afterAll(async () => {
		for (const proxy of proxies.values()) await proxy.stop();
	});

	/** What is odd is tried again at leisure: it may have been haste. */
	async function lookAgain(): Promise<void> {
		const page = readPage();
		await Promise.all(
			PEERS.map((peer) => {
				const odd = jobs.filter((job) => {
					const text = texts.get(job.key)?.get(peer);
					return (
						text !== undefined &&
						(readOtherwise(job, peer) !== null || text !== (page.get(job.key)?.[peer] ?? job.expected))
					);
				});
				// Without a page, or with proxies of other versions, that is all that differs.
				return overLanes(proxies.get(peer)!, peer === 'envoy' ? odd : odd.slice(0, 60), async (lane, job) => {
					const text = await job.run(lane, PATIENT_QUIET_MS);
					if (text !== null) texts.get(job.key)?.set(peer, text);
				});
			}),
		);
	}

	/** What a peer sends upstream in place of what weft does; null: nothing. */
	function readOtherwise(job: Job, peer: Peer): string | null {
		const { request } = job;
		const outcome = outcomes.get(job.key)?.get(peer);
		// There the path that goes on is another by intent.
		if (request === null || request.variant === 'paths' || request.variant === 'hosts' || outcome === undefined)
			return null;
		const both = Math.min(outcome.upstream.length, request.upstream.length);
		for (let i = 0; i < both; i++) {
			if (outcome.upstream[i] !== request.upstream[i]) {
				return `${job.key}: ${peer} ${outcome.upstream[i]}, weft ${request.upstream[i]}`;
			}
		}
		return null;
	}

	test('where weft differs from Envoy is on the page, and nothing else is', () => {
		const rows: Row[] = [];
		for (const { key, section, expected } of jobs) {
			const of = (peer: Peer): string => texts.get(key)?.get(peer) ?? '';
			if (of('envoy') === expected) continue;
			rows.push({ key, section, weft: expected, envoy: of('envoy'), haproxy: of('haproxy'), nginx: of('nginx') });
		}
		if (process.env.WEFT_WRITE_PAGES === '1') writeFileSync(PAGE_PATH, pageOf(rows));
		const page = readPage();
		// HAProxy and nginx come with the distribution: what they say is told, not held.
		const told = (row: Row) => `${row.key}: weft ${row.weft}; Envoy ${row.envoy}`;
		expect(rows.map(told).sort()).toEqual([...page.values()].map(told).sort());
	});

	test('what weft passes on, no other reads in another way', () => {
		const otherwise = jobs.flatMap((job) => PEERS.map((peer) => readOtherwise(job, peer)));
		expect(otherwise.filter((one) => one !== null)).toEqual([]);
	});

	test('what weft writes upstream, each reads as weft meant it, or refuses it', async () => {
		const written = await whatWeftWrites();
		expect(written.length).toBeGreaterThan(100);
		const wrong: string[] = [];
		await Promise.all(
			PEERS.map((peer) =>
				overLanes(proxies.get(peer)!, written, async (lane, one) => {
					const haste = await misreading(lane, one, undefined);
					const wrongly = haste === null ? null : await misreading(lane, one, PATIENT_QUIET_MS);
					if (wrongly !== null) wrong.push(`${peer}: ${wrongly}`);
				}),
			),
		);
		expect(wrong).toEqual([]);
	}, 60_000);

	async function misreading(lane: Lane, one: RequestCase, quietMs: number | undefined): Promise<string | null> {
		const outcome = await observeRequest(lane, lane.port('plain')!, one, 'whole', null, quietMs);
		const refused = outcome.upstream.length === 0 && (outcome.answers.at(-1) ?? 0) >= 400;
		if (refused || JSON.stringify(outcome.upstream) === JSON.stringify(one.upstream)) return null;
		return `${one.name}: ${outcome.answers.join(' ')} ${JSON.stringify(outcome.upstream)}`;
	}

	/** The bytes of each request that arrives behind weft, as a case of its own. */
	async function whatWeftWrites(): Promise<RequestCase[]> {
		const weft = await startWeft();
		const written: RequestCase[] = [];
		try {
			const lane = weft.lanes[0]!;
			for (const { key, request } of jobs) {
				if (request === null || request.upstream.length === 0) continue;
				const outcome = await observeRequest(lane, lane.port(request.variant)!, request, 'whole', request);
				outcome.arrived.forEach((arrived, i) => {
					written.push(passes(`${key} ${i + 1}`, request.section, arrived.raw, describeRequest(arrived.request)));
				});
			}
		} finally {
			await weft.stop();
		}
		return written;
	}
});

async function overLanes<Item>(
	proxy: CorpusProxy,
	items: readonly Item[],
	work: (lane: Lane, item: Item) => Promise<void>,
): Promise<void> {
	let next = 0;
	await Promise.all(
		proxy.lanes.map(async (lane) => {
			while (next < items.length) await work(lane, items[next++]!);
		}),
	);
}
