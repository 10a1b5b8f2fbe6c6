// What came of a case in one short text, so that proxies can be compared and shown side by side.

import type { RequestOutcome, ResponseOutcome } from '../support/observe-corpus.ts';
import type { RequestCase, ResponseCase } from './case.ts';

const AFTER: Readonly<Record<RequestCase['after'], string>> = {
	open: '',
	closed: ', closes',
	waiting: ', waits',
	tunnel: ', tunnel',
};
const SHOWN_MAX = 60;

export function expectedOfRequest(one: RequestCase): string {
	return requestText(one.answers, one.upstream, one.after, []);
}

export function requestOutcomeText(outcome: RequestOutcome): string {
	return requestText(outcome.answers, outcome.upstream, outcome.after, outcome.violations);
}

/** `400, closes`; `200 → GET /`; `passes it on`: the upstream was sent what the strict reader refuses. */
function requestText(
	statuses: readonly number[],
	upstream: readonly string[],
	after: RequestCase['after'],
	violations: readonly string[],
): string {
	if (violations.length > 0) return 'passes it on';
	const said = `${statuses.join(' ')}${AFTER[after]}`.replace(/^, /, '');
	return upstream.length === 0 ? said : `${said} → ${upstream.map(shown).join('; ')}`;
}

export function expectedOfResponse(one: ResponseCase): string {
	return responseText(one, one.statuses, one.body ?? '', one.complete, one.reused, []);
}

export function responseOutcomeText(one: ResponseCase, outcome: ResponseOutcome): string {
	const { statuses, body, complete, reused, violations } = outcome;
	return responseText(one, statuses, body, complete, reused, violations);
}

function responseText(
	one: ResponseCase,
	statuses: readonly number[],
	body: string,
	complete: boolean,
	reused: boolean,
	violations: readonly string[],
): string {
	if (violations.length > 0) return 'passes it on';
	// How much of a broken response arrives before it breaks off is a matter of time.
	if (!complete) return 'breaks off';
	const own = statuses.at(-1)! >= 502;
	const content = own || one.body === null || body === '' ? '' : ` ${shown(body)}`;
	// With its own answer, and where the upstream is gone, a connection is never used again.
	return `${statusesText(statuses)}${content}${reused ? '' : ', upstream closed'}`;
}

function statusesText(statuses: readonly number[]): string {
	return statuses.length > 6 ? `${statuses.length - 1} × ${statuses[0]}, ${statuses.at(-1)}` : statuses.join(' ');
}

function shown(text: string): string {
	const printable = JSON.stringify(text).slice(1, -1);
	return printable.length > SHOWN_MAX ? `${printable.slice(0, SHOWN_MAX)}…` : printable;
}
