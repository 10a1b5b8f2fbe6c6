// Figures of all rounds into tables that can be read and kept.

import type { Usage } from './children.ts';
import { type Latency, type LoadResult, STEADY_RATE } from './load.ts';
import type { MemoryReport } from './memory.ts';
import type { Shape } from './shapes.ts';

export interface Round extends LoadResult {
	/** User and system time of the proxies in it, per request. */
	readonly cpuMicroseconds: number;
}

export interface Measured {
	readonly name: string;
	readonly rounds: readonly Round[];
	/** At a fixed rate; null: not measured. */
	readonly latency: Latency | null;
	/** Of all proxies of the shape together. */
	readonly idle: Usage;
	readonly after: Usage;
}

export interface ShapeReport {
	readonly shape: Shape;
	readonly measured: readonly Measured[];
	readonly missing: readonly string[];
}

export function median(values: readonly number[]): number {
	const sorted = [...values].sort((a, b) => a - b);
	const middle = sorted.length >> 1;
	if (sorted.length === 0) return Number.NaN;
	return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** CPU of one to that of another, round by round: what disturbs the machine disturbs both of a pair. */
export function ratiosTo(one: Measured, other: Measured): number[] {
	return one.rounds
		.map((round, index) => round.cpuMicroseconds / (other.rounds[index]?.cpuMicroseconds ?? Number.NaN))
		.filter((ratio) => Number.isFinite(ratio));
}

/** One line for each shape: how weft stands. */
export function formatSummary(reports: readonly ShapeReport[]): string {
	const lines = [
		`| Shape | CPU, weft | Envoy | weft / Envoy (least … most) | goal | weft / HAProxy | p99 at ${STEADY_RATE}/s, weft | Envoy |`,
		'|---|---|---|---|---|---|---|---|',
	];
	for (const { shape, measured } of reports) {
		const of = (name: string) => measured.find((one) => one.name === name);
		const [weft, envoy, haproxy] = [of('weft'), of('Envoy'), of('HAProxy')];
		if (weft === undefined) continue;
		const cpu = (one: Measured | undefined) => (one === undefined ? '–' : formatCpu(one));
		const p99 = (one: Measured | undefined) => (one?.latency ? `${one.latency.p99Ms.toFixed(2)} ms` : '–');
		const met = envoy !== undefined && median(ratiosTo(weft, envoy)) <= shape.goal;
		lines.push(
			`| ${[
				shape.title,
				cpu(weft),
				cpu(envoy),
				envoy === undefined ? '–' : formatRatio(weft, envoy),
				`${shape.goal}${met ? ', met' : ''}`,
				haproxy === undefined ? '–' : median(ratiosTo(weft, haproxy)).toFixed(2),
				p99(weft),
				p99(envoy),
			].join(' | ')} |`,
		);
	}
	return lines.join('\n');
}

export function formatShape({ shape, measured, missing }: ShapeReport): string {
	const lines = [
		`## ${shape.title} (${shape.name})`,
		'',
		`| Proxy | CPU/${shape.unit} | of Envoy’s (least … most) | ${shape.unit}s/s | p50, ms | p99, ms | at ${STEADY_RATE}/s: p50, ms | p99 | p99.9 | RSS idle (own), MB | after (own), MB | failures |`,
		'|---|---|---|---|---|---|---|---|---|---|---|---|',
	];
	const envoy = measured.find((one) => one.name === 'Envoy');
	for (const one of measured) {
		const of = (pick: (round: Round) => number) => median(one.rounds.map(pick));
		const rate = of((round) => round.requestsPerSecond);
		const { latency } = one;
		lines.push(
			`| ${[
				one.name,
				formatCpu(one),
				envoy === undefined ? '–' : one === envoy ? '1' : formatRatio(one, envoy),
				rate.toFixed(rate < 10 ? 2 : 0),
				of((round) => round.p50Ms).toFixed(2),
				of((round) => round.p99Ms).toFixed(2),
				...[latency?.p50Ms, latency?.p99Ms, latency?.p999Ms].map((ms) => ms?.toFixed(2) ?? '–'),
				formatMemory(one.idle),
				formatMemory(one.after),
				one.rounds.reduce((sum, round) => sum + round.failures, 0) + (latency?.failures ?? 0),
			].join(' | ')} |`,
		);
	}
	if (missing.length > 0) lines.push('', ...missing.map((line) => `Not measured: ${line}`));
	if (shape.proxies > 1) lines.push('', `CPU and RSS are of the ${shape.proxies} proxies together.`);
	return lines.join('\n');
}

export function formatMemoryReport(report: MemoryReport): string {
	return [
		'## Memory',
		'',
		'| Proxy | RSS idle (own), MB | with 1000 idle connections | with 1000 clusters |',
		'|---|---|---|---|',
		...report.map(
			(one) =>
				`| ${[
					one.name,
					formatMemory(one.idle),
					formatMemory(one.connected),
					one.clusters === null ? '–' : formatMemory(one.clusters),
				].join(' | ')} |`,
		),
	].join('\n');
}

function formatMemory(usage: Usage): string {
	return `${usage.residentMegabytes.toFixed(1)} (${usage.anonymousMegabytes.toFixed(1)})`;
}

function formatCpu(one: Measured): string {
	const microseconds = median(one.rounds.map((round) => round.cpuMicroseconds));
	return microseconds < 10_000 ? `${microseconds.toFixed(1)} us` : `${(microseconds / 1000).toFixed(0)} ms`;
}

function formatRatio(one: Measured, envoy: Measured): string {
	const ratios = ratiosTo(one, envoy);
	if (ratios.length === 0) return '–';
	return `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} … ${Math.max(...ratios).toFixed(2)})`;
}
