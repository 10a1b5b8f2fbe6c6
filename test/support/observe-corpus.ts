// Sends one case of the corpus through a proxy and says what came of it on both sides.

import { networkInterfaces } from 'node:os';
import type { RequestCase, ResponseCase, Variant } from '../corpus/case.ts';
import { cut, type Split } from './byte-split.ts';
import type { Lane } from './corpus-proxies.ts';
import { nextTurn } from './next-turn.ts';
import { RawClient, type ReadResponses } from './raw-client.ts';
import type { ArrivedRequest, UpstreamAnswer } from './recording-upstream.ts';
import { okAnswer } from './recording-upstream.ts';
import { type Field, type ReadRequest, readRequests, values } from './strict-reader.ts';

export const SENTINEL_TARGET = '/sentinel';
const SENTINEL = Buffer.from(`GET ${SENTINEL_TARGET} HTTP/1.1\r\nHost: sentinel\r\n\r\n`);
const TUNNELLED = 'through the tunnel';

/** A proxy that does nothing for this long is taken to wait, where that is likely, and where it is not. */
const QUIET_MS = 60;
const WAITING_QUIET_MS = 500;
/** Something that must come is waited for this long. */
const LIMIT_MS = 5000;
const SLOW_MS = 700;
const OWN_ADDRESSES = new Set(
	Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map(({ address }) => address) ?? []),
);
/** A client that speaks for itself. */
const LOCAL_HEAD = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x20\0\0\0', 'latin1');

export interface RequestOutcome {
	/** Of the case's requests, 1xx too. */
	readonly answers: readonly number[];
	/** `METHOD TARGET`, with the body where there is one. */
	readonly upstream: readonly string[];
	readonly arrived: readonly ArrivedRequest[];
	readonly after: 'open' | 'closed' | 'waiting' | 'tunnel';
	/** Against the strict reader, on either side. Empty: none. */
	readonly violations: readonly string[];
}

export function describeRequest(request: ReadRequest): string {
	const line = `${request.method} ${request.target}`;
	return request.body === '' ? line : `${line} ${request.body}`;
}

/**
 * Of clients on this machine Envoy says the machine's address, others 127.0.0.1. White space in lists is anybody's.
 */
function spokenFor(request: ReadRequest): string {
	const list = values(request.fields, 'x-forwarded-for').join(',').replaceAll(' ', '').split(',');
	return ` from ${list.map((address) => (OWN_ADDRESSES.has(address) ? 'itself' : address)).join(', ')}`;
}

/**
 * `expected`: what to wait for, when it is known; otherwise each step lasts until the proxy has been quiet.
 */
export async function observeRequest(
	lane: Lane,
	port: number,
	one: RequestCase,
	split: Split,
	expected: Pick<RequestCase, 'answers' | 'upstream' | 'after'> | null,
	quietMs = QUIET_MS,
): Promise<RequestOutcome> {
	const { upstream } = lane;
	if (expected === null) await barrier(port, one.variant);
	upstream.begin();
	upstream.answer = okAnswer;
	const raw = Buffer.from(one.preface + one.raw, 'latin1');
	const methods = readRequests(one.raw).requests.map((request) => request.method);
	// A proxy may take what the strict reader does not.
	if (methods.length === 0 && one.raw.startsWith('CONNECT ')) methods.push('CONNECT');
	const client = await RawClient.connect(port);
	upstream.onChange = () => client.changed();
	const read = (): ReadResponses => client.responses(methods);
	try {
		await client.send(cut(raw, split, raw.length));
		if (expected === null) await settled(client, () => finalsOf(read()) >= finalsWanted(one), quietMs);
		else {
			await client.until(
				() =>
					client.closed ||
					(expected.after !== 'closed' &&
						read().responses.length >= expected.answers.length &&
						upstream.arrived.length >= expected.upstream.length) ||
					read().violation !== '',
				LIMIT_MS,
			);
		}
		const before = read();
		const answers = before.responses.map((response) => response.status);
		// With `closed`, a request whose body is not there may have been begun upstream; it must not end.
		const arrived = upstream.arrived.slice();
		let after: RequestOutcome['after'] = 'closed';
		const violations = [before.violation];
		const finals = before.responses.filter(({ status }) => status >= 200 || status === 101).length;
		const connected = methods[finals - 1] === 'CONNECT' && answers.at(-1)! < 300;
		if ((answers.at(-1) === 101 || connected) && !client.closed) {
			// Where the tunnel ends here, what comes out of it must be a request for the upstream to answer.
			const sent = one.variant === 'terminate' && connected ? SENTINEL.toString() : TUNNELLED;
			// Answered, as all before it, or echoed.
			const came = (bytes: string): boolean =>
				bytes.endsWith(sent) ||
				(upstream.arrived.at(-1)?.request.target === SENTINEL_TARGET &&
					client.received.split('ok\n').length > upstream.arrived.length);
			const begun = read().tunnelled.length;
			await client.send([Buffer.from(sent)]);
			const through = await client.until(
				() => client.closed || (read().tunnelled.length > begun && came(read().tunnelled)),
				LIMIT_MS,
			);
			after = through && !client.closed ? 'tunnel' : 'closed';
		} else if (!client.closed && expected?.after === 'waiting') {
			after = 'waiting';
			// Longer than a head may take: it is not for what comes after one.
			if (one.variant === 'slow') await client.until(() => client.closed, SLOW_MS);
			client.end();
			if (!(await client.until(() => client.closed, LIMIT_MS))) violations.push('not closed after FIN');
			if (upstream.arrived.length > arrived.length) violations.push('a request that was not whole went upstream');
			violations.push(
				...read()
					.responses.slice(answers.length)
					.map((response) => `answered ${response.status} after FIN`),
			);
		} else if (!client.closed && expected === null && one.variant === 'proxy' && one.raw === '') {
			// What would come next would be of the head.
			after = 'waiting';
		} else if (expected === null && saysClose(before)) {
			// It may linger, reading and dropping, so that its answer is not lost.
			after = 'closed';
		} else if (!client.closed) {
			const count = answers.length;
			await client.send([SENTINEL]);
			if (expected === null) await settled(client, () => read().responses.length > count, quietMs);
			else await client.until(() => client.closed || read().responses.length > count, LIMIT_MS);
			const last = upstream.arrived.at(-1)?.request;
			const answered = read().responses.length === count + 1 && read().responses[count]?.status === 200;
			if (answered && last?.target === SENTINEL_TARGET && upstream.arrived.length === arrived.length + 1)
				after = 'open';
			else after = client.closed ? 'closed' : 'waiting';
		}
		violations.push(...upstream.violations());
		return {
			answers,
			upstream: arrived.map(
				({ request }) => describeRequest(request) + (one.variant === 'proxy' ? spokenFor(request) : ''),
			),
			arrived,
			after,
			violations: violations.filter((violation) => violation !== ''),
		};
	} finally {
		upstream.onChange = () => {};
		client.destroy();
	}
}

function saysClose(read: ReadResponses): boolean {
	return values(read.responses.at(-1)?.fields ?? [], 'connection').includes('close');
}

export interface ResponseOutcome {
	readonly statuses: readonly number[];
	readonly body: string;
	readonly fields: readonly Field[];
	readonly trailers: readonly Field[];
	readonly complete: boolean;
	/** The next request took the same connection upstream. */
	readonly reused: boolean;
	readonly violations: readonly string[];
}

/** As `observeRequest`, the other way round: the upstream says what the case has. */
export async function observeResponse(
	lane: Lane,
	port: number,
	one: ResponseCase,
	split: Split,
	known: boolean,
	quietMs = QUIET_MS,
): Promise<ResponseOutcome> {
	const { upstream } = lane;
	if (!known) await barrier(port, 'plain');
	upstream.begin();
	const bytes = Buffer.from(one.raw, 'latin1');
	const parts = bytes.length === 0 ? [] : cut(bytes, split, bytes.length);
	const answer: UpstreamAnswer = { parts, ending: one.ending, tunnel: false };
	upstream.answer = (request) => (request.target === '/case' ? answer : okAnswer(request));
	const client = await RawClient.connect(port);
	upstream.onChange = () => client.changed();
	const read = (): ReadResponses => client.responses([one.method]);
	const finals = (): number => read().responses.filter((response) => response.status >= 200).length;
	try {
		await client.send([Buffer.from(`${one.method} /case HTTP/1.1\r\nHost: a\r\n\r\n`)]);
		if (known) await client.until(() => client.closed || finals() > 0 || read().violation !== '', LIMIT_MS);
		else await settled(client, () => finals() > 0, quietMs);
		// What comes after the response must be seen before the connection is used again.
		await client.until(() => upstream.sending === 0, LIMIT_MS);
		for (let i = 0; i < 4; i++) await nextTurn();
		const { responses, partial, violation } = read();
		const violations = [violation];
		const last = responses.at(-1);
		const complete = last !== undefined && last.status >= 200;
		const shown = complete ? last : partial;
		const first = upstream.arrived.at(-1)?.connection ?? null;
		const reused = await sentinelTakes(lane, port, first?.id ?? -1, violations);
		if (client.received !== '' && finals() > 1) violations.push('more than one response');
		return {
			statuses: [...responses.map((response) => response.status), ...(partial === null ? [] : [partial.status])],
			body: shown?.body ?? '',
			fields: shown?.fields ?? [],
			trailers: shown?.trailers ?? [],
			complete,
			reused,
			violations: violations.filter((one) => one !== ''),
		};
	} finally {
		upstream.onChange = () => {};
		client.destroy();
	}
}

async function sentinelTakes(lane: Lane, port: number, id: number, violations: string[]): Promise<boolean> {
	const client = await RawClient.connect(port);
	try {
		await client.send([SENTINEL]);
		await client.until(() => client.closed || client.responses([]).responses.length > 0, LIMIT_MS);
		const answer = client.responses([]).responses[0];
		if (answer?.status !== 200 || answer.body !== 'ok\n') {
			violations.push(`the next request was answered ${answer?.status} ${JSON.stringify(answer?.body)}`);
		}
		return lane.upstream.arrived.at(-1)?.connection.id === id;
	} finally {
		client.destroy();
	}
}

/** Responses that weft would give: that many are enough to take a proxy for done. */
function finalsWanted(one: RequestCase): number {
	return Math.max(1, one.answers.filter((status) => status >= 200 || status === 101).length);
}

function finalsOf(read: ReadResponses): number {
	return read.responses.filter((response) => response.status >= 200 || response.status === 101).length;
}

/** The proxy has done nothing for a while; a longer one while it owes something. */
async function settled(client: RawClient, done: () => boolean, quietMs: number): Promise<void> {
	for (;;) {
		const { changes } = client;
		if (client.closed) return;
		const limitMs = done() ? quietMs : Math.max(quietMs, WAITING_QUIET_MS);
		if (!(await client.until(() => client.changes !== changes, limitMs))) return;
	}
}

/** What an earlier case set going in the proxy has arrived when a later request is answered. */
async function barrier(port: number, variant: Variant): Promise<void> {
	const client = await RawClient.connect(port);
	try {
		if (variant === 'proxy') await client.send([LOCAL_HEAD]);
		await client.send([Buffer.from('GET /barrier HTTP/1.1\r\nHost: barrier\r\n\r\n')]);
		await client.until(() => client.closed || client.received !== '', LIMIT_MS);
	} finally {
		client.destroy();
	}
}
