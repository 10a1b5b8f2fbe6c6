// The same work on weft, Envoy, HAProxy and nginx, in one run, in turns.
//
//   npm run bench [-- OPTION…]     (--help lists the options)
//
// weft is dist/weft where that has been built (npm run build), else, and with --source, what is in src/.
// Prints a report and keeps it in bench/results/. Ends with 1 when something could not be measured.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeIdentities, writeMutualTls, writePlain } from './bootstraps.ts';
import { type Child, freePort, start, stopAll, type Usage, untilAnswering, usageOf } from './children.ts';
import {
	type ContenderName,
	isInstalled,
	setWeftCommand,
	startFromBootstrap,
	startHaproxy,
	startNginx,
} from './contenders.ts';
import { load } from './load.ts';
import { formatShape, type Measured, type Round, type ShapeReport } from './report.ts';

interface Options {
	readonly connections: number;
	readonly rounds: number;
	readonly seconds: number;
	readonly only: readonly string[];
	readonly shape: string | null;
	readonly source: boolean;
}

interface Contender {
	readonly name: ContenderName;
	readonly children: readonly Child[];
	readonly url: string;
}

/** After the start, before memory is read as that of an idle proxy: weft gives back what its start took after 5 s. */
const SETTLE_MS = 7000;
const WARM_UP_SECONDS = 1;

async function main(): Promise<void> {
	const options = readOptions(process.argv.slice(2));
	if (options === null) {
		console.log(USAGE);
		return;
	}
	if (Bun.which('wrk') === null) throw new Error('wrk is not installed (Debian package wrk)');
	const subject = setWeftCommand(options.source);
	const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
	const reports: ShapeReport[] = [];
	try {
		const upstreamPort = freePort();
		const upstream = start('upstream', [process.execPath, join(import.meta.dir, 'upstream.ts'), String(upstreamPort)]);
		await untilAnswering(`http://127.0.0.1:${upstreamPort}/`, [upstream]);
		if (options.shape === null || options.shape === 'plain') {
			reports.push(await measurePlain(options, directory, upstreamPort));
		}
		if (options.shape === null || options.shape === 'mtls') {
			reports.push(await measureMutualTls(options, directory, upstreamPort));
		}
	} finally {
		await stopAll();
		rmSync(directory, { recursive: true, force: true });
	}
	const text = [header(options, subject), ...reports.map(formatShape), ''].join('\n\n');
	console.log(text);
	const results = join(import.meta.dir, 'results');
	mkdirSync(results, { recursive: true });
	const file = join(results, `${new Date().toISOString().slice(0, 16).replace(/[:T]/g, '-')}.md`);
	writeFileSync(file, text);
	console.log(`kept in ${file}`);
	const failures = reports.flatMap((report) =>
		report.measured.flatMap((one) => one.rounds.map((round) => round.failures)),
	);
	if (failures.some((count) => count > 0) || reports.some((report) => report.missing.length > 0)) process.exitCode = 1;
}

async function measurePlain(options: Options, directory: string, upstreamPort: number): Promise<ShapeReport> {
	return measureShape(
		'Small GET through one proxy, HTTP/1.1',
		1,
		options,
		['weft', 'Envoy', 'HAProxy', 'nginx'],
		(name) => {
			const listenPort = freePort();
			const url = `http://127.0.0.1:${listenPort}/`;
			if (name === 'HAProxy') return { name, url, children: [startHaproxy(directory, listenPort, upstreamPort)] };
			if (name === 'nginx') return { name, url, children: [startNginx(directory, listenPort, upstreamPort)] };
			const file = writePlain(directory, `plain-${name}`, listenPort, upstreamPort);
			return { name, url, children: [startFromBootstrap(name, file, 1)] };
		},
	);
}

async function measureMutualTls(options: Options, directory: string, upstreamPort: number): Promise<ShapeReport> {
	const identities = await makeIdentities(directory);
	const title = 'Small GET through two proxies, HTTP/1.1 → mutual TLS 1.3 → HTTP/1.1';
	return measureShape(title, 2, options, ['weft', 'Envoy'], (name) => {
		const ports = { listen: freePort(), between: freePort(), target: upstreamPort };
		const files = writeMutualTls(directory, `mtls-${name}`, identities, ports);
		const kind = name === 'weft' ? 'weft' : 'Envoy';
		const children = files.map((file, index) => startFromBootstrap(kind, file, 2 + index));
		return { name, url: `http://127.0.0.1:${ports.listen}/`, children };
	});
}

async function measureShape(
	title: string,
	proxies: number,
	options: Options,
	names: readonly ContenderName[],
	startOne: (name: ContenderName) => Contender,
): Promise<ShapeReport> {
	const missing: string[] = [];
	const contenders: Contender[] = [];
	for (const name of names) {
		if (options.only.length > 0 && !options.only.includes(name)) continue;
		if (!isInstalled(name)) {
			missing.push(`${name}: not installed`);
			continue;
		}
		try {
			const contender = startOne(name);
			await untilAnswering(contender.url, contender.children);
			contenders.push(contender);
		} catch (error) {
			missing.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
		}
	}
	await Bun.sleep(SETTLE_MS);
	const idle = contenders.map((one) => usage(one));
	const rounds: Round[][] = contenders.map(() => []);
	for (const one of contenders) await load(one.url, options.connections, WARM_UP_SECONDS);
	for (let round = 0; round < options.rounds; round++) {
		for (let step = 0; step < contenders.length; step++) {
			// Another one begins each round, so that none always runs on a rested machine.
			const index = (round + step) % contenders.length;
			const contender = contenders[index]!;
			const before = usage(contender).cpuSeconds;
			const result = await load(contender.url, options.connections, options.seconds);
			const spent = usage(contender).cpuSeconds - before;
			rounds[index]!.push({ ...result, cpuMicroseconds: (spent * 1e6) / result.requests });
			console.error(
				`${contender.name}: ${((spent * 1e6) / result.requests).toFixed(1)} us/request, ${result.requestsPerSecond.toFixed(0)}/s`,
			);
		}
	}
	const measured: Measured[] = contenders.map((one, index) => ({
		name: one.name,
		rounds: rounds[index]!,
		idle: idle[index]!,
		after: usage(one),
	}));
	return { title, proxies, measured, missing };
}

function usage(contender: Contender): Usage {
	const all = contender.children.map((child) => usageOf(child.pid));
	const sum = (of: (one: Usage) => number) => all.reduce((total, one) => total + of(one), 0);
	return {
		cpuSeconds: sum((one) => one.cpuSeconds),
		residentMegabytes: sum((one) => one.residentMegabytes),
		anonymousMegabytes: sum((one) => one.anonymousMegabytes),
	};
}

function header(options: Options, subject: string): string {
	return [
		'# Benchmark',
		'',
		`${new Date().toISOString()}; ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}; Bun ${Bun.version}; one worker each, ` +
			`wrk with ${options.connections} connections, ${options.rounds} rounds of ${options.seconds} s in turns, medians.`,
		`weft: ${subject}. CPU is user and system time of the proxies alone, from /proc. RSS: in brackets the process's own`,
		'(anonymous) part; the rest are pages of files, which processes of the same program share.',
	].join('\n');
}

const USAGE = `npm run bench [-- OPTION…]: the same work on weft, Envoy, HAProxy and nginx, in turns

  --quick             2 rounds of 1 s, to see that it works (default: 7 rounds of 5 s)
  --connections N     of the load generator (default 32)
  --rounds N
  --seconds N         of each round
  --only weft,Envoy   not the others
  --shape plain|mtls  not the other
  --source            what is in src/, also where dist/weft has been built`;

/** Null: help was asked for. */
function readOptions(words: readonly string[]): Options | null {
	const text = { type: 'string' } as const;
	const flag = { type: 'boolean', default: false } as const;
	const { values } = parseArgs({
		args: [...words],
		options: {
			...{ connections: text, rounds: text, seconds: text, only: text, shape: text },
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
	const { shape = null, only, quick } = values;
	if (shape !== null && shape !== 'plain' && shape !== 'mtls') {
		throw new Error(`--shape: found ${shape}, expected plain or mtls`);
	}
	return {
		connections: count('connections', 32),
		rounds: count('rounds', quick ? 2 : 7),
		seconds: count('seconds', quick ? 1 : 5),
		only: only?.split(',') ?? [],
		shape,
		source: values.source,
	};
}

try {
	await main();
} catch (error) {
	console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
	process.exitCode = 1;
}
