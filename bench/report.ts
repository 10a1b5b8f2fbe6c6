// Figures of all rounds into a table that can be read and kept.

import type { Usage } from './children.ts';
import type { LoadResult } from './load.ts';

export interface Round extends LoadResult {
	/** User and system time of the proxies in it, per request. */
	readonly cpuMicroseconds: number;
}

export interface Measured {
	readonly name: string;
	readonly rounds: Round[];
	/** Of all proxies of the shape together. */
	readonly idle: Usage;
	readonly after: Usage;
}

export interface ShapeReport {
	readonly title: string;
	readonly proxies: number;
	readonly measured: readonly Measured[];
	readonly missing: readonly string[];
}

export function median(values: readonly number[]): number {
	const sorted = [...values].sort((a, b) => a - b);
	const middle = sorted.length >> 1;
	if (sorted.length === 0) return Number.NaN;
	return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function formatShape(report: ShapeReport): string {
	const lines = [
		`## ${report.title}`,
		'',
		'| Proxy | CPU/request, us | of Envoy’s (least … most) | requests/s | p50, ms | p99, ms | RSS idle (own), MB | after (own), MB | failures |',
		'|---|---|---|---|---|---|---|---|---|',
	];
	const envoy = report.measured.find((one) => one.name === 'Envoy');
	for (const one of report.measured) {
		const of = (pick: (round: Round) => number) => median(one.rounds.map(pick));
		lines.push(
			`| ${[
				one.name,
				of((round) => round.cpuMicroseconds).toFixed(1),
				envoy === undefined ? '–' : formatRatio(one, envoy),
				of((round) => round.requestsPerSecond).toFixed(0),
				of((round) => round.p50Ms).toFixed(2),
				of((round) => round.p99Ms).toFixed(2),
				formatMemory(one.idle),
				formatMemory(one.after),
				one.rounds.reduce((sum, round) => sum + round.failures, 0),
			].join(' | ')} |`,
		);
	}
	if (report.missing.length > 0) lines.push('', ...report.missing.map((line) => `Not measured: ${line}`));
	if (report.proxies > 1) lines.push('', `CPU and RSS are of the ${report.proxies} proxies together.`);
	return lines.join('\n');
}

function formatMemory(usage: Usage): string {
	return `${usage.residentMegabytes.toFixed(1)} (${usage.anonymousMegabytes.toFixed(1)})`;
}

/** Round by round: what disturbs the machine disturbs both of a pair. */
function formatRatio(one: Measured, envoy: Measured): string {
	if (one === envoy) return '1';
	const ratios = one.rounds
		.map((round, index) => round.cpuMicroseconds / (envoy.rounds[index]?.cpuMicroseconds ?? Number.NaN))
		.filter((ratio) => Number.isFinite(ratio));
	if (ratios.length === 0) return '–';
	return `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} … ${Math.max(...ratios).toFixed(2)})`;
}
