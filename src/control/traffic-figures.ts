// What one stretch of traffic adds up to: requests by class, failures, latencies, how secure the
// connections were. One flat array of numbers, so that stretches are added, scaled and merged by
// a loop; figures for people are made from it at the end.

import { DEFAULT_BUCKETS } from '../telemetry/registry.ts';
import type { TrafficFigures } from './mesh-snapshot.ts';

export const RESPONSE_CLASSES = ['0', '1xx', '2xx', '3xx', '4xx', '5xx'] as const;
export type ResponseClass = (typeof RESPONSE_CLASSES)[number];
export type Security = 'mutual_tls' | 'plain' | 'unknown';

//  0 … 5       requests by class
//  6           requests that failed
//  7, 8, 9     requests by security: mutual TLS, plain, unknown
//  10 …        latencies per bucket, the last above all bounds
const FAILED = RESPONSE_CLASSES.length;
const SECURITY = FAILED + 1;
const LATENCY = SECURITY + 3;
export const LATENCY_BOUNDS_MS: readonly number[] = DEFAULT_BUCKETS;
const LATENCY_BUCKETS = LATENCY_BOUNDS_MS.length + 1;
const SECURITIES: readonly Security[] = ['mutual_tls', 'plain', 'unknown'];
const [MUTUAL_TLS, PLAIN, UNKNOWN] = [0, 1, 2];
export const TALLY_LENGTH = LATENCY + LATENCY_BUCKETS;

/** A `Float64Array` of `TALLY_LENGTH`; counts may be fractions. */
export type Tally = Float64Array;

export function newTally(): Tally {
	return new Float64Array(TALLY_LENGTH);
}

export function addTally(into: Tally, from: Tally): void {
	for (let i = 0; i < TALLY_LENGTH; i++) into[i]! += from[i]!;
}

export function tallyRequests(
	tally: Tally,
	count: number,
	outcome: { readonly responseClass: ResponseClass; readonly failed: boolean },
	security: Security,
): void {
	tally[RESPONSE_CLASSES.indexOf(outcome.responseClass)]! += count;
	if (outcome.failed) tally[FAILED]! += count;
	tally[SECURITY + SECURITIES.indexOf(security)]! += count;
}

/** Adds per-bucket counts; `bounds` may be other than ours, then each goes to our bucket that holds its bound. */
export function tallyLatencies(tally: Tally, bounds: readonly number[], counts: Float64Array): void {
	for (let i = 0; i < counts.length; i++) {
		const count = counts[i]!;
		if (count === 0) continue;
		tally[LATENCY + bucketOf(i < bounds.length ? bounds[i]! : Number.POSITIVE_INFINITY, i)]! += count;
	}
}

function bucketOf(bound: number, guess: number): number {
	if (LATENCY_BOUNDS_MS[guess] === bound) return guess;
	for (let i = 0; i < LATENCY_BOUNDS_MS.length; i++) if (bound <= LATENCY_BOUNDS_MS[i]!) return i;
	return LATENCY_BOUNDS_MS.length;
}

export function requestCount(tally: Tally): number {
	let count = 0;
	for (let i = 0; i < RESPONSE_CLASSES.length; i++) count += tally[i]!;
	return count;
}

/**
 * Whether all of it was mutual TLS: by the reporter's word where it knows, else by `witness`, what the
 * destination reported of the same requests. Null when nobody knows.
 */
export function isMutualTls(tally: Tally, witness: Tally | null): boolean | null {
	const saw = (security: number) => tally[SECURITY + security]! > 0;
	const heard = (security: number) => witness !== null && witness[SECURITY + security]! > 0;
	if (saw(PLAIN) || heard(PLAIN)) return false;
	if (saw(UNKNOWN)) return heard(MUTUAL_TLS) ? true : null;
	return saw(MUTUAL_TLS) || heard(MUTUAL_TLS) ? true : null;
}

export function figuresOf(tally: Tally, seconds: number): TrafficFigures {
	const requests = requestCount(tally);
	const byClass: Record<string, number> = {};
	RESPONSE_CLASSES.forEach((name, i) => {
		if (tally[i]! > 0) byClass[name] = round(tally[i]! / seconds);
	});
	return {
		requestRate: round(requests / seconds),
		successRate: requests > 0 ? Math.max(0, 1 - tally[FAILED]! / requests) : 1,
		p50Ms: percentileMs(tally, 0.5),
		p90Ms: percentileMs(tally, 0.9),
		p99Ms: percentileMs(tally, 0.99),
		byClass,
	};
}

/**
 * Straight line within the bucket that holds the rank, as Prometheus' `histogram_quantile`; what lies
 * above the last bound is given as the last bound. Null without observations.
 */
export function percentileMs(tally: Tally, quantile: number): number | null {
	let total = 0;
	for (let i = 0; i < LATENCY_BUCKETS; i++) total += tally[LATENCY + i]!;
	if (total <= 0) return null;
	const rank = quantile * total;
	let below = 0;
	for (let i = 0; i < LATENCY_BOUNDS_MS.length; i++) {
		const count = tally[LATENCY + i]!;
		if (count > 0 && below + count >= rank) {
			const lower = i === 0 ? 0 : LATENCY_BOUNDS_MS[i - 1]!;
			return round(lower + (LATENCY_BOUNDS_MS[i]! - lower) * ((rank - below) / count));
		}
		below += count;
	}
	return LATENCY_BOUNDS_MS.at(-1)!;
}

function round(value: number): number {
	return Math.round(value * 1000) / 1000;
}
