// Command operators that take an argument and look at more than one field of a stream.

import type { StreamInfo } from '../stream-info.ts';
import type { OperatorValue } from './operators.ts';

type Operator = (info: StreamInfo) => OperatorValue;

/** The first value of a parameter, percent signs undecoded. */
export function queryParameter(name: string | null): Operator | null {
	if (name === null || name === '') return null;
	return (info) => {
		const path = info.requestHead?.path ?? '';
		const query = path.indexOf('?');
		if (query < 0) return null;
		for (const pair of path.slice(query + 1).split('&')) {
			const equals = pair.indexOf('=');
			if ((equals < 0 ? pair : pair.slice(0, equals)) === name) return equals < 0 ? '' : pair.slice(equals + 1);
		}
		return null;
	};
}

/** `WQ` with, `NQ` without the query; then `ORIG` the path as it came, `PATH` as it is, `ORIG_OR_PATH`. */
export function pathOperator(argument: string | null, original: Operator): Operator | null {
	const [query = 'WQ', which = 'ORIG_OR_PATH', ...rest] = (argument ?? '').split(':').map((part) => part || undefined);
	if (rest.length > 0 || (query !== 'WQ' && query !== 'NQ')) return null;
	let path: Operator;
	const now: Operator = (info) => info.requestHead?.path ?? null;
	if (which === 'PATH') path = now;
	else if (which === 'ORIG') path = original;
	else if (which === 'ORIG_OR_PATH') path = (info) => original(info) ?? now(info);
	else return null;
	return query === 'WQ' ? path : withoutQuery(path);
}

/** `NAMESPACE:KEY:…`: text as it is, all else as JSON. */
export function metadataOperator(
	argument: string | null,
	of: (info: StreamInfo) => Readonly<Record<string, unknown>> | null,
): Operator | null {
	if (argument === null || argument === '') return null;
	const keys = argument.split(':');
	return (info) => {
		let value: unknown = of(info);
		for (const key of keys) {
			if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return null;
			value = (value as Record<string, unknown>)[key];
		}
		if (value === undefined || value === null) return null;
		return typeof value === 'string' || typeof value === 'number' ? value : new Structured(value);
	};
}

/** A value with parts: JSON in text, and part of the whole in JSON. */
export class Structured {
	constructor(private readonly value: unknown) {}

	toJSON(): unknown {
		return withSortedKeys(this.value);
	}

	toString(): string {
		return JSON.stringify(this);
	}
}

function withSortedKeys(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(withSortedKeys);
	if (typeof value !== 'object' || value === null) return value;
	const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
	return Object.fromEntries(entries.map(([key, item]) => [key, withSortedKeys(item)]));
}

/** When what has happened, in the words of `%COMMON_DURATION%`; 0: it has not. */
const POINTS: Readonly<Record<string, (info: StreamInfo) => number>> = {
	DS_RX_BEG: (info) => info.startMs,
	DS_RX_END: (info) => info.requestEndMs,
	US_TX_BEG: (info) => info.upstreamStartMs,
	US_RX_BEG: (info) => info.upstreamFirstByteMs,
	US_RX_END: (info) => info.upstreamLastByteMs,
	DS_TX_END: (info) => info.endMs,
};
const PER_MS: Readonly<Record<string, number>> = { ms: 1, us: 1000, ns: 1_000_000 };

/** `START:END:PRECISION`. */
export function durationOperator(argument: string | null): Operator | null {
	const [start = '', end = '', precision = '', ...rest] = (argument ?? '').split(':');
	const from = Object.hasOwn(POINTS, start) ? POINTS[start]! : null;
	const to = Object.hasOwn(POINTS, end) ? POINTS[end]! : null;
	const factor = PER_MS[precision];
	if (from === null || to === null || factor === undefined || rest.length > 0) return null;
	return (info) => {
		const begun = from(info);
		const ended = to(info);
		return begun === 0 || ended < begun ? null : Math.floor((ended - begun) * factor);
	};
}

function withoutQuery(header: Operator): Operator {
	return (info) => {
		const value = header(info);
		if (typeof value !== 'string') return value;
		const end = value.search(/[?#]/);
		return end < 0 ? value : value.slice(0, end);
	};
}
