// The same work on weft, Envoy, HAProxy and nginx, in one run, in turns.
//
//   npm run bench [-- OPTION…]     (--help lists the options)
//
// weft is dist/weft where that has been built (npm run build), else, and with --source, what is in src/.
// Prints a report, and keeps it with a chart in bench/results/. Ends with 1 when something could not be measured.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { freePort } from '../test/support/free-ports.ts';
import { makeIdentities } from './bootstraps.ts';
import { drawChart } from './chart.ts';
import { type Child, stop, untilListening, usageOf } from './children.ts';
import { type ContenderName, isInstalled, setWeftCommand } from './contenders.ts';
import { type LoadSize, STEADY_RATE, steady, type Target } from './load.ts';
import { type MemoryReport, measureMemory } from './memory.ts';
import { formatMemoryReport, formatShape, formatSummary, type Measured, type ShapeReport } from './report.ts';
import { SHAPES, type Shape, type World } from './shapes.ts';
import { startUpstream } from './upstream.ts';

interface Options {
	readonly connections: number;
	readonly rounds: number;
	readonly seconds: number;
	/** Of the measure of latency at a fixed rate; 0: none. */
	readonly steadySeconds: number;
	readonly settleMs: number;
	readonly only: readonly string[];
	readonly shapes: readonly Shape[];
	readonly isMemoryMeasured: boolean;
	readonly source: boolean;
	readonly command: string | null;
	readonly isQuick: boolean;
}

interface Contender {
	readonly name: ContenderName;
	readonly children: readonly Child[];
	readonly target: Target;
}

async function main(): Promise<void> {
	const options = readOptions(process.argv.slice(2));
	if (options === null) {
		console.log(usage());
		return;
	}
	for (const [program, from] of [
		['wrk', 'wrk'],
		['h2load', 'nghttp2-client'],
		['curl', 'curl'],
	] as const) {
		if (Bun.which(program) === null) throw new Error(`${program} is not installed (Debian package ${from})`);
	}
	if (!isInstalled('nginx')) throw new Error('nginx, the upstream, is not installed (Debian package nginx-light)');
	const subject = setWeftCommand(options.source, options.command);
	const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
	const reports: ShapeReport[] = [];
	let memory: MemoryReport | null = null;
	try {
		const upstream = await startUpstream(directory);
		const world: World = { directory, upstream, identities: await makeIdentities(directory) };
		for (const [index, shape] of options.shapes.entries()) {
			console.error(`[${index + 1}/${options.shapes.length}] ${shape.name}: ${shape.title}`);
			reports.push(await measureShape(shape, world, options));
		}
		if (options.isMemoryMeasured) {
			console.error('memory');
			const names = (['weft', 'Envoy', 'HAProxy', 'nginx'] as const).filter((name) => isMeasured(name, options));
			memory = await measureMemory(world, names, options.settleMs);
		}
	} finally {
		await stop();
		rmSync(directory, { recursive: true, force: true });
	}
	const parts = [header(options, subject), formatSummary(reports), ...reports.map(formatShape)];
	if (memory !== null) parts.push(formatMemoryReport(memory));
	const text = `${parts.join('\n\n')}\n`;
	console.log(text);
	const results = join(import.meta.dir, 'results');
	mkdirSync(results, { recursive: true });
	const file = join(results, new Date().toISOString().slice(0, 16).replace(/[:T]/g, '-'));
	writeFileSync(`${file}.md`, text);
	writeFileSync(`${file}.svg`, drawChart(reports));
	console.log(`kept in ${file}.md, with a chart in ${file}.svg`);
	const failures = reports.flatMap((report) => report.measured.map((one) => failuresOf(one)));
	if (failures.some((count) => count > 0) || reports.some((report) => report.missing.length > 0)) process.exitCode = 1;
}

function failuresOf(one: Measured): number {
	return one.rounds.reduce((sum, round) => sum + round.failures, 0) + (one.latency?.failures ?? 0);
}

function isMeasured(name: ContenderName, options: Options): boolean {
	return (options.only.length === 0 || options.only.includes(name)) && isInstalled(name);
}

async function measureShape(shape: Shape, world: World, options: Options): Promise<ShapeReport> {
	const missing: string[] = [];
	const contenders: Contender[] = [];
	for (const name of shape.contenders) {
		if (options.only.length > 0 && !options.only.includes(name)) continue;
		if (!isInstalled(name)) {
			missing.push(`${name}: not installed`);
			continue;
		}
		const target: Target = { port: freePort(), path: shape.path, isTls: shape.isTls };
		try {
			const children = shape.start(world, name, target.port);
			await untilListening(target.port, children);
			contenders.push({ name, children, target });
		} catch (error) {
			missing.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
		}
	}
	try {
		const measured = await measureContenders(shape, contenders, missing, world.directory, options);
		return { shape, measured, missing };
	} finally {
		await stop(contenders.flatMap(({ children }) => children));
	}
}

/** After so many requests a runtime has compiled what it is going to; and the seconds that this may take. */
const WARM_REQUESTS = 20_000;
const WARM_UPS_MAX = 10;

async function measureContenders(
	shape: Shape,
	contenders: readonly Contender[],
	missing: string[],
	directory: string,
	options: Options,
): Promise<Measured[]> {
	const size: LoadSize = { connections: options.connections, seconds: options.seconds, directory };
	await Bun.sleep(options.settleMs);
	const idle = contenders.map((one) => usageOf(one.children));
	const rounds: Measured['rounds'][number][][] = contenders.map(() => []);
	const broken = new Set<number>();
	/** A contender that cannot do the work leaves the shape; the others stay. */
	const attempt = async (index: number, work: () => Promise<void>): Promise<void> => {
		if (broken.has(index)) return;
		try {
			await work();
		} catch (error) {
			broken.add(index);
			missing.push(`${contenders[index]!.name}: ${error instanceof Error ? error.message : String(error)}`);
		}
	};
	const warmUps = shape.unit === 'request' && options.rounds > 1 ? WARM_UPS_MAX : 1;
	for (const [index, one] of contenders.entries()) {
		await attempt(index, async () => {
			let requests = 0;
			for (let count = 0; count < warmUps && requests < WARM_REQUESTS; count++) {
				requests += (await shape.load(one.target, { ...size, seconds: 1 })).requests;
			}
		});
	}
	for (let round = 0; round < options.rounds; round++) {
		for (let step = 0; step < contenders.length; step++) {
			// Another one begins each round, so that none always runs on a rested machine.
			const index = (round + step) % contenders.length;
			await attempt(index, async () => {
				const { children, target, name } = contenders[index]!;
				const before = usageOf(children).cpuSeconds;
				const result = await shape.load(target, size);
				const cpuMicroseconds = ((usageOf(children).cpuSeconds - before) * 1e6) / result.requests;
				rounds[index]!.push({ ...result, cpuMicroseconds });
				const figures = `${cpuMicroseconds.toFixed(1)} us/${shape.unit}, ${result.requestsPerSecond.toFixed(1)}/s`;
				console.error(`  ${name}: ${figures}${result.failures > 0 ? `, ${result.failures} FAILED` : ''}`);
			});
		}
	}
	const latencies: Measured['latency'][] = contenders.map(() => null);
	if (shape.steady !== null && options.steadySeconds > 0) {
		for (const [index, one] of contenders.entries()) {
			await attempt(index, async () => {
				const latency = await steady(one.target, shape.steady!, { ...size, seconds: options.steadySeconds });
				latencies[index] = latency;
				console.error(`  ${one.name}: p99 ${latency.p99Ms.toFixed(2)} ms at ${STEADY_RATE}/s`);
			});
		}
	}
	return contenders.flatMap((one, index) => {
		if (broken.has(index)) return [];
		const after = usageOf(one.children);
		return [{ name: one.name, rounds: rounds[index]!, latency: latencies[index]!, idle: idle[index]!, after }];
	});
}

function header(options: Options, subject: string): string {
	return [
		'# Benchmark',
		'',
		`${new Date().toISOString()}; ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}; Bun ${Bun.version}; one worker each, ` +
			`${options.connections} connections (HTTP/2: ${options.connections >> 2} of 10 streams), ` +
			`${options.rounds} rounds of ${options.seconds} s in turns, medians.`,
		`weft: ${subject}. CPU is user and system time of the proxies alone, from /proc. RSS: in brackets the process's own`,
		'(anonymous) part; the rest are pages of files, which processes of the same program share. Latency at a fixed rate:',
		`${STEADY_RATE} requests a second over 16 connections for ${options.steadySeconds} s.`,
		...(options.isQuick ? ['', 'Made with `--quick`: good enough to see that it works, not to compare.'] : []),
	].join('\n');
}

function usage(): string {
	return `npm run bench [-- OPTION…]: the same work on weft, Envoy, HAProxy and nginx, in turns

  --quick             weft and Envoy only, one round of 1 s (default: 5 rounds of 3 s)
  --connections N     of the load generator (default 32)
  --rounds N
  --seconds N         of each round
  --only weft,Envoy   not the others
  --shape A,B,…       not the others; memory is one of them
  --source            what is in src/, also where dist/weft has been built
  --weft 'COMMAND'    another build, or with a profiler, instead of dist/weft

Shapes:
${SHAPES.map(({ name, title }) => `  ${name.padEnd(12)} ${title}`).join('\n')}
  memory       RSS idle, with 1000 idle connections, with 1000 clusters`;
}

/** Null: help was asked for. */
function readOptions(words: readonly string[]): Options | null {
	const text = { type: 'string' } as const;
	const flag = { type: 'boolean', default: false } as const;
	const { values } = parseArgs({
		args: [...words],
		options: {
			...{ connections: text, rounds: text, seconds: text, only: text, shape: text, weft: text },
			...{ quick: flag, source: flag, help: { ...flag, short: 'h' } },
		},
	});
	if (values.help) return null;
	const count = (name: 'connections' | 'rounds' | 'seconds', byDefault: number): number => {
		const found = Number(values[name] ?? byDefault);
		if (!Number.isInteger(found) || found < 1)
			throw new Error(`--${name}: found ${values[name]}, expected a whole number above 0`);
		return found;
	};
	const { quick } = values;
	const names = [...SHAPES.map((shape) => shape.name), 'memory'];
	const wanted = values.shape?.split(',') ?? names;
	for (const name of wanted) {
		if (!names.includes(name)) throw new Error(`--shape: found ${name}, expected some of ${names.join(', ')}`);
	}
	return {
		connections: count('connections', 32),
		rounds: count('rounds', quick ? 1 : 5),
		seconds: count('seconds', quick ? 1 : 3),
		steadySeconds: quick ? 0 : 5,
		// weft gives back what its start took after 5 s.
		settleMs: quick ? 300 : 7000,
		only: values.only?.split(',') ?? (quick ? ['weft', 'Envoy'] : []),
		shapes: SHAPES.filter((shape) => wanted.includes(shape.name)),
		isMemoryMeasured: wanted.includes('memory'),
		source: values.source,
		command: values.weft ?? null,
		isQuick: quick,
	};
}

try {
	await main();
} catch (error) {
	console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
	process.exitCode = 1;
}
